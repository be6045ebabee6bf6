/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an engine is: the four things a worker's loop needs of it. Internal to rt/: everybody else
 * uses rt/io.h, rt/stream.h and rt/worker.h.
 */
#ifndef ASHLAR_RT_ENGINE_H
#define ASHLAR_RT_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "rt/io.h"

/* Each kind of engine begins with this. */
struct engine {
    const struct engine_ops *ops;
};

/* The calling worker's, NULL outside workers; in worker.c. */
struct engine *engine_self(void);

/* Waits once for a descriptor to become readable or writable (EPOLLIN, EPOLLOUT); done as for
 * struct io. Several may wait for one descriptor. */
struct io_poll {
    int fd;
    unsigned events;
    int result; /* ready events or -errno */
    void (*done)(struct io_poll *p);
    /* Below: the engine's. */
    struct list link;
    int registered;
};

struct engine_ops {
    const char *name;
    /* On the thread that will use it. Any error: this kind cannot run here. */
    int (*create)(struct engine **e);
    /* Queues; the kernel sees it at the next turn, which also calls done. */
    void (*submit)(struct engine *e, struct io *io);
    void (*poll_add)(struct engine *e, struct io_poll *p);
    /* Ends a poll with -ECANCELED, through its done at a turn (unless it has become ready). */
    void (*poll_cancel)(struct engine *e, struct io_poll *p);
    /* Hands what is queued to the kernel, waits up to timeout_ns (0: not at all; UINT64_MAX: for
     * ever) and calls done for what has ended. Returns early for an interrupt or a signal. */
    void (*turn)(struct engine *e, uint64_t timeout_ns);
    /* From any thread: ends a waiting turn. */
    void (*interrupt)(struct engine *e);
    /* Nothing is queued or in flight. */
    void (*destroy)(struct engine *e);
};

extern const struct engine_ops engine_uring, engine_aio;

#endif
