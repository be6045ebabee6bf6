/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the daemon's status says, in the terms of host_world.h. */
#include <stdio.h>
#include <string.h>

#include "host_world.h"

/* The slot of a name in what was or what will be; -1: nobody has given it. */
static int find_array(const char *name)
{
    for (int i = 0; i < HOST_ARRAYS; i++) {
        const struct host_array *now = &host->now.arrays[i], *then = &host->then.arrays[i];

        if ((now->presence != HOST_ABSENT && !strcmp(now->name, name)) ||
            (host->changing && then->presence != HOST_ABSENT && !strcmp(then->name, name)))
            return i;
    }
    return -1;
}

static int find_group(const char *name)
{
    for (int i = 0; i < HOST_GROUPS; i++) {
        const struct host_group *now = &host->now.groups[i], *then = &host->then.groups[i];

        if ((now->there && !strcmp(now->name, name)) ||
            (host->changing && then->there && !strcmp(then->name, name)))
            return i;
    }
    return -1;
}

static int find_volume(unsigned group, const char *name)
{
    for (int i = 0; i < HOST_VOLUMES; i++) {
        const struct host_volume *now = &host->now.volumes[i], *then = &host->then.volumes[i];

        if ((now->there && now->group == group && !strcmp(now->name, name)) ||
            (host->changing && then->there && then->group == group && !strcmp(then->name, name)))
            return i;
    }
    return -1;
}

