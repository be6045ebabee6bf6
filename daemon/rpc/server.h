/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The JSON-RPC server: one JSON document a line over a Unix socket. Each connection is a coroutine
 * that reads lines; each request a coroutine that answers, so that a long one holds up nobody.
 * Everything runs on the worker that starts the server (control).
 *
 * Memory is bounded: so many connections, so many requests in flight on each, so long a line. A
 * client that does not read loses its connection. A client that ends its sending side is taken to
 * be gone: requests in flight are still answered, but none waits any longer for a job.
 */
#ifndef ASHLAR_DAEMON_RPC_SERVER_H
#define ASHLAR_DAEMON_RPC_SERVER_H

#include "base/error.h"
#include "rt/stream.h"

#define RPC_CONNECTIONS_MAX 128
#define RPC_IN_FLIGHT_MAX   16

struct daemon;
struct rpc_server;
struct rpc_connection;

/* Takes over the listener. -ENOMEM. */
int rpc_server_start(struct rpc_server **s, struct daemon *daemon, struct listener *l);
/* No new requests; waits until those in flight have been answered, disconnects, frees. */
void rpc_server_stop(struct rpc_server *s);

/* From now on the connection gets the daemon's events as notifications. -EALREADY when it does. */
int rpc_connection_subscribe(struct rpc_connection *c, struct error *err);

#endif
