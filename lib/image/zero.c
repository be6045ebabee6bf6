/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeroing and discarding: changes of the map alone, for whole subclusters. Clusters with nothing
 * left in them are freed. The ends, parts of subclusters, are written as zeros, or left alone by a
 * discard. Where the backing would shine through, entries say zero.
 */
#include <errno.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "image/image.h"
#include "rt/worker.h"

struct zeroing {
    struct qcow2 *q;
    bool unmap;   /* clusters may be given back */
    bool discard; /* only of what is whole */
};

#define MOST_CLUSTERS 256 /* under one claim */

static bool reads_zero(const struct qcow2 *q, const struct map_piece *p)
{
    return p->kind == QCOW2_READS_ZERO || (p->kind == QCOW2_BACKED && !q->backing);
}

/* As it would be with [first, last) of its subclusters zero; false: that has to be written. */
static bool zeroed(const struct zeroing *z, struct qcow2_entry *e, unsigned first, unsigned last)
{
    const struct qcow2_geometry *g = &z->q->g;
    bool whole = !first && last == 1u << (g->cluster_bits - g->subcluster_bits);
    bool own = e->word & QCOW2_COPIED && !(e->word & QCOW2_COMPRESSED);
    uint64_t bits = ((UINT64_C(1) << last) - 1) & ~((UINT64_C(1) << first) - 1);

    if (e->word & QCOW2_COMPRESSED && !whole)
        return false;
    if (g->extended) {
        e->bitmap &= ~bits;
        e->bitmap |= bits << 32;
        if (whole ? z->unmap || !own : !(uint32_t)e->bitmap && z->unmap)
            e->word = 0;
        return true;
    }
    e->word = (whole && own && !z->unmap ? e->word : 0) | QCOW2_ZERO;
    if ((!z->q->backing || MUTANT(BACKING_SHINES)) && e->word == QCOW2_ZERO)
        e->word = 0;
    return true;
}

/* [from, to) of one cluster, whole subclusters, under the claim. */
static int zero_cluster(struct zeroing *z, uint64_t from, uint64_t to, bool *write)
{
    struct qcow2 *q = z->q;
    uint64_t at = round_down(from, cluster_bytes(q));
    struct qcow2_entry old, new;
    struct l2_table *t;
    unsigned index;
    int rc = clusters_reserve(q, 4);

    if (!rc)
        rc = map_open(q, from, &t, &index);
    if (rc)
        return rc;
    old = new = qcow2_entry_get(&q->g, t->bytes, index);
    *write = !zeroed(z, &new, (unsigned)((from - at) >> q->g.subcluster_bits),
        (unsigned)((to - at) >> q->g.subcluster_bits));
    if (!*write && (old.word != new.word || old.bitmap != new.bitmap)) {
        map_put(q, t, index, new);
        if (new.word & QCOW2_OFFSET_MASK)
            atomic_fetch_add(&q->map.kept, 1);
        if (old.word & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED) &&
            !(new.word &(QCOW2_OFFSET_MASK | QCOW2_COMPRESSED)))
            clusters_drop_entry(q, old);
    }
    map_close(q, t);
    return 0;
}

/* Of [from, to), which a claim covers: how far it came, and whether the cluster there is to be
 * written. */
static int zero_claimed(struct zeroing *z, uint64_t *from, uint64_t to, bool *write)
{
    struct qcow2 *q = z->q;
    int rc = 0;

    while (!rc && !*write && *from < to) {
        uint64_t end = MIN(to, round_down(*from, cluster_bytes(q)) + cluster_bytes(q));
        struct map_piece p;

        rc = map_find(q, *from, to - *from, &p);
        if (rc)
            break;
        if (p.kind == QCOW2_BACKED && !q->backing && !(p.entry.word & QCOW2_OFFSET_MASK)) {
            *from += p.length;
            continue;
        }
        rc = zero_cluster(z, *from, end, write);
        if (!rc && !*write)
            *from = end;
    }
    return rc;
}

