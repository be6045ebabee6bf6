/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drain gate.
 *
 * Each worker counts those inside in a word of its own, whose top bit says that the gate is closed:
 * one atomic operation both counts and looks. The closer sets the bits and adds up those it found
 * inside; who leaves by a closed gate takes itself off that sum, and the last one wakes the closer.
 * Nobody who has left touches the gate after that, so that it may be freed.
 */
#include "rt/sync.h"

#include <assert.h>

#include "base/arith.h"
#include "rt/worker.h"

#define CLOSED (UINT64_C(1) << 63)

_Static_assert(ARRAY_LEN(((struct gate *)0)->counts) == WORKERS_MAX, "a count for each worker");

void gate_init(struct gate *g)
{
    atomic_flag_clear(&g->lock.held);
    g->closed = false;
    wait_queue_init(&g->outside);
    g->closer = NULL;
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        atomic_init(&g->counts[i].inside, 0);
}

static _Atomic uint64_t *own_count(struct gate *g)
{
    return &g->counts[worker_index(worker_self())].inside;
}

/* Waits for the gate to open, if it is closed. */
static void wait_outside(struct gate *g)
{
    spin_lock(&g->lock);
    if (g->closed)
        wait_queue_wait(&g->outside, &g->lock, "closed gate");
    else
        spin_unlock(&g->lock);
}

void gate_enter(struct gate *g)
{
    _Atomic uint64_t *count = own_count(g);
    uint64_t inside = atomic_load_explicit(count, memory_order_relaxed);

    for (;;) {
        if (inside & CLOSED) {
            wait_outside(g);
            inside = atomic_load_explicit(count, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak(count, &inside, inside + 1)) {
            return;
        }
    }
}

static void leave_closed(struct gate *g)
{
    struct co *closer = NULL;

    spin_lock(&g->lock);
    if (!--g->remaining)
        closer = g->closer;
    spin_unlock(&g->lock);
    if (closer)
        co_wake(closer);
}

void gate_leave(struct gate *g)
{
    uint64_t inside = atomic_fetch_sub(own_count(g), 1);

    assert(inside & ~CLOSED);
    if (inside & CLOSED)
        leave_closed(g);
}

void gate_close(struct gate *g)
{
    spin_lock(&g->lock);
    while (g->closed) {
        wait_queue_wait(&g->outside, &g->lock, "closed gate");
        spin_lock(&g->lock);
    }
    g->closed = true;
    g->remaining = 0;
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        g->remaining += atomic_fetch_or(&g->counts[i].inside, CLOSED);
    g->closer = g->remaining ? co_self() : NULL;
    spin_unlock(&g->lock);
    if (g->closer)
        co_suspend("gate to drain");
}

void gate_open(struct gate *g)
{
    spin_lock(&g->lock);
    assert(g->closed && !g->remaining);
    g->closed = false;
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        atomic_fetch_and(&g->counts[i].inside, ~CLOSED);
    wait_queue_wake_all(&g->outside);
    spin_unlock(&g->lock);
}
