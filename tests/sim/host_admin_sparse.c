/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse volumes, their snapshots and clones, as the administrator changes them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host_admin.h"

/* Without subclusters that are smaller than a disk's blocks. */
static uint64_t some_cluster(struct admin *a)
{
    if (host->block_bytes == 512)
        return UINT64_C(512) << sim_below(a->random, 8);
    return UINT64_C(4096) << sim_below(a->random, 2);
}

uint64_t admin_sparse_size(struct admin *a)
{
    return (1 + sim_below(a->random, HOST_SPARSE_BYTES_MAX / host->block_bytes)) *
           host->block_bytes;
}

static bool is_sparse(const struct host_volume *v)
{
    return v->there && v->sparse;
}

static bool is_raw(const struct host_volume *v)
{
    return v->there && !v->sparse;
}

static bool is_clone(const struct host_volume *v)
{
    return v->there && *v->origin;
}

static bool has_snapshots(const struct host_volume *v)
{
    return v->snapshot_count > 0;
}

/* Snapshots of its size that are known: it can go back to these. */
static uint32_t ways_back(const struct host_volume *v)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < v->snapshot_count; i++)
        if (v->snapshots[i].size_bytes == v->size_bytes && v->snapshots[i].known)
            bits |= 1u << i;
    return bits;
}

static bool can_go_back(const struct host_volume *v)
{
    return v->there && ways_back(v);
}

/* Nobody writes it then. */
static void release(struct admin *a, unsigned slot)
{
    if (!host->now.volumes[slot].exported)
        return;
    admin_withdraw(a, slot);
    host->then = host->now;
}

bool admin_volume_create_sparse(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC};
    int slot = admin_choose(a, admin_volumes_that(admin_volume_is_absent));
    int group = admin_choose(a, admin_groups_there());
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];

    if (slot < 0 || group < 0)
        return false;
    *v = (struct host_volume){.there = true,
        .sparse = true,
        .group = (unsigned)group,
        .size_bytes = admin_sparse_size(a)};
    host_name('v', v->name);
    host_begin_volume((unsigned)slot, v->size_bytes);
    host_models[slot].failed_linger = true;
    return admin_change(a, "volume.create",
        json_pack("{s:s, s:s, s:s, s:I, s:I}", "vg", host->now.groups[group].name, "name", v->name,
            "format", "sparse", "size_bytes", (json_int_t)v->size_bytes, "cluster_bytes",
            (json_int_t)some_cluster(a)),
        refusals);
}

/* A snapshot that is to be cloned; -1: the volume itself. */
static int some_snapshot(struct admin *a, const struct host_volume *v)
{
    return sim_one_in(a->random, 4) ? -1 : admin_choose(a, ways_back(v));
}

static void set_origin(struct host_volume *clone, const struct host_volume *v, int snapshot)
{
    const struct host_snapshot *s = snapshot < 0 ? NULL : &v->snapshots[snapshot];
    char origin[sizeof clone->origin];

    snprintf(origin, sizeof origin, "%.14s%s%.15s", v->name, s ? "@" : "", s ? s->name : "");
    memcpy(clone->origin, origin, sizeof origin);
    clone->size_bytes = s ? s->size_bytes : v->size_bytes;
}

/* What it is cloned from is durable then. */
static bool clone_it(struct admin *a, unsigned slot, unsigned origin, int snapshot, json_t *params)
{
    static admin_refusals refusals = {ENOSPC, EBUSY}; /* of what may be written */
    uint32_t begun = model_flush_begin(&host_models[origin]);
    bool done;

    host_begin_clone(slot, origin, snapshot);
    done = admin_change(a, "volume.create", params, refusals);
    if (snapshot < 0)
        model_flush_end(&host_models[origin], begun, done);
    if (done)
        host_begin_clone(slot, origin, snapshot);
    return done;
}

/* Rather one with snapshots: there are few. */
static int choose_origin(struct admin *a)
{
    uint32_t with_snapshots = admin_volumes_that(can_go_back);

    if (with_snapshots && !sim_one_in(a->random, 4))
        return admin_choose(a, with_snapshots);
    return admin_choose(a, admin_volumes_that(admin_volume_is_there));
}

bool admin_volume_clone(struct admin *a)
{
    int slot = admin_choose(a, admin_volumes_that(admin_volume_is_absent));
    int origin = choose_origin(a), snapshot;
    struct host_volume *clone = &host->then.volumes[slot < 0 ? 0 : slot];
    const struct host_volume *v = &host->now.volumes[origin < 0 ? 0 : origin];
    const char *group = host->now.groups[v->group].name;
    char from[3 * HOST_NAME];

    if (slot < 0 || origin < 0)
        return false;
    snapshot = some_snapshot(a, v);
    if (snapshot < 0 && sim_one_in(a->random, 2))
        release(a, (unsigned)origin);
    *clone = (struct host_volume){.there = true, .sparse = true, .group = v->group};
    host_name('v', clone->name);
    set_origin(clone, v, snapshot);
    snprintf(from, sizeof from, "%s/%s", group, clone->origin);
    clone_it(a, (unsigned)slot, (unsigned)origin, snapshot,
        json_pack("{s:s, s:s, s:s, s:I}", "vg", group, "name", clone->name, "from", from,
            "cluster_bytes", (json_int_t)some_cluster(a)));
    return true;
}

