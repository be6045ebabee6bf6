/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_copies.h"
#include "check_lvm.h"
#include "check_qcow2.h"
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

/* An LV as a disk: its bytes from the PVs. */
struct lv_disk {
    const struct check_lvm *c;
    int lv;
};

static const void *lv_at(void *arg, void *buf, uint64_t offset, uint64_t length)
{
    const struct lv_disk *l = arg;
    char *to = buf;
    uint64_t done = 0, at, run_bytes;
    unsigned pv;

    while (done < length) {
        const void *data;

        if (!check_lvm_place(l->c, l->lv, offset + done, &pv, &at, &run_bytes))
            return NULL;
        if (run_bytes > length - done)
            run_bytes = length - done;
        data = check_read(&l->c->pvs[pv].disk, to + done, at, run_bytes);
        if (!data)
            return NULL;
        if (data != to + done)
            memcpy(to + done, data, run_bytes);
        done += run_bytes;
    }
    return buf;
}

/* What the guest reads there; of a sparse volume by its image, which is whole at any moment. */
static bool read_volume(
    struct check_qcow2 *image, const struct check_disk *lv, void *buf, uint64_t at, uint64_t length)
{
    const void *data;

    if (image)
        return check_qcow2_read(image, 0, NULL, buf, at, length);
    data = check_read(lv, buf, at, length);
    if (data && data != buf)
        memcpy(buf, data, length);
    return data;
}

static void check_content(
    struct check_qcow2 *image, const struct check_disk *lv, unsigned slot, uint64_t size_bytes)
{
    const char *name = host->now.volumes[slot].name;
    static unsigned char buf[PIECE_BYTES];
    char why[MODEL_WHY_LEN];
    uint64_t bad, length;

    for (uint64_t at = 0; at < size_bytes; at += length) {
        length = size_bytes - at < PIECE_BYTES ? size_bytes - at : PIECE_BYTES;
        if (!read_volume(image, lv, buf, at, length))
            fail("volume %s: %llu is nowhere on the disks", name, (unsigned long long)at);
        else if ((bad = model_check_image(&host_models[slot], buf, at, length, why)) != MODEL_GOOD)
            fail("volume %s on the disks: at %llu: %s", name, (unsigned long long)bad, why);
    }
}

static void check_sparse(const struct check_disk *lv, unsigned slot)
{
    const struct host_volume *v = &host->now.volumes[slot];
    struct check_qcow2 *image = calloc(1, sizeof *image);

    if (!image)
        fail("out of memory");
    else if (!check_qcow2(image, lv))
        fail("volume %s on the disks: %s", v->name, image->problems.text);
    else if (image->disks[0].size_bytes != v->size_bytes)
        fail("volume %s on the disks has %llu bytes", v->name,
            (unsigned long long)image->disks[0].size_bytes);
    else
        check_content(image, lv, slot, v->size_bytes);
    if (image)
        check_qcow2_free(image);
    free(image);
}

static void check_volume(const struct check_lvm *c, unsigned slot)
{
    const struct host_volume *v = &host->now.volumes[slot];
    const struct host_group *g = &host->now.groups[v->group];
    struct lv_disk l = {.c = c, .lv = check_lvm_find(c, g->name, v->name)};
    struct check_disk lv = {.name = v->name, .at = lv_at, .arg = &l};

    if (l.lv >= 0)
        lv.size_bytes = c->lvs[l.lv].extent_count * g->extent_bytes;
    if (l.lv < 0 || (!v->sparse && lv.size_bytes != v->size_bytes))
        fail("volume %s is not on the disks as it must be", v->name);
    else if (v->sparse)
        check_sparse(&lv, slot);
    else
        check_content(NULL, &lv, slot, v->size_bytes);
}

static void check_group(unsigned slot)
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
            check_volume(c, i);
    check_lvm_free(c);
}

void host_check(void)
{
    for (unsigned i = 0; i < HOST_ARRAYS && !*sim->failure; i++)
        if (array_untouched(i))
            check_members(i);
    for (unsigned i = 0; i < HOST_GROUPS && !*sim->failure; i++)
        if (group_untouched(i))
            check_group(i);
}
