/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar scan */
#include <stdio.h>

#include "cli.h"
#include "table.h"

static void show_scan(const struct cli *cli, json_t *result)
{
    struct table *t = TABLE_NEW(false, "PATH", "WHAT", "TAKEN", "REASON");
    char arrays[512], vgs[512];
    json_t *f;
    size_t i;

    json_array_foreach (json_object_get(result, "found"), i, f) {
        TABLE_ROW(t, NULL, text_of(f, "path"), text_of(f, "what"),
            json_is_true(json_object_get(f, "taken")) ? "yes" : "no", text_of(f, "reason"));
    }
    table_print(t);
    printf("arrays: %s\nvolume groups: %s\n",
        joined(json_object_get(result, "arrays"), " ", arrays, sizeof arrays),
        joined(json_object_get(result, "vgs"), " ", vgs, sizeof vgs));
}

const struct command scan_commands[] = {
    {"scan", NULL, "scan",
        "Find members and PVs in paths (else the configured ones); assemble and activate what is "
        "complete.",
        {{"PATH", "paths", ARG_PATHS, true}},
        {{"force", NULL, "force", ARG_FLAG, false, "start arrays with members missing"}},
        .changes_disks = true, .show = show_scan},
    {0},
};
