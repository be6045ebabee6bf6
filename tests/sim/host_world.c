/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_world.h"

#include <stdio.h>
#include <string.h>

struct host_world *host;
struct model *host_models;

void host_disk_path(unsigned disk, char path[HOST_NAME])
{
    snprintf(path, HOST_NAME, "/disks/d%u", disk % HOST_DISKS);
}

void host_target(const struct host_state *s, unsigned volume, char target[2 * HOST_NAME])
{
    const struct host_volume *v = &s->volumes[volume];

    snprintf(target, 2 * HOST_NAME, "%.15s/%.15s", s->groups[v->group].name, v->name);
}

void host_socket(unsigned volume, char path[HOST_PATH])
{
    const struct host_volume *v = &host->now.volumes[volume];

    snprintf(path, HOST_PATH, HOST_RUNTIME_DIR "/%s.sock", v->own_socket ? v->name : "nbd");
}

void host_name(char kind, char name[HOST_NAME])
{
    snprintf(name, HOST_NAME, "%c%u", kind, host->names++);
}

static uint32_t used_disks(const struct host_state *s)
{
    uint32_t used = 0;

    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        if (s->arrays[i].presence == HOST_THERE || s->arrays[i].presence == HOST_STOPPED)
            used |= s->arrays[i].members | s->arrays[i].attached;
    for (unsigned i = 0; i < HOST_GROUPS; i++)
        if (s->groups[i].there)
            used |= s->groups[i].disks;
    return used;
}

uint32_t host_free_disks(void)
{
    return ~(used_disks(&host->now) | host->victims | host->fragile | host->ghosts) &
           ((1u << HOST_DISKS) - 1);
}

/* What is left of an array loses the disks that have been taken. */
static void strip(struct host_state *s, uint32_t disks)
{
    for (unsigned i = 0; i < HOST_ARRAYS; i++) {
        struct host_array *a = &s->arrays[i];

        if (a->presence != HOST_DOUBTFUL)
            continue;
        a->members &= ~disks;
        a->attached &= ~disks;
        if (!a->attached)
            *a = (struct host_array){0};
    }
}

void host_take_disks(uint32_t disks)
{
    strip(&host->then, disks);
}

const struct host_group *host_group_of(unsigned array)
{
    for (unsigned i = 0; i < HOST_GROUPS; i++)
        if (host->now.groups[i].there && (host->now.groups[i].arrays & 1u << array))
            return &host->now.groups[i];
    return NULL;
}

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
 * carries: an array that has been, perhaps with a group on it. Its disks are in use then.
 */
static void read_ghost(const struct host_array *a)
{
    if (!was_given(a->name) || (a->attached & used_disks(&host->now)))
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
    a->loose = a->in_sync < a->raid_disks || number_of(array, "unsynced_bytes") > 0 ||
               (a->attached & host->victims);
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
    else
        sim_fail("group %s has an unknown PV %s", g->name, name);
}

