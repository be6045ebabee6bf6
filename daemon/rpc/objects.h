/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The objects of docs/rpc.md as JSON. Each is made by the file of its noun; NULL: out of memory. */
#ifndef ASHLAR_DAEMON_RPC_OBJECTS_H
#define ASHLAR_DAEMON_RPC_OBJECTS_H

#include <jansson.h>
#include <stdbool.h>

struct daemon;
struct job;

json_t *rpc_job(const struct job *job);
/* Asks the owners for progress, so it may wait. */
json_t *rpc_jobs(struct daemon *d, bool running_only);

#endif
