/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Byte streams to a peer: Unix sockets (and pairs of streams inside the simulator and tests). Used
 * by coroutines; one reader and one writer at a time. A stream belongs to the worker it is used on
 * first after connect or accept.
 */
#ifndef ASHLAR_RT_STREAM_H
#define ASHLAR_RT_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"

struct stream;
struct listener;
struct worker;

struct peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

/*
 * Binds and listens. The socket file gets `mode` (and owner and group unless -1) before anybody can
 * connect. A stale socket file (nobody answers) is replaced, a live one is -EADDRINUSE.
 */
int listener_open(const char *path, mode_t mode, uid_t owner, gid_t group, struct listener **l,
    struct error *err);
/* Takes over a listening descriptor handed down by systemd. */
int listener_adopt(int fd, struct listener **l, struct error *err);
/* Waits for a connection, also while descriptors or memory are short; -ECANCELED after
 * listener_shutdown. -ENOMEM when there is no memory for the stream itself. */
int listener_accept(struct listener *l, struct stream **s);
/* Ends listener_accept, from any thread; close frees it and removes the socket file it made. */
void listener_shutdown(struct listener *l);
void listener_close(struct listener *l);

/* Waits while the listener's queue is full. */
int stream_connect(const char *path, struct stream **s, struct error *err);
/* Two ends joined in memory (a socket pair outside the simulator). */
int stream_pair(struct stream **a, struct stream **b);
void stream_peer(const struct stream *s, struct peer *peer);
/* Send and receive buffers of the socket; best effort. */
void stream_set_buffers(struct stream *s, unsigned bytes);

/* At least `min` bytes unless the peer ends; returns the number read (less than min only at the
 * end), -errno. */
ssize_t stream_read(struct stream *s, void *buf, size_t min, size_t max);
/* All of it; 0 or -errno (-EPIPE when the peer is gone). iov is used up. -ETIMEDOUT when the peer
 * has taken nothing for `stall_ns`; 0: waits for ever. */
int stream_write(struct stream *s, struct iovec *iov, int iov_count, uint64_t stall_ns);
/* Ends reads and writes under way, from any thread. */
void stream_shutdown(struct stream *s);
/* The peer can send no more; what it has sent can still be read. From any thread. */
void stream_shutdown_read(struct stream *s);
void stream_close(struct stream *s);

#endif
