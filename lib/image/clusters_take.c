/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of the file's clusters is taken: the next free one, in runs, so that what is written in
 * sequence lies in sequence. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/clusters.h"

static uint64_t find(const struct clusters *c)
{
    uint64_t found = cluster_next_free(c, c->cursor, c->count);

    if (found == c->count) {
        found = cluster_next_free(c, 0, MIN(c->cursor, c->count));
        if (found == MIN(c->cursor, c->count))
            return c->count;
    }
    return found;
}

uint64_t clusters_available(const struct qcow2 *q)
{
    const struct clusters *c = &q->clusters;

    return c->free - MIN(c->free, c->kept);
}

void clusters_keep(struct qcow2 *q, uint64_t count)
{
    spin_lock(&q->clusters.lock);
    q->clusters.kept = count;
    spin_unlock(&q->clusters.lock);
}

void clusters_keep_more(struct qcow2 *q, uint64_t more)
{
    spin_lock(&q->clusters.lock);
    q->clusters.kept += q->clusters.kept ? more : 0;
    spin_unlock(&q->clusters.lock);
}

static int take(
    struct qcow2 *q, uint64_t want, bool kept, uint64_t *first, uint64_t *count, bool *fresh)
{
    struct clusters *c = &q->clusters;
    uint64_t n = 0, free;

    spin_lock(&c->lock);
    want = MIN(want, kept ? c->free : clusters_available(q));
    *first = want ? find(c) : c->count;
    *fresh = *first >= c->untouched;
    while (n < want && *first + n < c->count && cluster_may_take(c, *first + n) &&
           *fresh == (*first + n >= c->untouched)) {
        cluster_set_free(c, *first + n, false);
        cluster_put_refcount(q, *first + n, 1);
        n++;
    }
    *count = n;
    if (n) {
        c->cursor = *first + n;
        if (*fresh)
            c->untouched = c->cursor;
    }
    free = clusters_available(q);
    spin_unlock(&c->lock);
    space_ask(q, free);
    return n ? 0 : -ENOSPC;
}

int clusters_take(struct qcow2 *q, uint64_t want, uint64_t *first, uint64_t *count, bool *fresh)
{
    return take(q, want, false, first, count, fresh);
}

int clusters_take_kept(
    struct qcow2 *q, uint64_t want, uint64_t *first, uint64_t *count, bool *fresh)
{
    return take(q, want, true, first, count, fresh);
}

/* The first of `count` in a row; c->count: there are none. */
static uint64_t find_row(const struct clusters *c, uint64_t count)
{
    uint64_t at = cluster_next_free(c, 0, c->count), n = 0;

    while (at < c->count && n < count) {
        if (at + n < c->count && cluster_may_take(c, at + n)) {
            n++;
        } else {
            at = cluster_next_free(c, at + n, c->count);
            n = 0;
        }
    }
    return n == count ? at : c->count;
}

int clusters_take_row(struct qcow2 *q, uint64_t count, uint64_t *first)
{
    struct clusters *c = &q->clusters;
    bool found;

    spin_lock(&c->lock);
    *first = find_row(c, count);
    found = *first < c->count;
    for (uint64_t i = *first; found && i < *first + count; i++) {
        cluster_set_free(c, i, false);
        cluster_put_refcount(q, i, 1);
    }
    if (found && *first + count > c->untouched)
        c->untouched = *first + count;
    spin_unlock(&c->lock);
    return found ? 0 : -ENOSPC;
}

int clusters_take_below(struct qcow2 *q, uint64_t limit, uint64_t *cluster)
{
    struct clusters *c = &q->clusters;
    bool found;

    spin_lock(&c->lock);
    limit = MIN(limit, c->count);
    *cluster = cluster_next_free(c, MIN(c->cursor, limit), limit);
    if (*cluster == limit)
        *cluster = cluster_next_free(c, 0, limit);
    found = *cluster < limit;
    if (found) {
        cluster_set_free(c, *cluster, false);
        cluster_put_refcount(q, *cluster, 1);
        c->cursor = *cluster + 1;
    }
    spin_unlock(&c->lock);
    return found ? 0 : -ENOSPC;
}

void clusters_rewind(struct qcow2 *q)
{
    spin_lock(&q->clusters.lock);
    q->clusters.cursor = 0;
    spin_unlock(&q->clusters.lock);
}

uint64_t clusters_cut(struct qcow2 *q, uint64_t ahead)
{
    struct clusters *c = &q->clusters;
    uint64_t end, used;

    spin_lock(&c->lock);
    for (used = c->count; used && cluster_may_take(c, used - 1); used--)
        ;
    end = MIN(c->count, used + ahead);
    for (uint64_t i = end; i < c->count; i++)
        cluster_set_free(c, i, false);
    c->count = end;
    if (c->untouched != UINT64_MAX && c->untouched > end)
        c->untouched = UINT64_MAX;
    end = c->count;
    spin_unlock(&c->lock);
    return end;
}

void clusters_give_back(struct qcow2 *q, uint64_t first, uint64_t count)
{
    struct clusters *c = &q->clusters;

    spin_lock(&c->lock);
    for (uint64_t i = first; i < first + count; i++) {
        cluster_put_refcount(q, i, 0);
        cluster_free_again(c, i);
    }
    spin_unlock(&c->lock);
}
