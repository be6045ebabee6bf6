/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the file shorter. Clusters of the active disk beyond the limit (what would do for all that
 * is in use) are moved to free ones below it, a batch at a time, while guests wait for that moment;
 * then the tables and refcount blocks, by a new layout (layout.h). What snapshots refer to, and
 * compressed clusters, stay. Then the clusters behind the last one in use are no longer the
 * image's: the refcount table forgets their blocks, durably, before the file is cut.
 */
#include "image/compact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/snapshot.h"
#include "rt/io.h"
#include "rt/worker.h"

#define BATCH_BYTES  (UINT64_C(1) << 20)
#define SLACK_PART   64 /* of what is in use, or so many clusters: less is not worth it */
#define SLACK_LEAST  16
#define COMMIT_BYTES (UINT64_C(64) << 20) /* what was moved away from comes back after a commit */

struct compaction {
    struct qcow2 *q;
    uint64_t limit; /* clusters from here on are to be emptied */
    uint64_t moved_bytes, most_bytes;
    uint8_t *buf;
    bool full; /* below the limit */
    compact_progress *progress;
    void *arg;
};

static void count_clusters(struct qcow2 *q, uint64_t *used, uint64_t *all)
{
    spin_lock(&q->clusters.lock);
    *all = q->clusters.count;
    *used = *all - q->clusters.free;
    spin_unlock(&q->clusters.lock);
}

static bool is_beyond(const struct compaction *c, struct qcow2_entry e)
{
    return !(e.word & QCOW2_COMPRESSED) && e.word & QCOW2_COPIED &&
           (e.word & QCOW2_OFFSET_MASK) >> c->q->g.cluster_bits >= c->limit;
}

/* Guests wait. One cluster to a free one below. -ENOSPC: there is none. */
static int move_cluster(struct compaction *c, struct l2_table *t, unsigned index)
{
    struct qcow2 *q = c->q;
    struct qcow2_entry e = qcow2_entry_get(&q->g, t->bytes, index);
    uint64_t from = e.word & QCOW2_OFFSET_MASK, to;
    int rc = clusters_reserve(q, 1);

    if (!rc)
        rc = clusters_take_below(q, c->limit, &to);
    if (rc)
        return rc;
    rc = blockdev_read(q->file, c->buf, from, cluster_bytes(q));
    if (!rc)
        rc = blockdev_write(
            q->file, c->buf, to << q->g.cluster_bits, cluster_bytes(q), BLOCK_STABLE);
    if (rc) {
        clusters_give_back(q, to, 1);
        return rc;
    }
    e.word = (e.word & ~QCOW2_OFFSET_MASK) | to << q->g.cluster_bits;
    spin_lock(&map_shard(q, t->index)->lock);
    map_put(q, t, index, e);
    spin_unlock(&map_shard(q, t->index)->lock);
    clusters_drop(q, from >> q->g.cluster_bits, 1);
    c->moved_bytes += cluster_bytes(q);
    return 0;
}

/* Some of a table, from entry *next on. */
static int move_batch(struct compaction *c, struct l2_table *t, unsigned *next)
{
    struct qcow2 *q = c->q;
    uint64_t done = 0;
    int rc = 0;

    gate_close(&q->gate);
    for (; !rc && *next < 1u << q->g.l2_bits && done < BATCH_BYTES; ++*next) {
        if (!is_beyond(c, qcow2_entry_get(&q->g, t->bytes, *next)))
            continue;
        rc = move_cluster(c, t, *next);
        done += cluster_bytes(q);
    }
    gate_open(&q->gate);
    return rc;
}

/* Without stopping anybody: the next entry that is worth it. */
static unsigned next_beyond(const struct compaction *c, struct l2_table *t, unsigned from)
{
    struct qcow2 *q = c->q;

    spin_lock(&map_shard(q, t->index)->lock);
    while (from < 1u << q->g.l2_bits && !is_beyond(c, qcow2_entry_get(&q->g, t->bytes, from)))
        from++;
    spin_unlock(&map_shard(q, t->index)->lock);
    return from;
}

static int move_table_data(struct compaction *c, struct l2_table *t)
{
    struct qcow2 *q = c->q;
    unsigned entries = 1u << q->g.l2_bits, next = 0;
    uint64_t committed = c->moved_bytes;
    int rc = 0;

    while (!rc && (next = next_beyond(c, t, next)) < entries) {
        rc = move_batch(c, t, &next);
        if (!rc && c->progress && !c->progress(c->arg, c->moved_bytes, c->most_bytes))
            rc = -ECANCELED;
        if (!rc && c->moved_bytes - committed >= COMMIT_BYTES) {
            committed = c->moved_bytes;
            rc = image_commit(q);
        }
        co_yield ();
    }
    return rc;
}

/* The table of an L1 entry, if it is the active disk's alone; it stays in memory (tables_gather).
 */
static struct l2_table *own_table(struct qcow2 *q, unsigned index)
{
    struct map_shard *shard = map_shard(q, index);
    struct l2_table *t;

    spin_lock(&shard->lock);
    t = q->map.slots[index].word & QCOW2_COPIED ? q->map.slots[index].table : NULL;
    spin_unlock(&shard->lock);
    return t;
}

static int move_data(struct compaction *c)
{
    struct qcow2 *q = c->q;
    int rc = 0;

    for (unsigned i = 0; !rc && i < q->map.count; i++) {
        struct l2_table *t = own_table(q, i);

        if (t)
            rc = move_table_data(c, t);
    }
    if (rc == -ENOSPC) /* guests were quicker: what is done is done */
        rc = 0;
    return rc ? rc : image_commit(q);
}

