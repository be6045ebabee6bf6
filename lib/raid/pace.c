/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests come first: times their requests while background work goes on, and holds the lanes of
 * that as long as throttle.h says. On each worker one request after the other is timed, so that
 * many at once cost no more than one. The lanes are on the manager's worker, as all here that is
 * not said to be for guests.
 */
#include "base/arith.h"
#include "raid/array_private.h"

#define OVERDUE_NS UINT64_C(2000000) /* what oversleeping may be made up for */

void pace_start(struct array *a)
{
    struct array_pace *p = &a->sync.pace;

    throttle_init(&p->throttle, a->dev.capabilities & BLOCK_ROTATIONAL, rt_now_ns());
    co_mutex_init(&p->turnstile);
    p->due_ns = p->told_ns = 0;
    p->begun_bytes = 0;
    p->in_flight = 0;
    atomic_fetch_add(&p->epoch, 1);
    atomic_store(&p->timing, true);
}

void pace_end(struct array *a)
{
    atomic_store(&a->sync.pace.timing, false);
}

/* --- guests --- */

uint64_t pace_guest_begin(struct array *a)
{
    struct array_pace *p = &a->sync.pace;
    struct array_activity *activity;

    if (!atomic_load_explicit(&p->timing, memory_order_relaxed))
        return 0;
    activity = array_activity(a);
    if (atomic_load_explicit(&activity->waiting, memory_order_relaxed))
        return 0;
    atomic_store_explicit(&activity->waiting, true, memory_order_relaxed);
    activity->epoch = atomic_load_explicit(&p->epoch, memory_order_relaxed);
    return MAX(rt_now_ns(), UINT64_C(1));
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(
        counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

void pace_guest_end(struct array *a, uint64_t begun_ns)
{
    struct array_activity *activity;

    if (!begun_ns)
        return;
    activity = array_activity(a);
    atomic_store_explicit(&activity->waiting, false, memory_order_relaxed);
    if (activity->epoch != atomic_load_explicit(&a->sync.pace.epoch, memory_order_relaxed))
        return;
    add(&activity->timed, 1);
    add(&activity->latency_ns, rt_now_ns() - begun_ns);
}

/* --- background work --- */

static uint64_t read_counter(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void take_sample(struct array *a, uint64_t now_ns, struct throttle_sample *s)
{
    *s = (struct throttle_sample){.now_ns = now_ns,
        .begun_bytes = a->sync.pace.begun_bytes,
        .in_flight = a->sync.pace.in_flight};
    for (unsigned w = 0; w < WORKERS_MAX; w++) {
        struct array_activity *activity = &a->activity[w];
        s->requests += read_counter(&activity->reads) + read_counter(&activity->writes);
        s->timed += read_counter(&activity->timed);
        s->latency_ns += read_counter(&activity->latency_ns);
        s->waiting |= atomic_load_explicit(&activity->waiting, memory_order_relaxed);
    }
}

static void tell(struct array *a, uint64_t now_ns)
{
    struct array_pace *p = &a->sync.pace;
    enum throttle_phase phase = p->throttle.phase;
    struct throttle_sample sample;

    if (now_ns - p->told_ns < THROTTLE_TICK_NS)
        return;
    p->told_ns = now_ns;
    take_sample(a, now_ns, &sample);
    throttle_update(&p->throttle, &sample);
    if (p->throttle.phase != phase)
        atomic_fetch_add(&p->epoch, 1);
}

/* 0: a window may begin; else when to ask again. */
static uint64_t ask(struct array *a)
{
    struct array_pace *p = &a->sync.pace;
    uint64_t now_ns = rt_now_ns();

    tell(a, now_ns);
    if (p->throttle.phase == THROTTLE_FREE)
        return 0;
    if (p->throttle.phase != THROTTLE_PACED)
        return THROTTLE_TICK_NS;
    p->due_ns = MAX(p->due_ns, now_ns - MIN(now_ns, OVERDUE_NS));
    return p->due_ns > now_ns ? MIN(p->due_ns - now_ns, THROTTLE_TICK_NS) : 0;
}

void pace_wait(struct array *a, uint64_t bytes)
{
    struct array_pace *p = &a->sync.pace;
    uint64_t wait_ns;

    co_mutex_lock(&p->turnstile);
    while (!atomic_load(&a->sync.cancelled) && (wait_ns = ask(a)) != 0)
        co_sleep_ns(wait_ns);
    p->due_ns += throttle_gap_ns(&p->throttle, bytes);
    p->begun_bytes += bytes;
    p->in_flight++;
    co_mutex_unlock(&p->turnstile);
}

void pace_done(struct array *a)
{
    a->sync.pace.in_flight--;
}