static void read_group(const json_t *group, struct host_state *seen)
{
    const char *name = text_of(group, "name");
    int slot = find_group(name);
    struct host_group *g;
    json_t *item;
    size_t i;

    if (slot < 0 && was_given(name)) /* a ghost's */
        return;
    if (slot < 0)
        sim_fail("group %s is there, which nobody has made", name);
    g = &seen->groups[slot];
    g->there = true;
    snprintf(g->name, sizeof g->name, "%.15s", name);
    g->extent_bytes = number_of(group, "extent_size_bytes");
    json_array_foreach (json_object_get(group, "pvs"), i, item)
        read_pv(json_string_value(item), g);
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

struct difference {
    char text[160];
};

/* `free`: disks that may turn out to be former members of it, which an assembly takes back. */
static bool array_is(const struct host_array *want, const struct host_array *seen, uint32_t free,
    struct difference *d)
{
    uint32_t lost = want->members & ~seen->members & ~want->unsettled;
    uint32_t gained = seen->members & ~(want->members | want->attached | want->unsettled | free);

    if (want->presence == HOST_STOPPED || want->presence == HOST_DOUBTFUL)
        return true;
    if (want->presence != seen->presence)
        snprintf(d->text, sizeof d->text, "array %s is %sthere",
            want->presence ? want->name : seen->name, seen->presence ? "" : "not ");
    else if (want->presence == HOST_THERE &&
             (strcmp(want->name, seen->name) || want->level != seen->level ||
                 want->raid_disks != seen->raid_disks ||
                 (*want->uuid && strcmp(want->uuid, seen->uuid))))
        snprintf(d->text, sizeof d->text, "array %s is another: %s, level %d, %u members",
            want->name, seen->name, seen->level, seen->raid_disks);
    else if (want->presence == HOST_THERE && (lost || gained))
        snprintf(d->text, sizeof d->text, "array %s has the disks 0x%x instead of 0x%x", seen->name,
            seen->members, want->members);
    else
        return true;
    return false;
}

static bool group_is(
    const struct host_group *want, const struct host_group *seen, struct difference *d)
{
    if (want->there != seen->there)
        snprintf(d->text, sizeof d->text, "group %s is %sthere",
            want->there ? want->name : seen->name, seen->there ? "" : "not ");
    else if (want->there && (strcmp(want->name, seen->name) || want->arrays != seen->arrays ||
                                want->disks != seen->disks))
        snprintf(d->text, sizeof d->text,
            "group %s is %s on arrays 0x%x, disks 0x%x instead of 0x%x, 0x%x", want->name,
            seen->name, seen->arrays, seen->disks, want->arrays, want->disks);
    else
        return true;
    return false;
}

static bool volume_is(
    const struct host_volume *want, const struct host_volume *seen, struct difference *d)
{
    if (want->there != seen->there)
        snprintf(d->text, sizeof d->text, "volume %s is %sthere",
            want->there ? want->name : seen->name, seen->there ? "" : "not ");
    else if (want->there && (strcmp(want->name, seen->name) || want->group != seen->group ||
                                want->size_bytes != seen->size_bytes))
        snprintf(d->text, sizeof d->text, "volume %s is %s of %u bytes instead of %u", want->name,
            seen->name, (unsigned)seen->size_bytes, (unsigned)want->size_bytes);
    else if (want->there && !host->unsaved &&
             (want->exported != seen->exported || want->own_socket != seen->own_socket))
        snprintf(d->text, sizeof d->text, "volume %s is %sexported%s", want->name,
            seen->exported ? "" : "not ", seen->own_socket ? " on its own socket" : "");
    else
        return true;
    return false;
}

static bool state_is(const struct host_state *want, const struct host_state *seen, uint32_t free,
    struct difference *d)
{
    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        if (!array_is(&want->arrays[i], &seen->arrays[i], free, d))
            return false;
    for (unsigned i = 0; i < HOST_GROUPS; i++)
        if (!group_is(&want->groups[i], &seen->groups[i], d))
            return false;
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (!volume_is(&want->volumes[i], &seen->volumes[i], d))
            return false;
    return true;
}

static bool is_loose(const struct host_group *g)
{
    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        if ((g->arrays & 1u << i) && host->now.arrays[i].loose)
            return true;
    return false;
}

static void pin_or_not(void)
{
    for (unsigned i = 0; i < HOST_VOLUMES; i++) {
        const struct host_volume *v = &host->now.volumes[i];
        bool loose = v->there && is_loose(&host->now.groups[v->group]);

        if (!v->there || loose == !!(host->unpinned & 1u << i))
            continue;
        host->unpinned ^= 1u << i;
        (loose ? model_unpin : model_pin)(&host_models[i]);
    }
}

void host_loosen(unsigned array)
{
    host->now.arrays[array].loose = host->then.arrays[array].loose = true;
    pin_or_not();
}

void host_begin_volume(unsigned volume, uint64_t size_bytes)
{
    model_init(&host_models[volume], ++host->contents, size_bytes, MODEL_START_ZEROS);
    host->unpinned &= ~(1u << volume);
}

static void fit_model(struct model *m, uint64_t size_bytes)
{
    if (size_bytes != (uint64_t)m->sector_count * MODEL_SECTOR_BYTES)
        model_resize(m, size_bytes, MODEL_START_ZEROS);
}

/* What is known from now on is what was seen, but for what may come up later. */
static void take_over(const struct host_state *want, const struct host_state *seen)
{
    struct host_state known = *seen;

    for (unsigned i = 0; i < HOST_ARRAYS; i++) {
        struct host_array *a = &known.arrays[i];

        a->loose = a->loose && want->arrays[i].loose;
        a->unsettled = want->arrays[i].unsettled;
        if (host->changing)
            a->unsettled |= host->then.arrays[i].unsettled;
        if (want->arrays[i].presence >= HOST_STOPPED && a->presence == HOST_ABSENT)
            *a = want->arrays[i];
    }
    strip(&known, used_disks(&known));
    host->spoilt = 0;
    host->now = known;
    host->changing = false;
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (known.volumes[i].there)
            fit_model(&host_models[i], known.volumes[i].size_bytes);
    pin_or_not();
}

void host_settle(const struct host_state *seen)
{
    struct difference from_now, from_then;
    uint32_t free = host_free_disks();

    if (state_is(&host->now, seen, free, &from_now)) {
        take_over(&host->now, seen);
        return;
    }
    if (!host->changing)
        sim_fail("it is not as it was: %s", from_now.text);
    if (!state_is(&host->then, seen, free, &from_then))
        sim_fail("it is neither as before a change (%s) nor as after it (%s)", from_now.text,
            from_then.text);
    take_over(&host->then, seen);
}

void host_compare(const struct host_state *seen)
{
    struct difference d;

    if (!state_is(&host->now, seen, 0, &d))
        sim_fail("status: %s", d.text);
    take_over(&host->now, seen);
}

void host_done(void)
{
    host->now = host->then;
    host->changing = false;
    pin_or_not();
}

void host_refused(void)
{
    host->changing = false;
}
