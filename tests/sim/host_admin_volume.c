/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Volumes and their exports, as the administrator changes them. */
#include <errno.h>
#include <stdio.h>

#include "host_admin.h"
#include "host_guest.h"

static uint32_t volumes_that(bool (*fit)(const struct host_volume *v))
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (fit(&host->now.volumes[i]))
            bits |= 1u << i;
    return bits;
}

static bool is_there(const struct host_volume *v)
{
    return v->there;
}

static bool is_absent(const struct host_volume *v)
{
    return !v->there;
}

static bool is_served(const struct host_volume *v)
{
    return v->there && v->exported;
}

static bool is_not_served(const struct host_volume *v)
{
    return v->there && !v->exported;
}

static uint32_t groups_there(void)
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

static json_t *named(unsigned volume)
{
    const struct host_volume *v = &host->now.volumes[volume];

    return json_pack("{s:s, s:s}", "vg", host->now.groups[v->group].name, "name", v->name);
}

/* Not where a disk's errors reach the image itself: it would be told to be unusable, or corrupt. */
static bool may_be_sparse(struct admin *a)
{
    return host->trouble != HOST_TROUBLE_SINGLE && host->trouble != HOST_TROUBLE_BEYOND &&
           sim_one_in(a->random, 2);
}

static json_t *described(struct admin *a, const struct host_group *g, const struct host_volume *v)
{
    json_t *params = json_pack(
        "{s:s, s:s, s:I}", "vg", g->name, "name", v->name, "size_bytes", (json_int_t)v->size_bytes);

    if (v->sparse) {
        json_object_set_new(params, "format", json_string("sparse"));
        json_object_set_new(
            params, "cluster_bytes", json_integer((json_int_t)4096 << sim_below(a->random, 5)));
    }
    return params;
}

bool admin_volume_create(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC};
    int slot = admin_choose(a, volumes_that(is_absent)), group = admin_choose(a, groups_there());
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    const struct host_group *g;

    if (slot < 0 || group < 0)
        return false;
    g = &host->now.groups[group];
    *v = (struct host_volume){.there = true,
        .group = (unsigned)group,
        .size_bytes = some_size(a, g),
        .sparse = may_be_sparse(a)};
    host_name('v', v->name);
    host_begin_volume((unsigned)slot, v->size_bytes);
    return admin_change(a, "volume.create", described(a, g, v), refusals);
}

/* What a sparse volume is to lose is given up before it is smaller: cut off in between, it has its
 * size still and zeros there. */
static void resize_volume(struct admin *a, unsigned slot, json_t *params, admin_refusals refusals)
{
    const struct host_volume *now = &host->now.volumes[slot];
    uint64_t old_bytes = now->size_bytes, new_bytes = host->then.volumes[slot].size_bytes;
    struct model *m = &host_models[slot];
    bool gives_up = now->sparse && new_bytes < old_bytes, done;
    unsigned ticket = 0;

    if (gives_up)
        ticket = model_write_begin(m, MODEL_ZEROS, new_bytes, old_bytes - new_bytes, NULL);
    done = admin_change(a, "volume.resize", params, refusals);
    if (gives_up)
        model_write_end(m, ticket, done, false);
    if (done)
        model_resize(m, new_bytes, MODEL_START_ZEROS);
}

bool admin_volume_resize(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC};
    int slot = admin_choose(a, volumes_that(is_there));
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    json_t *params;

    if (slot < 0)
        return false;
    v->size_bytes = some_size(a, &host->now.groups[v->group]);
    params = named((unsigned)slot);
    json_object_set_new(params, "size_bytes", json_integer((json_int_t)v->size_bytes));
    json_object_set_new(params, "force", json_boolean(sim_one_in(a->random, 2)));
    guests_limit((unsigned)slot, v->size_bytes);
    resize_volume(a, (unsigned)slot, params, refusals);
    guests_limit((unsigned)slot, 0);
    return true;
}

bool admin_volume_rename(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, volumes_that(is_not_served));
    struct host_volume *v = &host->then.volumes[slot < 0 ? 0 : slot];
    json_t *params;

    if (slot < 0)
        return false;
    params = named((unsigned)slot);
    host_name('v', v->name);
    json_object_set_new(params, "to", json_string(v->name));
    return admin_change(a, "volume.rename", params, refusals);
}

bool admin_volume_remove(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, volumes_that(is_not_served));

    if (slot < 0)
        return false;
    host->then.volumes[slot].there = false;
    return admin_change(a, "volume.remove", named((unsigned)slot), refusals);
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
    char path[HOST_PATH];

    v->exported = true;
    v->own_socket = sim_one_in(a->random, 4);
    if (v->own_socket) {
        snprintf(path, sizeof path, HOST_RUNTIME_DIR "/%s.sock", v->name);
        json_object_set_new(params, "path", json_string(path));
    }
    guests_serve(volume);
    return admin_change(a, "export.add", params, refusals);
}

bool admin_export_add(struct admin *a)
{
    int slot = admin_choose(a, volumes_that(is_not_served));

    return slot >= 0 && serve(a, (unsigned)slot);
}

bool admin_export_remove(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, volumes_that(is_served));

    if (slot < 0)
        return false;
    host->then.volumes[slot].exported = host->then.volumes[slot].own_socket = false;
    guests_withdraw((unsigned)slot);
    admin_change(a, "export.remove", target_of((unsigned)slot), refusals);
    guests_leave((unsigned)slot);
    return true;
}

void admin_serve_all(struct admin *a)
{
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (is_not_served(&host->now.volumes[i])) {
            host->then = host->now;
            serve(a, i);
        }
}
