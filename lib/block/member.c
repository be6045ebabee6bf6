/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file or block device as a leaf: each operation is one io of the calling worker's engine, which
 * lies in the operation itself. Owned by whoever opened it; freed by blockdev_close.
 *
 * A discard that the device refuses as unsupported takes the capability away and succeeds: it is a
 * hint. Everything else that fails is handed up as it is.
 */
#include "block/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "rt/io.h"

#define SIZE_BYTES_MIN 4096

struct member {
    struct blockdev dev;
    struct file *file;
    uint64_t file_bytes; /* behind them, in the last block of a padded one, it reads as zeros */
};

static struct member *member_of(struct blockdev *d)
{
    return container_of(d, struct member, dev);
}

/* It has read to the end of the file, and the rest is filled up. */
static bool ends_in_padding(const struct block_op *op)
{
    const struct member *m = member_of(op->dev);

    return op->kind == BLOCK_READ && op->offset + op->io.ended_bytes == m->file_bytes &&
           op->dev->size_bytes > m->file_bytes;
}

static void end(struct io *io)
{
    struct block_op *op = container_of(io, struct block_op, io);
    int result = io->result;

    if (result == -EIO && ends_in_padding(op)) {
        iov_zero(op->iov, op->iov_count, io->ended_bytes, op->length - io->ended_bytes);
        result = 0;
    }

    if (op->kind == BLOCK_DISCARD && result == -EOPNOTSUPP) {
        atomic_fetch_and(&op->dev->capabilities, ~BLOCK_CAN_DISCARD);
        result = 0;
    }
    block_op_end(op, result);
}

static unsigned io_flags(unsigned flags)
{
    return (flags & BLOCK_FUA ? IO_FUA : 0) | (flags & BLOCK_MAY_UNMAP ? IO_MAY_UNMAP : 0) |
           (flags & BLOCK_FAST ? IO_FAST : 0);
}

static void start(struct block_op *op)
{
    static const enum io_kind kinds[BLOCK_KINDS] = {
        [BLOCK_READ] = IO_READ,
        [BLOCK_WRITE] = IO_WRITE,
        [BLOCK_FLUSH] = IO_SYNC,
        [BLOCK_DISCARD] = IO_DISCARD,
        [BLOCK_WRITE_ZEROES] = IO_WRITE_ZEROES,
    };

    op->io.kind = kinds[op->kind];
    op->io.flags = io_flags(op->flags);
    op->io.file = member_of(op->dev)->file;
    op->io.iov = op->iov;
    op->io.iov_count = op->iov_count;
    op->io.offset = op->offset;
    op->io.length = op->length;
    op->io.done = end;
    io_start(&op->io);
}

/* Rounds towards data where a hole ends inside a block. */
static int extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    uint64_t found;
    bool hole;
    int rc = file_next_extent(member_of(d)->file, offset, &found, &hole);

    *extent = (struct block_extent){length, 0};
    if (rc == -EOPNOTSUPP)
        return 0;
    if (rc < 0)
        return rc;
    if (hole && found < d->logical_block_bytes) {
        hole = false;
        found = d->logical_block_bytes;
    }
    found = hole ? round_down(found, d->logical_block_bytes)
                 : round_up(MIN(found, length), d->logical_block_bytes);
    extent->length = MIN(found, length);
    extent->flags = hole ? EXTENT_ZERO | EXTENT_HOLE : 0;
    return 0;
}

static void member_close(struct blockdev *d)
{
    struct member *m = member_of(d);

    file_close(m->file);
    blockdev_fini(d);
    free(m);
}

static const struct blockdev_ops member_ops = {
    .start = start,
    .extents = extents,
    .close = member_close,
};

static uint32_t capabilities_of(const struct file_info *info, unsigned flags)
{
    return BLOCK_CAN_FUA | (info->can_discard ? BLOCK_CAN_DISCARD : 0) |
           (info->can_zero ? BLOCK_CAN_ZERO_FAST : 0) | (info->rotational ? BLOCK_ROTATIONAL : 0) |
           (flags & MEMBER_READ_ONLY ? BLOCK_READ_ONLY : 0);
}

static int make_member(
    const char *path, unsigned flags, struct file *file, struct blockdev **d, struct error *err)
{
    const struct file_info *info = file_info(file);
    uint64_t size_bytes = flags & MEMBER_PADDED
                              ? round_up(info->size_bytes, info->logical_block_bytes)
                              : round_down(info->size_bytes, info->logical_block_bytes);
    struct member *m;

    if (size_bytes < SIZE_BYTES_MIN)
        return error_set(
            err, EINVAL, "%s is too small: %llu bytes", path, (unsigned long long)info->size_bytes);
    m = malloc(sizeof *m);
    if (!m || blockdev_init(&m->dev, &member_ops, path, size_bytes) < 0) {
        free(m);
        return error_set(err, ENOMEM, "out of memory");
    }
    m->file = file;
    m->file_bytes = info->size_bytes;
    m->dev.logical_block_bytes = info->logical_block_bytes;
    m->dev.physical_block_bytes = info->physical_block_bytes;
    m->dev.optimal_io_bytes = info->optimal_io_bytes;
    m->dev.memory_align_bytes = info->memory_align_bytes;
    m->dev.capabilities = capabilities_of(info, flags);
    *d = &m->dev;
    return 0;
}

static unsigned file_flags(unsigned flags)
{
    return (flags & MEMBER_READ_ONLY ? FILE_READ_ONLY : 0) |
           (flags & MEMBER_CREATE ? FILE_CREATE : 0);
}

int member_open(const char *path, unsigned flags, struct blockdev **d, struct error *err)
{
    struct file *file;
    int rc = file_open(path, FILE_EXCLUSIVE | file_flags(flags), &file, err);

    if (rc < 0)
        return rc;
    if (flags & MEMBER_CREATE)
        rc = file_resize(file, SIZE_BYTES_MIN);
    rc = rc < 0 ? error_set(err, -rc, "cannot make %s larger: %s", path, strerror(-rc))
                : make_member(path, flags, file, d, err);
    if (rc < 0)
        file_close(file);
    return rc;
}

int member_resize(struct blockdev *d, uint64_t size_bytes)
{
    int rc = file_resize(member_of(d)->file, size_bytes);

    if (!rc)
        atomic_store(&d->size_bytes, round_down(size_bytes, d->logical_block_bytes));
    return rc;
}
