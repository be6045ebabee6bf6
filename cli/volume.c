/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar volume ... */
#include <stdio.h>

#include "cli.h"
#include "table.h"

static void volume_row(struct table *t, json_t *v)
{
    char name[300], exports[24];

    snprintf(name, sizeof name, "%s/%s", text_of(v, "vg"), text_of(v, "name"));
    snprintf(exports, sizeof exports, "%zu", json_array_size(json_object_get(v, "exports")));
    TABLE_ROW(t, NULL, name, text_of(v, "format"), size_of(v, "size_bytes"),
        size_of(v, "allocated_bytes"), exports);
}

static struct table *volume_table(void)
{
    return TABLE_NEW(false, "VOLUME", "FORMAT", ">SIZE", ">ALLOCATED", ">EXPORTS");
}

static void show_volume(const struct cli *cli, json_t *v)
{
    struct table *t = volume_table();

    volume_row(t, v);
    table_print(t);
}

static void show_volumes(const struct cli *cli, json_t *result)
{
    struct table *t = volume_table();
    json_t *v;
    size_t i;

    json_array_foreach (json_object_get(result, "volumes"), i, v) {
        volume_row(t, v);
    }
    table_print(t);
}

#define VOLUME                                                                                     \
    {                                                                                              \
        "VG/NAME", NULL, ARG_VOLUME                                                                \
    }

const struct command volume_commands[] = {
    {"volume", "create", "volume.create", "Create a volume; it reads as zeros.", {VOLUME},
        {{"size", "SIZE", "size_bytes", ARG_SIZE, true, "rounded up to whole extents"},
            {"format", "FORMAT", "format", ARG_TEXT, false, "raw"}},
        .changes_disks = true, .show = show_volume},
    {"volume", "resize", "volume.resize", "Grow or shrink a volume, also while it is in use.",
        {VOLUME, {"[+|-]SIZE", NULL, ARG_SIZE_CHANGE}},
        {{"force", NULL, "force", ARG_FLAG, false, "shrink although something there is in use"}},
        .changes_disks = true, .show = show_volume},
    {"volume", "list", "volume.list", "List the volumes.", {{"VG", "vg", ARG_TEXT, true}},
        .show = show_volumes},
    {"volume", "show", "volume.show", "Show a volume.", {VOLUME}, .show = show_volume},
    {"volume", "remove", "volume.remove", "Remove a volume and its data.", {VOLUME},
        .changes_disks = true, .confirm = "remove the volume %s and its data"},
    {"volume", "rename", "volume.rename", "Rename a volume.", {VOLUME, {"NEW", "to", ARG_TEXT}},
        .changes_disks = true, .show = show_volume},
    {0},
};
