/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Methods as data: name, parameters, help, handler. From the tables come the check of every
 * request's parameters and rpc.describe. One file per noun holds its table.
 *
 * Handlers run in coroutines on the control worker. Those that change something run one at a time
 * under the catalog's lock, after which the catalog's state is saved.
 */
#ifndef ASHLAR_DAEMON_RPC_METHOD_H
#define ASHLAR_DAEMON_RPC_METHOD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "rt/sync.h"

struct daemon;
struct rpc_connection;

#define RPC_LINE_MAX (1u << 20)

enum rpc_type {
    RPC_TEXT,    /* 1 to 4096 bytes without control characters */
    RPC_INTEGER, /* >= 0 */
    RPC_SECONDS, /* a number >= 0, at most RPC_SECONDS_MAX */
    RPC_FLAG,
    RPC_LIST /* of RPC_TEXT, at most 1024; a required one has at least one entry */
};

#define RPC_SECONDS_MAX 1e8

struct rpc_param {
    const char *name;
    enum rpc_type type;
    bool required;
    const char *help;
};

/* One request being answered. */
struct rpc_call {
    struct daemon *daemon;
    struct rpc_connection *connection; /* NULL in tests */
    json_t *params;                    /* an object; has passed the method's table */
    bool dry_run, force;
    json_t *result;       /* set by the handler; NULL: {} */
    struct error *err;    /* filled in by a handler that fails */
    struct co_event wake; /* set when nobody waits for the answer any more: a long wait ends */
    struct list link;     /* the connection's */
};

#define RPC_PARAMS_MAX 12
#define RPC_CHANGES    1u /* runs alone, and the state is saved after it */
#define RPC_DISKS      2u /* changes disks: takes dry_run */

struct rpc_method {
    const char *name, *help;
    unsigned flags;
    struct rpc_param params[RPC_PARAMS_MAX]; /* ended by one without a name */
    int (*handler)(struct rpc_call *call);   /* 0 or -errno */
};

/* Tables end with a method without a name; the list of tables with NULL. */
extern const struct rpc_method *const rpc_methods[];
extern const struct rpc_method rpc_describe_methods[], rpc_array_methods[], rpc_scan_methods[],
    rpc_vg_methods[], rpc_pv_methods[], rpc_volume_methods[], rpc_volume_copy_methods[],
    rpc_volume_check_methods[], rpc_snapshot_methods[], rpc_export_methods[], rpc_job_methods[],
    rpc_status_methods[], rpc_events_methods[];

#define RPC_PARSE_ERROR      (-32700)
#define RPC_INVALID_REQUEST  (-32600)
#define RPC_METHOD_NOT_FOUND (-32601)
#define RPC_INVALID_PARAMS   (-32602)
#define RPC_REFUSED          (-32000)

/*
 * Answers one line: a JSON document without line end, freed by the caller. NULL: nothing is to be
 * answered (a notification), or memory has run out. The caller has set daemon, connection and wake;
 * the rest of `call` is filled in here.
 */
char *rpc_answer(struct rpc_call *call, const char *line, size_t length);
/* The answer to what could not be read at all. */
char *rpc_error_line(int code, const char *text);

/* The steps of it. NULL: there is none. -EINVAL: an object that does not fit. */
const struct rpc_method *rpc_find_method(const char *name);
int rpc_check_params(const struct rpc_method *m, json_t *params, struct error *err);

/* Parameters, as checked; what is absent is NULL, the default, an empty list. */
const char *rpc_text(const struct rpc_call *call, const char *name);
uint64_t rpc_integer(const struct rpc_call *call, const char *name, uint64_t absent);
double rpc_seconds(const struct rpc_call *call, const char *name, double absent);
bool rpc_flag(const struct rpc_call *call, const char *name);
size_t rpc_list_size(const struct rpc_call *call, const char *name);
/* The strings live as long as the call; the list is freed by the caller. NULL: out of memory. */
const char **rpc_list(const struct rpc_call *call, const char *name);

/* Adds a line to a dry run's result; 0 or -ENOMEM. */
int rpc_would(struct rpc_call *call, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Sets the result (taken over); NULL means that memory has run out. */
int rpc_result(struct rpc_call *call, json_t *result);

#endif
