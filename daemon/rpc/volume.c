/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume.*: guest disks. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "exports.h"
#include "groups.h"
#include "image_tasks.h"
#include "images.h"
#include "json.h"
#include "overlay.h"
#include "rpc/method.h"
#include "rpc/objects.h"
#include "volumes.h"

#define SNAPSHOT_NAME_MAX 255

static json_t *segments_json(const struct lv_status *lv)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < lv->segment_count; i++) {
        const struct lv_segment_status *s = &lv->segments[i];
        json_t *pvs = json_array();

        for (unsigned k = 0; k < s->pv_count; k++)
            json_array_append_new(pvs, json_string(s->pvs[k]));
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o}", "type", s->type,
                                        "start_extent", (json_int_t)s->start_extent, "extent_count",
                                        (json_int_t)s->extent_count, "pvs", pvs));
    }
    return list;
}

static json_t *exports_json(struct daemon *d, const char *target)
{
    json_t *list = json_array();

    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);
        char path[PATH_MAX];

        if (e->socket && !strcmp(e->target, target))
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:i}", "type", "nbd", "path",
                          export_path(d, e, path, sizeof path), "clients", (int)export_clients(e)));
    }
    return list;
}

static const char *image_state(const struct catalog_image *i, const struct qcow2_status *s)
{
    if (s->corrupt)
        return "corrupt";
    return s->starving ? "starving" : i->read_only ? "read-only" : "ok";
}

static void add_state(json_t *volume, const struct catalog_image *i, const struct qcow2_status *s)
{
    json_object_set_new(volume, "state", json_string(i->q ? image_state(i, s) : "closed"));
    json_object_set_new(volume, "state_reason", *i->reason ? json_text(i->reason) : json_null());
    if (!i->q)
        json_object_set_new(volume, "unusable_reason", json_text(i->reason));
}

/* What an overlay adds to a raw volume. */
static void add_overlay(json_t *volume, const struct catalog_image *i)
{
    struct qcow2_status s = {0};

    if (i->q)
        qcow2_status(i->q, &s);
    add_state(volume, i, &s);
    json_object_set_new(volume, "overlay",
        json_pack("{s:o, s:s, s:I, s:I, s:b}", "snapshot", json_text(overlay_snapshot(i)), "lv",
            lv_name(i->lv), "allocated_bytes", (json_int_t)lv_size_bytes(i->lv), "used_bytes",
            (json_int_t)s.allocated_bytes, "committing", overlay_is_committing(i)));
}

/* What an image has beyond a raw volume. */
static void add_image(json_t *volume, const struct catalog_image *i)
{
    struct qcow2_status s = {0};
    char backing[CATALOG_NAME_MAX + SNAPSHOT_NAME_MAX] = "";

    if (i->backing)
        snprintf(backing, sizeof backing, "%s/%s%s%s", vg_name(i->vg->vg), lv_name(i->backing),
            *i->snapshot ? "@" : "", i->snapshot);
    if (i->q)
        qcow2_status(i->q, &s);
    json_object_set_new(volume, "format", json_string("sparse"));
    json_object_set_new(volume, "backing", *backing ? json_string(backing) : json_null());
    add_state(volume, i, &s);
    if (!i->q)
        return;
    json_object_set_new(volume, "size_bytes", json_integer((json_int_t)s.size_bytes));
    json_object_set_new(volume, "used_bytes", json_integer((json_int_t)s.allocated_bytes));
    json_object_set_new(volume, "map_bytes", json_integer((json_int_t)s.map_bytes));
    json_object_set_new(
        volume, "cluster_bytes", json_integer((json_int_t)1 << qcow2_geometry(i->q)->cluster_bits));
    json_object_set_new(volume, "snapshots", json_integer(s.snapshots));
}

json_t *rpc_volume(struct daemon *d, const struct vg_status *s, const struct lv_status *lv)
{
    const struct catalog_image *image = images_guest(d, lv->lv);
    char target[CATALOG_NAME_MAX];
    json_t *json;

    snprintf(target, sizeof target, "%s/%s", s->name, lv->name);
    json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s?, s:o, s:o}", "vg", s->name, "name",
        lv->name, "uuid", lv->uuid, "format", "raw", "size_bytes", (json_int_t)lv->size_bytes,
        "allocated_bytes", (json_int_t)lv->allocated_bytes, "unusable_reason", lv->unusable,
        "segments", segments_json(lv), "exports", exports_json(d, target));
    if (json && image && image->overlay)
        add_overlay(json, image);
    else if (json && image)
        add_image(json, image);
    return json;
}

