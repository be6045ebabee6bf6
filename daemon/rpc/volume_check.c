/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume.check: what is wrong with an image. */
#include <errno.h>
#include <stdlib.h>

#include "daemon.h"
#include "groups.h"
#include "image_check.h"
#include "images.h"
#include "json.h"
#include "rpc/method.h"

static json_t *counts_json(const uint64_t counts[CHECK_FAULTS])
{
    json_t *json = json_object();

    for (enum check_fault f = 0; f < CHECK_FAULTS; f++)
        json_object_set_new(json, check_fault_name(f), json_integer((json_int_t)counts[f]));
    return json;
}

static json_t *result_json(const struct check_result *r)
{
    json_t *findings = json_array();
    bool clean = true, more = false;

    for (unsigned i = 0; i < r->finding_count; i++)
        json_array_append_new(findings,
            json_pack("{s:s, s:I, s:o}", "fault", check_fault_name(r->findings[i].fault), "offset",
                (json_int_t)r->findings[i].offset, "text", json_text(r->findings[i].text)));
    for (unsigned f = 0; f < CHECK_FAULTS; f++)
        clean &= r->found[f] <= r->repaired[f];
    more = r->finding_count == CHECK_FINDINGS_MAX;
    return json_pack("{s:b, s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:I}", "clean", clean, "found",
        counts_json(r->found), "repaired", counts_json(r->repaired), "findings", findings, "more",
        more, "clusters_total", (json_int_t)r->clusters_total, "clusters_allocated",
        (json_int_t)r->clusters_allocated, "clusters_compressed",
        (json_int_t)r->clusters_compressed, "image_end_bytes", (json_int_t)r->image_end_bytes);
}

static int find(struct rpc_call *call, struct catalog_image **i)
{
    const char *vg = rpc_text(call, "vg"), *name = rpc_text(call, "name");
    struct lv *lv;
    int rc;

    if (!vg || !name)
        return error_set(call->err, EINVAL, "a volume (vg and name) or a file, please");
    rc = groups_find_volume(call->daemon, vg, name, &lv, call->err);
    if (rc)
        return rc;
    *i = images_guest(call->daemon, lv);
    return *i ? 0
              : error_set(call->err, EOPNOTSUPP, "volume %s/%s is raw: there is nothing to check",
                    vg, name);
}

static int check_volume(struct rpc_call *call, struct check_result *r)
{
    struct catalog_image *i;
    int rc = find(call, &i);

    return rc ? rc : image_check(i, r, call->err);
}

static int repair_volume(struct rpc_call *call, struct check_result *r)
{
    struct catalog_image *i;
    int rc;

    catalog_change_begin(call->daemon);
    rc = find(call, &i);
    if (rc == 0)
        rc = image_repair(i, r, call->err);
    return catalog_change_end(call->daemon, rc, call->err);
}

static int check(struct rpc_call *call)
{
    const char *file = rpc_text(call, "file");
    bool repair = rpc_flag(call, "repair");
    struct check_result *r = calloc(1, sizeof *r);
    int rc = -ENOMEM;

    if (r && file)
        rc = image_check_file(call->daemon, file, repair, r, call->err);
    else if (r)
        rc = repair ? repair_volume(call, r) : check_volume(call, r);
    if (rc == 0)
        rc = rpc_result(call, result_json(r));
    free(r);
    return rc;
}

const struct rpc_method rpc_volume_check_methods[] = {
    {"volume.check", "Checks the image of a sparse volume, or in a file.", 0,
        {{"vg", RPC_TEXT, false, "the volume group"}, {"name", RPC_TEXT, false, "the volume"},
            {"file", RPC_TEXT, false, "a file with a qcow2 image, instead of a volume"},
            {"repair", RPC_FLAG, false, "repair it (a volume that is not exported)"}},
        check},
    {0},
};
