/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files about clusters have in common. All of it is called under clusters.lock. */
#ifndef ASHLAR_IMAGE_CLUSTERS_H
#define ASHLAR_IMAGE_CLUSTERS_H

#include "base/arith.h"
#include "image/image.h"
#include "image/refcount.h"

static inline struct refblock *cluster_block(
    struct clusters *c, const struct qcow2 *q, uint64_t cluster)
{
    return c->blocks[cluster >> q->g.refcount_block_bits];
}

static inline uint64_t cluster_refcount(struct qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster >> q->g.refcount_block_bits;
    uint64_t index = cluster & ((UINT64_C(1) << q->g.refcount_block_bits) - 1);
    struct clusters *c = &q->clusters;

    if (block >= c->block_count || !c->blocks[block])
        return 0;
    return refcount_get(c->blocks[block]->bytes, q->g.refcount_order, index);
}

/* Under the lock; the block is there. */
static inline void cluster_put_refcount(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
    struct refblock *b = cluster_block(&q->clusters, q, cluster);
    uint64_t index = cluster & ((UINT64_C(1) << q->g.refcount_block_bits) - 1);

    refcount_set(b->bytes, q->g.refcount_order, index, value);
    clusters_dirty(q, b->number, (index << q->g.refcount_order) / 8, 1);
}

static inline bool cluster_may_take(const struct clusters *c, uint64_t cluster)
{
    return c->allocatable[cluster / 64] >> cluster % 64 & 1;
}

/* Held one of the image's tables when it was opened, and has not been free since. */
static inline bool cluster_is_metadata(const struct clusters *c, uint64_t cluster)
{
    return cluster < c->metadata_count && c->metadata[cluster / 64] >> cluster % 64 & 1;
}

static inline void cluster_set_free(struct clusters *c, uint64_t cluster, bool yes)
{
    if (cluster_is_metadata(c, cluster))
        c->metadata[cluster / 64] &= ~(UINT64_C(1) << cluster % 64);
    if (yes)
        c->allocatable[cluster / 64] |= UINT64_C(1) << cluster % 64;
    else
        c->allocatable[cluster / 64] &= ~(UINT64_C(1) << cluster % 64);
    c->free += yes ? 1 : -UINT64_C(1);
}

/* One that was used: it reads as anything, and counts for nothing before it either. */
static inline void cluster_free_again(struct clusters *c, uint64_t cluster)
{
    cluster_set_free(c, cluster, true);
    if (c->untouched != UINT64_MAX && cluster >= c->untouched)
        c->untouched = cluster + 1;
}

/* The first that may be taken in [from, to); `to`: none. */
static inline uint64_t cluster_next_free(const struct clusters *c, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint64_t word = c->allocatable[from / 64] >> from % 64;

        if (word)
            return MIN(from + (unsigned)__builtin_ctzll(word), to);
        from = round_down(from, 64) + 64;
    }
    return to;
}

#endif
