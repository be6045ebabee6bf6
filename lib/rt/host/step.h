/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an io is asked of the kernel: in one step or several, because transfers come back short and
 * because there is more than one way to zero a range. Shared by the engines that work on
 * descriptors, and no business of anybody else.
 *
 *     ended = step_first(io);
 *     while (!ended) {
 *         step_next(io, &s);
 *         ... ask the kernel for s: the answer is res ...
 *         ended = step_end(io, res);
 *     }
 *
 * Nothing here waits for a medium, except step_run.
 */
#ifndef ASHLAR_RT_STEP_H
#define ASHLAR_RT_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rt/io.h"

enum step_call { STEP_READ, STEP_WRITE, STEP_SYNC, STEP_FALLOCATE, STEP_DISCARD };

struct step {
    enum step_call call;
    int fd;
    /* STEP_READ, STEP_WRITE: with one segment it may be `one`, so its address is not to be kept. */
    const struct iovec *iov;
    int iov_count;
    struct iovec one;
    uint64_t offset, length; /* length: STEP_FALLOCATE, STEP_DISCARD */
    int mode;                /* STEP_FALLOCATE */
    int rw_flags;            /* STEP_READ, STEP_WRITE: RWF_... */
};

/* True: io->result is set: there was nothing to ask, or it took no time. */
bool step_first(struct io *io);
void step_next(const struct io *io, struct step *s);
/* `res`: what the system call returned, or -errno. True: io->result is set; false: step_next. */
bool step_end(struct io *io, int64_t res);

/* Asks the next step of `io` and waits for the answer, which it returns. For rt_offload, where a
 * call has no asynchronous form. */
int step_run(void *io);

/* A queue of ios, linked by `next`. */
struct io_fifo {
    struct io *head, **tail;
};

static inline void io_fifo_init(struct io_fifo *f)
{
    f->head = NULL;
    f->tail = &f->head;
}

static inline void io_fifo_push(struct io_fifo *f, struct io *io)
{
    io->next = NULL;
    *f->tail = io;
    f->tail = &io->next;
}

/* NULL when empty. */
static inline struct io *io_fifo_pop(struct io_fifo *f)
{
    struct io *io = f->head;

    if (io && !(f->head = io->next))
        f->tail = &f->head;
    return io;
}

#endif
