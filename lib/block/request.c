/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a layer cannot take as it stands: requests that are too long, cross the boundary, have too
 * many or unaligned segments, or ask for what the layer lacks.
 *
 * A request is cut into pieces that fit; up to PIECES_MAX of them run side by side (a wave). A
 * piece whose memory the layer cannot use goes through a buffer (a bounce). Pieces and their
 * segments live on the stack: only a bounce takes memory, from the worker's pool (-ENOMEM when
 * there is none). The first failure ends the request after its wave. BLOCK_FUA on such a request is
 * one flush after all of it; write_zeroes that the layer does not know are writes of zeros.
 */
#include "block/request.h"

#include <assert.h>
#include <errno.h>

#include "base/arith.h"

#define PIECES_MAX   16
#define BOUNCE_BYTES (256u << 10)
#define ZEROS_BYTES  (64u << 10)

/* Never written: the kernel's zero page all over. */
static _Alignas(4096) unsigned char zeros[ZEROS_BYTES];

struct piece {
    struct block_op op;
    bool bounced;  /* op.iov is one buffer of the pool */
    uint64_t from; /* where in the request */
};

struct wave {
    struct block_batch batch;
    unsigned count;
    int segments_used;
    struct iovec segments[2 * IOV_SEGMENTS_MAX];
    struct piece pieces[PIECES_MAX];
};

/* Bytes from `done` on that the layer's limits allow, apart from those on memory. */
static uint64_t piece_length(const struct block_op *op, uint64_t done)
{
    const struct blockdev *d = op->dev;
    uint64_t length = op->length - done, boundary = d->boundary_bytes;

    if (d->max_transfer_bytes && block_kind_transfers(op->kind))
        length = MIN(length, round_down(d->max_transfer_bytes, d->logical_block_bytes));
    if (d->zeroes_boundary_bytes && !block_kind_transfers(op->kind))
        boundary = d->zeroes_boundary_bytes;
    if (boundary)
        length = MIN(length, boundary - (op->offset + done) % boundary);
    return length;
}

static bool segment_fits(const struct blockdev *d, const struct iovec *v)
{
    if (d->memory_align_bytes <= 1)
        return true;
    return !((uintptr_t)v->iov_base & (d->memory_align_bytes - 1)) &&
           !(v->iov_len & (d->logical_block_bytes - 1));
}

bool request_fits(const struct block_op *op)
{
    const struct blockdev *d = op->dev;

    /* Flushes are shared, write_zeroes may have to be emulated. */
    if (op->kind == BLOCK_FLUSH || op->kind == BLOCK_WRITE_ZEROES)
        return false;
    if (op->length > piece_length(op, 0))
        return false;
    if (op->flags & BLOCK_FUA && !(d->capabilities & BLOCK_CAN_FUA))
        return false;
    if (!block_kind_transfers(op->kind))
        return true;
    if (op->iov_count > IOV_SEGMENTS_MAX)
        return false;
    for (int i = 0; i < op->iov_count; i++)
        if (!segment_fits(d, &op->iov[i]))
            return false;
    return true;
}

/* Shortens a list of `length` bytes to whole blocks; returns what remains. */
static uint64_t trim(struct iovec *iov, int *count, uint64_t length, uint32_t block_bytes)
{
    uint64_t excess = length & (block_bytes - 1), rest = excess;

    while (rest) {
        struct iovec *last = &iov[*count - 1];
        uint64_t n = MIN(rest, last->iov_len);

        last->iov_len -= n;
        rest -= n;
        if (!last->iov_len)
            --*count;
    }
    return length - excess;
}

/* The longest start of bytes [from, from + length) of a list that the layer can take as it stands:
 * whole blocks in aligned segments, of which dst has room for IOV_SEGMENTS_MAX. */
static uint64_t take_segments(const struct blockdev *d, const struct iovec *src, uint64_t from,
    uint64_t length, struct iovec *dst, int *count)
{
    uint64_t taken = 0;

    while (from >= src->iov_len)
        from -= src++->iov_len;
    for (*count = 0; taken < length && *count < IOV_SEGMENTS_MAX; src++, from = 0) {
        struct iovec v = {(char *)src->iov_base + from, MIN(src->iov_len - from, length - taken)};

        if (!v.iov_len)
            continue;
        if (!segment_fits(d, &v))
            break;
        dst[(*count)++] = v;
        taken += v.iov_len;
    }
    return trim(dst, count, taken, d->logical_block_bytes);
}

