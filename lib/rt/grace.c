/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Grace periods.
 *
 * Each worker counts those inside by the parity of the phase in which they entered. Who waits
 * begins a new phase and waits for the count of the old one to fall to nothing: those who enter
 * meanwhile count with the new one. Who entered under a phase that has just ended takes himself
 * back and enters anew, so that no one is overlooked.
 */
#include "rt/sync.h"

#include <assert.h>

#include "base/arith.h"
#include "rt/worker.h"

_Static_assert(ARRAY_LEN(((struct grace *)0)->counts) == WORKERS_MAX, "counts for each worker");

void grace_init(struct grace *g)
{
    atomic_flag_clear(&g->lock.held);
    co_mutex_init(&g->waiters);
    atomic_init(&g->phase, 0);
    g->waiter = NULL;
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        for (unsigned p = 0; p < 2; p++)
            atomic_init(&g->counts[i].inside[p], 0);
}

static bool has_ended(struct grace *g, unsigned parity)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        if (atomic_load(&g->counts[i].inside[parity]))
            return false;
    return true;
}

/* The last of an old phase wakes who waits for it. */
static void look(struct grace *g, unsigned parity)
{
    struct co *waiter = NULL;

    if (parity == (atomic_load(&g->phase) & 1))
        return;
    spin_lock(&g->lock);
    if (g->waiter && has_ended(g, parity)) {
        waiter = g->waiter;
        g->waiter = NULL;
    }
    spin_unlock(&g->lock);
    if (waiter)
        co_wake(waiter);
}

unsigned grace_enter(struct grace *g)
{
    unsigned worker = worker_index(worker_self());

    for (;;) {
        unsigned phase = atomic_load(&g->phase);

        atomic_fetch_add(&g->counts[worker].inside[phase & 1], 1);
        if (atomic_load(&g->phase) == phase)
            return phase & 1;
        grace_leave(g, phase & 1);
    }
}

void grace_leave(struct grace *g, unsigned ticket)
{
    uint64_t inside = atomic_fetch_sub(&g->counts[worker_index(worker_self())].inside[ticket], 1);

    assert(inside);
    if (inside == 1)
        look(g, ticket);
}

void grace_wait(struct grace *g)
{
    unsigned old;

    co_mutex_lock(&g->waiters);
    old = atomic_fetch_add(&g->phase, 1) & 1;
    spin_lock(&g->lock);
    g->waiter = has_ended(g, old) ? NULL : co_self();
    bool wait = g->waiter;
    spin_unlock(&g->lock);
    if (wait)
        co_suspend("grace period");
    co_mutex_unlock(&g->waiters);
}
