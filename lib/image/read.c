/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading the guest's disk: pieces as the map has them, those in the file and in the backing side
 * by side in batches. A compressed cluster is unpacked on a helper thread into memory taken for the
 * moment; nothing else allocates.
 */
#include <errno.h>

#include "base/arith.h"
#include "image/compress.h"
#include "image/image.h"
#include "rt/io.h"
#include "rt/worker.h"

#define BATCH 8

struct reading {
    struct qcow2 *q;
    const struct iovec *iov;
    int iov_count;
    uint64_t start, done, length;
    unsigned count;
    int slices_used;
    /* So many of them hold something. */
    struct block_op ops[BATCH];
    struct iovec slices[IOV_SEGMENTS_MAX + BATCH];
};

/* Not as a whole: of most requests little of it is used. */
static void init(struct reading *r, struct qcow2 *q, const struct iovec *iov, int iov_count,
    uint64_t offset, uint64_t length)
{
    r->q = q;
    r->iov = iov;
    r->iov_count = iov_count;
    r->start = offset;
    r->done = 0;
    r->length = length;
    r->count = 0;
    r->slices_used = 0;
}

static void add(struct reading *r, struct blockdev *dev, uint64_t offset, uint64_t length)
{
    struct iovec *slices = &r->slices[r->slices_used];
    struct block_op *op = &r->ops[r->count++];

    *op = (struct block_op){.kind = BLOCK_READ,
        .dev = dev,
        .iov = r->iov,
        .iov_count = r->iov_count,
        .offset = offset,
        .length = length};
    if (length == r->length)
        return;
    op->iov = slices;
    op->iov_count = iov_slice(slices, r->iov, r->iov_count, r->done, length);
    r->slices_used += op->iov_count;
}

/* As far as `dev` reaches; the rest are zeros. */
static void add_or_zero(struct reading *r, struct blockdev *dev, uint64_t offset, uint64_t length)
{
    uint64_t size = dev ? dev->size_bytes : 0;
    uint64_t there = offset < size ? MIN(length, size - offset) : 0;

    if (there)
        add(r, dev, offset, there);
    if (there < length)
        iov_zero(r->iov, r->iov_count, r->done + there, length - there);
    r->done += length;
}

static int run(struct reading *r)
{
    int rc = r->count ? blockdev_run(r->ops, r->count) : 0;

    r->count = 0;
    r->slices_used = 0;
    return rc;
}

struct unpacking {
    enum qcow2_compression how;
    uint8_t *to, *from;
    size_t to_bytes, from_bytes;
};

static int unpack(void *arg)
{
    struct unpacking *u = arg;

    return cluster_unpack(u->how, u->to, u->to_bytes, u->from, u->from_bytes);
}

static int read_packed(struct reading *r, const struct map_piece *p)
{
    struct qcow2 *q = r->q;
    uint64_t offset, length, inside = (r->start + r->done) & (cluster_bytes(q) - 1);
    struct unpacking u = {.how = q->g.compression, .to_bytes = cluster_bytes(q)};
    int rc = -ENOMEM;

    qcow2_entry_packed(&q->g, p->entry, &offset, &length);
    u.from_bytes = MIN(length, q->file->size_bytes - offset);
    u.from = io_buffer_get(length);
    u.to = io_buffer_get(u.to_bytes);
    if (u.from && u.to)
        rc = blockdev_read_bytes(q->file, u.from, offset, u.from_bytes);
    if (!rc)
        rc = rt_offload(unpack, &u);
    if (!rc)
        iov_copy_to(r->iov, r->iov_count, r->done, u.to + inside, p->length);
    if (u.to)
        io_buffer_put(u.to, u.to_bytes);
    if (u.from)
        io_buffer_put(u.from, length);
    r->done += p->length;
    return rc;
}

static int read_piece(struct reading *r)
{
    uint64_t offset = r->start + r->done, length = r->length - r->done;
    struct map_piece p;
    int rc = map_find(r->q, offset, length, &p);

    if (rc)
        return rc;
    switch (p.kind) {
    case QCOW2_DATA:
        add_or_zero(r, r->q->file, p.host, p.length);
        return 0;
    case QCOW2_BACKED:
        add_or_zero(r, r->q->backing, offset, p.length);
        return 0;
    case QCOW2_READS_ZERO:
        add_or_zero(r, NULL, 0, p.length);
        return 0;
    case QCOW2_PACKED:
        return read_packed(r, &p);
    }
    return -EIO;
}

int image_read_inside(
    struct qcow2 *q, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct reading r;
    int rc = 0;

    init(&r, q, iov, iov_count, offset, length);
    while (!rc && r.done < r.length) {
        rc = read_piece(&r);
        if (!rc && (r.count == BATCH || r.done == r.length))
            rc = run(&r);
    }
    return rc;
}

int image_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct qcow2 *q = qcow2_of(d);
    struct visit v;
    int rc;

    visit_begin(q, &v);
    rc = image_read_inside(q, iov, iov_count, offset, length);
    visit_end(q, &v);
    return rc;
}

/* What is below; a write needs space here all the same. */
static int backing_extent(
    struct blockdev *backing, uint64_t offset, uint64_t length, struct block_extent *e)
{
    int rc = blockdev_extents(backing, offset, MIN(length, backing->size_bytes - offset), e);

    if (!rc)
        e->flags |= EXTENT_HOLE;
    return rc;
}

int image_extents(struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *e)
{
    struct qcow2 *q = qcow2_of(d);
    struct map_piece p;
    struct visit v;
    int rc;

    visit_begin(q, &v);
    rc = map_find(q, offset, length, &p);
    if (!rc && p.kind == QCOW2_BACKED && q->backing && offset < q->backing->size_bytes)
        rc = backing_extent(q->backing, offset, p.length, e);
    else if (!rc)
        *e = (struct block_extent){.length = p.length,
            .flags = p.kind == QCOW2_BACKED || p.kind == QCOW2_READS_ZERO
                         ? EXTENT_ZERO | EXTENT_HOLE
                         : 0};
    visit_end(q, &v);
    return rc;
}
