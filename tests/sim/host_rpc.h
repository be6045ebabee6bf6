/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A client of the daemon's RPC socket, one request at a time; inside a simulated machine. */
#ifndef ASHLAR_TESTS_SIM_HOST_RPC_H
#define ASHLAR_TESTS_SIM_HOST_RPC_H

#include <jansson.h>

#include "base/error.h"

struct stream;

struct rpc_client {
    struct stream *stream;
    unsigned next_id;
    char *buf; /* what has been received: [0, length) */
    size_t length, room;
};

/* 0 or -errno. */
int rpc_client_open(struct rpc_client *c, const char *path);
void rpc_client_close(struct rpc_client *c);
/*
 * Sends a request (takes `params`, NULL: none) and waits for the answer: *result is the caller's
 * then. Refused: the -errno it names, with its text. -EPIPE: the daemon has gone. An answer that is
 * none fails the machine.
 */
int rpc_client_call(
    struct rpc_client *c, const char *method, json_t *params, json_t **result, struct error *err);
/* The next line that comes unasked, which is the caller's then; -EPIPE: the connection has ended.
 */
int rpc_client_next(struct rpc_client *c, json_t **line);
/* Ends rpc_client_next. */
void rpc_client_shutdown(struct rpc_client *c);

#endif
