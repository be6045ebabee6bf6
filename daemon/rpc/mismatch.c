/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* array.mismatches: what the last check or repair has found, by volume and member. */
#include <errno.h>
#include <stdlib.h>

#include "arrays.h"
#include "daemon.h"
#include "places.h"
#include "rpc/method.h"
#include "rpc/objects.h"

static void add_place(void *list, const struct place *p)
{
    bool volume = p->use == PLACE_VOLUME;

    json_array_append_new(list,
        json_pack("{s:I, s:I, s:s, s:s?, s:o}", "offset_bytes", (json_int_t)p->array_offset_bytes,
            "length_bytes", (json_int_t)p->length_bytes, "use", place_use_name(p->use), "volume",
            volume ? p->volume : NULL, "volume_offset_bytes",
            volume ? json_integer((json_int_t)p->offset_bytes) : json_null()));
}

static json_t *suspects_json(const struct array_mismatches *l, const struct array_mismatch *m)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < m->suspects; i++)
        json_array_append_new(list, json_string(l->members[m->roles[i]]));
    return list;
}

static json_t *mismatch_json(
    const struct catalog_array *a, const struct array_mismatches *l, const struct array_mismatch *m)
{
    static const char *const wrong[] = {
        [ARRAY_WRONG_UNKNOWN] = NULL,
        [ARRAY_WRONG_DATA] = "data",
        [ARRAY_WRONG_PARITY] = "parity",
    };
    json_t *places = json_array();

    places_of(a, m, add_place, places);
    return json_pack("{s:s?, s:o, s:o}", "wrong", wrong[m->wrong], "members", suspects_json(l, m),
        "places", places);
}

static json_t *list_json(const struct catalog_array *a, const struct array_mismatches *l)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < l->count; i++)
        json_array_append_new(list, mismatch_json(a, l, &l->items[i]));
    return json_pack("{s:s?, s:I, s:b, s:o}", "action",
        l->action == ARRAY_IDLE ? NULL : array_action_name(l->action), "mismatch_bytes",
        (json_int_t)l->bytes, "more", l->more, "mismatches", list);
}

static int answer(struct rpc_call *call, const struct catalog_array *a)
{
    struct array_mismatches *l = array_mismatches(a->array);
    int rc = l ? rpc_result(call, list_json(a, l)) : -ENOMEM;

    free(l);
    return rc;
}

int rpc_array_mismatches(struct rpc_call *call)
{
    struct catalog_array *a;
    int rc;

    catalog_view_begin(call->daemon);
    rc = arrays_find(call->daemon, rpc_text(call, "name"), &a, call->err);
    if (rc == 0 && a->stopping)
        rc = error_set(call->err, EBUSY, "array %s is being stopped", a->name);
    if (rc == 0)
        rc = answer(call, a);
    catalog_view_end(call->daemon);
    return rc;
}
