/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "check_copies.h"
#include "check_lvm.h"
#include "host_disk.h"
#include "host_world.h"

#define PIECE_BYTES (64u << 10)

/* By slot; of those that are looked at. */
static struct check_md arrays[HOST_ARRAYS];

static __attribute__((format(printf, 1, 2))) void fail(const char *fmt, ...)
{
    va_list ap;

    if (*sim->failure)
        return;
    va_start(ap, fmt);
    vsnprintf(sim->failure, sizeof sim->failure, fmt, ap);
    va_end(ap);
    SIM_TRACE("*** %s", sim->failure);
}

static bool array_untouched(unsigned i)
{
    const struct host_array *now = &host->now.arrays[i], *then = &host->then.arrays[i];

    return now->presence == HOST_THERE && *now->uuid &&
           (!host->changing || !memcmp(now, then, sizeof *now));
}

static bool group_untouched(unsigned i)
{
    const struct host_group *now = &host->now.groups[i], *then = &host->then.groups[i];

    return now->there && !(host->spoilt & 1u << i) &&
           (!host->changing || !memcmp(now, then, sizeof *now));
}

static bool volume_untouched(unsigned i)
{
    const struct host_volume *now = &host->now.volumes[i], *then = &host->then.volumes[i];

    return now->there && group_untouched(now->group) &&
           (!host->changing || !memcmp(now, then, sizeof *now));
}

static void parse_uuid(const char *text, uint8_t uuid[16])
{
    for (unsigned i = 0; i < 16; i++)
        sscanf(text + 2 * i + i / 4, "%2hhx", &uuid[i]);
}

static void check_members(unsigned slot)
{
    const struct host_array *a = &host->now.arrays[slot];
    struct check_disk disks[HOST_DISKS];
    struct check_md *c = &arrays[slot];
    unsigned count = 0;
    uint8_t uuid[16];

    for (unsigned i = 0; i < HOST_DISKS; i++)
        if (((a->members | a->attached) & 1u << i) && sim->disks[i].present)
            disks[count++] = check_sim_disk(&sim->disks[i]);
    parse_uuid(a->uuid, uuid);
    if (!check_md(c, disks, count, uuid) || !check_copies_agree(c, 0, c->layout.size_bytes))
        fail("array %s on the disks: %s", a->name, c->problems.text);
}

/* What is missing is worked out from what the log is yet to put right. */
static bool awaits_log(const struct check_md *c)
{
    bool complete = true;

    for (unsigned i = 0; i < c->raid_disks; i++)
        complete =
            complete && c->members[i] >= 0 && c->disks[c->members[i]].state == CHECK_MD_IN_SYNC;
    return c->layout.parity && c->dirty && !complete;
}

/* The PVs of a group; 0: it stands on an array that is being changed, or incomplete. */
static unsigned find_pvs(unsigned group, struct check_disk *pvs)
{
    const struct host_group *g = &host->now.groups[group];
    unsigned count = 0;

    for (unsigned i = 0; i < HOST_ARRAYS; i++) {
        if (!(g->arrays & 1u << i))
            continue;
        if (!array_untouched(i) || awaits_log(&arrays[i]))
            return 0;
        pvs[count++] = check_array(&arrays[i], host->now.arrays[i].name);
    }
    for (unsigned i = 0; i < HOST_DISKS; i++)
        if (g->disks & 1u << i)
            pvs[count++] = check_sim_disk(&sim->disks[i]);
    return count;
}

/* Of the disk: what guests read. */
static void check_contents(const struct check_disk *disk, unsigned slot)
{
    static unsigned char buf[PIECE_BYTES];
    char why[MODEL_WHY_LEN];
    uint64_t bytes, bad;

    for (uint64_t at = 0; at < disk->size_bytes; at += bytes) {
        const void *data;

        bytes = MIN(disk->size_bytes - at, (uint64_t)PIECE_BYTES);
        data = check_read(disk, buf, at, bytes);
        if (!data)
            fail("volume %s: %llu is nowhere on the disks", disk->name, (unsigned long long)at);
        else if ((bad = model_check_image(&host_models[slot], data, at, bytes, why)) != MODEL_GOOD)
            fail("volume %s on the disks: at %llu: %s", disk->name, (unsigned long long)bad, why);
    }
}