/* No volume (yet): one that is being made, an overlay. By the snapshot: the volume itself may be
 * gone by now. */
static bool is_hidden(const struct lv_status *lv)
{
    bool yes = lv->hidden;

    for (unsigned i = 0; i < lv->tag_count; i++)
        yes |= !strcmp(lv->tags[i], IMAGE_TAG_NEW) ||
               !strncmp(lv->tags[i], IMAGE_TAG_OVERLAY, strlen(IMAGE_TAG_OVERLAY));
    return yes;
}

int rpc_add_volumes(struct daemon *d, json_t *list, const struct vg_status *s)
{
    for (unsigned i = 0; i < s->lv_count; i++) {
        const struct lv_status *lv = &s->lvs[i];

        if (!is_hidden(lv) && json_array_append_new(list, rpc_volume(d, s, lv)))
            return -ENOMEM;
    }
    return 0;
}

/* One volume, by a fresh look at its group. */
static int answer(struct rpc_call *call, struct vg *vg, const char *name)
{
    struct vg_status *s = vg_status(vg);
    int rc = s ? -ENOENT : -ENOMEM;

    for (unsigned i = 0; s && rc == -ENOENT && i < s->lv_count; i++)
        if (!strcmp(s->lvs[i].name, name))
            rc = rpc_result(call, rpc_volume(call->daemon, s, &s->lvs[i]));
    if (s)
        vg_status_free(s);
    return rc;
}

static int find(struct rpc_call *call, struct catalog_vg **v, struct lv **lv)
{
    int rc = groups_find(call->daemon, rpc_text(call, "vg"), v, call->err);

    if (rc)
        return rc;
    return groups_find_volume(
        call->daemon, rpc_text(call, "vg"), rpc_text(call, "name"), lv, call->err);
}

static int list_group(struct rpc_call *call, json_t *list, const struct catalog_vg *v)
{
    struct vg_status *s = vg_status(v->vg);
    int rc = s ? rpc_add_volumes(call->daemon, list, s) : -ENOMEM;

    if (s)
        vg_status_free(s);
    return rc;
}

static int list(struct rpc_call *call)
{
    const char *vg = rpc_text(call, "vg");
    struct catalog_vg *only;
    json_t *volumes = json_array();
    int rc;

    catalog_view_begin(call->daemon);
    rc = vg ? groups_find(call->daemon, vg, &only, call->err) : 0;
    list_for_each (it, &call->daemon->catalog.vgs) {
        struct catalog_vg *v = container_of(it, struct catalog_vg, link);

        if (rc == 0 && (!vg || v == only))
            rc = list_group(call, volumes, v);
    }
    catalog_view_end(call->daemon);
    if (rc) {
        json_decref(volumes);
        return rc;
    }
    return rpc_result(call, json_pack("{s:o}", "volumes", volumes));
}

static int show(struct rpc_call *call)
{
    struct catalog_vg *v;
    struct lv *lv;
    int rc;

    catalog_view_begin(call->daemon);
    rc = find(call, &v, &lv);
    if (rc == 0)
        rc = answer(call, v->vg, lv_name(lv));
    catalog_view_end(call->daemon);
    return rc;
}

/* Another volume of the same group, "VG/NAME" or "VG/NAME@SNAP". */
static int find_origin(
    struct rpc_call *call, struct catalog_vg *v, const char *from, struct volume_plan *plan)
{
    const char *slash = strchr(from, '/'), *at = strchr(from, '@');
    size_t length = slash ? (size_t)(slash - from) : 0;
    char *name;
    int rc;

    if (!slash || !slash[1] || (at && (at < slash || !at[1])))
        return error_set(call->err, EINVAL, "\"%.60s\" is not VG/NAME or VG/NAME@SNAP", from);
    if (strlen(vg_name(v->vg)) != length || strncmp(from, vg_name(v->vg), length))
        return error_set(
            call->err, EXDEV, "a clone is in the group of what it is cloned from: %s", from);
    plan->snapshot = at ? at + 1 : NULL;
    if (at && strlen(at + 1) > SNAPSHOT_NAME_MAX)
        return error_set(call->err, ENOENT, "no snapshot has so long a name");
    name = at ? strndup(slash + 1, (size_t)(at - slash - 1)) : strdup(slash + 1);
    rc = name ? groups_find_volume(call->daemon, vg_name(v->vg), name, &plan->from, call->err)
              : -ENOMEM;
    free(name);
    return rc;
}

