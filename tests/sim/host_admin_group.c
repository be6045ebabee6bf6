/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Volume groups, as the administrator changes them. */
#include <errno.h>
#include <stdio.h>

#include "host_admin.h"

static uint32_t groups_there(void)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < HOST_GROUPS; i++)
        if (host->now.groups[i].there)
            bits |= 1u << i;
    return bits;
}

static bool has_volumes(unsigned group, bool exported)
{
    for (unsigned i = 0; i < HOST_VOLUMES; i++) {
        const struct host_volume *v = &host->now.volumes[i];

        if (v->there && v->group == group && (!exported || v->exported))
            return true;
    }
    return false;
}

static uint32_t free_arrays(void)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        if (host->now.arrays[i].presence == HOST_THERE && !host->now.arrays[i].fleeting &&
            !host_group_of(i))
            bits |= 1u << i;
    return bits;
}

/* Mostly arrays; false: there is nothing to make a PV of. */
static bool choose_pvs(struct admin *a, struct host_group *g)
{
    uint32_t arrays, disks = 0;

    arrays = admin_choose_some(a, free_arrays(), 1 + sim_one_in(a->random, 3));
    if (!arrays || sim_one_in(a->random, 4))
        disks = admin_choose_some(a, host_free_disks(), 1 + sim_one_in(a->random, 4));
    g->arrays |= arrays;
    g->disks |= disks;
    host_take_disks(disks);
    return arrays || disks;
}

/* An array may have been a PV before. */
static json_t *force(struct admin *a, const struct host_group *g)
{
    json_t *wanted = admin_force(a, g->disks);

    if (!g->arrays)
        return wanted;
    json_decref(wanted);
    return json_true();
}

bool admin_group_create(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, ~groups_there() & ((1u << HOST_GROUPS) - 1));
    struct host_group *g = &host->then.groups[slot < 0 ? 0 : slot];

    if (slot < 0)
        return false;
    *g = (struct host_group){
        .there = true, .extent_bytes = (uint64_t)65536 << sim_below(a->random, 2)};
    if (!choose_pvs(a, g))
        return false;
    host_name('g', g->name);
    return admin_change(a, "vg.create",
        json_pack("{s:s, s:o, s:I, s:o}", "vg", g->name, "pvs", admin_paths(g->disks, g->arrays),
            "extent_size_bytes", (json_int_t)g->extent_bytes, "force", force(a, g)),
        refusals);
}

bool admin_group_extend(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, groups_there());
    struct host_group *g = &host->then.groups[slot < 0 ? 0 : slot];
    struct host_group more = {0};

    if (slot < 0 || !choose_pvs(a, &more))
        return false;
    g->arrays |= more.arrays;
    g->disks |= more.disks;
    return admin_change(a, "vg.extend",
        json_pack("{s:s, s:o, s:o}", "vg", g->name, "pvs", admin_paths(more.disks, more.arrays),
            "force", force(a, &more)),
        refusals);
}

/* The group's PVs as bits: disks, then arrays. */
bool admin_group_reduce(struct admin *a)
{
    static admin_refusals refusals = {EBUSY}; /* in use, or the last */
    int slot = admin_choose(a, groups_there()), pv;
    struct host_group *g = &host->then.groups[slot < 0 ? 0 : slot];
    char path[HOST_NAME];

    if (slot < 0)
        return false;
    pv = admin_choose(a, g->disks | g->arrays << HOST_DISKS);
    if (pv < HOST_DISKS) {
        host_disk_path((unsigned)pv, path);
        g->disks &= ~(1u << pv);
    } else {
        snprintf(path, sizeof path, "%s", host->now.arrays[pv - HOST_DISKS].name);
        g->arrays &= ~(1u << (pv - HOST_DISKS));
    }
    admin_change(a, "vg.reduce", json_pack("{s:s, s:s}", "vg", g->name, "pv", path), refusals);
    return true;
}

bool admin_group_rename(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, groups_there());
    struct host_group *g = &host->then.groups[slot < 0 ? 0 : slot];

    if (slot < 0 || has_volumes((unsigned)slot, true))
        return false;
    host_name('g', g->name);
    return admin_change(a, "vg.rename",
        json_pack("{s:s, s:s}", "vg", host->now.groups[slot].name, "to", g->name), refusals);
}

bool admin_group_remove(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, groups_there());

    if (slot < 0 || has_volumes((unsigned)slot, false))
        return false;
    host->then.groups[slot] = (struct host_group){0};
    return admin_change(
        a, "vg.remove", json_pack("{s:s}", "vg", host->now.groups[slot].name), refusals);
}