static int find_disk(const char *path)
{
    unsigned disk;

    return path && sscanf(path, "/disks/d%u", &disk) == 1 ? (int)disk : -1;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static uint64_t number_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void read_member(const json_t *member, struct host_array *a)
{

    const char *state = text_of(member, "state");
    int disk = find_disk(json_string_value(json_object_get(member, "path")));

    if (disk < 0)
        return;
    a->attached |= 1u << disk;
    if (strcmp(state, "faulty") && strcmp(state, "stale"))
        a->members |= 1u << disk;
    if (!strcmp(state, "spare"))
        a->spares |= 1u << disk;
    if (!strcmp(state, "replacing"))
        a->replacing = true;
    if (!strcmp(state, "in-sync"))
        a->in_sync++;
}

static bool was_given(const char *name)
{
    unsigned number;

    return sscanf(name, "%*c%u", &number) == 1 && number < host->names;
}

/*
 * A disk that was taken out of an array goes on carrying it. When the array is destroyed meanwhile
 * and the disk, for all it knows, is complete without the others, the next start brings up what it
 * carries: an array that has been, perhaps with a group on it. And a group whose removal was killed
 * before the disks had flushed it comes back with a power cut. Their disks are in use then.
 */
static void read_ghost(const struct host_array *a)
{
    if (!was_given(a->name) || (a->attached & host_used_disks(&host->now)))
        sim_fail("array %s is there, which nobody has made", a->name);
    SIM_TRACE("ghost: array %s", a->name);
    host->ghosts |= a->attached;
}

static void read_array(const json_t *array, struct host_state *seen)
{
    const char *name = text_of(array, "name");
    int slot = find_array(name);
    struct host_array ghost = {0}, *a = slot < 0 ? &ghost : &seen->arrays[slot];
    json_t *member;
    size_t i;

    a->presence = HOST_THERE;
    snprintf(a->name, sizeof a->name, "%.15s", name);
    snprintf(a->uuid, sizeof a->uuid, "%.39s", text_of(array, "uuid"));
    a->level = (int)number_of(array, "level");
    a->raid_disks = (uint32_t)number_of(array, "raid_disks");
    json_array_foreach (json_object_get(array, "members"), i, member)
        read_member(member, a);
    a->unsynced = number_of(array, "unsynced_bytes") > 0;
    a->loose = a->in_sync < a->raid_disks || a->unsynced || (a->attached & host->victims);
    if (slot < 0)
        read_ghost(a);
    else if (!strcmp(text_of(array, "state"), "failed"))
        sim_fail("array %s has failed", name);
}

static void read_exports(const json_t *exports, struct host_volume *v)
{
    v->exported = json_array_size(exports) > 0;
    v->own_socket =
        v->exported && strcmp(text_of(json_array_get(exports, 0), "path"), HOST_NBD_SOCKET);
    if (json_array_size(exports) > 1)
        sim_fail("volume %s is exported twice", v->name);
}

/* In the same group, whose name may change. */
static void read_sparse(const json_t *volume, struct host_volume *v)
{
    const char *state = text_of(volume, "state");
    const char *origin = strchr(text_of(volume, "backing"), '/');

    v->sparse = true;
    v->snapshot_count = (unsigned)number_of(volume, "snapshots");
    snprintf(v->origin, sizeof v->origin, "%.31s", origin ? origin + 1 : "");
    if (strcmp(state, "ok") && strcmp(state, "starving"))
        sim_fail("volume %s is %s: %s", v->name, state, text_of(volume, "state_reason"));
}

static void read_volume(const json_t *volume, unsigned group, struct host_state *seen)
{
    const char *name = text_of(volume, "name");
    int slot = find_volume(group, name);
    struct host_volume *v;

    if (slot < 0)
        sim_fail("volume %s is there, which nobody has made", name);
    v = &seen->volumes[slot];
    v->there = true;
    v->group = group;
    snprintf(v->name, sizeof v->name, "%.15s", name);
    v->size_bytes = number_of(volume, "size_bytes");
    read_exports(json_object_get(volume, "exports"), v);
    if (!strcmp(text_of(volume, "format"), "sparse"))
        read_sparse(volume, v);
    if (json_is_string(json_object_get(volume, "unusable_reason")))
        sim_fail("volume %s cannot be used: %s", name, text_of(volume, "unusable_reason"));
}

static void read_pv(const char *name, struct host_group *g)
{
    int disk = find_disk(name), array = disk < 0 ? find_array(name) : -1;

    if (disk >= 0)
        g->disks |= 1u << disk;
    else if (array >= 0)
        g->arrays |= 1u << array;
    else if (!was_given(name))
        sim_fail("group %s has an unknown PV %s", g->name, name);
}

static void read_group(const json_t *group, struct host_state *seen)
{
    const char *name = text_of(group, "name");
    int slot = find_group(name);
    struct host_group ghost = {0}, *g;
    json_t *item;
    size_t i;

    if (slot < 0 && !was_given(name))
        sim_fail("group %s is there, which nobody has made", name);
    g = slot < 0 ? &ghost : &seen->groups[slot];
    g->there = true;
    snprintf(g->name, sizeof g->name, "%.15s", name);
    g->extent_bytes = number_of(group, "extent_size_bytes");
    json_array_foreach (json_object_get(group, "pvs"), i, item)
        read_pv(json_string_value(item), g);
    if (slot < 0) {
        host->ghosts |= g->disks;
        return;
    }
    json_array_foreach (json_object_get(group, "volumes"), i, item)
        read_volume(item, (unsigned)slot, seen);
    if (json_is_string(json_object_get(group, "read_only_reason")))
        sim_fail("group %s is read-only: %s", name, text_of(group, "read_only_reason"));
}

void host_read_status(json_t *status, struct host_state *seen)
{
    json_t *item;
    size_t i;

    memset(seen, 0, sizeof *seen);
    host->ghosts = 0;
    json_array_foreach (json_object_get(status, "arrays"), i, item)
        read_array(item, seen);
    json_array_foreach (json_object_get(status, "vgs"), i, item)
        read_group(item, seen);
    json_array_foreach (json_object_get(status, "missing"), i, item)
        SIM_TRACE("missing: %s %s: %s", text_of(item, "kind"), text_of(item, "name"),
            text_of(item, "reason"));
}
