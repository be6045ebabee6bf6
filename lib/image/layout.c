/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/layout.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

int tables_gather(struct qcow2 *q)
{
    int rc = 0;

    atomic_store(&q->map.tables_max, UINT_MAX);
    for (unsigned i = 0; !rc && i < q->map.count; i++) {
        while (!rc) {
            struct map_shard *shard = map_shard(q, i);

            spin_lock(&shard->lock);
            bool there = q->map.slots[i].table || !q->map.slots[i].word;
            spin_unlock(&shard->lock);
            if (there)
                break;
            rc = table_load(q, i);
        }
    }
    return rc;
}

void tables_scatter(struct qcow2 *q)
{
    image_limit_tables(q);
    table_evict(q);
}

void layout_begin(struct layout *l, struct qcow2 *q)
{
    *l = (struct layout){.q = q, .h = q->header, .keep_snapshots = true};
}

static uint64_t clusters_for(const struct qcow2 *q, uint64_t bytes)
{
    return div_round_up(bytes, cluster_bytes(q));
}

static uint64_t blocks_of(const struct qcow2 *q)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < q->clusters.block_count; i++)
        n += !!q->clusters.blocks[i];
    return n;
}

static uint64_t snapshots_bytes(const struct layout *l)
{
    return l->keep_snapshots ? 0 : qcow2_snapshots_bytes(l->snapshots, l->h.snapshot_count);
}

uint64_t layout_clusters(const struct layout *l, uint64_t tables)
{
    const struct qcow2 *q = l->q;

    return tables + blocks_of(q) + q->header.reftable_clusters +
           clusters_for(q, 8 * (uint64_t)l->h.l1_entries) + clusters_for(q, snapshots_bytes(l));
}

uint64_t layout_estimate(struct qcow2 *q, uint64_t tables)
{
    struct layout l;
    uint64_t clusters;

    co_mutex_lock(&q->control);
    layout_begin(&l, q);
    clusters = layout_clusters(&l, tables);
    co_mutex_unlock(&q->control);
    return clusters;
}

static int take_row(struct layout *l, uint64_t count, uint64_t *first)
{
    return count ? clusters_take_row(l->q, count, first) : 0;
}

static int take_spares(struct layout *l, uint64_t count)
{
    int rc = 0;

    l->spare = calloc(MAX(count, UINT64_C(1)), sizeof *l->spare);
    if (!l->spare)
        return -ENOMEM;
    while (!rc && l->spares < count) {
        uint64_t first, n;
        bool fresh;

        rc = clusters_take_kept(l->q, count - l->spares, &first, &n, &fresh);
        for (uint64_t i = 0; !rc && i < n; i++)
            l->spare[l->spares++] = first + i;
    }
    return rc;
}

int layout_take(struct layout *l, uint64_t tables)
{
    struct qcow2 *q = l->q;
    uint64_t l1_clusters = clusters_for(q, 8 * (uint64_t)l->h.l1_entries);
    uint64_t snapshots = clusters_for(q, snapshots_bytes(l));
    int rc = take_row(l, l1_clusters, &l->l1_cluster);

    if (rc)
        return rc;
    l->l1_clusters = l1_clusters;
    rc = take_row(l, snapshots, &l->snapshots_cluster);
    if (rc)
        return rc;
    l->snapshots_clusters = snapshots;
    rc = take_row(l, q->header.reftable_clusters, &l->reftable_cluster);
    if (rc) {
        l->reftable_cluster = 0;
        return rc;
    }
    rc = take_spares(l, tables + blocks_of(q));
    l->tables = tables;
    l->l1 = calloc(MAX(l->h.l1_entries, 1u), sizeof *l->l1);
    return rc ? rc : l->l1 ? 0 : -ENOMEM;
}

uint64_t layout_place(struct layout *l)
{
    assert(l->spares_used < l->spares);
    return l->spare[l->spares_used++] << l->q->g.cluster_bits;
}

int layout_give_up(struct layout *l, uint64_t offset, uint64_t bytes)
{
    return freed_add(&l->old, offset >> l->q->g.cluster_bits, clusters_for(l->q, bytes));
}

/* Its bytes as they will be on the disk; where to; false: they are there already. One that differs
 * from the disk moves: what stands there would not fit the refcounts any more. */
static bool settle_table(
    struct layout *l, unsigned index, layout_fix *fix, uint8_t *copy, uint64_t *to, uint64_t *from)
{
    struct l1_slot *slot = &l->q->map.slots[index];
    struct l2_table *t = slot->table;
    bool move;

    if (!t)
        return false;
    memcpy(copy, t->bytes, cluster_bytes(l->q));
    move = fix(l->q, copy) || !(slot->word & QCOW2_COPIED) || (!t->whole && dirty_any(&t->dirty));
    if (!move && !t->whole)
        return false;
    *to = t->host_offset;
    if (move) {
        *from = t->host_offset;
        *to = layout_place(l);
    }
    t->host_offset = *to;
    t->whole = false;
    dirty_clear(&t->dirty);
    slot->word = *to | QCOW2_COPIED;
    return true;
}