/* From now on it is known, and changes no more. */
static void learn_snapshot(unsigned slot, unsigned i, const void *contents)
{
    struct host_snapshot *s = &host->now.volumes[slot].snapshots[i];
    struct model *m = host_snapshot_model(slot, s);
    char why[MODEL_WHY_LEN];
    uint64_t bad = model_read_check(m, s->begun, contents, 0, s->size_bytes, why);

    if (bad != MODEL_GOOD)
        fail("snapshot %s on the disks: at %llu: %s", s->name, (unsigned long long)bad, why);
    model_init(m, m->id, s->size_bytes, MODEL_START_ZEROS);
    model_write_end(m, model_copy_begin(m, 0, s->size_bytes, contents), true, true);
    s->known = true;
    host->then.volumes[slot].snapshots[i].known = true; /* the volume is not being changed */
}

static void check_snapshot(struct host_disk *d, unsigned slot, unsigned i)
{
    static unsigned char buf[HOST_SPARSE_BYTES_MAX];
    const struct host_snapshot *s = &host->now.volumes[slot].snapshots[i];
    const struct check_qcow2_disk *found = &d->image.disks[1 + i];
    char why[MODEL_WHY_LEN];
    uint64_t bad;

    if (strcmp(found->name, s->name) || found->size_bytes != s->size_bytes) {
        fail("volume %s: instead of snapshot %s there is %s", d->disk.name, s->name, found->name);
        return;
    }
    host_disk_choose(d, 1 + i);
    if (!check_read(&d->disk, buf, 0, s->size_bytes))
        fail("snapshot %s cannot be read on the disks", s->name);
    else if (!s->known)
        learn_snapshot(slot, i, buf);
    else if ((bad = model_check_image(host_snapshot_model(slot, s), buf, 0, s->size_bytes, why)) !=
             MODEL_GOOD)
        fail("snapshot %s on the disks: at %llu: %s", s->name, (unsigned long long)bad, why);
}

static void check_sparse(struct host_disk *d, unsigned slot, bool closed)
{
    const struct host_volume *v = &host->now.volumes[slot];

    if (closed && (d->image.dirty || d->image.leaks))
        fail("volume %s: its image was closed, and is dirty", v->name);
    if (d->image.disk_count != 1 + v->snapshot_count)
        fail("volume %s has %u snapshots on the disks", v->name, d->image.disk_count - 1);
    for (unsigned i = 0; i < v->snapshot_count && !*sim->failure; i++)
        check_snapshot(d, slot, i);
}

static void check_volume(const struct check_lvm *c, unsigned slot, bool closed)
{
    const struct host_volume *v = &host->now.volumes[slot];
    struct host_disk d = {0};
    char why[HOST_WHY];

    if (!host_disk_open(&d, c, slot, why))
        fail("volume %s on the disks: %s", v->name, why);
    else if (d.disk.size_bytes != v->size_bytes)
        fail("volume %s has %llu bytes on the disks", v->name,
            (unsigned long long)d.disk.size_bytes);
    else
        check_contents(&d.disk, slot);
    if (v->sparse && !*sim->failure)
        check_sparse(&d, slot, closed);
    host_disk_close(&d);
}

static void check_group(unsigned slot, bool closed)
{
    struct check_disk pvs[HOST_ARRAYS + HOST_DISKS];
    unsigned count = find_pvs(slot, pvs);
    struct check_lvm *c = count ? check_lvm(pvs, count, 1) : NULL;

    if (!c)
        return;
    if (c->problems.count)
        fail("group %s on the disks: %s", host->now.groups[slot].name, c->problems.text);
    for (unsigned i = 0; i < HOST_VOLUMES && !*sim->failure; i++)
        if (host->now.volumes[i].group == slot && volume_untouched(i))
            check_volume(c, i, closed);
    check_lvm_free(c);
}

void host_check(bool closed)
{
    for (unsigned i = 0; i < HOST_ARRAYS && !*sim->failure; i++)
        if (array_untouched(i))
            check_members(i);
    for (unsigned i = 0; i < HOST_GROUPS && !*sim->failure; i++)
        if (group_untouched(i))
            check_group(i, closed);
}
