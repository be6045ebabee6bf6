/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scan: find members and PVs, assemble and activate what is complete. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "json.h"
#include "lvm/vg.h"
#include "rpc/method.h"
#include "scan.h"

/* Names of what is up, as keys. */
struct names {
    json_t *arrays, *vgs, *exports;
};

static void note_names(struct daemon *d, struct names *n)
{
    *n = (struct names){json_object(), json_object(), json_object()};
    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (a->array)
            json_object_set_new(n->arrays, a->name, json_true());
    }
    list_for_each (it, &d->catalog.vgs)
        json_object_set_new(
            n->vgs, vg_name(container_of(it, struct catalog_vg, link)->vg), json_true());
    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (e->socket)
            json_object_set_new(n->exports, e->target, json_true());
    }
}

static void free_names(struct names *n)
{
    json_decref(n->arrays);
    json_decref(n->vgs);
    json_decref(n->exports);
}

/* The keys that are new. */
static json_t *added(json_t *before, json_t *after)
{
    json_t *list = json_array(), *value;
    const char *name;

    json_object_foreach (after, name, value)
        if (!json_object_get(before, name))
            json_array_append_new(list, json_string(name));
    return list;
}

static json_t *found_json(const struct scan *s)
{
    json_t *list = json_array();

    list_for_each (it, &s->found) {
        const struct scan_found *f = container_of(it, struct scan_found, link);

        if (*f->what || f->remembered)
            json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s?}", "path", f->path, "what",
                                            *f->what ? f->what : "unknown", "taken", f->taken,
                                            "reason", *f->reason ? f->reason : NULL));
    }
    return list;
}

static int would(struct rpc_call *call, const struct scan *s)
{
    int rc = 0;

    if (!call->result && !(call->result = json_pack("{s:[]}", "would")))
        return -ENOMEM;
    list_for_each (it, &s->found) {
        const struct scan_found *f = container_of(it, struct scan_found, link);

        if (rc == 0 && f->dev && f->member)
            rc = rpc_would(call, "take %s as a member of array %s", f->path, f->name);
        else if (rc == 0 && f->dev)
            rc = rpc_would(call, "take %s as a PV", f->path);
    }
    return rc;
}

static int answer(struct rpc_call *call, const struct scan *s, const struct names *before)
{
    struct names after;
    int rc;

    note_names(call->daemon, &after);
    rc = rpc_result(
        call, json_pack("{s:o, s:o, s:o, s:o}", "arrays", added(before->arrays, after.arrays),
                  "vgs", added(before->vgs, after.vgs), "exports",
                  added(before->exports, after.exports), "found", found_json(s)));
    free_names(&after);
    return rc;
}

static int scan(struct rpc_call *call)
{
    const struct config *config = call->daemon->config;
    struct scan s = {.degraded_all = call->force, .dry = call->dry_run};
    unsigned count = (unsigned)rpc_list_size(call, "paths");
    const char **given = rpc_list(call, "paths");
    const char *const *paths = given;
    struct names before;
    int rc;

    if (!given)
        return -ENOMEM;
    if (!json_object_get(call->params, "paths"))
        for (paths = (const char *const *)config->scan_paths; paths[count];)
            count++;
    note_names(call->daemon, &before);
    rc = scan_run(&s, call->daemon, paths, count);
    if (rc == 0)
        rc = call->dry_run ? would(call, &s) : answer(call, &s, &before);
    scan_free(&s);
    free_names(&before);
    free(given);
    return rc;
}

const struct rpc_method rpc_scan_methods[] = {
    {"scan", "Finds members and PVs; assembles and activates what is complete.",
        RPC_CHANGES | RPC_DISKS,
        {{"paths", RPC_LIST, false, "files, directories, patterns; default: as configured"},
            {"force", RPC_FLAG, false, "also with members missing"}},
        scan},
    {0},
};