static bool move(struct qcow2 *q, uint8_t *table)
{
    return true;
}

static bool stay(struct qcow2 *q, uint8_t *table)
{
    return false;
}

/* One that guests have added since the layout was taken has no place in it, and stays. */
static bool is_table_beyond(struct qcow2 *q, unsigned index, uint64_t limit)
{
    struct map_shard *shard = map_shard(q, index);
    const struct l2_table *t;
    bool yes;

    spin_lock(&shard->lock);
    t = q->map.slots[index].table;
    yes = t && !t->whole && t->host_offset >> q->g.cluster_bits >= limit;
    spin_unlock(&shard->lock);
    return yes;
}

/* With clusters taken: tables that are beyond, and all that a layout moves anyway. */
static int move_tables(struct layout *l, uint64_t limit)
{
    struct qcow2 *q = l->q;
    uint64_t from;
    int rc = 0;

    for (unsigned i = 0; !rc && i < q->map.count; i++) {
        rc = layout_move_table(l, i, is_table_beyond(q, i, limit) ? move : stay, &from);
        if (!rc && from)
            rc = layout_give_up(l, from, cluster_bytes(q));
    }
    if (!rc)
        rc = layout_give_up(l, q->header.l1_offset, 8 * (uint64_t)q->header.l1_entries);
    if (rc)
        atomic_store(&q->broken, true);
    return rc ? rc : layout_switch(l);
}

static int move_metadata_locked(struct qcow2 *q, uint64_t limit)
{
    struct layout l;
    int rc = commit_locked(q, false);

    reaper_end(q);
    clusters_rewind(q);
    layout_begin(&l, q);
    l.snapshots = q->snapshots;
    l.keep_snapshots = !q->header.snapshot_count;
    if (!rc)
        rc = layout_take(&l, tables_count(q)); /* at least those that are on the disk now */
    if (!rc)
        rc = move_tables(&l, limit);
    layout_end(&l, !rc);
    if (!rc)
        rc = commit_locked(q, true);
    reaper_end(q);
    return rc;
}

/* Blocks of clusters that are no longer the image's. Durable before it returns. */
static int forget_blocks(struct qcow2 *q, uint64_t first)
{
    uint8_t none[8] = {0};
    int rc = 0;

    for (uint64_t i = first; !rc && i < q->clusters.block_count; i++)
        if (q->clusters.blocks[i])
            rc = blockdev_write_bytes(
                q->file, none, q->header.reftable_offset + 8 * i, sizeof none, 0);
    if (!rc)
        rc = blockdev_flush(q->file);
    if (rc)
        atomic_store(&q->broken, true); /* nobody knows which of them the disk still has */
    for (uint64_t i = first; !rc && i < q->clusters.block_count; i++) {
        struct refblock *b = q->clusters.blocks[i];

        if (!b)
            continue;
        spin_lock(&q->clusters.lock);
        q->clusters.blocks[i] = NULL;
        spin_unlock(&q->clusters.lock);
        clusters_drop(q, b->host_offset >> q->g.cluster_bits, 1);
        atomic_store(&q->map.state, MAP_CHANGED);
        refblock_free(b);
    }
    return rc;
}

/* What is behind the last cluster in use, but for what is wanted ahead, goes. */
static int cut(struct qcow2 *q)
{
    uint64_t count = clusters_cut(q, q->options.ahead_bytes >> q->g.cluster_bits);
    uint64_t blocks = ((count - 1) >> q->g.refcount_block_bits) + 1;
    int rc = clusters_reserve(
        q, (unsigned)(q->clusters.block_count - MIN(blocks, q->clusters.block_count)));

    if (!rc)
        rc = forget_blocks(q, blocks);
    if (!rc)
        rc = commit_locked(q, true);
    if (!rc && q->options.file_ops->shrink)
        rc = q->options.file_ops->shrink(q->options.file_arg, count << q->g.cluster_bits);
    return rc;
}

static int compact(struct compaction *c)
{
    struct qcow2 *q = c->q;
    uint64_t used, all, tables;
    int rc = image_mark(q);

    if (!rc)
        rc = image_commit(q);
    reaper_end(q); /* what was freed is no longer in use */
    count_clusters(q, &used, &all);
    c->limit = used + MAX(used / SLACK_PART, (uint64_t)SLACK_LEAST);
    c->most_bytes = (all - MIN(all, c->limit)) << q->g.cluster_bits;
    if (!rc && c->limit < all)
        rc = tables_gather(q);
    if (!rc && c->limit < all) {
        clusters_rewind(q);
        rc = move_data(c);
    }
    tables = tables_count(q);
    if (!rc && c->limit < all)
        rc = space_reserve(q, layout_estimate(q, tables));
    co_mutex_lock(&q->control);
    if (!rc && c->limit < all)
        rc = move_metadata_locked(q, c->limit);
    if (!rc)
        rc = cut(q);
    co_mutex_unlock(&q->control);
    tables_scatter(q);
    return rc;
}

int qcow2_compact(struct qcow2 *q, compact_progress *progress, void *arg, struct error *err)
{
    struct compaction c = {.q = q, .progress = progress, .arg = arg};
    int rc = -ENOMEM;

    if (q->options.read_only)
        return error_set(err, EROFS, "the image is read-only");
    co_mutex_lock(&q->admin);
    c.buf = io_buffer_get(cluster_bytes(q));
    if (c.buf)
        rc = image_may_change(q) ? compact(&c) : -EIO;
    if (c.buf)
        io_buffer_put(c.buf, cluster_bytes(q));
    co_mutex_unlock(&q->admin);
    return rc ? error_set(err, -rc, "cannot make the image shorter: %s", strerror(-rc)) : 0;
}
