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

uint32_t host_used_disks(const struct host_state *s)
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
    return ~(host_used_disks(&host->now) | host->victims | host->fragile | host->ghosts) &
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

struct difference {
    char text[160];
};

/* `free`: disks that may turn out to be former members of it, which an assembly takes back. */
static bool array_is(const struct host_array *want, const struct host_array *seen, uint32_t free,
    struct difference *d)
{
    uint32_t lost = want->members & ~seen->members & ~want->unsettled;
    uint32_t gained = seen->members & ~(want->members | want->attached | want->unsettled | free);

    if (want->presence >= HOST_STOPPED || (want->fleeting && seen->presence == HOST_ABSENT))
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
    else if (want->there && (want->sparse != seen->sparse || strcmp(want->origin, seen->origin)))
        snprintf(d->text, sizeof d->text, "volume %s is %s, a clone of \"%s\" instead of \"%s\"",
            want->name, seen->sparse ? "sparse" : "raw", seen->origin, want->origin);
    else if (want->there && want->snapshot_count != seen->snapshot_count)
        snprintf(d->text, sizeof d->text, "volume %s has %u snapshots instead of %u", want->name,
            seen->snapshot_count, want->snapshot_count);
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

/* What is not on the disks for good may be anything, until it is written. */
static void lose_unsettled(struct model *m)
{
    for (uint64_t at = 0; at < (uint64_t)m->sector_count * MODEL_SECTOR_BYTES;
         at += MODEL_SECTOR_BYTES)
        if (!model_is_settled(m, at))
            model_write_end(
                m, model_write_begin(m, MODEL_UNUSED, at, MODEL_SECTOR_BYTES, NULL), true, true);
}

static void lose_volumes(unsigned array)
{
    for (unsigned i = 0; i < HOST_VOLUMES; i++) {
        const struct host_volume *v = &host->now.volumes[i];

        if (v->there && (host->now.groups[v->group].arrays & 1u << array))
            lose_unsettled(&host_models[i]);
    }
}

void host_loosen(unsigned array)
{
    struct host_array *a = &host->now.arrays[array];

    if (host_has_parity(a) && a->unsynced)
        lose_volumes(array);
    a->loose = host->then.arrays[array].loose = true;
    pin_or_not();
}

void host_tear(void)
{
    for (unsigned i = 0; i < HOST_ARRAYS; i++) {
        struct host_array *a = &host->now.arrays[i];

        a->unsynced = host->then.arrays[i].unsynced = true;
        if (host_has_parity(a) && a->loose)
            lose_volumes(i);
    }
}

bool host_has_image(unsigned volume)
{
    return host->now.volumes[volume].sparse || (host->layered & 1u << volume);
}

void host_begin_volume(unsigned volume, uint64_t size_bytes)
{
    model_init(&host_models[volume], ++host->contents, size_bytes, MODEL_START_ZEROS);
    host->unpinned &= ~(1u << volume);
    host->layered &= ~(1u << volume);
}

void host_begin_clone(unsigned volume, unsigned origin, int snapshot)
{
    const struct host_volume *v = &host->now.volumes[origin];
    const struct model *from =
        snapshot < 0 ? &host_models[origin] : host_snapshot_model(origin, &v->snapshots[snapshot]);

    model_fork(&host_models[volume], from, ++host->contents << 16);
    host_models[volume].failed_linger = true;
    host->unpinned &= ~(1u << volume);
    if (snapshot < 0)
        host->unpinned |= (host->unpinned >> origin & 1u) << volume;
}

struct model *host_snapshot_model(unsigned volume, const struct host_snapshot *s)
{
    return &host_models[HOST_VOLUMES + volume * HOST_SNAPSHOTS + s->slot];
}

struct host_snapshot *host_new_snapshot(unsigned volume)
{
    struct host_volume *then = &host->then.volumes[volume];

    if (then->snapshot_count <= host->now.volumes[volume].snapshot_count)
        return NULL;
    return &then->snapshots[then->snapshot_count - 1];
}

void host_keep_snapshot(void)
{
    for (unsigned i = 0; i < HOST_VOLUMES; i++) {
        const struct host_snapshot *s = host_new_snapshot(i);

        if (s)
            model_fork(host_snapshot_model(i, s), &host_models[i], 0);
    }
}

bool host_has_clones(unsigned volume)
{
    const struct host_volume *v = &host->now.volumes[volume];
    size_t length = strlen(v->name);

    for (unsigned i = 0; i < HOST_VOLUMES; i++) {
        const struct host_volume *clone = &host->now.volumes[i];

        if (clone->there && clone->group == v->group && !strncmp(clone->origin, v->name, length) &&
            (!clone->origin[length] || clone->origin[length] == '@'))
            return true;
    }
    return false;
}

static void fit_model(struct model *m, uint64_t size_bytes)
{
    if (size_bytes != (uint64_t)m->sector_count * MODEL_SECTOR_BYTES)
        model_resize(m, size_bytes, MODEL_START_ZEROS);
}

/* What the status does not say of an array. */
static void keep(struct host_array *a, const struct host_array *want, bool started)
{
    if (a->presence == HOST_ABSENT && (want->presence >= HOST_STOPPED || want->fleeting)) {
        *a = *want;
        if (a->fleeting)
            a->presence = HOST_DOUBTFUL;
        return;
    }
    a->loose = a->loose && want->loose;
    a->fleeting = want->fleeting || want->presence == HOST_DOUBTFUL;
    a->unsettled |= want->unsettled;
    if (a->replacing) /* the status does not say whom */
        a->unsettled |= a->members;
    else if (started && a->in_sync == a->raid_disks)
        a->unsettled = a->attached & host->victims;
}

/* The same of a volume. */
static void keep_volume(struct host_volume *v, const struct host_volume *want)
{
    memcpy(v->snapshots, want->snapshots, sizeof v->snapshots);
}

/* What is known from now on is what was seen, but for what may come up later. */
static void take_over(const struct host_state *want, const struct host_state *seen, bool started)
{
    struct host_state known = *seen;

    for (unsigned i = 0; i < HOST_ARRAYS; i++) {
        if (host->changing)
            known.arrays[i].unsettled |= host->then.arrays[i].unsettled;
        keep(&known.arrays[i], &want->arrays[i], started);
    }
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        keep_volume(&known.volumes[i], &want->volumes[i]);
    strip(&known, host_used_disks(&known));
    host->spoilt = 0;
    host->now = known;
    host->changing = false;
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (known.volumes[i].there)
            fit_model(&host_models[i], known.volumes[i].size_bytes);
    pin_or_not();
}

void host_settle(const struct host_state *seen, bool started)
{
    struct difference from_now, from_then;
    uint32_t free = host_free_disks();

    if (state_is(&host->now, seen, free, &from_now)) {
        take_over(&host->now, seen, started);
        return;
    }
    if (!host->changing)
        sim_fail("it is not as it was: %s", from_now.text);
    if (!state_is(&host->then, seen, free, &from_then))
        sim_fail("it is neither as before a change (%s) nor as after it (%s)", from_now.text,
            from_then.text);
    take_over(&host->then, seen, started);
}

void host_compare(const struct host_state *seen)
{
    struct difference d;

    if (!state_is(&host->now, seen, 0, &d))
        sim_fail("status: %s", d.text);
    take_over(&host->now, seen, false);
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
