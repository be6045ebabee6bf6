/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon as a whole: what main makes, what RPC handlers work on. Everything here lives on the
 * control worker (main's thread); I/O of guests runs on the workers.
 *
 * Life: daemon_start (state read, arrays assembled, groups opened, exports served, then RPC) ->
 * requests -> daemon_stop, in reverse, arrays marked clean.
 */
#ifndef ASHLAR_DAEMON_DAEMON_H
#define ASHLAR_DAEMON_DAEMON_H

#include <stdint.h>

#include "base/error.h"
#include "catalog.h"
#include "config.h"
#include "events.h"
#include "jobs.h"

struct rpc_server;
struct worker;

struct daemon {
    const struct config *config;
    struct events events;
    struct jobs jobs;
    struct catalog catalog;
    struct worker *control;
    struct worker **workers; /* [config->workers], for I/O */
    unsigned worker_count;
    struct rpc_server *server;
    uint64_t started_ns;
};

/* In a coroutine of the control worker. On failure daemon_stop is still to be called. */
int daemon_start(struct daemon *d, const struct config *config, struct error *err);
void daemon_stop(struct daemon *d);

#endif
