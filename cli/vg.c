/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar vg ..., ashlar pv ... */
#include <stdio.h>

#include "cli.h"
#include "table.h"

static const char *vg_state(json_t *vg)
{
    if (json_is_true(json_object_get(vg, "partial")))
        return "PVs missing";
    return json_is_true(json_object_get(vg, "space_low")) ? "complete, nearly full" : "complete";
}

static void vg_row(struct table *t, json_t *vg)
{
    char pvs[512];

    TABLE_ROW(t, NULL, text_of(vg, "name"), size_of(vg, "size_bytes"), size_of(vg, "free_bytes"),
        size_of(vg, "extent_size_bytes"), joined(json_object_get(vg, "pvs"), " ", pvs, sizeof pvs),
        vg_state(vg));
}

static struct table *vg_table(void)
{
    return TABLE_NEW(false, "NAME", ">SIZE", ">FREE", ">EXTENT", "PVS", "STATE");
}

static void show_vg(const struct cli *cli, json_t *vg)
{
    struct table *t = vg_table();
    json_t *v;
    size_t i;

    vg_row(t, vg);
    table_print(t);
    if (json_is_string(json_object_get(vg, "read_only_reason")))
        printf("never modified: %s\n", text_of(vg, "read_only_reason"));
    if (!json_array_size(json_object_get(vg, "volumes")))
        return;
    t = TABLE_NEW(false, "VOLUME", "FORMAT", ">SIZE");
    json_array_foreach (json_object_get(vg, "volumes"), i, v) {
        TABLE_ROW(t, NULL, text_of(v, "name"), text_of(v, "format"), size_of(v, "size_bytes"));
    }
    table_print(t);
}

static void show_vgs(const struct cli *cli, json_t *result)
{
    struct table *t = vg_table();
    json_t *vg;
    size_t i;

    json_array_foreach (json_object_get(result, "vgs"), i, vg) {
        vg_row(t, vg);
    }
    table_print(t);
}

static void show_pvs(const struct cli *cli, json_t *result)
{
    struct table *t = TABLE_NEW(false, "NAME", "VG", ">SIZE", ">FREE", "STATE");
    json_t *pv;
    size_t i;

    json_array_foreach (json_object_get(result, "pvs"), i, pv) {
        TABLE_ROW(t, NULL, text_of(pv, "name"), text_of(pv, "vg"), size_of(pv, "size_bytes"),
            size_of(pv, "free_bytes"),
            json_is_true(json_object_get(pv, "missing")) ? "missing" : "present");
    }
    table_print(t);
}

#define VG                                                                                         \
    {                                                                                              \
        "VG", "vg", ARG_TEXT                                                                       \
    }
#define PVS                                                                                        \
    {                                                                                              \
        "PV", "pvs", ARG_PATHS                                                                     \
    }
#define FORCE                                                                                      \
    {                                                                                              \
        "force", NULL, "force", ARG_FLAG, false, "override signatures found on a PV"               \
    }

const struct command vg_commands[] = {
    {"vg", "create", "vg.create", "Create a volume group on arrays or bare members.", {VG, PVS},
        {{"extent-size", "SIZE", "extent_size_bytes", ARG_SIZE, false, "4M unless given"}, FORCE},
        .changes_disks = true, .show = show_vg},
    {"vg", "extend", "vg.extend", "Add PVs to a group.", {VG, PVS}, {FORCE}, .changes_disks = true,
        .show = show_vg},
    {"vg", "reduce", "vg.reduce", "Take an empty PV out of a group.", {VG, {"PV", "pv", ARG_PATH}},
        .changes_disks = true, .show = show_vg},
    {"vg", "set", "vg.set", "Set when a group tells that it fills up, and what it keeps back.",
        {VG},
        {{"warn", "PERCENT", "warn_percent", ARG_NUMBER, false,
             "an event when more is in use (100: never)"},
            {"reserve", "SIZE", "reserve_bytes", ARG_SIZE, false,
                "growing sparse volumes leave so much free"}},
        .changes_disks = true, .show = show_vg},
    {"vg", "list", "vg.list", "List the volume groups.", .show = show_vgs},
    {"vg", "show", "vg.show", "Show a group and its volumes.", {VG}, .show = show_vg},
    {"vg", "remove", "vg.remove", "Remove a group that has no volumes.", {VG},
        .changes_disks = true, .confirm = "remove the volume group %s"},
    {"vg", "rename", "vg.rename", "Rename a group.", {VG, {"NEW", "to", ARG_TEXT}},
        .changes_disks = true, .show = show_vg},
    {0},
};

const struct command pv_commands[] = {
    {"pv", "list", "pv.list", "List the PVs.", .show = show_pvs},
    {0},
};
