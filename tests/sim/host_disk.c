/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arith.h"
#include "host_world.h"

/* The LV's bytes from the PVs. */
static const void *read_lv(void *arg, void *buf, uint64_t offset, uint64_t length)
{
    const struct host_disk *d = arg;
    uint64_t done = 0, at, run_bytes;
    unsigned pv;

    while (done < length) {
        char *to = (char *)buf + done;
        const void *data;

        if (!check_lvm_place(d->lvm, d->lv, offset + done, &pv, &at, &run_bytes))
            return NULL;
        run_bytes = MIN(run_bytes, length - done);
        data = check_read(&d->lvm->pvs[pv].disk, to, at, run_bytes);
        if (!data)
            return NULL;
        if (data != to)
            memcpy(to, data, run_bytes);
        done += run_bytes;
    }
    return buf;
}

static const void *read_image(void *arg, void *buf, uint64_t offset, uint64_t length)
{
    struct host_disk *d = arg;

    return check_qcow2_read(
               &d->image, d->chosen, d->below ? &d->below->disk : NULL, buf, offset, length)
               ? buf
               : NULL;
}

void host_disk_choose(struct host_disk *d, unsigned disk)
{
    d->chosen = disk;
    d->disk.size_bytes = d->image.disks[disk].size_bytes;
}

static int find_volume(unsigned group, const char *name, size_t length)
{
    for (int i = 0; i < (int)HOST_VOLUMES; i++) {
        const struct host_volume *v = &host->now.volumes[i];

        if (v->there && v->group == group && strlen(v->name) == length &&
            !strncmp(v->name, name, length))
            return i;
    }
    return -1;
}

static bool choose_snapshot(struct host_disk *d, const char *name, char *why)
{
    for (unsigned i = 1; i < d->image.disk_count; i++)
        if (!strcmp(d->image.disks[i].name, name)) {
            host_disk_choose(d, i);
            return true;
        }
    snprintf(why, HOST_WHY, "the snapshot %s below it is not there", name);
    return false;
}

static bool open_below(struct host_disk *d, const struct host_volume *v, char *why)
{
    size_t length = strcspn(v->origin, "@");
    int slot = find_volume(v->group, v->origin, length);

    d->below = calloc(1, sizeof *d->below);
    if (!d->below || slot < 0) {
        snprintf(why, HOST_WHY, "%s below it is not there", v->origin);
        return false;
    }
    if (!host_disk_open(d->below, d->lvm, (unsigned)slot, why))
        return false;
    return !v->origin[length] || choose_snapshot(d->below, v->origin + length + 1, why);
}

static bool open_image(struct host_disk *d, const struct host_volume *v, char *why)
{
    if (!check_qcow2(&d->image, &d->disk)) {
        snprintf(why, HOST_WHY, "%.1000s", d->image.problems.text);
        return false;
    }
    d->disk.at = read_image;
    host_disk_choose(d, 0);
    return d->below || !d->image.backed || open_below(d, v, why);
}

static void choose_lv(struct host_disk *d, const struct check_lvm *c, int lv, const char *name)
{
    uint64_t extent_bytes = c->vgs[c->lvs[lv].vg].extent_bytes;

    *d = (struct host_disk){.lvm = c, .lv = lv};
    d->disk = (struct check_disk){name, c->lvs[lv].extent_count * extent_bytes, read_lv, d};
}

/* What lies over a raw volume; -1: nothing. */
static int find_overlay(const struct check_lvm *c, const char *group, const char *volume)
{
    char name[2 * HOST_NAME];
    int lv;

    snprintf(name, sizeof name, "%s.overlay", volume);
    lv = check_lvm_find(c, group, name);
    return lv >= 0 && !c->lvs[lv].unfinished ? lv : -1;
}

/* The volume is below it then. */
static bool open_overlay(struct host_disk *d, int lv, const struct host_volume *v, char *why)
{
    struct host_disk *below = calloc(1, sizeof *below);

    if (!below) {
        snprintf(why, HOST_WHY, "out of memory");
        return false;
    }
    choose_lv(below, d->lvm, d->lv, v->name);
    choose_lv(d, d->lvm, lv, v->name);
    d->below = below;
    return open_image(d, v, why);
}

bool host_disk_open(struct host_disk *d, const struct check_lvm *c, unsigned volume, char *why)
{
    const struct host_volume *v = &host->now.volumes[volume];
    const char *group = host->now.groups[v->group].name;
    int lv = check_lvm_find(c, group, v->name), overlay = find_overlay(c, group, v->name);

    *d = (struct host_disk){0};
    if (lv < 0) {
        snprintf(why, HOST_WHY, "it is not there");
        return false;
    }
    choose_lv(d, c, lv, v->name);
    if (overlay >= 0)
        return open_overlay(d, overlay, v, why);
    return !v->sparse || open_image(d, v, why);
}

void host_disk_close(struct host_disk *d)
{
    check_qcow2_free(&d->image);
    if (d->below)
        host_disk_close(d->below);
    free(d->below);
}
