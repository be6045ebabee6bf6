/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot.*: what a sparse volume was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "exports.h"
#include "groups.h"
#include "image_tasks.h"
#include "images.h"
#include "json.h"
#include "rpc/method.h"

#define NAME_BYTES_MAX 255

static int find(struct rpc_call *call, struct catalog_image **i)
{
    const char *vg = rpc_text(call, "vg"), *name = rpc_text(call, "name");
    struct lv *lv;
    int rc = groups_find_volume(call->daemon, vg, name, &lv, call->err);

    if (rc)
        return rc;
    *i = images_find(call->daemon, lv);
    if (!*i)
        return error_set(call->err, EOPNOTSUPP,
            "volume %s/%s is raw: only sparse volumes have snapshots", vg, name);
    return 0;
}

/* For what changes it. */
static int find_writable(struct rpc_call *call, struct catalog_image **i)
{
    const char *snapshot = rpc_text(call, "snapshot");
    int rc = find(call, i);

    if (rc == 0 && strlen(snapshot) > NAME_BYTES_MAX)
        rc = error_set(call->err, EINVAL, "a snapshot's name has at most %d bytes", NAME_BYTES_MAX);
    if (rc == 0)
        rc = image_refuse_busy(*i, call->err);
    return rc ? rc : image_refuse_unwritable(*i, call->err);
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

static int answer(struct rpc_call *call, const struct catalog_image *i)
{
    return rpc_result(
        call, json_pack("{s:s, s:o}", "volume", i->target, "snapshots", snapshots_json(i->q)));
}

static int list(struct rpc_call *call)
{
    struct catalog_image *i;
    int rc;

    catalog_view_begin(call->daemon);
    rc = find(call, &i);
    if (rc == 0 && !i->q)
        rc = error_set(call->err, ENXIO, "volume %s cannot be used: %s", i->target, i->reason);
    if (rc == 0)
        rc = answer(call, i);
    catalog_view_end(call->daemon);
    return rc;
}

static int create(struct rpc_call *call)
{
    const char *name = rpc_text(call, "snapshot");
    struct catalog_image *i;
    int rc = find_writable(call, &i);

    if (rc == 0 && call->dry_run)
        return rpc_would(call, "take a snapshot %s of volume %s", name, i->target);
    if (rc == 0)
        rc = qcow2_snapshot_create(i->q, name, call->err);
    if (rc)
        return rc;
    events_post(&call->daemon->events, EVENT_SNAPSHOT_CREATED, i->target, "%s", name);
    return answer(call, i);
}

/* What the guest's disk is now is lost, and it changes under whoever has it. */
static int revert(struct rpc_call *call)
{
    const char *name = rpc_text(call, "snapshot");
    struct catalog_image *i;
    int rc = find_writable(call, &i);

    if (rc == 0)
        rc = images_refuse_cloned(i->vg, i->lv, call->err);
    if (rc == 0)
        rc = exports_refuse_exported(call->daemon, i->target, call->err);
    if (rc == 0 && call->dry_run)
        return rpc_would(call, "make volume %s what it was at snapshot %s", i->target, name);
    if (rc == 0)
        rc = qcow2_snapshot_revert(i->q, name, call->err);
    if (rc)
        return rc;
    events_post(&call->daemon->events, EVENT_SNAPSHOT_REVERTED, i->target, "%s", name);
    return answer(call, i);
}

static int delete (struct rpc_call *call)
{
    const char *name = rpc_text(call, "snapshot");
    struct catalog_image *i;
    uint64_t job = 0;
    int rc = find(call, &i);

    if (rc == 0)
        rc = image_delete_snapshot(i, name, call->dry_run, &job, call->err);
    if (rc)
        return rc;
    return call->dry_run ? rpc_would(call, "delete snapshot %s of volume %s", name, i->target)
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
    {"snapshot.create", "Keeps what a sparse volume is now, also while it is in use.",
        RPC_CHANGES | RPC_DISKS, {VOLUME, SNAPSHOT}, create},
    {"snapshot.list", "Lists the snapshots of a volume.", 0, {VOLUME}, list},
    {"snapshot.revert", "Makes a volume that is not exported what it was.", RPC_CHANGES | RPC_DISKS,
        {VOLUME, SNAPSHOT}, revert},
    {"snapshot.delete", "Deletes a snapshot.", RPC_CHANGES | RPC_DISKS, {VOLUME, SNAPSHOT}, delete},
    {0},
};