int layout_move_table(struct layout *l, unsigned index, layout_fix *fix, uint64_t *from)
{
    struct qcow2 *q = l->q;
    uint8_t *copy = aligned_alloc(4096, MAX(cluster_bytes(q), UINT64_C(4096)));
    uint64_t to;
    bool write;
    int rc = 0;

    *from = 0;
    if (!copy)
        return -ENOMEM;
    spin_lock(&map_shard(q, index)->lock);
    write = settle_table(l, index, fix, copy, &to, from);
    l->l1[index] = q->map.slots[index].word;
    spin_unlock(&map_shard(q, index)->lock);
    if (write)
        rc = blockdev_write(q->file, copy, to, cluster_bytes(q), BLOCK_STABLE);
    free(copy);
    return rc;
}

static int write_l1(struct layout *l)
{
    uint64_t bytes = l->l1_clusters << l->q->g.cluster_bits;
    uint8_t *buf = calloc(1, bytes + 1);
    int rc;

    if (!buf)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->h.l1_entries; i++)
        put_be64(buf + 8 * (uint64_t)i, l->l1[i]);
    l->h.l1_offset = l->l1_cluster << l->q->g.cluster_bits;
    rc = blockdev_write_bytes(l->q->file, buf, l->h.l1_offset, bytes, 0);
    free(buf);
    return rc;
}

static int write_snapshots(struct layout *l)
{
    struct qcow2 *q = l->q;
    uint64_t bytes = snapshots_bytes(l);
    uint8_t *buf;
    int rc = 0;

    if (l->keep_snapshots)
        return 0;
    if (q->header.snapshot_count)
        rc = layout_give_up(l, q->header.snapshots_offset,
            qcow2_snapshots_bytes(q->snapshots, q->header.snapshot_count));
    if (rc)
        return rc;
    l->h.snapshots_offset = bytes ? l->snapshots_cluster << l->q->g.cluster_bits : 0;
    if (!bytes)
        return 0;
    buf = calloc(1, bytes);
    if (!buf)
        return -ENOMEM;
    qcow2_snapshots_write(l->snapshots, l->h.snapshot_count, buf);
    rc = blockdev_write_bytes(l->q->file, buf, l->h.snapshots_offset, bytes, 0);
    free(buf);
    return rc;
}

/* Moves a block and writes it as it is now. */
static int move_block(struct layout *l, struct refblock *b, uint8_t *copy)
{
    struct qcow2 *q = l->q;
    int rc = layout_give_up(l, b->host_offset, cluster_bytes(q));

    if (rc)
        return rc;
    spin_lock(&q->clusters.lock);
    b->host_offset = layout_place(l);
    memcpy(copy, b->bytes, cluster_bytes(q));
    dirty_clear(&b->dirty);
    spin_unlock(&q->clusters.lock);
    return blockdev_write(q->file, copy, b->host_offset, cluster_bytes(q), BLOCK_STABLE);
}

static int write_refcounts(struct layout *l)
{
    struct qcow2 *q = l->q;
    uint64_t bytes = (uint64_t)q->header.reftable_clusters << q->g.cluster_bits;
    uint8_t *table = calloc(1, bytes);
    uint8_t *copy = aligned_alloc(4096, MAX(cluster_bytes(q), UINT64_C(4096)));
    int rc = table && copy ? 0 : -ENOMEM;

    for (uint64_t i = 0; !rc && i < q->clusters.block_count; i++) {
        struct refblock *b = q->clusters.blocks[i];

        if (!b)
            continue;
        rc = move_block(l, b, copy);
        put_be64(table + 8 * i, b->host_offset);
    }
    l->h.reftable_offset = l->reftable_cluster << q->g.cluster_bits;
    if (!rc)
        rc = blockdev_write_bytes(q->file, table, l->h.reftable_offset, bytes, 0);
    if (!rc)
        rc = layout_give_up(l, q->header.reftable_offset, bytes);
    free(table);
    free(copy);
    return rc;
}

int layout_switch(struct layout *l)
{
    struct qcow2 *q = l->q;
    int rc = write_l1(l);

    if (!rc)
        rc = write_snapshots(l);
    if (!rc)
        rc = write_refcounts(l); /* last: they count all that the others refer to */
    if (!rc)
        rc = blockdev_flush(q->file);
    if (!rc)
        rc = header_write(q, &l->h);
    if (rc)
        atomic_store(&q->broken, true);
    return rc;
}

void layout_end(struct layout *l, bool switched)
{
    struct qcow2 *q = l->q;

    for (size_t i = l->spares_used; i < l->spares; i++)
        clusters_give_back(q, l->spare[i], 1);
    if (!switched && !atomic_load(&q->broken)) {
        clusters_give_back(q, l->l1_cluster, l->l1_clusters);
        clusters_give_back(q, l->snapshots_cluster, l->snapshots_clusters);
        if (l->reftable_cluster)
            clusters_give_back(q, l->reftable_cluster, q->header.reftable_clusters);
    }
    for (size_t i = 0; switched && i < l->old.count; i++)
        clusters_drop(q, l->old.runs[i].cluster, l->old.runs[i].count);
    if (switched)
        atomic_store(&q->map.state, MAP_CHANGED);
    free(l->old.runs);
    free(l->spare);
    free(l->l1);
}