static int read_plan(struct rpc_call *call, struct catalog_vg *v, struct volume_plan *plan)
{
    const char *format = rpc_text(call, "format"), *from = rpc_text(call, "from");

    *plan = (struct volume_plan){.name = rpc_text(call, "name"),
        .size_bytes = rpc_integer(call, "size_bytes", 0),
        .sparse = format ? !strcmp(format, "sparse") : from != NULL,
        .cluster_bytes = rpc_integer(call, "cluster_bytes", 0),
        .dry = call->dry_run};
    if (format && !plan->sparse && strcmp(format, "raw"))
        return error_set(
            call->err, EOPNOTSUPP, "there is no format \"%.40s\"; raw, sparse", format);
    if (!plan->sparse && (from || plan->cluster_bytes))
        return error_set(call->err, EINVAL, "clones and clusters are for sparse volumes");
    if (!from && !json_object_get(call->params, "size_bytes"))
        return error_set(call->err, EINVAL, "a new volume needs a size");
    return from ? find_origin(call, v, from, plan) : 0;
}

static int create(struct rpc_call *call)
{
    struct volume_plan plan;
    struct catalog_vg *v;
    struct lv *lv;
    int rc = groups_find(call->daemon, rpc_text(call, "vg"), &v, call->err);

    if (rc == 0)
        rc = read_plan(call, v, &plan);
    if (rc == 0)
        rc = volumes_create(call->daemon, v, &plan, &lv, call->err);
    if (rc)
        return rc;
    if (plan.dry && plan.from)
        return rpc_would(call, "create volume %s in group %s, a clone of %s", plan.name,
            vg_name(v->vg), lv_name(plan.from));
    if (plan.dry)
        return rpc_would(call, "create volume %s of %" PRIu64 " bytes in group %s", plan.name,
            plan.size_bytes, vg_name(v->vg));
    return answer(call, v->vg, plan.name);
}

/* Exactly one of the three. */
static int wanted_size(struct rpc_call *call, struct lv *lv, uint64_t *size_bytes)
{
    const uint64_t none = UINT64_MAX, now = volume_size_bytes(call->daemon, lv);
    uint64_t size = rpc_integer(call, "size_bytes", none);
    uint64_t grow = rpc_integer(call, "grow_bytes", none);
    uint64_t shrink = rpc_integer(call, "shrink_bytes", none);

    if ((size != none) + (grow != none) + (shrink != none) != 1)
        return error_set(
            call->err, EINVAL, "one of size_bytes, grow_bytes and shrink_bytes, please");
    if (shrink != none && shrink >= now)
        return error_set(call->err, EINVAL, "the volume has only %" PRIu64 " bytes", now);
    if (grow != none && grow > INT64_MAX - now)
        return error_set(call->err, EINVAL, "no volume can be so large");
    *size_bytes = size != none ? size : grow != none ? now + grow : now - shrink;
    return 0;
}

static int resize(struct rpc_call *call)
{
    struct catalog_vg *v;
    struct lv *lv;
    uint64_t size_bytes = 0;
    int rc = find(call, &v, &lv);

    if (rc == 0)
        rc = wanted_size(call, lv, &size_bytes);
    if (rc == 0)
        rc = volumes_resize(call->daemon, v, lv, size_bytes, call->force, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "resize volume %s from %" PRIu64 " to %" PRIu64 " bytes",
            rpc_text(call, "name"), volume_size_bytes(call->daemon, lv), size_bytes);
    return answer(call, v->vg, lv_name(lv));
}

static int remove_volume(struct rpc_call *call)
{
    struct catalog_vg *v;
    struct lv *lv;
    int rc = find(call, &v, &lv);

    if (rc == 0)
        rc = volumes_remove(call->daemon, v, lv, call->dry_run, call->err);
    if (rc || !call->dry_run)
        return rc;
    return rpc_would(
        call, "remove volume %s and its data from group %s", lv_name(lv), vg_name(v->vg));
}

static int rename_volume(struct rpc_call *call)
{
    const char *to = rpc_text(call, "to");
    struct catalog_vg *v;
    struct lv *lv;
    int rc = find(call, &v, &lv);

    if (rc == 0)
        rc = volumes_rename(call->daemon, v, lv, to, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "rename volume %s to %s", lv_name(lv), to);
    return answer(call, v->vg, to);
}

