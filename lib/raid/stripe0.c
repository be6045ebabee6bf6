/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAID0: the wrapper has cut requests at chunks, so each is one operation on one member, whose
 * error is the request's. Members do not change, nothing is written down.
 */
#include <errno.h>

#include "base/arith.h"
#include "raid/array_private.h"

static struct member *locate(struct blockdev *d, uint64_t offset, uint64_t *member_offset_bytes)
{
    struct array *a = array_of(d);
    struct raid_location where;
    uint64_t run_bytes;
    struct member *m;

    raid_geometry_map(&a->geometry, offset, &where, &run_bytes);
    m = a->roles[where.role];
    *member_offset_bytes = m->data_offset_bytes + where.offset_bytes;
    return m;
}

static int counted(struct member *m, int rc)
{
    if (rc)
        atomic_fetch_add(&m->errors, 1);
    return rc;
}

static int stripe0_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    uint64_t at;
    struct member *m = locate(d, offset, &at);

    return counted(m, blockdev_readv(m->dev, iov, iov_count, at, 0));
}

static int stripe0_write(struct blockdev *d, const struct iovec *iov, int iov_count,
    uint64_t offset, uint64_t length, unsigned flags)
{
    uint64_t at;
    struct member *m = locate(d, offset, &at);

    return counted(m, blockdev_writev(m->dev, iov, iov_count, at, flags));
}

static int stripe0_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    uint64_t at;
    struct member *m = locate(d, offset, &at);

    return blockdev_discard(m->dev, at, length);
}

static int stripe0_write_zeroes(
    struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    uint64_t at;
    struct member *m = locate(d, offset, &at);
    int rc = blockdev_write_zeroes(m->dev, at, length, flags);

    return rc == -EOPNOTSUPP ? rc : counted(m, rc);
}

static int stripe0_flush(struct blockdev *d)
{
    return array_flush_members(array_of(d));
}

static int stripe0_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    uint64_t at;
    struct member *m = locate(d, offset, &at);

    return blockdev_extents(m->dev, at, length, extent);
}

static const struct blockdev_ops stripe0_ops = {
    .read = stripe0_read,
    .write = stripe0_write,
    .flush = stripe0_flush,
    .discard = stripe0_discard,
    .write_zeroes = stripe0_write_zeroes,
    .extents = stripe0_extents,
    .close = array_dev_close,
};

const struct array_level stripe0_level = {.blockdev = &stripe0_ops};
