/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map from the guest's disk to the file, in memory. Looking costs one spinlock of 64, held for
 * some instructions; who finds a table missing loads it and looks again. Entries are checked where
 * they are used: one that cannot be makes its reads fail and the image corrupt.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "image/image.h"

static unsigned span_bits(const struct qcow2 *q)
{
    return q->g.cluster_bits + q->g.l2_bits;
}

int map_init(struct qcow2 *q)
{
    struct map *m = &q->map;

    m->count = q->header.l1_entries;
    m->slots = calloc(MAX(m->count, 1u), sizeof *m->slots);
    for (unsigned i = 0; i < MAP_SHARDS; i++) {
        atomic_flag_clear(&m->shards[i].lock.held);
        wait_queue_init(&m->shards[i].loaders);
    }
    atomic_flag_clear(&m->dirty_lock.held);
    list_init(&m->dirty);
    if (!m->slots || dirty_init(&m->l1_dirty, 8 * (uint64_t)m->count) < 0)
        return -ENOMEM;
    return 0;
}

void map_free_tables(struct map *m)
{
    for (unsigned i = 0; m->slots && i < m->count; i++)
        if (m->slots[i].table)
            table_free(m->slots[i].table);
    free(m->slots);
    dirty_free(&m->l1_dirty);
}

static unsigned index_of(const struct qcow2 *q, uint64_t offset)
{
    return (unsigned)(offset >> q->g.cluster_bits & ((UINT64_C(1) << q->g.l2_bits) - 1));
}

/* It has an offset that others use too, or is compressed. */
static bool is_shared(struct qcow2_entry e)
{
    return e.word & QCOW2_COMPRESSED || (e.word & QCOW2_OFFSET_MASK && !(e.word & QCOW2_COPIED));
}

/* The piece at `offset` by one entry. */
static void describe(
    const struct qcow2 *q, struct qcow2_entry e, uint64_t offset, struct map_piece *p)
{
    uint64_t inside = offset & (cluster_bytes(q) - 1);
    unsigned subcluster = (unsigned)(inside >> q->g.subcluster_bits);

    p->entry = e;
    p->kind = qcow2_entry_kind(&q->g, e, subcluster);
    p->shared = is_shared(e);
    p->host = p->kind == QCOW2_DATA ? (e.word & QCOW2_OFFSET_MASK) + inside : 0;
    p->length =
        ((uint64_t)(subcluster + qcow2_entry_run(&q->g, e, subcluster)) << q->g.subcluster_bits) -
        inside;
}

/* The next piece goes on where p ends. */
static bool continues(const struct map_piece *p, const struct map_piece *next)
{
    return p->kind == next->kind && p->shared == next->shared && p->kind != QCOW2_PACKED &&
           (p->kind != QCOW2_DATA || p->host + p->length == next->host);
}

static bool is_valid(const struct qcow2 *q, struct qcow2_entry e)
{
    return !qcow2_l2_entry_fault(&q->g, q->g.version, e, q->file->size_bytes);
}

/* Under the shard's lock. -EIO: an entry that cannot be. */
static int walk(const struct qcow2 *q, const struct l2_table *t, uint64_t offset, uint64_t length,
    struct map_piece *piece)
{
    unsigned index = index_of(q, offset), entries = 1u << q->g.l2_bits;
    struct qcow2_entry e = qcow2_entry_get(&q->g, t->bytes, index);
    struct map_piece next;

    if (!is_valid(q, e))
        return -EIO;
    describe(q, e, offset, piece);
    while (piece->length < length) {
        uint64_t at = offset + piece->length;

        if (!(at & (cluster_bytes(q) - 1))) {
            if (++index == entries)
                break;
            e = qcow2_entry_get(&q->g, t->bytes, index);
            if (!is_valid(q, e))
                break;
        }
        describe(q, e, at, &next);
        if (!continues(piece, &next))
            break;
        piece->length += next.length;
    }
    piece->length = MIN(piece->length, length);
    return 0;
}

/* Nothing of the map is there. */
static void describe_nothing(
    const struct qcow2 *q, uint64_t offset, uint64_t length, struct map_piece *piece)
{
    uint64_t span = UINT64_C(1) << span_bits(q);

    *piece = (struct map_piece){
        .kind = QCOW2_BACKED, .length = MIN(length, span - (offset & (span - 1)))};
}

