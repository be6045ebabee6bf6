/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Words are checked here only for what the daemon cannot see (sizes, "VG/NAME", a missing word);
 * what they mean is the daemon's to judge. The common options may stand before the noun or behind
 * the verb.
 */
#include "arguments.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/size.h"

enum {
    OPT_HELP = 1000,
    OPT_VERSION,
    OPT_SOCKET,
    OPT_JSON,
    OPT_QUIET,
    OPT_YES,
    OPT_DRY_RUN,
    OPT_NO_WAIT
};

static const struct {
    struct option option;
    const char *shown, *help;
} common[] = {
    {{"socket", required_argument, NULL, OPT_SOCKET}, "--socket PATH",
        "the daemon's socket ($ASHLAR_SOCKET, else " ASHLAR_DEFAULT_SOCKET ")"},
    {{"json", no_argument, NULL, OPT_JSON}, "--json", "print the answer as one JSON document"},
    {{"quiet", no_argument, NULL, OPT_QUIET}, "--quiet", "print nothing but errors"},
    {{"yes", no_argument, NULL, OPT_YES}, "--yes", "do not ask"},
    {{"dry-run", no_argument, NULL, OPT_DRY_RUN}, "--dry-run",
        "check everything, say what would be done, do nothing"},
    {{"no-wait", no_argument, NULL, OPT_NO_WAIT}, "--no-wait",
        "do not wait for the job that a command starts"},
    {{"help", no_argument, NULL, OPT_HELP}, "--help", "this"},
    {{"version", no_argument, NULL, OPT_VERSION}, "--version", "print the version"},
};

static enum arguments_result take_common(struct cli *cli, int opt)
{
    switch (opt) {
    case OPT_SOCKET:
        cli->socket = optarg;
        return ARGUMENTS_OK;
    case OPT_JSON:
        cli->json = true;
        return ARGUMENTS_OK;
    case OPT_QUIET:
        cli->quiet = true;
        return ARGUMENTS_OK;
    case OPT_YES:
        cli->yes = true;
        return ARGUMENTS_OK;
    case OPT_DRY_RUN:
        cli->dry_run = true;
        return ARGUMENTS_OK;
    case OPT_NO_WAIT:
        cli->no_wait = true;
        return ARGUMENTS_OK;
    case OPT_HELP:
        return ARGUMENTS_HELP;
    case OPT_VERSION:
        return ARGUMENTS_VERSION;
    default:
        return ARGUMENTS_BAD;
    }
}

void arguments_help_common(void)
{
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        printf("  %-18s %s\n", common[i].shown, common[i].help);
}

enum arguments_result arguments_global(struct cli *cli, int *argc, char ***argv)
{
    struct option options[ARRAY_LEN(common) + 1] = {0};
    enum arguments_result result = ARGUMENTS_OK;
    int opt;

    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        options[i] = common[i].option;
    while (result == ARGUMENTS_OK && (opt = getopt_long(*argc, *argv, "+h", options, NULL)) != -1)
        result = take_common(cli, opt == 'h' ? OPT_HELP : opt);
    *argc -= optind;
    *argv += optind;
    return result;
}

