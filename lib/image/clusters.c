/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file's clusters in memory: their refcounts as they stand in refcount blocks, and which of
 * them may be taken. A cluster that was freed has refcount 1 in memory until the map without it is
 * durable and its discard has ended (reap.c); only then may it be taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/image.h"
#include "image/refcount.h"

static struct refblock *block_of(struct clusters *c, const struct qcow2 *q, uint64_t cluster)
{
    return c->blocks[cluster >> q->g.refcount_block_bits];
}

static uint64_t refcount(struct qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster >> q->g.refcount_block_bits;
    uint64_t index = cluster & ((UINT64_C(1) << q->g.refcount_block_bits) - 1);
    struct clusters *c = &q->clusters;

    if (block >= c->block_count || !c->blocks[block])
        return 0;
    return refcount_get(c->blocks[block]->bytes, q->g.refcount_order, index);
}

uint64_t clusters_refcount(struct qcow2 *q, uint64_t cluster)
{
    uint64_t n;

    spin_lock(&q->clusters.lock);
    n = refcount(q, cluster);
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

/* Under the lock; the block is there. */
static void put_refcount(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
    struct refblock *b = block_of(&q->clusters, q, cluster);
    uint64_t index = cluster & ((UINT64_C(1) << q->g.refcount_block_bits) - 1);

    refcount_set(b->bytes, q->g.refcount_order, index, value);
    clusters_dirty(q, b->number, (index << q->g.refcount_order) / 8, 1);
}

static bool may_take(const struct clusters *c, uint64_t cluster)
{
    return c->allocatable[cluster / 64] >> cluster % 64 & 1;
}

static void set_free(struct clusters *c, uint64_t cluster, bool yes)
{
    if (yes)
        c->allocatable[cluster / 64] |= UINT64_C(1) << cluster % 64;
    else
        c->allocatable[cluster / 64] &= ~(UINT64_C(1) << cluster % 64);
    c->free += yes ? 1 : -UINT64_C(1);
}

/* The first that may be taken in [from, to); `to`: none. */
static uint64_t next_free(const struct clusters *c, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint64_t word = c->allocatable[from / 64] >> from % 64;

        if (word)
            return MIN(from + (unsigned)__builtin_ctzll(word), to);
        from = round_down(from, 64) + 64;
    }
    return to;
}

