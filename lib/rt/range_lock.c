/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Range lock.
 *
 * Numbers fall into windows of 2^shard_shift, windows into shards. A holder joins the list of each
 * shard that one of its windows falls into, in all of them at once (all spinlocks held, taken in
 * ascending order), so that any two holders meet in the same order everywhere; two that overlap
 * meet at least once. It counts the earlier ones in its way, once for each shard where it meets
 * them; each of those, when it leaves a shard, takes off the count of the later ones that it meets
 * there. Who brings a count to zero wakes the holder.
 *
 * A waiting holder is in the way of later ones as if it were granted: nobody is overtaken by those
 * it conflicts with.
 */
#include "rt/sync.h"

#include <assert.h>

#include "rt/worker.h"

#define ALL_SHARDS ((1u << RANGE_LOCK_SHARDS) - 1)

void range_lock_init(struct range_lock *r, unsigned shard_shift)
{
    r->shard_shift = shard_shift;
    for (unsigned i = 0; i < RANGE_LOCK_SHARDS; i++) {
        atomic_flag_clear(&r->shards[i].lock.held);
        list_init(&r->shards[i].holders);
    }
}

/* A bit for each shard of the range. */
static unsigned shards_of(const struct range_lock *r, const struct range_holder *h)
{
    uint64_t window = h->start >> r->shard_shift, last = (h->end - 1) >> r->shard_shift;
    unsigned set = 0;

    if (last - window >= RANGE_LOCK_SHARDS)
        return ALL_SHARDS;
    while (window <= last)
        set |= 1u << window++ % RANGE_LOCK_SHARDS;
    return set;
}

static unsigned lowest(unsigned set)
{
    return (unsigned)__builtin_ctz(set);
}

static bool conflict(const struct range_holder *a, const struct range_holder *b)
{
    return a->start < b->end && b->start < a->end && !(a->shared && b->shared);
}

static struct range_holder *holder_of(struct list *link, unsigned shard)
{
    return container_of(link - shard, struct range_holder, links);
}

/* Counts those in the way of `h` and joins; the shard's spinlock is held. */
static void join(struct range_lock *r, unsigned shard, struct range_holder *h)
{
    struct list *holders = &r->shards[shard].holders;

    list_for_each (link, holders)
        if (conflict(holder_of(link, shard), h))
            atomic_fetch_add(&h->blockers, 1);
    list_append(holders, &h->links[shard]);
}

static void unblock(struct range_holder *h)
{
    if (atomic_fetch_sub(&h->blockers, 1) == 1)
        co_wake(h->waiter);
}

static void leave(struct range_lock *r, unsigned shard, struct range_holder *h)
{
    struct range_shard *s = &r->shards[shard];

    spin_lock(&s->lock);
    for (struct list *link = h->links[shard].next; link != &s->holders; link = link->next)
        if (conflict(h, holder_of(link, shard)))
            unblock(holder_of(link, shard));
    list_remove(&h->links[shard]);
    spin_unlock(&s->lock);
}

void range_lock_take(
    struct range_lock *r, struct range_holder *h, uint64_t start, uint64_t end, bool shared)
{
    unsigned set;

    assert(start < end);
    h->start = start;
    h->end = end;
    h->shared = shared;
    h->waiter = co_self();
    /* One for ourselves, so that nobody wakes us before we wait. */
    atomic_init(&h->blockers, 1);
    set = shards_of(r, h);
    for (unsigned left = set; left; left &= left - 1)
        spin_lock(&r->shards[lowest(left)].lock);
    for (unsigned left = set; left; left &= left - 1)
        join(r, lowest(left), h);
    for (unsigned left = set; left; left &= left - 1)
        spin_unlock(&r->shards[lowest(left)].lock);
    if (atomic_fetch_sub(&h->blockers, 1) > 1)
        co_suspend("range lock");
}

void range_lock_release(struct range_lock *r, struct range_holder *h)
{
    for (unsigned left = shards_of(r, h); left; left &= left - 1)
        leave(r, lowest(left), h);
}
