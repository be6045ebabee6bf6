/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sinking takes clusters in the order of the disk. Those of a step are claimed, as an allocating
 * write would claim them; what of them the image has is written to the backing, and then their
 * entries are dropped, so that the backing shows. Nobody rewrites them meanwhile: since the image
 * sinks, a write waits for the claim and goes to the backing afterwards.
 *
 * A flush makes the backing durable before the map that lets it show (commit.c).
 */
#include "image/sink.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "image/image.h"
#include "rt/io.h"

#define STEP_BYTES (UINT64_C(1) << 20)

static bool reads_zero(const struct map_piece *p)
{
    return p->kind == QCOW2_READS_ZERO;
}

/* A piece that is in the image, to the same place of the backing. */
static int copy_piece(struct qcow2 *q, uint64_t offset, const struct map_piece *p, void *buf)
{
    struct iovec iov = {buf, p->length};
    int rc;

    if (reads_zero(p))
        return blockdev_write_zeroes(q->backing, offset, p->length, BLOCK_MAY_UNMAP);
    rc = image_read_inside(q, &iov, 1, offset, p->length);
    return rc ? rc : blockdev_write(q->backing, buf, offset, p->length, BLOCK_STABLE);
}

/* [from, to) lies in clusters that are claimed. */
static int copy_down(struct qcow2 *q, uint64_t from, uint64_t to, void *buf)
{
    int rc = 0;

    while (!rc && from < to) {
        struct map_piece p;

        rc = map_find(q, from, to - from, &p);
        if (!rc && p.kind != QCOW2_BACKED)
            rc = copy_piece(q, from, &p, buf);
        from += p.length;
    }
    return rc;
}

static int drop_entry(struct qcow2 *q, uint64_t at)
{
    struct qcow2_entry e, none = {0};
    struct l2_table *t;
    unsigned index;
    int rc = clusters_reserve(q, 4);

    if (!rc)
        rc = map_open(q, at, &t, &index);
    if (rc)
        return rc;
    e = qcow2_entry_get(&q->g, t->bytes, index);
    if (e.word || e.bitmap) {
        map_put(q, t, index, none);
        clusters_drop_entry(q, e);
    }
    map_close(q, t);
    return 0;
}

/* Whole clusters. */
static int sink_claimed(struct qcow2 *q, uint64_t start, uint64_t end, void *buf)
{
    int rc = copy_down(q, start, MIN(end, q->dev.size_bytes), buf);

    for (; !rc && start < end; start += cluster_bytes(q))
        rc = drop_entry(q, start);
    return rc;
}

int image_sink_some(struct qcow2 *q, uint64_t *offset, uint64_t length)
{
    uint64_t bytes = MAX(STEP_BYTES, cluster_bytes(q));
    uint64_t start = round_down(*offset, cluster_bytes(q));
    uint64_t end = MIN(round_up(*offset + length, cluster_bytes(q)), start + bytes);
    struct range_holder claim;
    void *buf = io_buffer_get(bytes);
    int rc;

    if (!buf)
        return -ENOMEM;
    range_lock_take(&q->claims, &claim, start, end, false);
    rc = sink_claimed(q, start, end, buf);
    range_lock_release(&q->claims, &claim);
    io_buffer_put(buf, bytes);
    if (!rc)
        *offset = MIN(*offset + length, end);
    return rc;
}

int image_sink_range(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;
    struct map_piece p;
    int rc = 0;

    while (!rc && offset < end) {
        rc = map_find(q, offset, end - offset, &p);
        if (!rc && p.kind == QCOW2_BACKED)
            offset += p.length;
        else if (!rc)
            rc = image_sink_some(q, &offset, p.length);
    }
    return rc;
}

/* The next step from *at on that has something to sink. */
static int step(struct qcow2 *q, uint64_t *at)
{
    uint64_t size = q->dev.size_bytes;
    struct map_piece p;
    struct visit v;
    int rc;

    visit_begin(q, &v);
    rc = image_may_change(q) ? map_find(q, *at, size - *at, &p) : -EIO;
    if (!rc && p.kind == QCOW2_BACKED && !(p.entry.word & QCOW2_OFFSET_MASK))
        *at += p.length;
    else if (!rc)
        rc = image_sink_some(q, at, p.length);
    visit_end(q, &v);
    return rc;
}

static int sink_all(struct qcow2 *q, sink_progress *progress, void *arg)
{
    uint64_t at = 0;
    int rc = 0;

    while (!rc && at < q->dev.size_bytes) {
        rc = step(q, &at);
        if (!rc && progress && !progress(arg, at, q->dev.size_bytes))
            rc = -ECANCELED;
    }
    return rc ? rc : image_commit(q);
}

static int refuse(const struct qcow2 *q, struct error *err)
{
    if (q->options.read_only)
        return error_set(err, EROFS, "the image is read-only");
    if (!q->backing)
        return error_set(err, EINVAL, "the image has no backing");
    if (q->backing->size_bytes < q->dev.size_bytes)
        return error_set(err, EINVAL, "%s is shorter than the disk over it", q->backing->name);
    if (q->backing->capabilities & BLOCK_READ_ONLY)
        return error_set(err, EINVAL, "%s cannot be written", q->backing->name);
    if (q->header.snapshot_count)
        return error_set(err, EINVAL, "the image has snapshots, which build upon the same backing");
    return 0;
}

int qcow2_sink(struct qcow2 *q, sink_progress *progress, void *arg, struct error *err)
{
    int rc = refuse(q, err);

    if (rc)
        return rc;
    co_mutex_lock(&q->admin);
    rc = image_mark(q);
    if (!rc) {
        gate_close(&q->gate); /* nobody writes where it is any more */
        atomic_store(&q->sinking, true);
        gate_open(&q->gate);
        rc = sink_all(q, progress, arg);
    }
    co_mutex_unlock(&q->admin);
    return rc ? error_set(
                    err, -rc, "cannot move the image into %s: %s", q->backing->name, strerror(-rc))
              : 0;
}
