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

static void print_fact(json_t *v, const char *key, const char *what)
{
    if (json_is_string(json_object_get(v, key)))
        printf("%s %s\n", what, text_of(v, key));
}

static void show_overlay(json_t *overlay)
{
    if (!json_is_object(overlay))
        return;
    printf("%s: %s written since snapshot %s%s\n", text_of(overlay, "lv"),
        size_of(overlay, "used_bytes"), text_of(overlay, "snapshot"),
        json_is_true(json_object_get(overlay, "committing")) ? ", being committed" : "");
}

static void show_volume(const struct cli *cli, json_t *v)
{
    struct table *t = volume_table();

    volume_row(t, v);
    table_print(t);
    if (json_is_integer(json_object_get(v, "used_bytes")))
        printf("%s of what is allocated are in use, clusters of %s\n", size_of(v, "used_bytes"),
            size_of(v, "cluster_bytes"));
    print_fact(v, "backing", "a clone of");
    show_overlay(json_object_get(v, "overlay"));
    print_fact(v, "state", "state:");
    print_fact(v, "state_reason", "because:");
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

/* A clone may have the size of what it is cloned from. */
static int create_volume(struct cli *cli, const struct command *command, json_t *params)
{
    json_t *result;

    if (!json_object_get(params, "size_bytes") && !json_object_get(params, "from")) {
        fputs("ashlar: volume create: missing option: size\n", stderr);
        json_decref(params);
        return EXIT_USAGE;
    }
    if (cli_call(cli, command->method, params, &result))
        return EXIT_FAILED;
    return cli_finish(cli, command, result);
}

#define VOLUME                                                                                     \
    {                                                                                              \
        "VG/NAME", NULL, ARG_VOLUME                                                                \
    }

#define FILE_FORMAT                                                                                \
    {                                                                                              \
        "format", "FORMAT", "format", ARG_TEXT, false, "of the file: raw (default) or qcow2"       \
    }
#define COMPRESSION                                                                                \
    {                                                                                              \
        "compression", "METHOD", "compression", ARG_TEXT, false,                                   \
            "with --compress: zlib (default) or zstd"                                              \
    }

const struct command volume_commands[] = {
    {"volume", "create", "volume.create", "Create a volume; it reads as zeros, or as another one.",
        {VOLUME},
        {{"size", "SIZE", "size_bytes", ARG_SIZE, false, "raw: rounded up to whole extents"},
            {"format", "FORMAT", "format", ARG_TEXT, false, "raw, or sparse"},
            {"cluster", "SIZE", "cluster_bytes", ARG_SIZE, false, "sparse: 128K unless given"},
            {"from", "VG/OTHER[@SNAP]", "from", ARG_TEXT, false,
                "a sparse clone, as large unless --size"}},
        .changes_disks = true, .show = show_volume, .run = create_volume},
    {"volume", "check", "volume.check", "Find what is wrong with a sparse volume, or repair it.",
        {{"VG/NAME", NULL, ARG_VOLUME, true}},
        {{"file", "PATH", "file", ARG_PATH, false, "a qcow2 image in a file, instead of a volume"},
            {"repair", NULL, "repair", ARG_FLAG, false, "as far as possible; not while exported"}},
        .show = show_check, .run = check_volume},
    {"volume", "flatten", "volume.flatten", "Make a clone stand on its own.", {VOLUME},
        .changes_disks = true},
    {"volume", "compact", "volume.compact",
        "Give back to the group what a sparse volume does not need.", {VOLUME},
        .changes_disks = true},
    {"volume", "commit", "volume.commit",
        "End the snapshot of a raw volume: what was written since goes into it.", {VOLUME},
        .changes_disks = true, .confirm = "give up the snapshot of %s"},
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
    {"volume", "load", "volume.load", "Overwrite a volume with the disk in a file.",
        {VOLUME, {"FILE", "path", ARG_FILE}},
        {FILE_FORMAT,
            {"compress", NULL, "compress", ARG_FLAG, false,
                "compress the clusters of a sparse volume"},
            COMPRESSION,
            {"verify", NULL, "verify", ARG_FLAG, false, "read back what was written, and compare"},
            {"sha256", "HEX", "sha256", ARG_TEXT, false, "what the SHA-256 of the disk must be"}},
        .changes_disks = true, .confirm = "overwrite all of the volume %s"},
    {"volume", "save", "volume.save", "Write a volume to a new file.",
        {{"VG/NAME[@SNAP]", NULL, ARG_STATE}, {"FILE", "path", ARG_FILE}},
        {FILE_FORMAT, {"compress", NULL, "compress", ARG_FLAG, false, "compress (qcow2)"},
            COMPRESSION},
        .changes_disks = true},
    {0},
};
