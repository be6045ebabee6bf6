/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "strict.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/list.h"

static struct strict *strict_of(struct blockdev *d)
{
    return container_of(d, struct strict, dev);
}

static bool segments_good(const struct blockdev *d, const struct block_op *op)
{
    if (op->iov_count < 1 || op->iov_count > IOV_SEGMENTS_MAX)
        return false;
    if (iov_length(op->iov, op->iov_count) != op->length)
        return false;
    if (d->max_transfer_bytes && op->length > d->max_transfer_bytes)
        return false;
    for (int i = 0; i < op->iov_count; i++) {
        if ((uintptr_t)op->iov[i].iov_base % d->memory_align_bytes)
            return false;
        if (d->memory_align_bytes > 1 && op->iov[i].iov_len % d->logical_block_bytes)
            return false;
    }
    return true;
}

static bool flags_good(const struct blockdev *d, const struct block_op *op)
{
    unsigned allowed = BLOCK_BACKGROUND;

    if (op->kind == BLOCK_WRITE)
        allowed |= BLOCK_STABLE | (d->capabilities & BLOCK_CAN_FUA ? BLOCK_FUA : 0);
    if (op->kind == BLOCK_WRITE_ZEROES)
        allowed |= BLOCK_MAY_UNMAP | BLOCK_FAST;
    return !(op->flags & ~allowed);
}

static bool good(const struct blockdev *d, const struct block_op *op)
{
    if (!flags_good(d, op))
        return false;
    if (op->kind == BLOCK_FLUSH)
        return true;
    if (!op->length || (op->offset | op->length) % d->logical_block_bytes)
        return false;
    if (op->offset + op->length > d->size_bytes)
        return false;
    if (d->boundary_bytes && op->offset % d->boundary_bytes + op->length > d->boundary_bytes)
        return false;
    return (op->kind != BLOCK_READ && op->kind != BLOCK_WRITE) || segments_good(d, op);
}

static int apply(struct strict *s, const struct block_op *op)
{
    switch (op->kind) {
    case BLOCK_READ:
        iov_copy_to(op->iov, op->iov_count, 0, s->bytes + op->offset, op->length);
        return 0;
    case BLOCK_WRITE:
        if (s->write_error && s->fail_after-- <= 0)
            return s->write_error;
        iov_copy_from(s->bytes + op->offset, op->iov, op->iov_count, 0, op->length);
        return 0;
    case BLOCK_DISCARD:
        memset(s->bytes + op->offset, s->discard_error ? 0xdd : 0, op->length);
        return s->discard_error;
    case BLOCK_WRITE_ZEROES:
        if (!s->zeroes_error)
            memset(s->bytes + op->offset, 0, op->length);
        return s->zeroes_error;
    default:
        return 0;
    }
}

static int serve(struct strict *s, const struct block_op *op)
{
    if (!good(&s->dev, op)) {
        s->violations++;
        return -EIO;
    }
    s->calls[op->kind]++;
    s->fua_calls += op->flags & BLOCK_FUA ? 1 : 0;
    return apply(s, op);
}

static void enter(struct strict *s)
{
    s->in_flight++;
    s->in_flight_max = MAX(s->in_flight_max, s->in_flight);
}

static void start_now(struct block_op *op)
{
    block_op_end(op, serve(strict_of(op->dev), op));
}

struct later {
    struct timer timer;
    struct block_op *op;
};

static void end_later(struct timer *t)
{
    struct later *l = container_of(t, struct later, timer);
    struct block_op *op = l->op;

    free(l);
    strict_of(op->dev)->in_flight--;
    block_op_end(op, serve(strict_of(op->dev), op));
}

static void start_later(struct block_op *op)
{
    struct later *l = calloc(1, sizeof *l);

    enter(strict_of(op->dev));
    l->op = op;
    l->timer.fn = end_later;
    timer_arm(&l->timer, rt_now_ns() + 1);
}

static int wait_and_serve(struct blockdev *d, const struct block_op *op)
{
    struct strict *s = strict_of(d);

    enter(s);
    co_yield ();
    s->in_flight--;
    return serve(s, op);
}

static int strict_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    return wait_and_serve(d, &(struct block_op){.kind = BLOCK_READ,
                                 .iov = iov,
                                 .iov_count = iov_count,
                                 .offset = offset,
                                 .length = length});
}

static int strict_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    return wait_and_serve(d, &(struct block_op){.kind = BLOCK_WRITE,
                                 .flags = flags,
                                 .iov = iov,
                                 .iov_count = iov_count,
                                 .offset = offset,
                                 .length = length});
}

static int strict_flush(struct blockdev *d)
{
    return wait_and_serve(d, &(struct block_op){.kind = BLOCK_FLUSH});
}

static int strict_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    return wait_and_serve(
        d, &(struct block_op){.kind = BLOCK_DISCARD, .offset = offset, .length = length});
}

static int strict_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    return wait_and_serve(
        d, &(struct block_op){
               .kind = BLOCK_WRITE_ZEROES, .flags = flags, .offset = offset, .length = length});
}

/* Half of what is asked is a hole. */
static int strict_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct strict *s = strict_of(d);

    s->asked_offset = offset;
    s->asked_length = length;
    *extent = (struct block_extent){length / 2, EXTENT_HOLE};
    return s->extents_error;
}

static void strict_unused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    struct strict *s = strict_of(d);

    s->asked_offset = offset;
    s->asked_length = length;
}

static void strict_close(struct blockdev *d)
{
    struct strict *s = strict_of(d);

    blockdev_fini(d);
    free(s->bytes);
    free(s);
}

static const struct blockdev_ops ops[STRICT_MODES] = {
    [STRICT_LEAF_NOW] = {.start = start_now, .close = strict_close},
    [STRICT_LEAF_LATER] = {.start = start_later, .close = strict_close},
    [STRICT_LAYER] = {.read = strict_read,
        .write = strict_write,
        .flush = strict_flush,
        .discard = strict_discard,
        .write_zeroes = strict_write_zeroes,
        .extents = strict_extents,
        .unused = strict_unused,
        .close = strict_close},
    [STRICT_BARE] = {.read = strict_read, .write = strict_write, .close = strict_close},
};

struct strict *strict_create(enum strict_mode mode, uint64_t size_bytes)
{
    struct strict *s = calloc(1, sizeof *s);

    s->mode = mode;
    s->bytes = calloc(1, size_bytes);
    CU_ASSERT_EQUAL(blockdev_init(&s->dev, &ops[mode], "strict", size_bytes), 0);
    return s;
}