static uint64_t find(const struct clusters *c)
{
    uint64_t found = next_free(c, c->cursor, c->count);

    if (found == c->count) {
        found = next_free(c, 0, MIN(c->cursor, c->count));
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
    while (n < want && *first + n < c->count && may_take(c, *first + n) &&
           *fresh == (*first + n >= c->untouched)) {
        set_free(c, *first + n, false);
        put_refcount(q, *first + n, 1);
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
    uint64_t at = next_free(c, 0, c->count), n = 0;

    while (at < c->count && n < count) {
        if (at + n < c->count && may_take(c, at + n)) {
            n++;
        } else {
            at = next_free(c, at + n, c->count);
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
        set_free(c, i, false);
        put_refcount(q, i, 1);
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
    *cluster = next_free(c, MIN(c->cursor, limit), limit);
    if (*cluster == limit)
        *cluster = next_free(c, 0, limit);
    found = *cluster < limit;
    if (found) {
        set_free(c, *cluster, false);
        put_refcount(q, *cluster, 1);
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
    for (used = c->count; used && may_take(c, used - 1); used--)
        ;
    end = MIN(c->count, used + ahead);
    for (uint64_t i = end; i < c->count; i++)
        set_free(c, i, false);
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
        put_refcount(q, i, 0);
        set_free(c, i, true);
    }
    spin_unlock(&c->lock);
}

int freed_add(struct freed *f, uint64_t cluster, uint64_t count)
{
    struct freed_run *last = f->count ? &f->runs[f->count - 1] : NULL;
    struct freed_run *runs;

    if (last && last->cluster + last->count == cluster) {
        last->count += count;
        return 0;
    }
    if (f->count == f->capacity) {
        runs = realloc(f->runs, (2 * f->capacity + 16) * sizeof *runs);
        if (!runs)
            return -ENOMEM;
        f->runs = runs;
        f->capacity = 2 * f->capacity + 16;
    }
    f->runs[f->count++] = (struct freed_run){cluster, count};
    return 0;
}

/* Reserved by making room before anything is changed: what is reserved and dropped by several at
 * once is covered by the most that can be under way. */
#define FREED_SPARE 4096

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
    uint64_t offset, length;

    if (e.word & QCOW2_COMPRESSED) {
        qcow2_entry_packed(&q->g, e, &offset, &length);
        for (uint64_t i = offset >> q->g.cluster_bits;
             i <= (offset + length - 1) >> q->g.cluster_bits; i++)
            clusters_drop(q, i, 1);
    } else if (e.word & QCOW2_OFFSET_MASK) {
        clusters_drop(q, (e.word & QCOW2_OFFSET_MASK) >> q->g.cluster_bits, 1);
    }
}

/* Under the lock. */
static int count(struct qcow2 *q, uint64_t cluster, int by)
{
    uint64_t n = refcount(q, cluster);

    if (!n || (by > 0 && n == refcount_max(q->g.refcount_order)))
        return -ERANGE;
    put_refcount(q, cluster, n + (uint64_t)by);
    return 0;
}

int clusters_count_entry(struct qcow2 *q, struct qcow2_entry e, int by)
{
    uint64_t offset = e.word & QCOW2_OFFSET_MASK, length = 1;
    int rc = 0;

    if (e.word & QCOW2_COMPRESSED)
        qcow2_entry_packed(&q->g, e, &offset, &length);
    else if (!offset)
        return 0;
    spin_lock(&q->clusters.lock);
    for (uint64_t i = offset >> q->g.cluster_bits;
         !rc && i <= (offset + length - 1) >> q->g.cluster_bits; i++)
        rc = count(q, i, by);
    spin_unlock(&q->clusters.lock);
    return rc;
}

/* Under the lock. */
static void release(struct qcow2 *q, uint64_t cluster)
{
    uint64_t n = refcount(q, cluster);

    if (!n)
        return; /* of a damaged image: nobody had counted it */
    put_refcount(q, cluster, n - 1);
    if (n == 1 && cluster < q->clusters.count)
        set_free(&q->clusters, cluster, true);
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

int freed_add_entry(const struct qcow2 *q, struct freed *f, struct qcow2_entry e)
{
    uint64_t offset = e.word & QCOW2_OFFSET_MASK, length = 1;
    int rc = 0;

    if (e.word & QCOW2_COMPRESSED)
        qcow2_entry_packed(&q->g, e, &offset, &length);
    else if (!offset)
        return 0;
    for (uint64_t i = offset >> q->g.cluster_bits;
         !rc && i <= (offset + length - 1) >> q->g.cluster_bits; i++)
        rc = freed_add(f, i, 1);
    return rc;
}

void clusters_allow(struct qcow2 *q, const struct freed *freed)
{
    struct clusters *c = &q->clusters;

    spin_lock(&c->lock);
    for (size_t r = 0; r < freed->count; r++)
        for (uint64_t i = freed->runs[r].cluster; i < freed->runs[r].cluster + freed->runs[r].count;
             i++)
            if (i < c->count && !refcount(q, i) && !may_take(c, i))
                set_free(c, i, true);
    spin_unlock(&c->lock);
}

void refblock_free(struct refblock *b)
{
    if (!b)
        return;
    dirty_free(&b->dirty);
    free(b->bytes);
    free(b);
}

void clusters_free(struct qcow2 *q)
{
    struct clusters *c = &q->clusters;

    for (uint64_t i = 0; c->blocks && i < c->block_count; i++)
        refblock_free(c->blocks[i]);
    free(c->blocks);
    free(c->allocatable);
    free(c->freed.runs);
}

struct refblock *refblock_new(const struct qcow2 *q, uint64_t number, uint64_t host_offset)
{
    struct refblock *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->number = number;
    b->host_offset = host_offset;
    b->bytes = aligned_alloc(4096, MAX(cluster_bytes(q), UINT64_C(4096)));
    if (!b->bytes || dirty_init(&b->dirty, cluster_bytes(q)) < 0) {
        refblock_free(b);
        return NULL;
    }
    memset(b->bytes, 0, cluster_bytes(q));
    return b;
}

static int load_block(struct qcow2 *q, uint64_t number, uint64_t offset, struct error *err)
{
    struct refblock *b;
    int rc;

    if (offset & QCOW2_REFTABLE_RESERVED || offset % cluster_bytes(q) ||
        offset > q->file->size_bytes - cluster_bytes(q))
        return error_set(err, EBADMSG, "refcount block %llu of the image cannot be at %llu",
            (unsigned long long)number, (unsigned long long)offset);
    b = refblock_new(q, number, offset);
    rc = b ? blockdev_read_bytes(q->file, b->bytes, offset, cluster_bytes(q)) : -ENOMEM;
    if (rc) {
        refblock_free(b);
        return error_set(err, -rc, "cannot read the image's refcounts");
    }
    q->clusters.blocks[number] = b;
    return 0;
}

/* All blocks that the table names. */
static int load_blocks(struct qcow2 *q, const uint8_t *reftable, struct error *err)
{
    int rc = 0;

    for (uint64_t i = 0; !rc && i < q->clusters.block_count; i++) {
        uint64_t offset = get_be64(reftable + 8 * i);

        if (offset)
            rc = load_block(q, i, offset, err);
    }
    return rc;
}

void clusters_add(struct qcow2 *q, uint64_t count)
{
    struct clusters *c = &q->clusters;

    for (uint64_t i = c->count; i < count; i++) {
        uint64_t block = i >> q->g.refcount_block_bits;

        if (block < c->block_count && c->blocks[block] && !refcount(q, i))
            set_free(c, i, true);
    }
    c->count = count;
}

void clusters_fresh(struct qcow2 *q, uint64_t from)
{
    spin_lock(&q->clusters.lock);
    q->clusters.untouched = MIN(q->clusters.untouched, from);
    spin_unlock(&q->clusters.lock);
}

/* Clusters up to the end of the last block: those beyond get theirs when they are wanted
 * (extend.c). */
static uint64_t covered(const struct qcow2 *q)
{
    uint64_t n = q->clusters.block_count;

    while (n && !q->clusters.blocks[n - 1])
        n--;
    return n << q->g.refcount_block_bits;
}

int clusters_init(struct qcow2 *q, struct error *err)
{
    struct clusters *c = &q->clusters;
    uint64_t table_bytes = (uint64_t)q->header.reftable_clusters << q->g.cluster_bits;
    uint64_t count = q->file->size_bytes >> q->g.cluster_bits;
    uint8_t *reftable = malloc(table_bytes);
    int rc;

    atomic_flag_clear(&c->lock.held);
    c->dirty_from = UINT64_MAX;
    c->untouched = UINT64_MAX; /* what a former owner left */
    c->block_count = table_bytes / 8;
    c->blocks = calloc(c->block_count, sizeof *c->blocks);
    c->allocatable = calloc(div_round_up(count, 64) + 1, sizeof *c->allocatable);
    rc = reftable && c->blocks && c->allocatable ? 0 : -ENOMEM;
    if (!rc)
        rc = blockdev_read_bytes(q->file, reftable, q->header.reftable_offset, table_bytes);
    if (rc)
        error_set(err, -rc, "cannot read the image's refcounts");
    if (!rc)
        rc = load_blocks(q, reftable, err);
    if (!rc)
        clusters_add(q, MIN(count, covered(q)));
    free(reftable);
    return rc;
}
