/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From an operation that the wrapper has admitted to what its layer gets: internal to block/.
 *
 * An operation `fits` when the layer can take it as it stands; otherwise request.c makes pieces of
 * it that do. batch.c brings operations to their layers side by side.
 */
#ifndef ASHLAR_BLOCK_REQUEST_H
#define ASHLAR_BLOCK_REQUEST_H

#include "block/blockdev.h"

struct co;

/* Operations under way side by side. All of one coroutine and its worker, so nothing is atomic. */
struct block_batch {
    unsigned pending;
    struct co *waiter;    /* set while it waits */
    struct block_op *own; /* left for block_batch_wait to run */
};

/* Begins an operation, which stays where it is until block_batch_wait returns. op->fits is set. */
void block_batch_add(struct block_batch *b, struct block_op *op);
void block_batch_wait(struct block_batch *b);
/* Brings one that fits to its layer and waits. */
int block_op_perform(struct block_op *op);

bool request_fits(const struct block_op *op);
/* Does an operation that does not fit: split, bounced, emulated. */
int request_execute(const struct block_op *op);

/* Brings write_zeroes to the layer as writes of zeros. */
int request_write_zeros(const struct block_op *op);

/* Flushes, or shares the flush of others (flush.c). */
int flush_shared(struct blockdev *d);

static inline bool block_kind_transfers(enum block_kind kind)
{
    return kind == BLOCK_READ || kind == BLOCK_WRITE;
}

#endif
