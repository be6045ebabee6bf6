/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar array ... */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "table.h"

static const char *sync_text(json_t *array, char *buf, size_t len)
{
    json_t *sync = json_object_get(array, "sync");
    double done = json_number_value(json_object_get(sync, "done_bytes"));
    double total = json_number_value(json_object_get(sync, "total_bytes"));

    snprintf(buf, len, "%s", text_of(sync, "action"));
    if (total > 0 && strcmp(buf, "idle"))
        snprintf(buf, len, "%s %.1f%%%s", text_of(sync, "action"), done * 100 / total,
            json_is_true(json_object_get(sync, "paused")) ? " (paused)" : "");
    return buf;
}

static const char *level_text(json_t *array, char *buf, size_t len)
{
    json_t *layout = json_object_get(array, "layout");

    snprintf(buf, len, "raid%d%s%s", (int)json_integer_value(json_object_get(array, "level")),
        json_is_string(layout) ? " " : "", json_is_string(layout) ? json_string_value(layout) : "");
    return buf;
}

static void show_members(json_t *array)
{
    struct table *t =
        TABLE_NEW(false, "ROLE", "MEMBER", "STATE", ">ERRORS", ">CORRECTED", ">RECENT");
    json_t *m;
    size_t i;

    json_array_foreach (json_object_get(array, "members"), i, m) {
        char errors[24], corrected[24], recent[24], role[24] = "-";

        if (json_is_integer(json_object_get(m, "role")))
            snprintf(role, sizeof role, "%d", (int)json_integer_value(json_object_get(m, "role")));
        snprintf(errors, sizeof errors, "%lld",
            (long long)json_integer_value(json_object_get(m, "errors")));
        snprintf(corrected, sizeof corrected, "%lld",
            (long long)json_integer_value(json_object_get(m, "errors_corrected")));
        snprintf(recent, sizeof recent, "%lld",
            (long long)json_integer_value(json_object_get(m, "errors_recent")));
        TABLE_ROW(
            t, NULL, role, text_of(m, "path"), text_of(m, "state"), errors, corrected, recent);
    }
    table_print(t);
}

static void show_worn(json_t *array)
{
    json_t *m;
    size_t i;

    json_array_foreach (json_object_get(array, "members"), i, m)
        if (json_is_true(json_object_get(m, "worn")))
            printf("%s wears out: more than %lld read errors lately\n", text_of(m, "path"),
                (long long)json_integer_value(json_object_get(array, "max_read_errors")));
}

static bool lacks_log(json_t *array)
{
    json_int_t level = json_integer_value(json_object_get(array, "level"));

    return (level == 5 || level == 6) && json_is_false(json_object_get(array, "parity_log"));
}

static void show_array(const struct cli *cli, json_t *array)
{
    bool chunked = json_integer_value(json_object_get(array, "chunk_bytes")) > 0;
    char level[64], sync[64];

    printf("%s: %s, %s%s%s, %s, sync %s\n", text_of(array, "name"),
        level_text(array, level, sizeof level), size_of(array, "size_bytes"),
        chunked ? ", chunk " : "", chunked ? size_of(array, "chunk_bytes") : "",
        text_of(array, "state"), sync_text(array, sync, sizeof sync));
    printf("uuid %s, %s not known to be in sync\n", text_of(array, "uuid"),
        size_of(array, "unsynced_bytes"));
    if (lacks_log(array))
        puts("no parity log: a member has no room for it, so after a crash no member may be "
             "missing");
    show_members(array);
    show_worn(array);
}

static void show_added(const struct cli *cli, json_t *array)
{
    if (json_is_true(json_object_get(array, "readded")))
        puts("re-added: only what changed meanwhile is copied");
    show_array(cli, array);
}

static void show_arrays(const struct cli *cli, json_t *result)
{
    struct table *t = TABLE_NEW(false, "NAME", "LEVEL", "STATE", ">SIZE", ">MEMBERS", "SYNC");
    json_t *a;
    size_t i;

    json_array_foreach (json_object_get(result, "arrays"), i, a) {
        char level[64], sync[64], members[24];

        snprintf(members, sizeof members, "%zu", json_array_size(json_object_get(a, "members")));
        TABLE_ROW(t, NULL, text_of(a, "name"), level_text(a, level, sizeof level),
            text_of(a, "state"), size_of(a, "size_bytes"), members,
            sync_text(a, sync, sizeof sync));
    }
    table_print(t);
}

