/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NBD server: one socket, any number of exports by name. Fixed newstyle handshake; structured
 * replies, base:allocation, FUA, trim, write zeroes, fast zero, multi-conn, block size information.
 * Connections spread over the workers given; a connection stays on its worker.
 */
#ifndef ASHLAR_DAEMON_EXPORT_NBD_H
#define ASHLAR_DAEMON_EXPORT_NBD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "block/blockdev.h"

struct worker;
struct nbd_server;

struct nbd_params {
    const char *path;
    mode_t mode; /* 0600 */
    uid_t owner; /* -1: unchanged */
    gid_t group;
    struct worker **workers;
    unsigned worker_count;
    unsigned clients_max; /* per socket; more are turned away */
};

/* From a coroutine of the control worker, as all calls here. */
int nbd_server_start(struct nbd_server **s, const struct nbd_params *params, struct error *err);
/* The device is used (blockdev_use) until removal. -EEXIST for a name that is taken. */
int nbd_server_add(
    struct nbd_server *s, const char *name, struct blockdev *d, bool read_only, struct error *err);
/* Disconnects its clients after the requests in flight have been answered. -ENOENT. */
int nbd_server_remove(struct nbd_server *s, const char *name);
/* Another device for the same disk, under its clients: between pause, which waits until the
 * requests in flight have ended and holds those that come, and resume. `dev` is as large, has the
 * same blocks and can be written if the export can (-EINVAL); it is used from now on, the former
 * one no more. On failure nothing has changed. -ENOENT. */
int nbd_server_pause(struct nbd_server *s, const char *name);
int nbd_server_switch(
    struct nbd_server *s, const char *name, struct blockdev *dev, struct error *err);
void nbd_server_resume(struct nbd_server *s, const char *name);
unsigned nbd_server_exports(const struct nbd_server *s);
/* Clients connected to that export now. */
unsigned nbd_server_clients(struct nbd_server *s, const char *name);
/* Disconnects everybody after what is in flight, removes the socket, frees. */
void nbd_server_stop(struct nbd_server *s);

#endif
