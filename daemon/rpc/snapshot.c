/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot.*: what a volume was: kept in the image of a sparse one; of a raw one it is the volume
 * itself, below an overlay. */
#include <errno.h>
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

#define NAME_BYTES_MAX 255

struct subject {
    struct catalog_vg *vg;
    struct lv *lv;
    struct catalog_image *image; /* NULL: a raw volume without a snapshot */
    char target[CATALOG_NAME_MAX];
};

static int find(struct rpc_call *call, struct subject *s)
{
    const char *vg = rpc_text(call, "vg"), *name = rpc_text(call, "name");
    int rc = groups_find(call->daemon, vg, &s->vg, call->err);

    if (rc == 0)
        rc = groups_find_volume(call->daemon, vg, name, &s->lv, call->err);
    if (rc)
        return rc;
    s->image = images_guest(call->daemon, s->lv);
    snprintf(s->target, sizeof s->target, "%s/%s", vg, name);
    return 0;
}

/* With the image, for what changes it; for a raw volume it has the snapshot that is named. */
static int find_image(struct rpc_call *call, struct subject *s)
{
    const char *snapshot = rpc_text(call, "snapshot");
    int rc = find(call, s);

    if (rc == 0 && !s->image)
        rc = error_set(call->err, ENOENT, "volume %s has no snapshot %.200s", s->target, snapshot);
    if (rc == 0 && s->image->overlay)
        rc = overlay_refuse_other(s->image, snapshot, call->err);
    return rc;
}

static int find_writable(struct rpc_call *call, struct subject *s)
{
    int rc = find_image(call, s);

    if (rc == 0)
        rc = image_refuse_busy(s->image, call->err);
    return rc ? rc : image_refuse_unwritable(s->image, call->err);
}

/* One, as old as the overlay. */
static json_t *overlay_json(const struct catalog_image *i)
{
    return json_pack("[{s:s, s:o, s:I, s:I}]", "id", "1", "name", json_text(overlay_snapshot(i)),
        "time", (json_int_t)lv_creation_seconds(i->lv), "size_bytes",
        (json_int_t)lv_size_bytes(i->backing));
}

static json_t *snapshots_json(const struct qcow2 *q)
{
    unsigned count = qcow2_snapshots(q, NULL, 0);
    struct qcow2_snapshot_status *s = calloc(count + 1, sizeof *s);
    json_t *list = s ? json_array() : NULL;

    count = s ? qcow2_snapshots(q, s, count) : 0;
    for (unsigned k = 0; k < count; k++)
        json_array_append_new(
            list, json_pack("{s:o, s:o, s:I, s:I}", "id", json_text(s[k].id), "name",
                      json_text(s[k].name), "time", (json_int_t)s[k].seconds, "size_bytes",
                      (json_int_t)s[k].size_bytes));
    free(s);
    return list;
}

static int answer(struct rpc_call *call, const struct subject *s)
{
    const struct catalog_image *i = s->image;
    json_t *list = !i ? json_array() : i->overlay ? overlay_json(i) : snapshots_json(i->q);

    return rpc_result(call, json_pack("{s:s, s:o}", "volume", s->target, "snapshots", list));
}

static int list(struct rpc_call *call)
{
    struct subject s;
    int rc;

    catalog_view_begin(call->daemon);
    rc = find(call, &s);
    if (rc == 0 && s.image && !s.image->overlay && !s.image->q)
        rc = error_set(call->err, ENXIO, "volume %s cannot be used: %s", s.target, s.image->reason);
    if (rc == 0)
        rc = answer(call, &s);
    catalog_view_end(call->daemon);
    return rc;
}

static int create_internal(struct rpc_call *call, const struct subject *s, const char *name)
{
    int rc = image_refuse_busy(s->image, call->err);

    if (rc == 0)
        rc = image_refuse_unwritable(s->image, call->err);
    return rc || call->dry_run ? rc : qcow2_snapshot_create(s->image->q, name, call->err);
}

static int create(struct rpc_call *call)
{
    const char *name = rpc_text(call, "snapshot");
    struct subject s;
    int rc = find(call, &s);

    if (rc == 0 && strlen(name) > NAME_BYTES_MAX)
        rc = error_set(call->err, EINVAL, "a snapshot's name has at most %d bytes", NAME_BYTES_MAX);
    if (rc == 0)
        rc = s.image && !s.image->overlay
                 ? create_internal(call, &s, name)
                 : overlay_create(call->daemon, s.vg, s.lv, name, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "take a snapshot %s of volume %s", name, s.target);
    events_post(&call->daemon->events, EVENT_SNAPSHOT_CREATED, s.target, "%s", name);
    s.image = images_guest(call->daemon, s.lv);
    return answer(call, &s);
}

static int revert_internal(struct rpc_call *call, struct catalog_image *i, const char *name)
{
    int rc = images_refuse_cloned(i->vg, i->lv, call->err);

    if (rc == 0)
        rc = exports_refuse_exported(call->daemon, i->target, call->err);
    return rc || call->dry_run ? rc : qcow2_snapshot_revert(i->q, name, call->err);
}

/* What the guest's disk is now is lost, and it changes under whoever has it. */
static int revert(struct rpc_call *call)
{
    const char *name = rpc_text(call, "snapshot");
    struct subject s;
    int rc = find_writable(call, &s);

    if (rc == 0)
        rc = s.image->overlay ? overlay_revert(s.image, call->dry_run, call->err)
                              : revert_internal(call, s.image, name);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "make volume %s what it was at snapshot %s", s.target, name);
    events_post(&call->daemon->events, EVENT_SNAPSHOT_REVERTED, s.target, "%s", name);
    return answer(call, &s);
}

static int delete (struct rpc_call *call)
{
    const char *name = rpc_text(call, "snapshot");
    struct subject s;
    uint64_t job = 0;
    int rc = find_image(call, &s);

    if (rc == 0)
        rc = s.image->overlay
                 ? overlay_commit(s.image, call->dry_run, &job, call->err)
                 : image_delete_snapshot(s.image, name, call->dry_run, &job, call->err);
    if (rc)
        return rc;
    return call->dry_run ? rpc_would(call, "delete snapshot %s of volume %s", name, s.target)
                         : rpc_result(call, json_pack("{s:I}", "job", (json_int_t)job));
}

#define VOLUME                                                                                     \
    {"vg", RPC_TEXT, true, "the volume group"},                                                    \
    {                                                                                              \
        "name", RPC_TEXT, true, "the volume"                                                       \
    }
#define SNAPSHOT                                                                                   \
    {                                                                                              \
        "snapshot", RPC_TEXT, true, "the snapshot's name"                                          \
    }
const struct rpc_method rpc_snapshot_methods[] = {
    {"snapshot.create", "Keeps what a volume is now, also while it is in use.",
        RPC_CHANGES | RPC_DISKS, {VOLUME, SNAPSHOT}, create},
    {"snapshot.list", "Lists the snapshots of a volume.", 0, {VOLUME}, list},
    {"snapshot.revert", "Makes a volume that is not exported what it was.", RPC_CHANGES | RPC_DISKS,
        {VOLUME, SNAPSHOT}, revert},
    {"snapshot.delete", "Deletes a snapshot.", RPC_CHANGES | RPC_DISKS, {VOLUME, SNAPSHOT}, delete},
    {0},
};
