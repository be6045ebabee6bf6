/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume.*: guest disks. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "exports.h"
#include "groups.h"
#include "rpc/method.h"
#include "rpc/objects.h"
#include "volumes.h"

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

json_t *rpc_volume(struct daemon *d, const struct vg_status *s, const struct lv_status *lv)
{
    char target[CATALOG_NAME_MAX];

    snprintf(target, sizeof target, "%s/%s", s->name, lv->name);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s?, s:o, s:o}", "vg", s->name, "name",
        lv->name, "uuid", lv->uuid, "format", "raw", "size_bytes", (json_int_t)lv->size_bytes,
        "allocated_bytes", (json_int_t)lv->allocated_bytes, "unusable_reason", lv->unusable,
        "segments", segments_json(lv), "exports", exports_json(d, target));
}

int rpc_add_volumes(struct daemon *d, json_t *list, const struct vg_status *s)
{
    for (unsigned i = 0; i < s->lv_count; i++)
        if (!s->lvs[i].hidden && json_array_append_new(list, rpc_volume(d, s, &s->lvs[i])))
            return -ENOMEM;
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

static int create(struct rpc_call *call)
{
    const char *name = rpc_text(call, "name"), *format = rpc_text(call, "format");
    uint64_t size_bytes = rpc_integer(call, "size_bytes", 0);
    struct catalog_vg *v;
    int rc = groups_find(call->daemon, rpc_text(call, "vg"), &v, call->err);

    if (rc)
        return rc;
    if (format && strcmp(format, "raw"))
        return error_set(call->err, EOPNOTSUPP, "there is no format \"%.40s\"; raw", format);
    rc = volumes_create(call->daemon, v->vg, name, size_bytes, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "create volume %s of %" PRIu64 " bytes in group %s", name,
            size_bytes, vg_name(v->vg));
    return answer(call, v->vg, name);
}

/* Exactly one of the three. */
static int wanted_size(struct rpc_call *call, const struct lv *lv, uint64_t *size_bytes)
{
    const uint64_t none = UINT64_MAX, now = lv_size_bytes(lv);
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
        rc = volumes_resize(
            call->daemon, v->vg, lv, size_bytes, call->force, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "resize volume %s from %" PRIu64 " to %" PRIu64 " bytes",
            rpc_text(call, "name"), lv_size_bytes(lv), size_bytes);
    return answer(call, v->vg, lv_name(lv));
}

static int remove_volume(struct rpc_call *call)
{
    struct catalog_vg *v;
    struct lv *lv;
    int rc = find(call, &v, &lv);

    if (rc == 0)
        rc = volumes_remove(call->daemon, v->vg, lv, call->dry_run, call->err);
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
        rc = volumes_rename(call->daemon, v->vg, lv, to, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "rename volume %s to %s", lv_name(lv), to);
    return answer(call, v->vg, to);
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
    {"volume.create", "Creates a volume; it reads as zeros.", RPC_CHANGES | RPC_DISKS,
        {VG, NAME, {"size_bytes", RPC_INTEGER, true, "rounded up to extents"},
            {"format", RPC_TEXT, false, "raw"}},
        create},
    {"volume.resize", "Grows or shrinks a volume, also while it is in use.",
        RPC_CHANGES | RPC_DISKS,
        {VG, NAME, {"size_bytes", RPC_INTEGER, false, "the new size (one of the three)"},
            {"grow_bytes", RPC_INTEGER, false, "so much larger"},
            {"shrink_bytes", RPC_INTEGER, false, "so much smaller"},
            {"force", RPC_FLAG, false, "shrink below what a file system uses"}},
        resize},
    {"volume.list", "Lists the volumes.", 0, {{"vg", RPC_TEXT, false, "only of this group"}}, list},
    {"volume.show", "Shows a volume.", 0, {VG, NAME}, show},
    {"volume.remove", "Removes a volume and its data.", RPC_CHANGES | RPC_DISKS, {VG, NAME},
        remove_volume},
    {"volume.rename", "Renames a volume that is not exported.", RPC_CHANGES | RPC_DISKS,
        {VG, NAME, {"to", RPC_TEXT, true, "the new name"}}, rename_volume},
    {0},
};
