/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing: what has its place is written there, side by side in batches; for the rest allocate.c
 * finds one. A write that finds no room leaves, waits (space.c), and goes on where it was.
 */
#include <errno.h>

#include "base/arith.h"
#include "image/image.h"
#include "rt/worker.h"

#define BATCH 8

struct writing {
    struct qcow2 *q;
    const struct iovec *iov;
    int iov_count;
    unsigned flags;
    uint64_t start, done, length;
    uint64_t settled; /* image_write_new's */
    unsigned count;
    int slices_used;
    /* So many of them hold something. */
    struct block_op ops[BATCH];
    struct iovec slices[IOV_SEGMENTS_MAX + BATCH];
};

/* Not as a whole: of most requests little of it is used. */
static void init(struct writing *w, struct qcow2 *q, const struct iovec *iov, int iov_count,
    uint64_t offset, uint64_t length, unsigned flags)
{
    w->q = q;
    w->iov = iov;
    w->iov_count = iov_count;
    w->flags = flags;
    w->start = offset;
    w->done = 0;
    w->settled = 0;
    w->length = length;
    w->count = 0;
    w->slices_used = 0;
}

/* To be written there. */
static void add(struct writing *w, struct blockdev *dev, uint64_t offset, uint64_t length)
{
    struct iovec *slices = &w->slices[w->slices_used];
    struct block_op *op = &w->ops[w->count++];

    *op = (struct block_op){.kind = BLOCK_WRITE,
        .flags = w->flags,
        .dev = dev,
        .iov = w->iov,
        .iov_count = w->iov_count,
        .offset = offset,
        .length = length};
    if (length < w->length) {
        op->iov = slices;
        op->iov_count = iov_slice(slices, w->iov, w->iov_count, w->done, length);
        w->slices_used += op->iov_count;
    }
    w->done += length;
}

static int run(struct writing *w)
{
    int rc = w->count ? blockdev_run(w->ops, w->count) : 0;

    w->count = 0;
    w->slices_used = 0;
    return rc;
}

/* The rest has been looked for a place, and `piece` has none. */
static int write_new(struct writing *w, const struct map_piece *piece)
{
    struct iovec slices[IOV_SEGMENTS_MAX];
    uint64_t offset = w->start + w->done, written = 0;
    int count = iov_slice(slices, w->iov, w->iov_count, w->done, piece->length);
    int rc =
        image_write_new(w->q, slices, count, offset, piece->length, piece, &w->settled, &written);

    if (!rc)
        w->done += written;
    return rc;
}

static int write_inside(struct writing *w)
{
    struct qcow2 *q = w->q;
    struct map_piece p;
    int rc = 0;

    while (!rc && w->done < w->length) {
        rc = map_find(q, w->start + w->done, w->length - w->done, &p);
        if (!rc && !image_may_change(q)) /* the map has told now that it cannot be */
            rc = -EIO;
        if (rc)
            break;
        if (p.kind == QCOW2_DATA && !p.shared) {
            add(w, q->file, p.host, p.length);
            if (w->count == BATCH || w->done == w->length)
                rc = run(w);
        } else {
            rc = run(w);
            if (!rc)
                rc = write_new(w, &p);
        }
    }
    return rc;
}

/* To the backing, once nothing is above it: as the image sinks. */
static int write_through(struct writing *w)
{
    struct qcow2 *q = w->q;
    int rc = image_sink_range(q, w->start, w->length);

    if (rc)
        return rc;
    add(w, q->backing, w->start, w->length);
    return run(w);
}

/* From the last piece that is surely done: what was gathered and not run is gathered again. */
static int visit_and_write(struct writing *w)
{
    struct visit v;
    int rc;

    visit_begin(w->q, &v);
    if (!image_may_change(w->q))
        rc = -EIO;
    else if (atomic_load_explicit(&w->q->sinking, memory_order_relaxed))
        rc = write_through(w);
    else
        rc = write_inside(w);
    visit_end(w->q, &v);
    return rc;
}

/* The map on the disk may lack what was written: that it is durable alone does not help. */
static bool is_volatile(struct qcow2 *q)
{
    return atomic_load(&q->map.state) != MAP_DURABLE;
}

int image_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    struct qcow2 *q = qcow2_of(d);
    struct writing w;
    uint64_t due_ns = 0, generation;
    int rc = image_mark(q);

    init(&w, q, iov, iov_count, offset, length, flags);
    while (!rc) {
        generation = atomic_load(&q->space.generation);
        rc = visit_and_write(&w);
        if (rc == -ESTALE) {
            grace_wait(&q->grace);
            rc = 0;
            continue;
        }
        if (rc != -ENOSPC)
            break;
        if (!due_ns)
            due_ns = rt_now_ns() + q->options.space_wait_ns;
        rc = space_wait(q, generation, due_ns);
    }
    if (!rc && flags & BLOCK_FUA && is_volatile(q))
        rc = blockdev_flush(d);
    image_relieve(q);
    return rc;
}
