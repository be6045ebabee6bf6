/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of freed clusters. The map without them is durable (commit.c handed them over); now
 * requests that may still read or write them end, then they are discarded below, if asked for, and
 * only when that has ended do their refcounts go down, and may they be used again. Batches are done
 * one after the other, by a coroutine that lives as long as there are some.
 */
#include <stdlib.h>

#include "base/mutant.h"
#include "image/image.h"
#include "rt/worker.h"

struct batch {
    struct list link;
    struct freed freed;
};

void reaper_init(struct qcow2 *q)
{
    struct reaper *r = &q->reaper;

    atomic_flag_clear(&r->lock.held);
    list_init(&r->batches);
    co_event_init(&r->idle);
    co_event_set(&r->idle);
}

/* Those that nobody else refers to. A discard that fails loses nothing. */
static void discard(struct qcow2 *q, const struct freed *freed)
{
    for (size_t i = 0; i < freed->count; i++) {
        const struct freed_run *run = &freed->runs[i];

        for (uint64_t c = run->cluster; c < run->cluster + run->count;) {
            uint64_t end = c;

            while (end < run->cluster + run->count && clusters_refcount(q, end) == 1)
                end++;
            if (end > c)
                blockdev_discard(q->file, c << q->g.cluster_bits, (end - c) << q->g.cluster_bits);
            c = end + 1;
        }
    }
}

static void reap(struct qcow2 *q, struct freed *freed)
{
    if (!MUTANT(REUSE_WHILE_READ))
        grace_wait(&q->grace);
    if (q->options.discard && !MUTANT(LATE_DISCARD))
        discard(q, freed);
    clusters_release(q, freed);
    if (q->options.discard && MUTANT(LATE_DISCARD))
        discard(q, freed);
    free(freed->runs);
    space_wake(q);
}

static struct batch *next_batch(struct reaper *r)
{
    struct batch *b = NULL;

    spin_lock(&r->lock);
    if (!list_empty(&r->batches)) {
        b = container_of(list_first(&r->batches), struct batch, link);
        list_remove(&b->link);
    } else {
        r->running = false;
        co_event_set(&r->idle); /* under the lock: the next that begins clears it after this */
    }
    spin_unlock(&r->lock);
    return b;
}

static void run(void *arg)
{
    struct qcow2 *q = arg;
    struct batch *b;

    while ((b = next_batch(&q->reaper))) {
        reap(q, &b->freed);
        free(b);
    }
}

void reaper_add(struct qcow2 *q, struct freed *freed)
{
    struct reaper *r = &q->reaper;
    struct batch *b = freed->count ? malloc(sizeof *b) : NULL;
    bool begin;

    if (!freed->count) {
        free(freed->runs);
        return;
    }
    if (!b) {
        reap(q, freed);
        return;
    }
    b->freed = *freed;
    spin_lock(&r->lock);
    list_append(&r->batches, &b->link);
    begin = !r->running;
    r->running = true;
    co_event_clear(&r->idle);
    spin_unlock(&r->lock);
    if (begin && co_start("qcow2-reap", run, q) < 0)
        run(q);
}

void reaper_end(struct qcow2 *q)
{
    co_event_wait(&q->reaper.idle);
    spin_lock(&q->reaper.lock); /* who told it is done with the lock */
    spin_unlock(&q->reaper.lock);
    spin_lock(&q->reaper.lock); /* who set it has left */
    spin_unlock(&q->reaper.lock);
}
