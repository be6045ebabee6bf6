/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* status: everything at once. */
#include "daemon.h"
#include "json.h"
#include "rpc/method.h"
#include "rpc/objects.h"
#include "rt/worker.h"

static int add_missing(json_t *list, const char *kind, const char *name, const char *reason)
{
    return json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "kind", kind, "name",
                                           json_text(name), "reason", json_text(reason)));
}

/* What is known and could not be brought up. */
static json_t *missing(struct daemon *d)
{
    json_t *list = json_array();

    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (!a->array)
            add_missing(list, "array", a->name, a->reason);
    }
    list_for_each (it, &d->catalog.pvs) {
        struct catalog_pv *pv = container_of(it, struct catalog_pv, link);

        if (!pv->dev)
            add_missing(list, "pv", pv->path, pv->reason);
    }
    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (!e->socket)
            add_missing(list, "export", e->target, e->reason);
    }
    return list;
}

static int status(struct rpc_call *call)
{
    struct daemon *d = call->daemon;
    json_int_t uptime_seconds = (json_int_t)((rt_now_ns() - d->started_ns) / 1000000000);
    json_t *arrays, *vgs, *exports;

    catalog_view_begin(d);
    arrays = rpc_arrays(d);
    vgs = rpc_vgs(d, true);
    exports = rpc_exports(d, NULL);
    catalog_view_end(d);
    return rpc_result(call,
        json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "version", ASHLAR_VERSION, "engine",
            rt_engine_name(), "uptime_seconds", uptime_seconds, "arrays", arrays, "vgs", vgs,
            "exports", exports, "jobs", rpc_jobs(d, true), "missing", missing(d)));
}

const struct rpc_method rpc_status_methods[] = {
    {"status", "Shows everything: arrays, groups, volumes, exports, running jobs.", 0, {{0}},
        status},
    {0},
};