static void command_help(const struct command *c)
{
    printf("Usage: ashlar %s%s%s", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");
    for (const struct option_spec *o = c->options; o->name; o++)
        if (o->required)
            printf(" --%s %s", o->name, o->shown);
    for (const struct argument *a = c->arguments; a->shown; a++)
        printf(a->optional ? " [%s]%s" : " %s%s", a->shown, a->kind == ARG_PATHS ? "..." : "");
    printf("\n%s\n\nOptions:\n", c->help);
    for (const struct option_spec *o = c->options; o->name; o++) {
        char shown[40];
        snprintf(shown, sizeof shown, "--%s %s", o->name, o->shown ? o->shown : "");
        printf("  %-18s %s\n", shown, o->help);
    }
    arguments_help_common();
}

static enum arguments_result bad(const struct command *c, const char *what, const char *word)
{
    fprintf(stderr, "ashlar: %s%s%s: %s%s%s\n", c->noun, c->verb ? " " : "", c->verb ? c->verb : "",
        what, word ? ": " : "", word ? word : "");
    return ARGUMENTS_BAD;
}

/* What exists here is named from the root, as the daemon works elsewhere; a new socket's directory
 * counts. Other words stay (an array's name). */
static json_t *path_value(const char *word)
{
    char full[PATH_MAX], *slash = strrchr(word, '/');

    if (word[0] == '/' || !strcmp(word, "missing"))
        return json_string(word);
    if (realpath(word, full))
        return json_string(full);
    if (!slash)
        return json_string(word);
    char *dir = strndup(word, (size_t)(slash - word));
    bool known = dir && realpath(dir, full);
    free(dir);
    return known ? json_sprintf("%s/%s", full, slash + 1) : json_string(word);
}

static json_t *file_value(const char *word)
{
    char here[PATH_MAX];

    if (word[0] == '/' || !getcwd(here, sizeof here))
        return json_string(word);
    return json_sprintf("%s/%s", here, word);
}

/* 10, raid10, RAID1: mdadm takes these too. */
static int level_value(const char *word, json_t **value)
{
    char *end;

    if (!strncasecmp(word, "raid", 4))
        word += 4;
    long level = strtol(word, &end, 10);
    if (end == word || *end || level < 0)
        return -EINVAL;
    *value = json_integer(level);
    return 0;
}

static int volume_values(const char *word, json_t *params)
{
    const char *slash = strchr(word, '/');

    if (!slash || slash == word || !slash[1] || strchr(slash + 1, '/'))
        return -EINVAL;
    json_object_set_new(params, "vg", json_stringn(word, (size_t)(slash - word)));
    json_object_set_new(params, "name", json_string(slash + 1));
    return 0;
}

static int snapshot_values(const char *word, json_t *params)
{
    const char *at = strchr(word, '@');
    char *volume = at && at[1] ? strndup(word, (size_t)(at - word)) : NULL;
    int rc = volume ? volume_values(volume, params) : -EINVAL;

    free(volume);
    return rc ? rc : json_object_set_new(params, "snapshot", json_string(at + 1));
}

static int size_value(const char *word, const char *param, json_t *params)
{
    uint64_t bytes;
    int rc = size_parse(word, &bytes);

    return rc ? rc : json_object_set_new(params, param, json_integer((json_int_t)bytes));
}

static int size_change_value(const char *word, json_t *params)
{
    if (*word == '+')
        return size_value(word + 1, "grow_bytes", params);
    if (*word == '-')
        return size_value(word + 1, "shrink_bytes", params);
    return size_value(word, "size_bytes", params);
}

static int append_value(const char *word, const char *param, json_t *params)
{
    json_t *list = json_object_get(params, param);

    if (!list) {
        list = json_array();
        json_object_set_new(params, param, list);
    }
    return json_array_append_new(list, path_value(word));
}

/* Puts one word in; -EINVAL when it is not of its kind. */
static int take_word(enum arg_kind kind, const char *word, const char *param, json_t *params)
{
    json_t *value = NULL;
    char *end;
    int rc = 0;

    switch (kind) {
    case ARG_PATHS:
        return append_value(word, param, params);
    case ARG_SIZE:
        return size_value(word, param, params);
    case ARG_SIZE_CHANGE:
        return size_change_value(word, params);
    case ARG_VOLUME:
        return volume_values(word, params);
    case ARG_STATE:
        return strchr(word, '@') ? snapshot_values(word, params) : volume_values(word, params);
    case ARG_SNAPSHOT:
        return snapshot_values(word, params);
    case ARG_LEVEL:
        rc = level_value(word, &value);
        break;
    case ARG_NUMBER:
        value = json_integer(strtoll(word, &end, 10));
        rc = *word && !*end ? 0 : -EINVAL;
        break;
    case ARG_FLAG:
        value = json_true();
        break;
    case ARG_PATH:
        value = path_value(word);
        break;
    case ARG_FILE:
        value = file_value(word);
        break;
    default:
        value = json_string(word);
    }
    if (rc) {
        json_decref(value);
        return rc;
    }
    return json_object_set_new(params, param, value);
}

static enum arguments_result take_options(
    struct cli *cli, const struct command *c, int argc, char **argv, json_t *params)
{
    struct option options[ARRAY_LEN(common) + ARRAY_LEN(c->options) + 1] = {};
    size_t n = 0;
    int opt;

    for (; n < ARRAY_LEN(common); n++)
        options[n] = common[n].option;
    for (int i = 0; c->options[i].name; i++, n++)
        options[n] = (struct option){c->options[i].name,
            c->options[i].kind == ARG_FLAG ? no_argument : required_argument, NULL, i};
    optind = 0; /* starts anew, over another argv */
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        enum arguments_result result = ARGUMENTS_OK;
        if (opt == 'h' || opt >= OPT_HELP || opt == '?')
            result = take_common(cli, opt == 'h' ? OPT_HELP : opt);
        else if (take_word(c->options[opt].kind, optarg, c->options[opt].param, params))
            result = bad(c, c->options[opt].name, optarg);
        if (result != ARGUMENTS_OK)
            return result;
    }
    return ARGUMENTS_OK;
}

