/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line: commands are data (a noun, a verb, what they take, the RPC method they call,
 * what shows its result); one file per noun holds its table. Everything runs in main's thread, over
 * libashlar.
 */
#ifndef ASHLAR_CLI_CLI_H
#define ASHLAR_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "ashlar.h"

enum exit_status { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* How a word of the command line becomes a parameter of the method. */
enum arg_kind {
    ARG_END,
    ARG_TEXT,
    ARG_NUMBER,
    ARG_LEVEL,       /* 0, 1, 10, raid1...: a number */
    ARG_SIZE,        /* 512K: bytes */
    ARG_SIZE_CHANGE, /* SIZE, +SIZE, -SIZE: size_bytes, grow_bytes, shrink_bytes */
    ARG_VOLUME,      /* VG/NAME: vg and name */
    ARG_SNAPSHOT,    /* VG/NAME@SNAP: vg, name and snapshot */
    ARG_STATE,       /* VG/NAME[@SNAP] */
    ARG_PATH,        /* made absolute when it names something here: the daemon has its own working
                        directory */
    ARG_FILE,        /* made absolute, whether it is there or not */
    ARG_PATHS,       /* the rest of the line, a list (at least one unless optional) */
    ARG_FLAG         /* options only */
};

struct argument {
    const char *shown; /* in the synopsis: "NAME" */
    const char *param;
    enum arg_kind kind;
    bool optional;
};

struct option_spec {
    const char *name;  /* "chunk" */
    const char *shown; /* "SIZE"; NULL for a flag */
    const char *param;
    enum arg_kind kind; /* ARG_PATHS: may be given several times */
    bool required;
    const char *help;
};

struct cli {
    struct ashlar_client *client;
    const char *socket;
    bool json, quiet, yes, dry_run, no_wait, terminal;
};

struct command {
    const char *noun, *verb; /* verb NULL: the noun alone */
    const char *method;
    const char *help;
    struct argument arguments[4];
    struct option_spec options[8];
    bool changes_disks; /* takes --dry-run */
    const char
        *confirm; /* asked on a terminal unless --yes: "destroy array %s and the data on it" */
    /* Prints the result for people; NULL: nothing is printed. */
    void (*show)(const struct cli *cli, json_t *result);
    /* Instead of call and show, for what is not one call. Returns an exit status. */
    int (*run)(struct cli *cli, const struct command *command, json_t *params);
};

/* Ended by a command without a noun. */
extern const struct command array_commands[], scan_commands[], vg_commands[], pv_commands[],
    volume_commands[], snapshot_commands[], export_commands[], job_commands[], status_commands[],
    events_commands[];

/* Call a method; *result is the caller's. On failure the reason has been printed and -errno is
 * returned. Takes `params` over. */
int cli_call(struct cli *cli, const char *method, json_t *params, json_t **result);
/* Prints the document (--json) or shows it, and waits for its job if it has one. Returns an exit
 * status; takes `result` over. */
int cli_finish(struct cli *cli, const struct command *command, json_t *result);

/* Only the former; `result` stays the caller's. */
void cli_print(const struct cli *cli, const struct command *command, json_t *result);

/* mismatch.c */
void show_mismatches(const struct cli *cli, json_t *result);
int check_array(struct cli *cli, const struct command *command, json_t *params);

/* volume_check.c */
void show_check(const struct cli *cli, json_t *result);
int check_volume(struct cli *cli, const struct command *command, json_t *params);

/* progress.c: waits for a job with a progress bar on a terminal. Returns an exit status. */
int job_follow(struct cli *cli, json_int_t id);

/* Fields of a document: never NULL, "-" when absent. */
const char *text_of(json_t *object, const char *key);
/* A size for people in a rotating static buffer; "-" when absent. */
const char *size_of(json_t *object, const char *key);
const char *joined(json_t *list, const char *separator, char *buf, size_t len);

#endif
