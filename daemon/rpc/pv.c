/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pv.*: the PVs of all groups. */
#include <errno.h>

#include "daemon.h"
#include "lvm/vg.h"
#include "rpc/method.h"
#include "rpc/objects.h"

int rpc_add_pvs(json_t *list, const struct vg_status *s)
{
    for (unsigned i = 0; i < s->pv_count; i++) {
        const struct vg_pv_status *pv = &s->pvs[i];

        if (json_array_append_new(
                list, json_pack("{s:s, s:s?, s:s, s:s, s:I, s:I, s:b}", "name", pv->name, "path",
                          pv->name[0] == '/' ? pv->name : NULL, "vg", s->name, "uuid", pv->uuid,
                          "size_bytes", (json_int_t)pv->size_bytes, "free_bytes",
                          (json_int_t)pv->free_bytes, "missing", pv->missing)))
            return -ENOMEM;
    }
    return 0;
}

static int list(struct rpc_call *call)
{
    json_t *pvs = json_array();
    int rc = 0;

    list_for_each (it, &call->daemon->catalog.vgs) {
        struct vg_status *s = vg_status(container_of(it, struct catalog_vg, link)->vg);

        if (rc == 0)
            rc = s ? rpc_add_pvs(pvs, s) : -ENOMEM;
        if (s)
            vg_status_free(s);
    }
    if (rc) {
        json_decref(pvs);
        return rc;
    }
    return rpc_result(call, json_pack("{s:o}", "pvs", pvs));
}

const struct rpc_method rpc_pv_methods[] = {
    {"pv.list", "Lists the PVs of all groups.", 0, {{0}}, list},
    {0},
};
