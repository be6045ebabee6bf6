/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying goes from the beginning of the disk to its end, side by side with guests: what it copies
 * is claimed as a write would claim it, so that a guest's write comes before (and there is nothing
 * to copy) or after. What has its place, or was zeroed, never reads from the backing again. Zeros
 * of the backing are left out: without a backing, what is not there reads as zeros.
 *
 * Then all is made durable, and one sector of the header gives the backing up.
 */
#include "image/flatten.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/image.h"
#include "rt/io.h"
#include "rt/worker.h"

#define STEP_BYTES (UINT64_C(1) << 20)

#define HEADER_SECTOR_BYTES 512
#define BACKING_FIELDS      8 /* offset and length of the name: 12 bytes from here on */

/* What the backing has at `offset`, at most `length` of it; beyond its end there are zeros. */
static int look_below(
    struct blockdev *backing, uint64_t offset, uint64_t length, struct block_extent *e)
{
    uint64_t size = backing->size_bytes;

    if (offset < size)
        return blockdev_extents(backing, offset, MIN(length, size - offset), e);
    *e = (struct block_extent){.length = length, .flags = EXTENT_ZERO};
    return 0;
}

/* Inside a visit: some of what stands at *at, and *at is behind it. */
static int copy_some(struct qcow2 *q, uint8_t *buf, uint64_t *at, uint64_t length)
{
    struct block_extent e;
    struct map_piece p;
    uint64_t copied = 0;
    int rc = map_find(q, *at, length, &p);

    if (rc)
        return rc;
    if (p.kind != QCOW2_BACKED) {
        *at += p.length;
        return 0;
    }
    rc = look_below(q->backing, *at, p.length, &e);
    if (rc)
        return rc;
    if (e.flags & EXTENT_ZERO) {
        *at += e.length;
        return 0;
    }
    rc = image_copy_up(q, buf, *at, MIN(e.length, STEP_BYTES), &p, &copied);
    *at += copied;
    return rc;
}

static int visit_and_copy(struct qcow2 *q, uint8_t *buf, uint64_t *at, uint64_t size)
{
    struct visit v;
    int rc = -EIO;

    visit_begin(q, &v);
    if (!atomic_load(&q->corrupt))
        rc = copy_some(q, buf, at, size - *at);
    visit_end(q, &v);
    return rc;
}

static int copy_all(struct qcow2 *q, uint8_t *buf, flatten_progress *progress, void *arg)
{
    uint64_t at = 0, size = q->dev.size_bytes, due_ns = 0;
    int rc = image_mark(q);

    while (!rc && at < size) {
        uint64_t generation = atomic_load(&q->space.generation);

        if (!progress(arg, at, size))
            return -ECANCELED;
        rc = visit_and_copy(q, buf, &at, size);
        if (rc == -ENOSPC) {
            due_ns = due_ns ? due_ns : rt_now_ns() + q->options.space_wait_ns;
            rc = space_wait(q, generation, due_ns);
        } else {
            due_ns = 0;
        }
    }
    return rc;
}

/* The rest of the header, which is longer than a sector, stays: with no name there, the format of
 * the backing counts for nothing. */
static int write_first_sector(struct qcow2 *q)
{
    uint8_t sector[HEADER_SECTOR_BYTES];
    int rc = blockdev_read_bytes(q->file, sector, 0, sizeof sector);

    memset(sector + BACKING_FIELDS, 0, 12);
    if (!rc)
        rc = blockdev_write_bytes(q->file, sector, 0, sizeof sector, 0);
    return rc ? rc : blockdev_flush(q->file);
}

/* Nobody is inside while it goes. */
static int give_up_backing(struct qcow2 *q)
{
    int rc;

    co_mutex_lock(&q->control);
    rc = commit_locked(q, false);
    if (!rc)
        rc = write_first_sector(q);
    if (!rc) {
        gate_close(&q->gate);
        q->backing = NULL;
        gate_open(&q->gate);
        free(q->header.backing_name);
        free(q->header.backing_format);
        q->header.backing_name = q->header.backing_format = NULL;
    }
    co_mutex_unlock(&q->control);
    return rc;
}

int qcow2_flatten(struct qcow2 *q, flatten_progress *progress, void *arg, struct error *err)
{
    uint8_t *buf;
    int rc;

    if (!q->backing)
        return error_set(err, ENXIO, "the image has no backing");
    if (atomic_load(&q->snapshot_count))
        return error_set(err, EBUSY, "the image has snapshots, which read from the backing too");
    buf = io_buffer_get(STEP_BYTES);
    if (!buf)
        return -ENOMEM;
    rc = copy_all(q, buf, progress, arg);
    io_buffer_put(buf, STEP_BYTES);
    return rc ? rc : give_up_backing(q);
}
