/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An NBD client inside a simulated machine: one connection, any number of requests in flight, each
 * in a coroutine of its own on the worker that opened it. It is strict: what the protocol does not
 * allow fails the machine.
 */
#ifndef ASHLAR_TESTS_SIM_HOST_NBD_H
#define ASHLAR_TESTS_SIM_HOST_NBD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "export/nbd_protocol.h"
#include "rt/sync.h"

struct stream;

struct nbd_client {
    struct stream *stream;
    uint64_t size_bytes, next_cookie;
    uint16_t flags; /* NBD_FLAG_... */
    bool structured, ended;
    struct co_mutex sending;
    struct list waiting; /* struct nbd_call */
    struct wait_group reader;
};

struct nbd_call {
    uint16_t type, flags; /* NBD_CMD_... */
    uint64_t offset;
    uint32_t length;
    void *data; /* of reads and writes */
    /* Below: the client's. */
    struct list link;
    uint64_t cookie;
    int result;
    struct co_event done;
};

/* 0; -ENOENT: no such export; -errno: nobody listens or the server has ended. */
int nbd_client_open(struct nbd_client *c, const char *path, const char *name, bool structured);
/* Nothing is in flight. */
void nbd_client_close(struct nbd_client *c);
/* Waits for the reply: 0, the -errno it says, -ENOTCONN: the connection ended before it (it may
 * have been done or not). */
int nbd_client_run(struct nbd_client *c, struct nbd_call *call);

#endif