bool admin_volume_flatten(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC, EBUSY}; /* it has snapshots */
    int slot = admin_choose(a, admin_volumes_that(is_clone));

    if (slot < 0)
        return false;
    *host->then.volumes[slot].origin = '\0';
    return admin_change_by_job(a, "volume.flatten", admin_named((unsigned)slot), refusals);
}

bool admin_volume_compact(struct admin *a)
{
    static admin_refusals refusals = {EBUSY};
    int slot = admin_choose(a, admin_volumes_that(is_sparse));

    return slot >= 0 && admin_change(a, "volume.compact", admin_named((unsigned)slot), refusals);
}

static json_t *with_snapshot(unsigned volume, const struct host_snapshot *s)
{
    json_t *params = admin_named(volume);

    json_object_set_new(params, "snapshot", json_string(s->name));
    return params;
}

static unsigned free_slot(const struct host_volume *v)
{
    uint32_t used = 0;

    for (unsigned i = 0; i < v->snapshot_count; i++)
        used |= 1u << v->snapshots[i].slot;
    return (unsigned)__builtin_ctz(~used);
}

/* What it holds is what a read of the whole volume might give meanwhile. */
bool admin_snapshot_create(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC, EBUSY};
    int slot = admin_choose(a, admin_volumes_that(is_sparse));
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    struct host_snapshot *s;
    uint32_t begun;

    if (slot < 0 || v->snapshot_count == HOST_SNAPSHOTS)
        return false;
    begun = model_read_begin(&host_models[slot]);
    s = &v->snapshots[v->snapshot_count];
    *s = (struct host_snapshot){.size_bytes = v->size_bytes, .slot = free_slot(v), .begun = begun};
    host_name('s', s->name);
    v->snapshot_count++;
    admin_change(a, "snapshot.create", with_snapshot((unsigned)slot, s), refusals);
    if (host->now.volumes[slot].snapshot_count == v->snapshot_count)
        model_fork(host_snapshot_model((unsigned)slot, s), &host_models[slot], 0);
    model_read_failed(&host_models[slot], begun);
    return true;
}

bool admin_snapshot_delete(struct admin *a)
{
    static admin_refusals refusals = {EBUSY}; /* cloned */
    int slot = admin_choose(a, admin_volumes_that(has_snapshots));
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    unsigned i;
    json_t *params;

    if (slot < 0)
        return false;
    i = (unsigned)sim_below(a->random, v->snapshot_count);
    params = with_snapshot((unsigned)slot, &v->snapshots[i]);
    for (v->snapshot_count--; i < v->snapshot_count; i++)
        v->snapshots[i] = v->snapshots[i + 1];
    v->snapshots[v->snapshot_count] = (struct host_snapshot){0};
    admin_change_by_job(a, "snapshot.delete", params, refusals);
    return true;
}

/* Cut off in it, each sector is as before or as then. */
bool admin_snapshot_revert(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC, EBUSY}; /* cloned */
    int slot = admin_choose(a, admin_volumes_that(can_go_back));
    const struct host_snapshot *s;
    unsigned ticket;
    bool done;

    if (slot < 0)
        return false;
    release(a, (unsigned)slot);
    if (host->now.volumes[slot].exported)
        return true;
    s = &host->now.volumes[slot].snapshots[admin_choose(a, ways_back(&host->now.volumes[slot]))];
    ticket = model_copy_model_begin(&host_models[slot], host_snapshot_model((unsigned)slot, s));
    done = admin_change(a, "snapshot.revert", with_snapshot((unsigned)slot, s), refusals);
    model_write_end(&host_models[slot], ticket, done, true);
    return true;
}

/* A snapshot of a raw volume, and its end. Guests see nothing of it: they go on, and what they have
 * is what they had. */
bool admin_overlay(struct admin *a)
{
    static admin_refusals taking = {ENOSPC, EBUSY}, ending = {ENOENT, EBUSY};
    int slot = admin_choose(a, admin_volumes_that(is_raw));
    json_t *params;

    if (slot < 0)
        return false;
    params = admin_named((unsigned)slot);
    if (host->layered & 1u << slot && sim_one_in(a->random, 2))
        return admin_change(a, "volume.commit", params, ending);
    host->layered |= 1u << slot;
    json_object_set_new(params, "snapshot", json_string("s"));
    return admin_change(a, "snapshot.create", params, taking);
}
