/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vg.*: volume groups. */
#include <errno.h>
#include <stdlib.h>

#include "daemon.h"
#include "group_space.h"
#include "groups.h"
#include "rpc/method.h"
#include "rpc/objects.h"

static json_t *vg_json(const struct catalog_vg *v, const struct vg_status *s)
{
    json_t *pvs = json_array();

    for (unsigned i = 0; i < s->pv_count; i++)
        json_array_append_new(pvs, json_string(s->pvs[i].name));
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:s?, s:s?, s:o, s:i, s:I, s:b}", "name",
        s->name, "uuid", s->uuid, "extent_size_bytes", (json_int_t)s->extent_size_bytes,
        "size_bytes", (json_int_t)s->size_bytes, "free_bytes", (json_int_t)s->free_bytes, "seqno",
        (json_int_t)s->seqno, "partial", s->missing_pvs > 0, "read_only_reason",
        s->read_only_reason, "warning", s->warning, "pvs", pvs, "warn_percent",
        (int)group_warn_percent(v), "reserve_bytes", (json_int_t)group_reserve_bytes(v),
        "space_low", v->space_low);
}

json_t *rpc_vg(const struct catalog_vg *v)
{
    struct vg_status *s = vg_status(v->vg);
    json_t *json = s ? vg_json(v, s) : NULL;

    if (s)
        vg_status_free(s);
    return json;
}

json_t *rpc_vg_details(struct daemon *d, const struct catalog_vg *v)
{
    struct vg_status *s = vg_status(v->vg);
    json_t *json, *volumes, *pvs;
    int bad;

    if (!s)
        return NULL;
    json = vg_json(v, s);
    volumes = json_array();
    pvs = json_array();
    bad = rpc_add_volumes(d, volumes, s) || rpc_add_pvs(pvs, s);
    bad |= json_object_set_new(json, "volumes", volumes);
    bad |= json_object_set_new(json, "pv_details", pvs);
    vg_status_free(s);
    if (!bad)
        return json;
    json_decref(json);
    return NULL;
}

json_t *rpc_vgs(struct daemon *d, bool details)
{
    json_t *list = json_array();

    list_for_each (it, &d->catalog.vgs) {
        struct catalog_vg *v = container_of(it, struct catalog_vg, link);

        json_array_append_new(list, details ? rpc_vg_details(d, v) : rpc_vg(v));
    }
    return list;
}

static int find(struct rpc_call *call, struct catalog_vg **v)
{
    return groups_find(call->daemon, rpc_text(call, "vg"), v, call->err);
}

static int list(struct rpc_call *call)
{
    json_t *vgs;

    catalog_view_begin(call->daemon);
    vgs = rpc_vgs(call->daemon, false);
    catalog_view_end(call->daemon);
    return rpc_result(call, json_pack("{s:o}", "vgs", vgs));
}

static int show(struct rpc_call *call)
{
    struct catalog_vg *v;
    int rc;

    catalog_view_begin(call->daemon);
    rc = find(call, &v);
    if (rc == 0)
        rc = rpc_result(call, rpc_vg_details(call->daemon, v));
    catalog_view_end(call->daemon);
    return rc;
}

static int would_take(struct rpc_call *call, const struct group_plan *p)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < p->pv_count; i++)
        rc = rpc_would(call, "%smake %s a PV of group %s",
            p->force ? "wipe what stands on it and " : "", p->pvs[i], p->name);
    return rc;
}

/* create and extend */
static int take_pvs(struct rpc_call *call, bool create)
{
    const char **pvs = rpc_list(call, "pvs");
    struct group_plan plan = {.name = rpc_text(call, "vg"),
        .pvs = pvs,
        .pv_count = (unsigned)rpc_list_size(call, "pvs"),
        .extent_size_bytes = rpc_integer(call, "extent_size_bytes", 0),
        .force = call->force,
        .dry = call->dry_run};
    struct catalog_vg *v;
    int rc = -ENOMEM;

    if (pvs)
        rc = create ? groups_create(call->daemon, &plan, &v, call->err)
                    : groups_extend(call->daemon, &plan, call->err);
    if (rc == 0 && plan.dry)
        rc = would_take(call, &plan);
    else if (rc == 0 && (rc = find(call, &v)) == 0)
        rc = rpc_result(call, rpc_vg(v));
    free(pvs);
    return rc;
}

