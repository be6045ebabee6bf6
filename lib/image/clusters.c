/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file's clusters in memory: their refcounts as they stand in refcount blocks, and which of
 * them may be taken. A cluster that was freed has refcount 1 in memory until the map without it is
 * durable and its discard has ended (reap.c); only then may it be taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/clusters.h"

uint64_t clusters_refcount(struct qcow2 *q, uint64_t cluster)
{
    uint64_t n;

    spin_lock(&q->clusters.lock);
    n = cluster_refcount(q, cluster);
    spin_unlock(&q->clusters.lock);
    return n;
}

void clusters_dirty(struct qcow2 *q, uint64_t number, uint64_t offset, uint64_t length)
{
    struct clusters *c = &q->clusters;

    dirty_mark(&c->blocks[number]->dirty, offset, length);
    c->dirty_from = MIN(c->dirty_from, number);
    c->dirty_to = MAX(c->dirty_to, number + 1);
}

/* Reserved by making room before anything is changed: what is reserved and dropped by several at
 * once is covered by FREED_SPARE, the most that can be under way. */

int clusters_reserve(struct qcow2 *q, unsigned references)
{
    struct clusters *c = &q->clusters;
    struct freed_run *runs;
    size_t want;

    spin_lock(&c->lock);
    bool enough = c->freed.count + FREED_SPARE + references <= c->freed.capacity;
    want = 2 * c->freed.count + 2 * (FREED_SPARE + references);
    spin_unlock(&c->lock);
    if (enough)
        return 0;
    runs = malloc(want * sizeof *runs);
    if (!runs)
        return -ENOMEM;
    spin_lock(&c->lock);
    if (want > c->freed.capacity) {
        if (c->freed.count)
            memcpy(runs, c->freed.runs, c->freed.count * sizeof *runs);
        struct freed_run *old = c->freed.runs;
        c->freed.runs = runs;
        c->freed.capacity = want;
        runs = old;
    }
    spin_unlock(&c->lock);
    free(runs);
    return 0;
}

void clusters_drop(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    spin_lock(&q->clusters.lock);
    freed_add(&q->clusters.freed, cluster, count);
    spin_unlock(&q->clusters.lock);
}

void clusters_drop_entry(struct qcow2 *q, struct qcow2_entry e)
{
    uint64_t first, count = qcow2_entry_clusters(&q->g, e, &first);

    if (count)
        clusters_drop(q, first, count);
}

/* Under the lock. */
static int count(struct qcow2 *q, uint64_t cluster, int by)
{
    uint64_t n = cluster_refcount(q, cluster);

    if (!n || (by > 0 && n == refcount_max(q->g.refcount_order)))
        return -ERANGE;
    cluster_put_refcount(q, cluster, n + (uint64_t)by);
    return 0;
}

static int count_up(struct qcow2 *q, struct qcow2_entry e)
{
    uint64_t first, n = qcow2_entry_clusters(&q->g, e, &first);
    int rc = 0;

    for (uint64_t i = 0; !rc && i < n; i++)
        rc = count(q, first + i, 1);
    return rc;
}

int clusters_count_up(struct qcow2 *q, const uint8_t *table)
{
    int rc = 0;

    spin_lock(&q->clusters.lock);
    for (unsigned i = 0; !rc && i < 1u << q->g.l2_bits; i++)
        rc = count_up(q, qcow2_entry_get(&q->g, table, i));
    spin_unlock(&q->clusters.lock);
    return rc;
}

/* Under the lock. */
static void release(struct qcow2 *q, uint64_t cluster)
{
    uint64_t n = cluster_refcount(q, cluster);

    if (!n)
        return; /* of a damaged image: nobody had counted it */
    cluster_put_refcount(q, cluster, n - 1);
    if (n == 1 && cluster < q->clusters.count)
        cluster_free_again(&q->clusters, cluster);
}

#define RELEASE_BATCH 1024 /* others may want the lock */

void clusters_release(struct qcow2 *q, const struct freed *freed)
{
    for (size_t r = 0; r < freed->count; r++) {
        const struct freed_run *run = &freed->runs[r];

        for (uint64_t done = 0; done < run->count; done += RELEASE_BATCH) {
            spin_lock(&q->clusters.lock);
            for (uint64_t i = done; i < MIN(run->count, done + RELEASE_BATCH); i++)
                release(q, run->cluster + i);
            spin_unlock(&q->clusters.lock);
        }
    }
}

int clusters_count_down(struct qcow2 *q, const struct freed_run *run)
{
    int rc = 0;

    spin_lock(&q->clusters.lock);
    for (uint64_t i = run->cluster; !rc && i < run->cluster + run->count; i++)
        rc = count(q, i, -1);
    spin_unlock(&q->clusters.lock);
    return rc;
}

void clusters_allow(struct qcow2 *q, const struct freed *freed)
{
    struct clusters *c = &q->clusters;

    spin_lock(&c->lock);
    for (size_t r = 0; r < freed->count; r++)
        for (uint64_t i = freed->runs[r].cluster; i < freed->runs[r].cluster + freed->runs[r].count;
             i++)
            if (i < c->count && !cluster_refcount(q, i) && !cluster_may_take(c, i))
                cluster_free_again(c, i);
    spin_unlock(&c->lock);
}
