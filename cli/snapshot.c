/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar snapshot ... */
#include <time.h>

#include "cli.h"
#include "table.h"

static void show_snapshots(const struct cli *cli, json_t *result)
{
    json_t *list = json_object_get(result, "snapshots"), *s;
    struct table *t;
    size_t i;

    if (!list)
        return;
    t = TABLE_NEW(false, "SNAPSHOT", "TAKEN", ">SIZE");
    json_array_foreach (list, i, s) {
        time_t seconds = (time_t)json_integer_value(json_object_get(s, "time"));
        char taken[32] = "-";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
            strftime(taken, sizeof taken, "%F %T", &tm);
        TABLE_ROW(t, NULL, text_of(s, "name"), taken, size_of(s, "size_bytes"));
    }
    table_print(t);
}

#define SNAPSHOT                                                                                   \
    {                                                                                              \
        "VG/NAME@SNAP", NULL, ARG_SNAPSHOT                                                         \
    }

const struct command snapshot_commands[] = {
    {"snapshot", "create", "snapshot.create", "Keep what a volume is now.", {SNAPSHOT},
        .changes_disks = true, .show = show_snapshots},
    {"snapshot", "list", "snapshot.list", "List the snapshots of a volume.",
        {{"VG/NAME", NULL, ARG_VOLUME}}, .show = show_snapshots},
    {"snapshot", "revert", "snapshot.revert", "Make a volume what it was.", {SNAPSHOT},
        .changes_disks = true, .confirm = "give up what %s is now", .show = show_snapshots},
    {"snapshot", "delete", "snapshot.delete", "Delete a snapshot.", {SNAPSHOT},
        .changes_disks = true, .confirm = "delete the snapshot %s"},
    {0},
};