static int create(struct rpc_call *call)
{
    return take_pvs(call, true);
}

static int extend(struct rpc_call *call)
{
    return take_pvs(call, false);
}

static int reduce(struct rpc_call *call)
{
    const char *pv = rpc_text(call, "pv");
    struct catalog_vg *v;
    int rc = find(call, &v);

    if (rc == 0)
        rc = groups_reduce(call->daemon, v, pv, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "take %s out of group %s and wipe its label", pv, vg_name(v->vg));
    return rpc_result(call, rpc_vg(v));
}

static int remove_vg(struct rpc_call *call)
{
    struct catalog_vg *v;
    int rc = find(call, &v);

    if (rc == 0)
        rc = groups_remove(call->daemon, v, call->dry_run, call->err);
    if (rc || !call->dry_run)
        return rc;
    return rpc_would(call, "remove group %s and wipe the labels of its PVs", rpc_text(call, "vg"));
}

static int rename_vg(struct rpc_call *call)
{
    const char *to = rpc_text(call, "to");
    struct catalog_vg *v;
    int rc = find(call, &v);

    if (rc == 0)
        rc = groups_rename(call->daemon, v, to, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "rename group %s to %s", vg_name(v->vg), to);
    return rpc_result(call, rpc_vg(v));
}

static int set(struct rpc_call *call)
{
    const uint64_t none = UINT64_MAX;
    uint64_t percent = rpc_integer(call, "warn_percent", none);
    uint64_t reserve = rpc_integer(call, "reserve_bytes", none);
    struct catalog_vg *v;
    int rc = find(call, &v);

    if (rc == 0 && percent == none && reserve == none)
        rc = error_set(call->err, EINVAL, "what is to be set? warn_percent, reserve_bytes");
    if (rc == 0 && percent != none)
        rc = group_set_warn_percent(call->daemon, v, percent, call->dry_run, call->err);
    if (rc == 0 && reserve != none)
        rc = group_set_reserve_bytes(call->daemon, v, reserve, call->dry_run, call->err);
    if (rc)
        return rc;
    return call->dry_run ? rpc_would(call, "change settings of group %s", vg_name(v->vg))
                         : rpc_result(call, rpc_vg(v));
}

#define VG                                                                                         \
    {                                                                                              \
        "vg", RPC_TEXT, true, "the volume group"                                                   \
    }
#define PVS                                                                                        \
    {                                                                                              \
        "pvs", RPC_LIST, true, "arrays by name, or paths"                                          \
    }
#define FORCE                                                                                      \
    {                                                                                              \
        "force", RPC_FLAG, false, "take PVs that carry something"                                  \
    }
const struct rpc_method rpc_vg_methods[] = {
    {"vg.create", "Creates a volume group on arrays or bare paths.", RPC_CHANGES | RPC_DISKS,
        {VG, PVS, {"extent_size_bytes", RPC_INTEGER, false, "default 4 MiB"}, FORCE}, create},
    {"vg.extend", "Adds PVs to a group.", RPC_CHANGES | RPC_DISKS, {VG, PVS, FORCE}, extend},
    {"vg.reduce", "Takes an empty PV out of a group.", RPC_CHANGES | RPC_DISKS,
        {VG, {"pv", RPC_TEXT, true, "an array's name, or a path"}}, reduce},
    {"vg.set", "Sets when a group tells that it fills up, and what sparse volumes leave free.",
        RPC_CHANGES | RPC_DISKS,
        {VG, {"warn_percent", RPC_INTEGER, false, "an event when more is in use (100: never)"},
            {"reserve_bytes", RPC_INTEGER, false, "growing sparse volumes leave so much"}},
        set},
    {"vg.list", "Lists the volume groups.", 0, {{0}}, list},
    {"vg.show", "Shows a group, its volumes and PVs.", 0, {VG}, show},
    {"vg.remove", "Removes a group that has no volumes.", RPC_CHANGES | RPC_DISKS, {VG}, remove_vg},
    {"vg.rename", "Renames a group none of whose volumes is exported.", RPC_CHANGES | RPC_DISKS,
        {VG, {"to", RPC_TEXT, true, "the new name"}}, rename_vg},
    {0},
};