static enum arguments_result take_arguments(
    const struct command *c, int argc, char **argv, json_t *params)
{
    int i = 0;

    for (const struct argument *a = c->arguments; a->shown; a++) {
        if (i == argc && !a->optional)
            return bad(c, "missing", a->shown);
        for (; i < argc; i++) {
            if (take_word(a->kind, argv[i], a->param, params))
                return bad(c, a->shown, argv[i]);
            if (a->kind != ARG_PATHS) {
                i++;
                break;
            }
        }
    }
    return i < argc ? bad(c, "one word too many", argv[i]) : ARGUMENTS_OK;
}

/*
 * "-4M" is a size to us and a bundle of short options to getopt: such words go to the end, behind
 * "--". That keeps the order of arguments, as a change of size is always the last. `words` has room
 * for argc + 3; returns how many there are.
 */
static int protect_sizes(int argc, char **argv, char **words)
{
    static char program[] = "ashlar", dashes[] = "--";
    int used = 0, i;

    words[used++] = program;
    for (i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (argv[i][0] != '-' || !isdigit((unsigned char)argv[i][1]))
            words[used++] = argv[i];
    words[used++] = dashes;
    for (int k = 0; k < i; k++)
        if (argv[k][0] == '-' && isdigit((unsigned char)argv[k][1]))
            words[used++] = argv[k];
    for (i++; i < argc; i++)
        words[used++] = argv[i];
    return used;
}

static enum arguments_result read_words(
    struct cli *cli, const struct command *c, int argc, char **argv, json_t *params)
{
    enum arguments_result result = take_options(cli, c, argc, argv, params);

    if (result == ARGUMENTS_HELP)
        command_help(c);
    if (result != ARGUMENTS_OK)
        return result;
    for (const struct option_spec *o = c->options; o->name; o++)
        if (o->required && !json_object_get(params, o->param))
            return bad(c, "missing option", o->name);
    if (cli->dry_run && !c->changes_disks)
        return bad(c, "changes no disk, so there is no --dry-run", NULL);
    return take_arguments(c, argc - optind, argv + optind, params);
}

enum arguments_result arguments_command(
    struct cli *cli, const struct command *c, int argc, char **argv, json_t *params)
{
    char **words = calloc((size_t)argc + 3, sizeof *words);
    enum arguments_result result;

    if (!words)
        return bad(c, "out of memory", NULL);
    argc = protect_sizes(argc, argv, words);
    result = read_words(cli, c, argc, words, params);
    free(words);
    return result;
}
