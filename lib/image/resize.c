/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A larger or smaller disk. What a shrink cuts off is zeroed first, so that it reads as zeros if
 * the disk grows again. A disk that needs a longer L1 gets one at a new place, and the header
 * switches to it; guests wait for that moment, with everything durable.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/image.h"

/* Where L1 is now, longer. */
struct longer {
    uint32_t entries;
    uint64_t cluster, clusters;
};

static int write_l1(struct qcow2 *q, const struct longer *x)
{
    uint64_t bytes = x->clusters << q->g.cluster_bits;
    uint8_t *buf = calloc(1, bytes);
    int rc;

    if (!buf)
        return -ENOMEM;
    for (unsigned i = 0; i < q->map.count; i++)
        put_be64(buf + 8 * (uint64_t)i, q->map.slots[i].word);
    rc = blockdev_write_bytes(q->file, buf, x->cluster << q->g.cluster_bits, bytes, 0);
    free(buf);
    return rc ? rc : blockdev_flush(q->file);
}

static int longer_map(struct qcow2 *q, uint32_t entries)
{
    struct l1_slot *slots = calloc(entries, sizeof *slots);
    struct dirty dirty;

    if (!slots || dirty_init(&dirty, 8 * (uint64_t)entries) < 0) {
        free(slots);
        return -ENOMEM;
    }
    memcpy(slots, q->map.slots, q->map.count * sizeof *slots);
    free(q->map.slots);
    dirty_free(&q->map.l1_dirty);
    q->map.slots = slots;
    q->map.l1_dirty = dirty;
    q->map.count = entries;
    return 0;
}

/* Nobody is under way, and all is durable. */
static int switch_size(struct qcow2 *q, uint64_t size_bytes, struct longer *x)
{
    struct qcow2_header h = q->header;
    uint64_t old = h.l1_offset >> q->g.cluster_bits;
    uint64_t old_clusters = div_round_up(8 * (uint64_t)h.l1_entries, cluster_bytes(q));
    int rc = x->clusters ? write_l1(q, x) : 0;

    h.size_bytes = size_bytes;
    if (x->clusters) {
        h.l1_offset = x->cluster << q->g.cluster_bits;
        h.l1_entries = x->entries;
    }
    if (!rc)
        rc = header_write(q, &h);
    if (!rc && x->clusters)
        rc = longer_map(q, x->entries);
    if (rc) {
        atomic_store(&q->broken, true); /* nobody knows which of the two the disk has */
        return rc;
    }
    if (x->clusters && old_clusters) {
        clusters_drop(q, old, old_clusters);
        atomic_store(&q->map.state, MAP_CHANGED);
    }
    q->dev.size_bytes = round_down(size_bytes, q->dev.logical_block_bytes);
    return 0;
}

static int resize_locked(struct qcow2 *q, uint64_t size_bytes, uint32_t entries)
{
    struct longer x = {.entries = entries};
    int rc = 0;

    if (entries > q->map.count) {
        x.clusters = div_round_up(8 * (uint64_t)entries, cluster_bytes(q));
        rc = clusters_take_row(q, x.clusters, &x.cluster);
    }
    if (rc)
        return rc;
    gate_close(&q->gate);
    rc = commit_locked(q, false);
    if (!rc && x.clusters)
        rc = commit_locked(q, true); /* the new L1's refcounts */
    if (!rc)
        rc = switch_size(q, size_bytes, &x);
    else if (x.clusters)
        clusters_give_back(q, x.cluster, x.clusters);
    gate_open(&q->gate);
    return rc;
}

/* Where something may stand behind the disk's end: in the rest of its last cluster (which may have
 * been filled from a backing that is gone), and what the backing has. */
static uint64_t stale_end(const struct qcow2 *q, uint64_t size_bytes)
{
    uint64_t end = round_up(q->dev.size_bytes, cluster_bytes(q));

    if (q->backing)
        end = MAX(end, round_up(q->backing->size_bytes, q->dev.logical_block_bytes));
    return MIN(end, size_bytes);
}

/*
 * [old, end) is to read as zeros when the disk has grown. It is zeroed as a guest would do it, on a
 * disk that is larger already, of which the image does not tell yet. After a crash the image has
 * its old size, and zeros behind its end.
 */
static int clear_behind(struct qcow2 *q, uint64_t old, uint64_t end, uint32_t entries)
{
    int rc = 0;

    co_mutex_lock(&q->control);
    if (entries > q->map.count)
        rc = image_may_change(q) ? resize_locked(q, q->header.size_bytes, entries) : -EIO;
    if (!rc)
        q->dev.size_bytes = end;
    co_mutex_unlock(&q->control);
    if (rc)
        return rc;
    rc = blockdev_write_zeroes(&q->dev, old, end - old, BLOCK_MAY_UNMAP);
    if (rc)
        q->dev.size_bytes = old;
    return rc;
}

static int resize_once(struct qcow2 *q, uint64_t size_bytes)
{
    uint64_t entries = qcow2_l1_entries(&q->g, size_bytes);
    uint64_t old = q->dev.size_bytes;
    int rc = image_mark(q);

    if (!rc && size_bytes < old)
        rc = blockdev_write_zeroes(&q->dev, size_bytes, old - size_bytes, BLOCK_MAY_UNMAP);
    if (!rc && entries > q->map.count)
        rc = space_reserve(q, div_round_up(8 * entries, cluster_bytes(q)) + 16);
    if (!rc && stale_end(q, size_bytes) > old)
        rc = clear_behind(q, old, stale_end(q, size_bytes), (uint32_t)entries);
    if (rc)
        return rc;
    co_mutex_lock(&q->control);
    rc = image_may_change(q) ? resize_locked(q, size_bytes, (uint32_t)entries) : -EIO;
    if (rc)
        q->dev.size_bytes = old;
    co_mutex_unlock(&q->control);
    return rc;
}

int qcow2_resize(struct qcow2 *q, uint64_t size_bytes, struct error *err)
{
    int rc;

    if (q->options.read_only)
        return error_set(err, EROFS, "the image is read-only");
    if (!size_bytes || size_bytes % q->dev.logical_block_bytes)
        return error_set(
            err, EINVAL, "a disk of %" PRIu64 " bytes is no whole number of blocks", size_bytes);
    if (qcow2_l1_entries(&q->g, size_bytes) > QCOW2_L1_MAX_BYTES / 8)
        return error_set(err, EFBIG, "%" PRIu64 " bytes are too many for clusters of %" PRIu64,
            size_bytes, cluster_bytes(q));
    co_mutex_lock(&q->admin);
    rc = resize_once(q, size_bytes);
    co_mutex_unlock(&q->admin);
    return rc ? error_set(err, -rc, "cannot resize the image: %s", strerror(-rc)) : 0;
}
