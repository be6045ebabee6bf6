/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk.h"

#include <stdlib.h>

#include "base/arith.h"
#include "block/member.h"
#include "unit.h"

struct disk {
    struct blockdev dev;
    struct blockdev *memory;
};

static struct disk *disk_of(struct blockdev *d)
{
    return container_of(d, struct disk, dev);
}

static int read_disk(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    return blockdev_readv(disk_of(d)->memory, iov, iov_count, offset, 0);
}

static int write_disk(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    return blockdev_writev(disk_of(d)->memory, iov, iov_count, offset, flags);
}

static int extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    uint64_t end = (offset / DISK_DATA_AT + 1) * DISK_DATA_AT;

    extent->length = MIN(length, end - offset);
    extent->flags = offset / DISK_DATA_AT % 2 ? 0 : EXTENT_ZERO | EXTENT_HOLE;
    return 0;
}

static void close_disk(struct blockdev *d)
{
    struct disk *disk = disk_of(d);

    blockdev_close(disk->memory);
    blockdev_fini(d);
    free(disk);
}

static const struct blockdev_ops disk_ops = {
    .read = read_disk, .write = write_disk, .extents = extents, .close = close_disk};

void disk_fill(struct blockdev *d, unsigned seed)
{
    uint64_t n = d->size_bytes;
    uint32_t *words = malloc(n);

    for (uint64_t i = 0; i < n / 4; i++)
        words[i] = (uint32_t)(i / 128 * 2654435761u + seed + (i % 128 < 64 ? i : 0));
    CU_ASSERT_EQUAL(blockdev_write(d, words, 0, n, 0), 0);
    free(words);
}

struct blockdev *disk_sparse(uint64_t size_bytes, uint32_t logical_block_bytes)
{
    struct disk *disk = calloc(1, sizeof *disk);

    CU_ASSERT_EQUAL(member_memory("memory", size_bytes, logical_block_bytes, &disk->memory), 0);
    CU_ASSERT_EQUAL(blockdev_init(&disk->dev, &disk_ops, "sparse disk", size_bytes), 0);
    disk->dev.logical_block_bytes = logical_block_bytes;
    disk_fill(disk->memory, 1);
    for (uint64_t at = 0; at < size_bytes; at += 2 * DISK_DATA_AT)
        blockdev_write_zeroes(disk->memory, at, MIN(DISK_DATA_AT, size_bytes - at), 0);
    return &disk->dev;
}

uint64_t disk_data_bytes(uint64_t size_bytes)
{
    uint64_t rest = size_bytes % (2 * DISK_DATA_AT);

    return size_bytes / (2 * DISK_DATA_AT) * DISK_DATA_AT +
           (rest > DISK_DATA_AT ? rest - DISK_DATA_AT : 0);
}
