/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L2 tables in memory: loaded when they are first asked for, kept while they are changed, and
 * evicted by a clock when there are more than the limit and the disk has the same. A table belongs
 * to its L1 slot; whoever looks at it holds the slot's shard.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/image.h"
#include "image/refcount.h"

#define EVICT_STEPS 256u

struct l2_table *table_new(const struct qcow2 *q, unsigned index)
{
    struct l2_table *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->index = index;
    t->bytes = aligned_alloc(4096, MAX(cluster_bytes(q), UINT64_C(4096)));
    if (!t->bytes || dirty_init(&t->dirty, cluster_bytes(q)) < 0) {
        table_free(t);
        return NULL;
    }
    memset(t->bytes, 0, cluster_bytes(q));
    return t;
}

void table_free(struct l2_table *t)
{
    dirty_free(&t->dirty);
    free(t->bytes);
    free(t);
}

void table_list(struct qcow2 *q, struct l2_table *t)
{
    spin_lock(&q->map.dirty_lock);
    if (!t->listed)
        list_append(&q->map.dirty, &t->link);
    t->listed = true;
    spin_unlock(&q->map.dirty_lock);
    atomic_store(&q->map.state, MAP_CHANGED);
}

void table_touch(struct qcow2 *q, struct l2_table *t, uint64_t offset, uint64_t length)
{
    dirty_mark(&t->dirty, offset, length);
    table_list(q, t);
}

/* The disk has the same as it. */
static bool is_clean(const struct l2_table *t)
{
    return !t->listed && !t->writing && !t->whole;
}

static bool too_many(struct qcow2 *q)
{
    return atomic_load(&q->map.tables) >= atomic_load(&q->map.tables_max);
}

/* Asks again under the lock: who gathers all tables (layout.c) raises the limit, then looks whether
 * each is there. */
static bool evict_one(struct qcow2 *q, unsigned index)
{
    struct map_shard *shard = map_shard(q, index);
    struct l2_table *t;

    spin_lock(&shard->lock);
    t = q->map.slots[index].table;
    if (t && (t->used || !is_clean(t) || !too_many(q))) {
        t->used = false;
        t = NULL;
    }
    if (t)
        q->map.slots[index].table = NULL;
    spin_unlock(&shard->lock);
    if (!t)
        return false;
    atomic_fetch_sub(&q->map.tables, 1);
    table_free(t);
    return true;
}

void table_evict(struct qcow2 *q)
{
    unsigned steps = MIN(2 * q->map.count, MAX(EVICT_STEPS, q->map.count / 8));

    while (steps-- && too_many(q))
        evict_one(q, atomic_fetch_add(&q->map.hand, 1) % q->map.count);
}

/* What it refers to may be a guest's, and what it calls its own belongs to it alone: else what is
 * somebody else's would be written, or freed. */
static bool may_refer(struct qcow2 *q, struct qcow2_entry e)
{
    uint64_t offset = e.word & QCOW2_OFFSET_MASK, length = 1;
    bool packed = e.word & QCOW2_COMPRESSED;

    if (packed)
        qcow2_entry_packed(&q->g, e, &offset, &length);
    if (!offset)
        return true;
    for (uint64_t i = offset >> q->g.cluster_bits; i <= (offset + length - 1) >> q->g.cluster_bits;
         i++)
        if (!clusters_may_refer(q, i, !packed && e.word & QCOW2_COPIED))
            return false;
    return true;
}

static bool may_refer_to_all(struct qcow2 *q, const struct l2_table *t)
{
    for (unsigned i = 0; i < 1u << q->g.l2_bits; i++)
        if (!may_refer(q, qcow2_entry_get(&q->g, t->bytes, i)))
            return false;
    return true;
}

static int read_table(struct qcow2 *q, struct l2_table *t, uint64_t word)
{
    int rc;

    if (atomic_load(&q->broken)) /* its place may be one that was never written */
        return -EIO;
    if (qcow2_l1_entry_fault(&q->g, word, q->file->size_bytes)) {
        image_corrupt(q);
        return -EIO;
    }
    t->host_offset = word & QCOW2_OFFSET_MASK;
    rc = blockdev_read_bytes(q->file, t->bytes, t->host_offset, cluster_bytes(q));
    if (!rc && !q->options.read_only && !may_refer_to_all(q, t))
        image_corrupt(q);
    return rc;
}

static void put_loaded(struct qcow2 *q, unsigned index, struct l2_table *t)
{
    struct map_shard *shard = map_shard(q, index);

    spin_lock(&shard->lock);
    q->map.slots[index].loading = false;
    q->map.slots[index].table = t;
    wait_queue_wake_all(&shard->loaders);
    spin_unlock(&shard->lock);
}

int table_load(struct qcow2 *q, unsigned index)
{
    struct map_shard *shard = map_shard(q, index);
    struct l1_slot *slot = &q->map.slots[index];
    struct l2_table *t;
    uint64_t word;
    int rc;

    spin_lock(&shard->lock);
    if (slot->loading) {
        wait_queue_wait(&shard->loaders, &shard->lock, "map table");
        return 0; /* the caller looks again */
    }
    word = slot->word;
    if (slot->table || !word) {
        spin_unlock(&shard->lock);
        return 0;
    }
    slot->loading = true;
    spin_unlock(&shard->lock);

    table_evict(q);
    t = table_new(q, index);
    rc = t ? read_table(q, t, word) : -ENOMEM;
    if (rc && t)
        table_free(t);
    if (!rc)
        atomic_fetch_add(&q->map.tables, 1);
    put_loaded(q, index, rc ? NULL : t);
    return rc;
}
