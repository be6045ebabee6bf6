/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The wrapper: every call to a block device passes blockdev_run(). It refuses what breaks the
 * contract, brings what fits to the layer as it is (the usual case: nothing is allocated or
 * copied), leaves the rest to request.c, and counts. Any worker; the calling coroutine waits.
 */
#include "block/blockdev.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/request.h"
#include "rt/worker.h"

#define USED_EXCLUSIVELY 0x80000000u
#define BYTES_CHUNK      (256u << 10)
#define PATIENCE_NS      UINT64_C(5000000)

int blockdev_init(
    struct blockdev *d, const struct blockdev_ops *ops, const char *name, uint64_t size_bytes)
{
    struct block_counts *counts =
        aligned_alloc(_Alignof(struct block_counts), WORKERS_MAX * sizeof *counts);

    if (!counts)
        return -ENOMEM;
    memset(counts, 0, WORKERS_MAX * sizeof *counts);
    *d = (struct blockdev){.ops = ops,
        .size_bytes = size_bytes,
        .logical_block_bytes = 512,
        .physical_block_bytes = 512,
        .memory_align_bytes = 1,
        .counts = counts};
    snprintf(d->name, sizeof d->name, "%s", name);
    list_init(&d->flushes.waiting);
    return 0;
}

void blockdev_fini(struct blockdev *d)
{
    free(d->counts);
}

static bool range_valid(const struct blockdev *d, uint64_t offset, uint64_t length)
{
    uint64_t size = atomic_load_explicit(&d->size_bytes, memory_order_relaxed);

    return !((offset | length) & (d->logical_block_bytes - 1)) && length <= size &&
           offset <= size - length;
}

static const unsigned allowed_flags[BLOCK_KINDS] = {
    [BLOCK_READ] = BLOCK_BACKGROUND | BLOCK_PATIENT,
    [BLOCK_WRITE] = BLOCK_BACKGROUND | BLOCK_PATIENT | BLOCK_FUA | BLOCK_STABLE,
    [BLOCK_FLUSH] = BLOCK_BACKGROUND | BLOCK_PATIENT,
    [BLOCK_DISCARD] = BLOCK_BACKGROUND | BLOCK_PATIENT,
    [BLOCK_WRITE_ZEROES] =
        BLOCK_BACKGROUND | BLOCK_PATIENT | BLOCK_FUA | BLOCK_MAY_UNMAP | BLOCK_FAST,
};

/* 1: to be done; 0: there is nothing to do; -errno. */
static int admit(struct block_op *op)
{
    uint32_t can = op->dev->capabilities;

    if (op->kind >= BLOCK_KINDS || op->flags & ~allowed_flags[op->kind])
        return -EINVAL;
    if (op->kind == BLOCK_FLUSH)
        return 1;
    if (block_kind_transfers(op->kind))
        op->length = iov_length(op->iov, op->iov_count);
    if (!range_valid(op->dev, op->offset, op->length))
        return -EINVAL;
    if (op->kind != BLOCK_READ && can & BLOCK_READ_ONLY)
        return -EROFS;
    if (op->flags & BLOCK_FAST && !(can & BLOCK_CAN_ZERO_FAST))
        return -EOPNOTSUPP;
    if (op->kind == BLOCK_DISCARD && !(can & BLOCK_CAN_DISCARD))
        return 0;
    return op->length ? 1 : 0;
}

/* Only its own worker writes a counter. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(
        counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void count(const struct block_op *op)
{
    struct block_counts *c = &op->dev->counts[worker_index(worker_self())];

    if (op->flags & BLOCK_BACKGROUND)
        return;
    if (op->result < 0) {
        /* What is not supported is an answer. */
        add(&c->errors, op->result != -EOPNOTSUPP);
        return;
    }
    add(&c->ops[op->kind], 1);
    add(&c->bytes[op->kind], op->length);
}

static void run_once(struct block_op *ops, unsigned n)
{
    struct block_batch batch = {0};

    for (unsigned i = 0; i < n; i++) {
        ops[i].result = admit(&ops[i]);
        if (ops[i].result <= 0)
            continue;
        ops[i].fits = request_fits(&ops[i]);
        block_batch_add(&batch, &ops[i]);
    }
    block_batch_wait(&batch);
}

int blockdev_run(struct block_op *ops, unsigned n)
{
    int first = 0;

    run_once(ops, n);
    for (unsigned i = 0; i < n; i++) {
        while (ops[i].result == -ENOMEM && ops[i].flags & BLOCK_PATIENT) {
            co_sleep_ns(PATIENCE_NS);
            run_once(&ops[i], 1);
        }
        count(&ops[i]);
        first = first ? first : ops[i].result;
    }
    return first;
}

int blockdev_readv(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
    struct block_op op = {.kind = BLOCK_READ,
        .flags = flags,
        .dev = d,
        .iov = iov,
        .iov_count = iov_count,
        .offset = offset};

    return blockdev_run(&op, 1);
}

int blockdev_writev(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
    struct block_op op = {.kind = BLOCK_WRITE,
        .flags = flags,
        .dev = d,
        .iov = iov,
        .iov_count = iov_count,
        .offset = offset};

    return blockdev_run(&op, 1);
}