static int zero_some(struct zeroing *z, uint64_t *from, uint64_t end, bool *write)
{
    struct qcow2 *q = z->q;
    uint64_t start = round_down(*from, cluster_bytes(q));
    uint64_t to = MIN(end, start + (MOST_CLUSTERS << q->g.cluster_bits));
    struct range_holder claim;
    struct visit v;
    int rc = -EIO;

    visit_begin(q, &v);
    range_lock_take(&q->claims, &claim, start, round_up(to, cluster_bytes(q)), false);
    if (atomic_load_explicit(&q->sinking, memory_order_relaxed))
        rc = -EAGAIN; /* since a moment ago */
    else if (image_may_change(q))
        rc = zero_claimed(z, from, to, write);
    range_lock_release(&q->claims, &claim);
    visit_end(q, &v);
    return rc;
}

/* Zeros as data, unless it reads as zeros. */
static int write_zeros(struct zeroing *z, uint64_t from, uint64_t to, unsigned flags)
{
    struct qcow2 *q = z->q;
    struct map_piece p;
    struct visit v;
    int rc;

    if (from == to || z->discard)
        return 0;
    visit_begin(q, &v);
    rc = map_find(q, from, to - from, &p);
    visit_end(q, &v);
    if (rc || (reads_zero(q, &p) && p.length == to - from))
        return rc;
    if (flags & BLOCK_FAST)
        return -EOPNOTSUPP;
    return blockdev_write_zeros(&q->dev, from, to - from, flags & BLOCK_BACKGROUND);
}

/* Whole subclusters. */
static int zero_whole(struct zeroing *z, uint64_t from, uint64_t end, unsigned flags)
{
    struct qcow2 *q = z->q;
    uint64_t due_ns = 0;
    int rc = 0;

    while (!rc && from < end) {
        uint64_t generation = atomic_load(&q->space.generation);
        bool write = false;

        rc = zero_some(z, &from, end, &write);
        if (!rc && write) {
            uint64_t to = MIN(end, round_down(from, cluster_bytes(q)) + cluster_bytes(q));

            rc = write_zeros(z, from, to, flags);
            from = to;
        }
        if (rc == -ENOSPC) { /* for a table */
            due_ns = due_ns ?: rt_now_ns() + q->options.space_wait_ns;
            rc = space_wait(q, generation, due_ns);
        }
    }
    return rc;
}

static int zero(struct zeroing *z, uint64_t offset, uint64_t length, unsigned flags)
{
    uint64_t unit = subcluster_bytes(z->q), end = offset + length;
    uint64_t from = round_up(offset, unit), to = round_down(end, unit);
    int rc = image_mark(z->q);

    if (end == z->q->dev.size_bytes)
        to = round_up(end, unit); /* what is behind the disk's end is nobody's */
    if (!rc && from >= to)
        return write_zeros(z, offset, end, flags);
    if (!rc)
        rc = write_zeros(z, offset, from, flags);
    if (!rc)
        rc = zero_whole(z, from, to, flags);
    if (!rc && to < end)
        rc = write_zeros(z, to, end, flags);
    return rc;
}

/* The backing's business, as the image sinks. *done: it does, and it has been. */
static int zero_through(
    struct zeroing *z, uint64_t offset, uint64_t length, unsigned flags, bool *done)
{
    struct qcow2 *q = z->q;
    struct visit v;
    int rc = 0;

    visit_begin(q, &v);
    *done = atomic_load_explicit(&q->sinking, memory_order_relaxed);
    if (*done)
        rc = image_may_change(q) ? image_sink_range(q, offset, length) : -EIO;
    if (*done && !rc)
        rc = z->discard ? blockdev_discard(q->backing, offset, length)
                        : blockdev_write_zeroes(q->backing, offset, length, flags);
    visit_end(q, &v);
    return rc;
}

static int zero_either(struct zeroing *z, uint64_t offset, uint64_t length, unsigned flags)
{
    bool done = false;
    int rc;

    do {
        rc = z->q->backing ? zero_through(z, offset, length, flags, &done) : 0;
        if (!rc && !done)
            rc = zero(z, offset, length, flags);
    } while (rc == -EAGAIN);
    image_relieve(z->q);
    return rc;
}

int image_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    struct zeroing z = {.q = qcow2_of(d), .unmap = true, .discard = true};

    return zero_either(&z, offset, length, 0);
}

int image_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    struct zeroing z = {.q = qcow2_of(d), .unmap = flags & BLOCK_MAY_UNMAP};

    return zero_either(&z, offset, length, flags);
}