static int flatten(struct rpc_call *call)
{
    struct catalog_image *i;
    struct catalog_vg *v;
    struct lv *lv;
    uint64_t job = 0;
    int rc = find(call, &v, &lv);

    if (rc)
        return rc;
    i = images_find(call->daemon, lv);
    rc = i ? image_flatten(i, call->dry_run, &job, call->err)
           : error_set(call->err, ENOENT, "volume %s is raw, and no clone", lv_name(lv));
    if (rc)
        return rc;
    return call->dry_run ? rpc_would(call, "copy what %s reads from %s/%s", i->target,
                               vg_name(v->vg), lv_name(i->backing))
                         : rpc_result(call, json_pack("{s:I}", "job", (json_int_t)job));
}

static int compact(struct rpc_call *call)
{
    struct catalog_image *i;
    struct catalog_vg *v;
    struct lv *lv;
    uint64_t job = 0;
    int rc = find(call, &v, &lv);

    if (rc)
        return rc;
    i = images_find(call->daemon, lv);
    rc = i ? image_compact(i, call->dry_run, &job, call->err)
           : error_set(call->err, EOPNOTSUPP, "volume %s is raw: it has nothing to give back",
                 lv_name(lv));
    if (rc)
        return rc;
    return call->dry_run
               ? rpc_would(call, "give back to %s what %s does not need", vg_name(v->vg), i->target)
               : rpc_result(call, json_pack("{s:I}", "job", (json_int_t)job));
}

static int commit(struct rpc_call *call)
{
    struct catalog_image *i;
    struct catalog_vg *v;
    struct lv *lv;
    uint64_t job = 0;
    int rc = find(call, &v, &lv);

    if (rc)
        return rc;
    i = images_overlay(call->daemon, lv);
    rc =
        i ? overlay_commit(i, call->dry_run, &job, call->err)
          : error_set(call->err, ENOENT, "volume %s is not a raw one with a snapshot", lv_name(lv));
    if (rc)
        return rc;
    return call->dry_run
               ? rpc_would(call, "move into %s what was written since snapshot %s, which ends",
                     i->target, overlay_snapshot(i))
               : rpc_result(call, json_pack("{s:I}", "job", (json_int_t)job));
}

#define VG                                                                                         \
    {                                                                                              \
        "vg", RPC_TEXT, true, "the volume group"                                                   \
    }
#define NAME                                                                                       \
    {                                                                                              \
        "name", RPC_TEXT, true, "the volume"                                                       \
    }
const struct rpc_method rpc_volume_methods[] = {
    {"volume.create", "Creates a volume; it reads as zeros, or as another one.",
        RPC_CHANGES | RPC_DISKS,
        {VG, NAME,
            {"size_bytes", RPC_INTEGER, false, "raw: rounded up to extents; of a clone not needed"},
            {"format", RPC_TEXT, false, "raw (default), sparse"},
            {"cluster_bytes", RPC_INTEGER, false, "of a sparse volume (default 128 KiB)"},
            {"from", RPC_TEXT, false,
                "VG/NAME[@SNAP]: a sparse volume that reads as this at first"}},
        create},
    {"volume.resize", "Grows or shrinks a volume, also while it is in use.",
        RPC_CHANGES | RPC_DISKS,
        {VG, NAME, {"size_bytes", RPC_INTEGER, false, "the new size (one of the three)"},
            {"grow_bytes", RPC_INTEGER, false, "so much larger"},
            {"shrink_bytes", RPC_INTEGER, false, "so much smaller"},
            {"force", RPC_FLAG, false, "shrink below what a file system uses"}},
        resize},
    {"volume.flatten", "Makes a clone stand on its own.", RPC_CHANGES | RPC_DISKS, {VG, NAME},
        flatten},
    {"volume.compact", "Gives back to the group what a sparse volume does not need.",
        RPC_CHANGES | RPC_DISKS, {VG, NAME}, compact},
    {"volume.commit", "Ends the snapshot of a raw volume: what was written since goes into it.",
        RPC_CHANGES | RPC_DISKS, {VG, NAME}, commit},
    {"volume.list", "Lists the volumes.", 0, {{"vg", RPC_TEXT, false, "only of this group"}}, list},
    {"volume.show", "Shows a volume.", 0, {VG, NAME}, show},
    {"volume.remove", "Removes a volume and its data.", RPC_CHANGES | RPC_DISKS, {VG, NAME},
        remove_volume},
    {"volume.rename", "Renames a volume that is not exported.", RPC_CHANGES | RPC_DISKS,
        {VG, NAME, {"to", RPC_TEXT, true, "the new name"}}, rename_volume},
    {0},
};