int blockdev_read(struct blockdev *d, void *buf, uint64_t offset, uint64_t length)
{
    struct iovec v = {buf, length};

    return blockdev_readv(d, &v, 1, offset, 0);
}

int blockdev_write(
    struct blockdev *d, const void *buf, uint64_t offset, uint64_t length, unsigned flags)
{
    struct iovec v = {(void *)(uintptr_t)buf, length};

    return blockdev_writev(d, &v, 1, offset, flags);
}

int blockdev_flush(struct blockdev *d)
{
    struct block_op op = {.kind = BLOCK_FLUSH, .dev = d};

    return blockdev_run(&op, 1);
}

int blockdev_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    struct block_op op = {.kind = BLOCK_DISCARD, .dev = d, .offset = offset, .length = length};

    return blockdev_run(&op, 1);
}

int blockdev_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    struct block_op op = {
        .kind = BLOCK_WRITE_ZEROES, .flags = flags, .dev = d, .offset = offset, .length = length};

    return blockdev_run(&op, 1);
}

int blockdev_write_zeros(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    struct block_op op = {
        .kind = BLOCK_WRITE_ZEROES, .flags = flags, .dev = d, .offset = offset, .length = length};

    return request_write_zeros(&op);
}

int blockdev_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct block_extent found = {length, 0};
    int rc = 0;

    if (!length || !range_valid(d, offset, length))
        return -EINVAL;
    if (d->ops->extents && d->boundary_bytes)
        length = MIN(length, d->boundary_bytes - offset % d->boundary_bytes);
    if (d->ops->extents)
        rc = d->ops->extents(d, offset, length, &found);
    if (rc < 0)
        return rc;
    assert(found.length && found.length <= length);
    *extent = found;
    return 0;
}

void blockdev_unused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    if (d->ops->unused && length && range_valid(d, offset, length))
        d->ops->unused(d, offset, length);
}

/* One chunk of a byte range: reads the blocks around it; for a write changes and writes them. */
static int run_bytes(struct blockdev *d, void *to, const void *from, uint64_t offset,
    uint64_t length, unsigned flags)
{
    uint64_t start = round_down(offset, d->logical_block_bytes);
    uint64_t blocks = round_up(offset + length, d->logical_block_bytes) - start;
    char *buf;
    int rc = 0;

    while (!(buf = io_buffer_get(blocks))) {
        if (!(flags & BLOCK_PATIENT))
            return -ENOMEM;
        co_sleep_ns(PATIENCE_NS);
    }
    if (to || blocks != length)
        rc = blockdev_read(d, buf, start, blocks);
    if (!rc && to)
        memcpy(to, buf + (offset - start), length);
    if (!rc && from) {
        memcpy(buf + (offset - start), from, length);
        rc = blockdev_write(d, buf, start, blocks, flags | BLOCK_STABLE);
    }
    io_buffer_put(buf, blocks);
    return rc;
}

/* In chunks that end on a multiple of BYTES_CHUNK, so that at most the first and last share a block
 * with others. */
static int run_byte_chunks(struct blockdev *d, char *to, const char *from, uint64_t offset,
    uint64_t length, unsigned flags)
{
    uint64_t size = d->size_bytes;
    int rc = 0;

    if (length > size || offset > size - length)
        return -EINVAL;
    while (!rc && length) {
        uint64_t n = MIN(length, BYTES_CHUNK - offset % BYTES_CHUNK);

        rc = run_bytes(d, to, from, offset, n, flags);
        to = to ? to + n : NULL;
        from = from ? from + n : NULL;
        offset += n;
        length -= n;
    }
    return rc;
}

int blockdev_read_bytes(struct blockdev *d, void *buf, uint64_t offset, uint64_t length)
{
    return run_byte_chunks(d, buf, NULL, offset, length, 0);
}

int blockdev_write_bytes(
    struct blockdev *d, const void *buf, uint64_t offset, uint64_t length, unsigned flags)
{
    return run_byte_chunks(d, NULL, buf, offset, length, flags);
}

int blockdev_use(struct blockdev *d, bool exclusive)
{
    uint32_t users = atomic_load(&d->users);

    do {
        if (users && (exclusive || users & USED_EXCLUSIVELY))
            return -EBUSY;
    } while (!atomic_compare_exchange_weak(
        &d->users, &users, exclusive ? USED_EXCLUSIVELY | 1 : users + 1));
    return 0;
}

void blockdev_unuse(struct blockdev *d)
{
    uint32_t users = atomic_load(&d->users);

    while (
        !atomic_compare_exchange_weak(&d->users, &users, users & USED_EXCLUSIVELY ? 0 : users - 1))
        ;
}

void blockdev_close(struct blockdev *d)
{
    d->ops->close(d);
}

void blockdev_stats(const struct blockdev *d, struct blockdev_stats *stats)
{
    *stats = (struct blockdev_stats){0};
    for (unsigned w = 0; w < WORKERS_MAX; w++) {
        const struct block_counts *c = &d->counts[w];

        for (unsigned k = 0; k < BLOCK_KINDS; k++) {
            stats->ops[k] += atomic_load_explicit(&c->ops[k], memory_order_relaxed);
            stats->bytes[k] += atomic_load_explicit(&c->bytes[k], memory_order_relaxed);
        }
        stats->errors += atomic_load_explicit(&c->errors, memory_order_relaxed);
    }
}
