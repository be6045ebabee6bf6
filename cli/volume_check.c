/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar volume check */
#include <stdio.h>

#include "cli.h"
#include "table.h"

static void print_counts(json_t *counts, const char *what)
{
    const char *fault;
    json_t *n;

    json_object_foreach (counts, fault, n) {
        if (json_integer_value(n))
            printf("%s: %lld %s\n", what, (long long)json_integer_value(n), fault);
    }
}

void show_check(const struct cli *cli, json_t *result)
{
    json_t *found;
    size_t i;

    json_array_foreach (json_object_get(result, "findings"), i, found) {
        printf("%s\n", text_of(found, "text"));
    }
    if (json_is_true(json_object_get(result, "more")))
        puts("and more");
    print_counts(json_object_get(result, "found"), "found");
    print_counts(json_object_get(result, "repaired"), "repaired");
    puts(json_is_true(json_object_get(result, "clean")) ? "nothing is wrong" : "it is damaged");
}

int check_volume(struct cli *cli, const struct command *command, json_t *params)
{
    json_t *result;

    if (!json_object_get(params, "vg") == !json_object_get(params, "file")) {
        fputs("ashlar: volume check: a volume or --file, please\n", stderr);
        json_decref(params);
        return EXIT_USAGE;
    }
    if (cli_call(cli, command->method, params, &result))
        return EXIT_FAILED;
    return cli_finish(cli, command, result);
}
