/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a check has found: ashlar array check, ashlar array mismatches. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "table.h"

static const char *bytes_text(json_t *object, const char *key, char *buf, size_t len)
{
    json_t *n = json_object_get(object, key);

    snprintf(buf, len, "-");
    if (json_is_integer(n))
        snprintf(buf, len, "%lld", (long long)json_integer_value(n));
    return buf;
}

static void place_row(struct table *t, json_t *mismatch, json_t *place)
{
    bool volume = json_is_string(json_object_get(place, "volume"));
    char members[1024], in_volume[24], length[24], in_array[24], use[24];

    snprintf(use, sizeof use, "(%s)", text_of(place, "use"));
    TABLE_ROW(t, NULL, volume ? text_of(place, "volume") : use,
        bytes_text(place, "volume_offset_bytes", in_volume, sizeof in_volume),
        bytes_text(place, "length_bytes", length, sizeof length), text_of(mismatch, "wrong"),
        joined(json_object_get(mismatch, "members"), " or ", members, sizeof members),
        bytes_text(place, "offset_bytes", in_array, sizeof in_array));
}

static void show_table(json_t *mismatches)
{
    struct table *t =
        TABLE_NEW(false, "VOLUME", ">OFFSET", ">BYTES", "WRONG", "MEMBER", ">ARRAY OFFSET");
    json_t *m, *place;
    size_t i, k;

    json_array_foreach (mismatches, i, m) {
        json_array_foreach (json_object_get(m, "places"), k, place) {
            place_row(t, m, place);
        }
    }
    table_print(t);
}

void show_mismatches(const struct cli *cli, json_t *result)
{
    json_t *list = json_object_get(result, "mismatches");
    char bytes[24];

    if (!list)
        return;
    if (!json_is_string(json_object_get(result, "action"))) {
        puts("there has been no check since the array was assembled");
        return;
    }
    printf("%s found %s bytes that do not fit\n", text_of(result, "action"),
        bytes_text(result, "mismatch_bytes", bytes, sizeof bytes));
    if (json_array_size(list))
        show_table(list);
    if (json_is_true(json_object_get(result, "more")))
        puts("and more, for which there is no room in the list");
}

/* The document of a check that has ended: what it has found, and its job. */
static int report(struct cli *cli, const struct command *command, const char *name, json_t *job)
{
    json_t *found;

    if (cli_call(cli, "array.mismatches", json_pack("{s:s}", "name", name), &found))
        return EXIT_FAILED;
    json_object_set(found, "job", job);
    cli_print(cli, command, found);
    json_decref(found);
    return EXIT_DONE;
}

static int follow_check(
    struct cli *cli, const struct command *command, const char *name, json_t *result)
{
    json_t *job = json_object_get(result, "job");

    if (!json_is_integer(job) || cli->no_wait)
        return cli_finish(cli, command, json_incref(result));
    if (!job_follow(cli, json_integer_value(job)))
        return report(cli, command, name, job);
    cli_print(cli, command, result);
    return EXIT_FAILED;
}

int check_array(struct cli *cli, const struct command *command, json_t *params)
{
    json_t *name = json_incref(json_object_get(params, "name")), *result;
    int status = EXIT_FAILED;

    if (!cli_call(cli, command->method, params, &result)) {
        status = follow_check(cli, command, json_string_value(name), result);
        json_decref(result);
    }
    json_decref(name);
    return status;
}
