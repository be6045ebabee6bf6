/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations side by side. Leaves are started one after the other and end by themselves; an
 * operation that waits runs in a coroutine of its own, except the first of a batch, which the
 * waiting coroutine runs itself. When there is no memory for a coroutine, the operation runs at
 * once, and those after it begin later.
 */
#include "block/request.h"

#include "rt/worker.h"

static int call_layer(const struct block_op *op)
{
    const struct blockdev_ops *ops = op->dev->ops;

    switch (op->kind) {
    case BLOCK_READ:
        return ops->read(op->dev, op->iov, op->iov_count, op->offset, op->length);
    case BLOCK_WRITE:
        return ops->write(op->dev, op->iov, op->iov_count, op->offset, op->length, op->flags);
    case BLOCK_FLUSH:
        return ops->flush ? ops->flush(op->dev) : 0;
    case BLOCK_DISCARD:
        return ops->discard ? ops->discard(op->dev, op->offset, op->length) : 0;
    default:
        return ops->write_zeroes(op->dev, op->offset, op->length, op->flags);
    }
}

static void run(void *arg)
{
    struct block_op *op = arg;

    block_op_end(op, op->fits ? call_layer(op) : request_execute(op));
}

void block_batch_add(struct block_batch *b, struct block_op *op)
{
    op->batch = b;
    b->pending++;
    if (op->fits && op->dev->ops->start)
        op->dev->ops->start(op);
    else if (!b->own)
        b->own = op;
    else if (co_start("block", run, op) < 0)
        run(op);
}

void block_op_end(struct block_op *op, int result)
{
    struct block_batch *b = op->batch;

    op->result = result;
    if (!--b->pending && b->waiter)
        co_wake(b->waiter);
}

void block_batch_wait(struct block_batch *b)
{
    if (b->own)
        run(b->own);
    if (!b->pending)
        return;
    b->waiter = co_self();
    co_suspend("block operations");
}

int block_op_perform(struct block_op *op)
{
    struct block_batch b = {0};

    op->fits = true;
    block_batch_add(&b, op);
    block_batch_wait(&b);
    return op->result;
}
