/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the header says of the image's state: in use (dirty), so that whoever finds it so after a
 * crash looks at its refcounts; corrupt; and that bitmaps, which we do not keep up, are out of
 * date. The header is one sector where anything in it changes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "image/image.h"
#include "rt/worker.h"

static int put_sector(struct qcow2 *q, const uint8_t *sector)
{
    int rc = blockdev_write_bytes(q->file, sector, 0, SECTOR_BYTES, 0);

    return rc ? rc : blockdev_flush(q->file);
}

static void adopt(struct qcow2 *q, const struct qcow2_header *h)
{
    q->header = *h;
    atomic_store(&q->snapshot_count, h->snapshot_count);
}

/* A write that failed may have been done all the same: so the old header is put back. */
int header_write(struct qcow2 *q, const struct qcow2_header *h)
{
    uint8_t old[SECTOR_BYTES], sector[SECTOR_BYTES];
    int rc = blockdev_read_bytes(q->file, old, 0, sizeof old);

    if (rc)
        return rc;
    memcpy(sector, old, sizeof sector);
    rc = qcow2_header_update(h, sector);
    if (rc)
        return rc;
    rc = put_sector(q, sector);
    if (!rc)
        adopt(q, h);
    else if (put_sector(q, old))
        atomic_store(&q->broken, true); /* nobody knows which of the two the disk has */
    return rc;
}

static int mark_locked(struct qcow2 *q)
{
    struct qcow2_header h = q->header;
    struct freed bitmaps = {0};
    int rc;

    if (atomic_load(&q->marked))
        return 0;
    if (h.has_bitmaps && h.autoclear & QCOW2_BITMAPS_VALID)
        bitmaps_clusters(q, &bitmaps);
    if (!MUTANT(NOT_MARKED))
        h.incompatible |= QCOW2_DIRTY;
    h.autoclear = 0;
    h.has_bitmaps = false;
    rc = header_write(q, &h);
    for (size_t i = 0; !rc && i < bitmaps.count; i++)
        clusters_drop(q, bitmaps.runs[i].cluster, bitmaps.runs[i].count);
    if (!rc && bitmaps.count)
        atomic_store(&q->map.state, MAP_CHANGED);
    free(bitmaps.runs);
    if (!rc)
        atomic_store(&q->marked, true);
    return rc;
}

int image_mark(struct qcow2 *q)
{
    int rc;

    if (atomic_load_explicit(&q->marked, memory_order_relaxed))
        return 0;
    co_mutex_lock(&q->control);
    rc = mark_locked(q);
    co_mutex_unlock(&q->control);
    return rc;
}

void header_say_corrupt(struct qcow2 *q)
{
    struct qcow2_header h = q->header;

    h.incompatible |= QCOW2_CORRUPT;
    header_write(q, &h);
}

/* Runs on its own: those who find faults hold what the header waits for. */
static void write_corrupt(void *arg)
{
    struct qcow2 *q = arg;

    co_mutex_lock(&q->control);
    header_say_corrupt(q);
    co_mutex_unlock(&q->control);
    co_event_set(&q->reported);
}

/* Of one that is broken memory tells nothing. */
void image_corrupt(struct qcow2 *q)
{
    if (atomic_load(&q->broken))
        return;
    if (atomic_exchange(&q->corrupt, true) || q->options.read_only || q->g.version < 3)
        return;
    co_event_clear(&q->reported);
    if (co_start("qcow2-corrupt", write_corrupt, q) < 0)
        co_event_set(&q->reported);
}
