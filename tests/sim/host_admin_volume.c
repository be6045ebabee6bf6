/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Volumes and their exports, as the administrator changes them. */
#include <errno.h>
#include <stdio.h>

#include "host_admin.h"
#include "host_guest.h"

uint32_t admin_volumes_that(bool (*fit)(const struct host_volume *v))
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (fit(&host->now.volumes[i]))
            bits |= 1u << i;
    return bits;
}

bool admin_volume_is_there(const struct host_volume *v)
{
    return v->there;
}

bool admin_volume_is_absent(const struct host_volume *v)
{
    return !v->there;
}

static bool is_served(const struct host_volume *v)
{
    return v->there && v->exported;
}

bool admin_volume_is_not_served(const struct host_volume *v)
{
    return v->there && !v->exported;
}

uint32_t admin_groups_there(void)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < HOST_GROUPS; i++)
        if (host->now.groups[i].there)
            bits |= 1u << i;
    return bits;
}

static uint64_t some_size(struct admin *a, const struct host_group *g)
{
    return (1 + sim_below(a->random, HOST_VOLUME_BYTES_MAX / g->extent_bytes)) * g->extent_bytes;
}

json_t *admin_named(unsigned volume)
{
    const struct host_volume *v = &host->now.volumes[volume];

    return json_pack("{s:s, s:s}", "vg", host->now.groups[v->group].name, "name", v->name);
}

bool admin_volume_create(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC};
    int slot = admin_choose(a, admin_volumes_that(admin_volume_is_absent)),
        group = admin_choose(a, admin_groups_there());
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    const struct host_group *g;

    if (slot < 0 || group < 0)
        return false;
    g = &host->now.groups[group];
    *v = (struct host_volume){
        .there = true, .group = (unsigned)group, .size_bytes = some_size(a, g)};
    host_name('v', v->name);
    host_begin_volume((unsigned)slot, v->size_bytes);
    return admin_change(a, "volume.create",
        json_pack("{s:s, s:s, s:I}", "vg", g->name, "name", v->name, "size_bytes",
            (json_int_t)v->size_bytes),
        refusals);
}

/* What an image loses it zeroes first. */
static void resize(struct admin *a, unsigned slot, json_t *params)
{
    static admin_refusals refusals = {ENOSPC, EBUSY};
    static admin_refusals raw_refusals = {ENOSPC};
    uint64_t from = host->now.volumes[slot].size_bytes, to = host->then.volumes[slot].size_bytes;
    bool zeroes = host->now.volumes[slot].sparse && to < from, done;
    struct model *m = &host_models[slot];
    unsigned ticket = 0;

    if (zeroes)
        ticket = model_write_begin(m, MODEL_ZEROS, to, from - to, NULL);
    done = admin_change(a, "volume.resize", params,
        host_has_image(slot) || host_has_clones(slot) ? refusals : raw_refusals);
    if (zeroes && (done || host->now.volumes[slot].size_bytes == from))
        model_write_end(m, ticket, done, false);
    if (done)
        model_resize(m, to, MODEL_START_ZEROS);
}

bool admin_volume_resize(struct admin *a)
{
    int slot = admin_choose(a, admin_volumes_that(admin_volume_is_there));
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    json_t *params;

    if (slot < 0)
        return false;
    v->size_bytes = v->sparse ? admin_sparse_size(a) : some_size(a, &host->now.groups[v->group]);
    params = admin_named((unsigned)slot);
    json_object_set_new(params, "size_bytes", json_integer((json_int_t)v->size_bytes));
    json_object_set_new(params, "force", json_boolean(sim_one_in(a->random, 2)));
    guests_limit((unsigned)slot, v->size_bytes);
    resize(a, (unsigned)slot, params);
    guests_limit((unsigned)slot, 0);
    return true;
}

bool admin_volume_rename(struct admin *a)
{
    static admin_refusals refusals = {EBUSY}; /* cloned, or a job is at work on it */
    int slot = admin_choose(a, admin_volumes_that(admin_volume_is_not_served));
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    json_t *params;

    if (slot < 0)
        return false;
    params = admin_named((unsigned)slot);
    host_name('v', v->name);
    json_object_set_new(params, "to", json_string(v->name));
    return admin_change(a, "volume.rename", params, refusals);
}

bool admin_volume_remove(struct admin *a)
{
    static admin_refusals refusals = {EBUSY}; /* cloned, or a job is at work on it */
    int slot = admin_choose(a, admin_volumes_that(admin_volume_is_not_served));

    if (slot < 0)
        return false;
    host->then.volumes[slot].there = false;
    return admin_change(a, "volume.remove", admin_named((unsigned)slot), refusals);
}

static json_t *target_of(unsigned volume)
{
    char target[2 * HOST_NAME];

    host_target(&host->now, volume, target);
    return json_pack("{s:s, s:s}", "target", target, "type", "nbd");
}

static bool serve(struct admin *a, unsigned volume)
{
    static admin_refusals refusals = {0};

    struct host_volume *v = &host->then.volumes[volume];
    json_t *params = target_of(volume);
    bool read_only = host_has_clones(volume) || sim_one_in(a->random, 8);
    char path[HOST_PATH];

    v->exported = true;
    v->own_socket = sim_one_in(a->random, 4);
    if (v->own_socket) {
        snprintf(path, sizeof path, HOST_RUNTIME_DIR "/%s.sock", v->name);
        json_object_set_new(params, "path", json_string(path));
    }
    json_object_set_new(params, "read_only", json_boolean(read_only));
    guests_serve(volume);
    return admin_change(a, "export.add", params, refusals);
}

bool admin_export_add(struct admin *a)
{
    int slot = admin_choose(a, admin_volumes_that(admin_volume_is_not_served));

    return slot >= 0 && serve(a, (unsigned)slot);
}

void admin_withdraw(struct admin *a, unsigned volume)
{
    static admin_refusals refusals = {0};

    host->then.volumes[volume].exported = host->then.volumes[volume].own_socket = false;
    guests_withdraw(volume);
    admin_change(a, "export.remove", target_of(volume), refusals);
    guests_leave(volume);
}

bool admin_export_remove(struct admin *a)
{
    int slot = admin_choose(a, admin_volumes_that(is_served));

    if (slot >= 0)
        admin_withdraw(a, (unsigned)slot);
    return slot >= 0;
}

void admin_serve_all(struct admin *a)
{
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (admin_volume_is_not_served(&host->now.volumes[i])) {
            host->then = host->now;
            serve(a, i);
        }
}
