/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar export ... */
#include <stdio.h>

#include "cli.h"
#include "table.h"

static void export_row(struct table *t, json_t *e)
{
    char clients[24];

    snprintf(clients, sizeof clients, "%d", (int)json_integer_value(json_object_get(e, "clients")));
    TABLE_ROW(t, NULL, text_of(e, "target"), text_of(e, "type"), text_of(e, "path"),
        text_of(e, "name"),
        json_is_true(json_object_get(e, "read_only")) ? "read-only" : "read-write", clients);
}

static struct table *export_table(void)
{
    return TABLE_NEW(false, "TARGET", "TYPE", "PATH", "NAME", "ACCESS", ">CLIENTS");
}

static void show_export(const struct cli *cli, json_t *e)
{
    struct table *t = export_table();

    export_row(t, e);
    table_print(t);
}

static void show_exports(const struct cli *cli, json_t *result)
{
    struct table *t = export_table();
    json_t *e;
    size_t i;

    json_array_foreach (json_object_get(result, "exports"), i, e) {
        export_row(t, e);
    }
    table_print(t);
}

/* --nbd [PATH]: the type, and the path as the argument behind it when there is one. */
static int add_export(struct cli *cli, const struct command *command, json_t *params)
{
    json_t *result;

    if (!json_is_true(json_object_get(params, "nbd"))) {
        fputs("ashlar: export add: say how: --nbd [PATH]\n", stderr);
        json_decref(params);
        return EXIT_USAGE;
    }
    json_object_del(params, "nbd");
    json_object_set_new(params, "type", json_string("nbd"));
    if (cli_call(cli, command->method, params, &result))
        return EXIT_FAILED;
    return cli_finish(cli, command, result);
}

#define TARGET                                                                                     \
    {                                                                                              \
        "TARGET", "target", ARG_TEXT                                                               \
    }

const struct command export_commands[] = {
    {"export", "add", "export.add",
        "Serve a volume (VG/NAME) or an array on a Unix socket: PATH, or the daemon's own.",
        {TARGET, {"PATH", "path", ARG_PATH, true}},
        {{"nbd", NULL, "nbd", ARG_FLAG, false, "by NBD; PATH may follow"},
            {"read-only", NULL, "read_only", ARG_FLAG, false, "refuse writes"}},
        .show = show_export, .run = add_export},
    {"export", "list", "export.list", "List the exports.", .show = show_exports},
    {"export", "show", "export.show", "Show the exports of a target.", {TARGET},
        .show = show_exports},
    {"export", "remove", "export.remove", "Stop serving a target; its clients are disconnected.",
        {TARGET, {"PATH", "path", ARG_PATH, true}}},
    {0},
};