static int bounce(struct piece *p, const struct block_op *op, uint64_t length, struct iovec *v)
{
    void *buf;

    length = MIN(length, BOUNCE_BYTES);
    buf = io_buffer_get(length);
    if (!buf)
        return -ENOMEM;
    *v = (struct iovec){buf, length};
    if (op->kind == BLOCK_WRITE) {
        iov_copy_from(buf, op->iov, op->iov_count, p->from, length);
        p->op.flags |= BLOCK_STABLE;
    }
    p->bounced = true;
    p->op.iov_count = 1;
    p->op.length = length;
    return 0;
}

/* Cuts the next piece, from `done` on, which is less than the length. */
static int cut(struct wave *w, const struct block_op *op, uint64_t done)
{
    struct piece *p = &w->pieces[w->count];
    struct iovec *iov = w->segments + w->segments_used;
    uint64_t length = piece_length(op, done);
    int rc = 0;

    assert(length);
    *p = (struct piece){.op = {.kind = op->kind,
                            .flags = op->flags & ~BLOCK_FUA,
                            .dev = op->dev,
                            .offset = op->offset + done,
                            .length = length,
                            .fits = true},
        .from = done};
    if (block_kind_transfers(op->kind)) {
        p->op.iov = iov;
        p->op.length = take_segments(op->dev, op->iov, done, length, iov, &p->op.iov_count);
        if (!p->op.length)
            rc = bounce(p, op, length, iov);
        if (rc < 0)
            return rc;
        w->segments_used += p->op.iov_count;
    }
    w->count++;
    return 0;
}

static bool wave_has_room(const struct wave *w)
{
    return w->count < PIECES_MAX &&
           w->segments_used + IOV_SEGMENTS_MAX <= (int)ARRAY_LEN(w->segments);
}

/* Begins pieces from *done on, and moves it. Fails when there is no memory for any. */
static int wave_start(struct wave *w, const struct block_op *op, uint64_t *done)
{
    int rc = 0;

    w->batch = (struct block_batch){0};
    w->count = 0;
    w->segments_used = 0;
    while (!rc && *done < op->length && wave_has_room(w)) {
        rc = cut(w, op, *done);
        if (rc < 0)
            break;
        *done += w->pieces[w->count - 1].op.length;
        block_batch_add(&w->batch, &w->pieces[w->count - 1].op);
    }
    return w->count ? 0 : rc;
}

static int wave_end(struct wave *w, const struct block_op *op)
{
    int first = 0;

    block_batch_wait(&w->batch);
    for (unsigned i = 0; i < w->count; i++) {
        struct piece *p = &w->pieces[i];

        first = first ? first : p->op.result;
        if (!p->bounced)
            continue;
        if (op->kind == BLOCK_READ && !p->op.result)
            iov_copy_to(op->iov, op->iov_count, p->from, p->op.iov->iov_base, p->op.length);
        io_buffer_put(p->op.iov->iov_base, p->op.length);
    }
    return first;
}

static int run_pieces(const struct block_op *op)
{
    struct wave w;
    uint64_t done = 0;
    int rc = 0;

    while (!rc && done < op->length) {
        rc = wave_start(&w, op, &done);
        if (!rc)
            rc = wave_end(&w, op);
    }
    return rc;
}

int request_write_zeros(const struct block_op *op)
{
    struct iovec iov[IOV_SEGMENTS_MAX];
    uint64_t done = 0;
    int rc = 0;

    while (!rc && done < op->length) {
        uint64_t length = MIN(op->length - done, (uint64_t)sizeof zeros * ARRAY_LEN(iov));
        int count = (int)div_round_up(length, sizeof zeros);
        struct block_op write = {.kind = BLOCK_WRITE,
            .flags = (op->flags & BLOCK_BACKGROUND) | BLOCK_STABLE,
            .dev = op->dev,
            .iov = iov,
            .iov_count = count,
            .offset = op->offset + done,
            .length = length};

        for (int i = 0; i < count; i++)
            iov[i] = (struct iovec){zeros, sizeof zeros};
        iov[count - 1].iov_len = length - (uint64_t)(count - 1) * sizeof zeros;
        rc = run_pieces(&write);
        done += length;
    }
    return rc;
}

static int write_zeroes(const struct block_op *op)
{
    const struct blockdev_ops *ops = op->dev->ops;
    int rc = ops->start || ops->write_zeroes ? run_pieces(op) : -EOPNOTSUPP;

    if (rc == -EOPNOTSUPP && !(op->flags & BLOCK_FAST))
        rc = request_write_zeros(op);
    return rc;
}

int request_execute(const struct block_op *op)
{
    int rc;

    if (op->kind == BLOCK_FLUSH)
        return flush_shared(op->dev);
    rc = op->kind == BLOCK_WRITE_ZEROES ? write_zeroes(op) : run_pieces(op);
    if (!rc && op->flags & BLOCK_FUA)
        rc = flush_shared(op->dev);
    return rc;
}
