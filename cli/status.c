/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ashlar status: everything as a tree, the way data goes: array, its members; on it its volume
 * group, the volumes, their exports. A group that stands on several PVs is shown under the first
 * and named under the others.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "table.h"

typedef struct libscols_line line;

static void add_exports(struct table *t, line *parent, json_t *exports, const char *target)
{
    json_t *e;
    size_t i;

    json_array_foreach (exports, i, e) {
        char clients[32], name[512];

        if (strcmp(text_of(e, "target"), target))
            continue;
        snprintf(clients, sizeof clients, "%d client(s)",
            (int)json_integer_value(json_object_get(e, "clients")));
        snprintf(name, sizeof name, "%s %s", text_of(e, "type"), text_of(e, "path"));
        TABLE_ROW(t, parent, name, "export", "", clients);
    }
}

static const char *volume_state(json_t *v, char *buf, size_t len)
{
    const char *unusable = json_string_value(json_object_get(v, "unusable_reason"));
    const char *state = json_string_value(json_object_get(v, "state"));

    if (unusable)
        return unusable;
    snprintf(buf, len, "%s%s%s", text_of(v, "format"), state && strcmp(state, "ok") ? ", " : "",
        state && strcmp(state, "ok") ? state : "");
    return buf;
}

static void add_vg(struct table *t, line *parent, json_t *vg, json_t *exports)
{
    char free_text[64], target[300], state[64];
    json_t *v;
    size_t i;

    snprintf(free_text, sizeof free_text, "%s free%s%s", size_of(vg, "free_bytes"),
        json_is_true(json_object_get(vg, "space_low")) ? ", nearly full" : "",
        json_is_true(json_object_get(vg, "partial")) ? ", PVs missing" : "");
    line *l =
        TABLE_ROW(t, parent, text_of(vg, "name"), "group", size_of(vg, "size_bytes"), free_text);
    json_array_foreach (json_object_get(vg, "volumes"), i, v) {
        snprintf(target, sizeof target, "%s/%s", text_of(vg, "name"), text_of(v, "name"));
        line *volume = TABLE_ROW(
            t, l, target, "volume", size_of(v, "size_bytes"), volume_state(v, state, sizeof state));
        add_exports(t, volume, exports, target);
    }
}

/* The groups that have `pv`; as a tree where it is their first, by name elsewhere. */
static void add_groups_of(struct table *t, line *parent, json_t *status, const char *pv)
{
    json_t *vg;
    size_t i;

    json_array_foreach (json_object_get(status, "vgs"), i, vg) {
        json_t *pvs = json_object_get(vg, "pvs"), *p;
        size_t k;

        json_array_foreach (pvs, k, p) {
            if (strcmp(json_string_value(p) ? json_string_value(p) : "", pv))
                continue;
            if (k == 0)
                add_vg(t, parent, vg, json_object_get(status, "exports"));
            else
                TABLE_ROW(t, parent, text_of(vg, "name"), "group", "", "see above");
        }
    }
}

static void add_array(struct table *t, json_t *status, json_t *a)
{
    json_t *sync = json_object_get(a, "sync"), *m;
    double done = json_number_value(json_object_get(sync, "done_bytes")),
           total = json_number_value(json_object_get(sync, "total_bytes"));
    char state[96], what[96];
    size_t i;

    snprintf(state, sizeof state, "%s", text_of(a, "state"));
    if (strcmp(text_of(sync, "action"), "idle"))
        snprintf(state, sizeof state, "%s, %s %.1f%%", text_of(a, "state"), text_of(sync, "action"),
            total > 0 ? done * 100 / total : 0);
    snprintf(what, sizeof what, "raid%d %s", (int)json_integer_value(json_object_get(a, "level")),
        json_is_string(json_object_get(a, "layout")) ? text_of(a, "layout") : "");
    line *l = TABLE_ROW(t, NULL, text_of(a, "name"), what, size_of(a, "size_bytes"), state);
    json_array_foreach (json_object_get(a, "members"), i, m) {
        TABLE_ROW(
            t, l, text_of(m, "path"), "member", size_of(a, "member_bytes"), text_of(m, "state"));
    }
    add_exports(t, l, json_object_get(status, "exports"), text_of(a, "name"));
    add_groups_of(t, l, status, text_of(a, "name"));
}

static bool is_array(json_t *status, const char *name)
{
    json_t *a;
    size_t i;

    json_array_foreach (json_object_get(status, "arrays"), i, a) {
        if (!strcmp(text_of(a, "name"), name))
            return true;
    }
    return false;
}

static void show_status(const struct cli *cli, json_t *status)
{
    struct table *t = TABLE_NEW(true, "NAME", "WHAT", ">SIZE", "STATE");
    json_t *item;
    size_t i;

    json_array_foreach (json_object_get(status, "arrays"), i, item) {
        add_array(t, status, item);
    }
    json_array_foreach (json_object_get(status, "vgs"), i, item) {
        const char *first = json_string_value(json_array_get(json_object_get(item, "pvs"), 0));

        if (!first || is_array(status, first))
            continue;
        add_groups_of(t, TABLE_ROW(t, NULL, first, "PV", "", ""), status, first);
    }
    /* What is remembered and could not be brought up. */
    json_array_foreach (json_object_get(status, "missing"), i, item) {
        TABLE_ROW(
            t, NULL, text_of(item, "name"), text_of(item, "kind"), "", text_of(item, "reason"));
    }
    table_print(t);
}

const struct command status_commands[] = {
    {"status", NULL, "status",
        "Show everything as a tree: members, arrays, groups, volumes, exports.",
        .show = show_status},
    {0},
};
