/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop of a worker: takes its mail (coroutines started or woken by other threads), calls
 * timers, runs what is ready, a bounded number at a time, and gives the engine its turn. With
 * nothing to do it polls the engine for a few microseconds, if its last sleeps were as short as
 * that (waking a sleeping thread costs more), and then sleeps in it.
 *
 * No wake is lost: a sender puts mail first and then looks whether the worker is asleep; the worker
 * says that it is and then looks for mail. Whoever clears `asleep` owes the engine an interrupt;
 * the loop does not end before all interrupts owed to it have come, as the engine goes then.
 */
#include "rt/internal.h"

#include <assert.h>
#include <sched.h>

#include "base/arith.h"

/* Coroutines run between two turns of the engine. */
#define RUN_BATCH 256
/* The shortest time to poll before a sleep; the longest is rt_poll_max_ns. */
#define POLL_NS_MIN UINT64_C(2000)

__thread struct worker *this_worker;

struct worker *worker_self(void)
{
    return this_worker;
}

struct engine *engine_self(void)
{
    return this_worker ? this_worker->engine : NULL;
}

struct co *co_self(void)
{
    return this_worker ? this_worker->current : NULL;
}

static void make_ready(struct worker *w, struct co *co)
{
    assert(!co->ready);
    co->ready = true;
    co->next = NULL;
    *w->ready_tail = co;
    w->ready_tail = &co->next;
}

static struct co *take_ready(struct worker *w)
{
    struct co *co = w->ready;

    if (!co)
        return NULL;
    co->ready = false;
    w->ready = co->next;
    if (!co->next)
        w->ready_tail = &w->ready;
    return co;
}

void worker_rouse(struct worker *w)
{
    if (atomic_load(&w->asleep) && atomic_exchange(&w->asleep, false)) {
        w->engine->ops->interrupt(w->engine);
        atomic_fetch_add(&w->interrupts, 1);
    }
}

static bool has_mail(struct worker *w)
{
    return atomic_load(&w->mailbox) != NULL;
}

static void mail(struct worker *w, struct co *co)
{
    struct co *newest = atomic_load_explicit(&w->mailbox, memory_order_relaxed);

    do {
        co->next = newest;
    } while (!atomic_compare_exchange_weak(&w->mailbox, &newest, co));
    /* Otherwise who brought the first has seen to it. */
    if (!newest)
        worker_rouse(w);
}

static void read_mail(struct worker *w)
{
    struct co *co, *in_order = NULL;

    if (!has_mail(w))
        return;
    co = atomic_exchange(&w->mailbox, NULL);
    while (co) {
        struct co *earlier = co->next;

        co->next = in_order;
        in_order = co;
        co = earlier;
    }
    while ((co = in_order)) {
        in_order = co->next;
        make_ready(w, co);
    }
}

void co_wake(struct co *co)
{
    if (co->worker == this_worker)
        make_ready(this_worker, co);
    else
        mail(co->worker, co);
}

void co_yield (void)
{
    make_ready(this_worker, this_worker->current);
    co_suspend("yield");
}

static void run_ready(struct worker *w)
{
    struct co *co;

    for (unsigned n = 0; n < RUN_BATCH && (co = take_ready(w)); n++)
        co_resume(w, co);
}

static bool has_work(struct worker *w)
{
    return w->ready || has_mail(w);
}

static bool may_end(struct worker *w)
{
    return atomic_load(&w->stopping) && !w->live && !has_work(w);
}

static void turn(struct worker *w, uint64_t timeout_ns)
{
    w->engine->ops->turn(w->engine, timeout_ns);
    w->now_ns = rt_now_ns();
}

static uint64_t time_to_next_timer(struct worker *w)
{
    uint64_t due_ns = timers_next_due(w);

    if (due_ns == UINT64_MAX)
        return UINT64_MAX;
    return due_ns > w->now_ns ? due_ns - w->now_ns : 0;
}

/* Others of this processor go first: whom we wait for may be among them. */
static bool poll_for_work(struct worker *w)
{
    uint64_t until_ns = (w->now_ns = rt_now_ns()) + w->poll_ns;

    while (w->now_ns < until_ns) {
        turn(w, 0);
        if (has_work(w) || !time_to_next_timer(w))
            return true;
        sched_yield();
    }
    return false;
}

/* Polls longer after a sleep that polling might have saved, and less after a longer one. */
static void adapt_polling(struct worker *w, uint64_t slept_ns)
{
    if (slept_ns > rt_poll_max_ns)
        w->poll_ns = w->poll_ns > POLL_NS_MIN ? w->poll_ns / 2 : 0;
    else
        w->poll_ns = MIN(MAX(w->poll_ns * 2, POLL_NS_MIN), rt_poll_max_ns);
}

static void sleep_for_work(struct worker *w)
{
    uint64_t since_ns = w->now_ns;

    atomic_store(&w->asleep, true);
    turn(w, has_mail(w) || may_end(w) ? 0 : time_to_next_timer(w));
    if (!atomic_exchange(&w->asleep, false))
        w->interrupts_due++;
    adapt_polling(w, w->now_ns - since_ns);
}

void worker_loop(struct worker *w)
{
    for (;;) {
        read_mail(w);
        timers_fire(w, w->now_ns);
        run_ready(w);
        if (may_end(w))
            break;
        if (has_work(w))
            turn(w, 0);
        else if (!poll_for_work(w))
            sleep_for_work(w);
    }
    while (atomic_load(&w->interrupts) != w->interrupts_due)
        sched_yield();
}
