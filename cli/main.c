/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ashlar: reads the command line, finds the command, calls the daemon, shows the answer. Exit
 * status 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "base/arith.h"
#include "base/size.h"
#include "cli.h"

static const struct command *const nouns[] = {array_commands, scan_commands, vg_commands,
    pv_commands, volume_commands, snapshot_commands, export_commands, job_commands, status_commands,
    events_commands};

const char *text_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "-";
}

const char *size_of(json_t *object, const char *key)
{
    static char bufs[8][16];
    static unsigned next;
    json_t *n = json_object_get(object, key);
    char *buf = bufs[next++ % ARRAY_LEN(bufs)];

    return json_is_integer(n) ? size_format((uint64_t)json_integer_value(n), buf, sizeof bufs[0])
                              : "-";
}

const char *joined(json_t *list, const char *separator, char *buf, size_t len)
{
    size_t used = 0, i;
    json_t *item;

    snprintf(buf, len, "-");
    json_array_foreach (list, i, item) {
        if (used < len)
            used += (size_t)snprintf(
                buf + used, len - used, "%s%s", i ? separator : "", json_string_value(item));
    }
    return buf;
}

static int reconnect_once(struct cli *cli)
{
    if (cli->client)
        return 0;
    int rc = ashlar_connect(cli->socket, &cli->client);
    if (rc)
        fprintf(stderr, "ashlar: %s\n", ashlar_error(cli->client));
    return rc;
}

int cli_call(struct cli *cli, const char *method, json_t *params, json_t **result)
{
    char *text = json_dumps(params, JSON_COMPACT), *answer;
    int rc = reconnect_once(cli);

    json_decref(params);
    if (!rc && (rc = ashlar_call(cli->client, method, text, &answer)))
        fprintf(stderr, "ashlar: %s\n", ashlar_error(cli->client));
    free(text);
    if (rc)
        return rc;
    *result = json_loads(answer, JSON_DECODE_ANY, NULL);
    free(answer);
    return 0;
}

static void show_would(json_t *would)
{
    json_t *line;
    size_t i;

    json_array_foreach (would, i, line) {
        printf("would %s\n", json_string_value(line));
    }
}

void cli_print(const struct cli *cli, const struct command *command, json_t *result)
{
    json_t *would = json_object_get(result, "would");

    if (cli->json) {
        json_dumpf(result, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (would) {
        show_would(would);
    } else if (command->show && !cli->quiet) {
        command->show(cli, result);
    }
}

int cli_finish(struct cli *cli, const struct command *command, json_t *result)
{
    json_t *job = json_object_get(result, "job");
    int status = EXIT_DONE;

    cli_print(cli, command, result);
    if (json_is_integer(job) && cli->no_wait && !cli->json && !cli->quiet)
        printf("job %lld\n", (long long)json_integer_value(job));
    else if (json_is_integer(job) && !cli->no_wait)
        status = job_follow(cli, json_integer_value(job));
    json_decref(result);
    return status;
}

/* On a terminal, what destroys data asks first; a script has said what it means. */
static bool confirmed(const struct cli *cli, const struct command *command, const char *what)
{
    char answer[16] = "";

    if (!command->confirm || cli->yes || cli->dry_run || !isatty(STDIN_FILENO))
        return true;
    fputs("Really ", stderr);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    fprintf(stderr, command->confirm, what);
#pragma GCC diagnostic pop
    fputs("? [y/N] ", stderr);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int run(struct cli *cli, const struct command *command, json_t *params, const char *what)
{
    json_t *result;

    if (!confirmed(cli, command, what)) {
        json_decref(params);
        return EXIT_FAILED;
    }
    if (cli->dry_run)
        json_object_set_new(params, "dry_run", json_true());
    if (command->run)
        return command->run(cli, command, params);
    if (cli_call(cli, command->method, params, &result))
        return EXIT_FAILED;
    return cli_finish(cli, command, result);
}

/* The command that argv[0] and argv[1] name; *used is how many of the two. NULL: none, a reason has
 * been printed. */
static const struct command *find(int argc, char **argv, int *used)
{
    bool noun_known = false;

    for (size_t n = 0; argc > 0 && n < ARRAY_LEN(nouns); n++)
        for (const struct command *c = nouns[n]; c->noun; c++) {
            if (strcmp(c->noun, argv[0]))
                continue;
            noun_known = true;
            *used = c->verb ? 2 : 1;
            if (!c->verb || (argc > 1 && !strcmp(c->verb, argv[1])))
                return c;
        }
    if (argc == 0)
        fputs("ashlar: no command\n", stderr);
    else if (!noun_known)
        fprintf(stderr, "ashlar: no such noun: %s\n", argv[0]);
    else
        fprintf(
            stderr, "ashlar: %s: %s\n", argv[0], argc > 1 ? "no such verb" : "a verb is needed");
    fputs("Try \"ashlar --help\".\n", stderr);
    return NULL;
}

static void help(void)
{
    puts("Usage: ashlar [--socket PATH] [--json] [--quiet] [--yes] [--dry-run] NOUN VERB ...\n");
    for (size_t n = 0; n < ARRAY_LEN(nouns); n++)
        for (const struct command *c = nouns[n]; c->noun; c++) {
            char name[32];
            snprintf(name, sizeof name, "%s %s", c->noun, c->verb ? c->verb : "");
            printf("  %-18s %s\n", name, c->help);
        }
    puts("\nOptions:");
    arguments_help_common();
    puts("\n\"ashlar NOUN VERB --help\" tells what a command takes. See ashlar(1).");
}

int main(int argc, char **argv)
{
    struct cli cli = {.terminal = isatty(STDERR_FILENO)};
    const struct command *command;
    json_t *params;
    int used = 0, status;

    switch (arguments_global(&cli, &argc, &argv)) {
    case ARGUMENTS_HELP:
        help();
        return EXIT_DONE;
    case ARGUMENTS_VERSION:
        printf("ashlar %s\n", ashlar_version());
        return EXIT_DONE;
    case ARGUMENTS_BAD:
        return EXIT_USAGE;
    case ARGUMENTS_OK:
        break;
    }
    command = find(argc, argv, &used);
    if (!command)
        return EXIT_USAGE;
    params = json_object();
    switch (arguments_command(&cli, command, argc - used, argv + used, params)) {
    case ARGUMENTS_OK:
        status = run(&cli, command, params, argc > used ? argv[used] : "");
        break;
    case ARGUMENTS_HELP:
        status = EXIT_DONE;
        json_decref(params);
        break;
    default:
        status = EXIT_USAGE;
        json_decref(params);
    }
    ashlar_disconnect(cli.client);
    return status;
}