int map_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct map_piece *piece)
{
    uint64_t index = offset >> span_bits(q);
    struct map_shard *shard = map_shard(q, (unsigned)index);

    if (index >= q->map.count) {
        describe_nothing(q, offset, length, piece);
        return 0;
    }
    for (;;) {
        struct l1_slot *slot = &q->map.slots[index];
        int rc = -EAGAIN;

        spin_lock(&shard->lock);
        if (slot->table) {
            slot->table->used = true;
            rc = walk(q, slot->table, offset, length, piece);
        } else if (!slot->word) {
            describe_nothing(q, offset, length, piece);
            rc = 0;
        }
        spin_unlock(&shard->lock);
        if (rc == -EAGAIN)
            rc = table_load(q, (unsigned)index) ?: -EAGAIN;
        else if (rc)
            image_corrupt(q);
        if (rc != -EAGAIN)
            return rc;
    }
}

int map_entry(struct qcow2 *q, uint64_t offset, struct qcow2_entry *e)
{
    struct map_piece piece;
    int rc = map_find(q, offset & ~(cluster_bytes(q) - 1), 1, &piece);

    if (!rc)
        *e = piece.entry;
    return rc;
}

/* A table for a slot that has none, or a place of its own for one that others use too. Under the
 * shard's lock. */
static void give_place(struct qcow2 *q, struct l1_slot *slot, struct l2_table *t, uint64_t cluster)
{
    uint64_t old = slot->word & QCOW2_OFFSET_MASK, l1_offset = 8 * (uint64_t)t->index;

    t->host_offset = cluster << q->g.cluster_bits;
    t->whole = true;
    slot->table = t;
    slot->word = t->host_offset | QCOW2_COPIED;
    spin_lock(&q->map.dirty_lock);
    dirty_mark(&q->map.l1_dirty, l1_offset, 8);
    spin_unlock(&q->map.dirty_lock);
    if (MUTANT(HALF_BUILT_L2) && !q->clusters.free)
        t->whole = false;
    table_list(q, t);
    if (old) /* last: a commit that sees it freed sees the new word too */
        clusters_drop(q, old >> q->g.cluster_bits, 1);
}

/* Makes the slot's table our own, if it is not. Waits; what is found is to be looked at again. */
static int own_table(struct qcow2 *q, unsigned index)
{
    struct map_shard *shard = map_shard(q, index);
    struct l1_slot *slot = &q->map.slots[index];
    struct l2_table *t = NULL;
    uint64_t cluster, count;
    bool fresh, is_there;
    int rc = clusters_reserve(q, 1);

    if (!rc)
        rc = clusters_take(q, 1, &cluster, &count, &fresh);
    if (rc)
        return rc;
    spin_lock(&shard->lock);
    is_there = slot->word;
    spin_unlock(&shard->lock);
    if (!is_there) { /* else no room is needed: the very table might be evicted, again and again */
        table_evict(q);
        t = table_new(q, index);
    }
    spin_lock(&shard->lock);
    if (t && !slot->word && !slot->table) {
        give_place(q, slot, t, cluster);
        atomic_fetch_add(&q->map.tables, 1);
        t = NULL;
        count = 0;
    } else if (slot->table && !(slot->word & QCOW2_COPIED)) {
        give_place(q, slot, slot->table, cluster);
        count = 0;
    }
    spin_unlock(&shard->lock);
    if (count)
        clusters_give_back(q, cluster, 1);
    else
        clusters_keep_more(q, 1); /* a layout would have to move it */
    if (t)
        table_free(t);
    else if (count && !is_there)
        return -ENOMEM;
    return 0;
}

int map_open(struct qcow2 *q, uint64_t offset, struct l2_table **t, unsigned *index)
{
    unsigned l1_index = (unsigned)(offset >> span_bits(q));
    struct map_shard *shard = map_shard(q, l1_index);
    struct l1_slot *slot = &q->map.slots[l1_index];
    int rc = l1_index < q->map.count ? 0 : -EIO; /* the disk has become shorter */

    while (!rc) {
        if (!image_may_change(q)) /* also when a table has told that it cannot be */
            return -EIO;
        spin_lock(&shard->lock);
        if (slot->table && slot->word & QCOW2_COPIED) {
            *t = slot->table;
            *index = index_of(q, offset);
            return 0;
        }
        bool load = slot->word && !slot->table;
        spin_unlock(&shard->lock);
        rc = load ? table_load(q, l1_index) : own_table(q, l1_index);
    }
    return rc;
}

void map_close(struct qcow2 *q, struct l2_table *t)
{
    spin_unlock(&map_shard(q, t->index)->lock);
}

void map_put(struct qcow2 *q, struct l2_table *t, unsigned index, struct qcow2_entry e)
{
    qcow2_entry_put(&q->g, t->bytes, index, e);
    table_touch(q, t, (uint64_t)index << q->g.l2_entry_bits, UINT64_C(1) << q->g.l2_entry_bits);
}
