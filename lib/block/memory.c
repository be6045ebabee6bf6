/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory as a leaf, for tests and benchmarks: pages come when they are written and go when they are
 * discarded. Operations end before start returns. Those that overlap, on different workers, are as
 * undefined as on a disk.
 */
#include "block/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arith.h"

struct memory {
    struct blockdev dev;
    char *bytes;
    size_t mapped_bytes;
};

static struct memory *memory_of(struct blockdev *d)
{
    return container_of(d, struct memory, dev);
}

/* Whole pages are given back, which zeroes them too. */
static void zero(struct memory *m, uint64_t offset, uint64_t length)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t start = round_up(offset, page), end = round_down(offset + length, page);

    if (start >= end || madvise(m->bytes + start, end - start, MADV_DONTNEED) < 0) {
        memset(m->bytes + offset, 0, length);
        return;
    }
    memset(m->bytes + offset, 0, start - offset);
    memset(m->bytes + end, 0, offset + length - end);
}

static void start(struct block_op *op)
{
    struct memory *m = memory_of(op->dev);

    switch (op->kind) {
    case BLOCK_READ:
        iov_copy_to(op->iov, op->iov_count, 0, m->bytes + op->offset, op->length);
        break;
    case BLOCK_WRITE:
        iov_copy_from(m->bytes + op->offset, op->iov, op->iov_count, 0, op->length);
        break;
    case BLOCK_DISCARD:
    case BLOCK_WRITE_ZEROES:
        zero(m, op->offset, op->length);
        break;
    default:
        break;
    }
    block_op_end(op, 0);
}

static void memory_close(struct blockdev *d)
{
    struct memory *m = memory_of(d);

    munmap(m->bytes, m->mapped_bytes);
    blockdev_fini(d);
    free(m);
}

static const struct blockdev_ops memory_ops = {.start = start, .close = memory_close};

/* The caller frees it when its fields cannot be filled in. */
static int memory_init(
    struct memory *m, const char *name, uint64_t size_bytes, uint32_t logical_block_bytes)
{
    m->mapped_bytes = size_bytes;
    m->bytes = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->bytes == MAP_FAILED)
        return -errno;
    if (blockdev_init(&m->dev, &memory_ops, name, size_bytes) < 0) {
        munmap(m->bytes, size_bytes);
        return -ENOMEM;
    }
    m->dev.logical_block_bytes = logical_block_bytes;
    m->dev.physical_block_bytes = 4096;
    m->dev.capabilities = BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST | BLOCK_CAN_FUA;
    return 0;
}

int member_memory(
    const char *name, uint64_t size_bytes, uint32_t logical_block_bytes, struct blockdev **d)
{
    struct memory *m;
    int rc;

    if ((logical_block_bytes != 512 && logical_block_bytes != 4096) || !size_bytes ||
        size_bytes % logical_block_bytes)
        return -EINVAL;
    m = malloc(sizeof *m);
    rc = m ? memory_init(m, name, size_bytes, logical_block_bytes) : -ENOMEM;
    if (rc < 0)
        free(m);
    else
        *d = &m->dev;
    return rc;
}
