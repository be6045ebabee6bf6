/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* export.*: what guests reach, and where. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "daemon.h"
#include "exports.h"
#include "lvm/vg.h"
#include "rpc/method.h"
#include "rpc/objects.h"

json_t *rpc_export(struct daemon *d, const struct catalog_export *e)
{
    char path[PATH_MAX];
    struct blockdev *dev = NULL;

    if (e->socket)
        exports_device(d, e->target, &dev, NULL);
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:i, s:I}", "target", e->target, "type", "nbd",
        "path", export_path(d, e, path, sizeof path), "name", e->target, "read_only", e->read_only,
        "clients", (int)export_clients(e), "size_bytes", (json_int_t)(dev ? dev->size_bytes : 0));
}

json_t *rpc_exports(struct daemon *d, const char *target)
{
    json_t *list = json_array();

    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (e->socket && (!target || !strcmp(e->target, target)))
            json_array_append_new(list, rpc_export(d, e));
    }
    return list;
}

static int add(struct rpc_call *call)
{
    struct export_plan plan = {.target = rpc_text(call, "target"),
        .path = rpc_text(call, "path"),
        .read_only = rpc_flag(call, "read_only")};
    struct catalog_export *e;
    int rc;

    if (strcmp(rpc_text(call, "type"), "nbd"))
        return error_set(call->err, EOPNOTSUPP, "there are no exports of type \"%.40s\"; nbd",
            rpc_text(call, "type"));
    rc = exports_add(call->daemon, &plan, &e, call->err);
    return rc ? rc : rpc_result(call, rpc_export(call->daemon, e));
}

static int answer_list(struct rpc_call *call, const char *target)
{
    json_t *list;

    catalog_view_begin(call->daemon);
    list = rpc_exports(call->daemon, target);
    catalog_view_end(call->daemon);
    return rpc_result(call, json_pack("{s:o}", "exports", list));
}

static int list(struct rpc_call *call)
{
    return answer_list(call, NULL);
}

static int show(struct rpc_call *call)
{
    const char *target = rpc_text(call, "target");

    if (!catalog_find_export(&call->daemon->catalog, target))
        return error_set(call->err, ENOENT, "%s is not exported", target);
    return answer_list(call, target);
}

static int remove_target(struct rpc_call *call)
{
    const char *type = rpc_text(call, "type");

    if (type && strcmp(type, "nbd"))
        return error_set(
            call->err, ENOENT, "%s is not exported as %.40s", rpc_text(call, "target"), type);
    return exports_remove(
        call->daemon, rpc_text(call, "target"), rpc_text(call, "path"), call->err);
}

#define TARGET                                                                                     \
    {                                                                                              \
        "target", RPC_TEXT, true, "VG/NAME, or an array that carries no group"                     \
    }
const struct rpc_method rpc_export_methods[] = {
    {"export.add", "Serves a target on a Unix socket.", RPC_CHANGES,
        {TARGET, {"type", RPC_TEXT, true, "nbd"},
            {"path", RPC_TEXT, false, "a socket of its own (default: the common one)"},
            {"read_only", RPC_FLAG, false, "refuse writes"}},
        add},
    {"export.list", "Lists the exports.", 0, {{0}}, list},
    {"export.show", "Shows the exports of a target.", 0, {TARGET}, show},
    {"export.remove", "Stops serving a target; its clients are disconnected.", RPC_CHANGES,
        {TARGET, {"type", RPC_TEXT, false, "only these"}, {"path", RPC_TEXT, false, "only there"}},
        remove_target},
    {0},
};