#define NAME                                                                                       \
    {                                                                                              \
        "NAME", "name", ARG_TEXT                                                                   \
    }
#define MEMBER                                                                                     \
    {                                                                                              \
        "MEMBER", "member", ARG_PATH                                                               \
    }
#define FORCE                                                                                      \
    {                                                                                              \
        "force", NULL, "force", ARG_FLAG, false, "override signatures found on a member"           \
    }

const struct command array_commands[] = {
    {"array", "create", "array.create", "Create an array; a member may be given as \"missing\".",
        {NAME, {"MEMBER", "members", ARG_PATHS}},
        {{"level", "LEVEL", "level", ARG_LEVEL, true, "0, 1, 5, 6 or 10"},
            {"layout", "LAYOUT", "layout", ARG_TEXT, false,
                "RAID10: near2 (default), far2, offset2, ...; RAID5 and 6: left-symmetric "
                "(default), "
                "left-asymmetric, right-..., parity-first, parity-last"},
            {"chunk", "SIZE", "chunk_bytes", ARG_SIZE, false, "512K unless given"},
            {"spare", "MEMBER", "spares", ARG_PATHS, false,
                "a hot spare; may be given several times"},
            {"member-size", "SIZE", "member_bytes", ARG_SIZE, false,
                "use only so much of each member"},
            {"assume-clean", NULL, "assume_clean", ARG_FLAG, false,
                "the members are known to agree"},
            FORCE},
        .changes_disks = true, .show = show_array},
    {"array", "assemble", "array.assemble", "Assemble an array from its members.",
        {NAME, {"MEMBER", "members", ARG_PATHS}},
        {{"force", NULL, "force", ARG_FLAG, false,
            "start with members missing, from stale ones when too few are fresh, and a parity "
            "array that was not stopped cleanly"}},
        .changes_disks = true, .show = show_array},
    {"array", "stop", "array.stop",
        "Stop an array; it is marked clean and stays as it is on its members.", {NAME},
        .changes_disks = true},
    {"array", "list", "array.list", "List the arrays.", .show = show_arrays},
    {"array", "show", "array.show", "Show an array and its members.", {NAME}, .show = show_array},
    {"array", "set", "array.set", "Change a setting of an array, from now on.", {NAME},
        {{"max-read-errors", "N", "max_read_errors", ARG_NUMBER, true,
            "a member with more corrected read errors, halved every hour, is replaced by a spare, "
            "or fails; 20 unless set"}},
        .show = show_array},
    {"array", "fail", "array.fail", "Mark a member faulty; a spare takes over.", {NAME, MEMBER},
        .changes_disks = true, .show = show_array},
    {"array", "remove", "array.remove", "Take a faulty, stale or spare member out.", {NAME, MEMBER},
        .changes_disks = true, .show = show_array},
    {"array", "add", "array.add",
        "Add a member: a former one comes back by bitmap, another becomes a spare.", {NAME, MEMBER},
        {FORCE}, .changes_disks = true, .show = show_added},
    {"array", "replace", "array.replace",
        "Copy a member to another while it goes on serving, then take it out.",
        {NAME, {"OLD", "member", ARG_PATH}},
        {{"with", "NEW", "with", ARG_PATH, false, "the new member; a spare unless given"}, FORCE},
        .changes_disks = true},
    {"array", "check", "array.check", "Compare all copies, and data with parity.", {NAME},
        {{"repair", NULL, "repair", ARG_FLAG, false, "make what differs agree"}},
        .changes_disks = true, .show = show_mismatches, .run = check_array},
    {"array", "mismatches", "array.mismatches",
        "Show what the last check or repair found, by volume and member.", {NAME},
        .show = show_mismatches},
    {"array", "sync", "array.sync", "Bring everything in sync, in use or not.", {NAME}},
    {"array", "destroy", "array.destroy", "Stop an array and wipe its superblocks.", {NAME},
        {{"force", NULL, "force", ARG_FLAG, false, "also when it carries data"}},
        .changes_disks = true, .confirm = "destroy the array %s with all that is on it"},
    {0},
};
