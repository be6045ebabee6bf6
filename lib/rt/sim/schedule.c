/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has the turn, and what time it is. The process's own stack is the scheduler's; each worker's
 * thread is a fiber that runs until it waits in its engine, ends, or loses its turn at a spinlock.
 *
 * Among the threads that can run the seed chooses; when none can, time goes to the next event: the
 * progress of an io or the end of a wait. Now and then an io goes on although somebody could run,
 * for processors are not that fast. Nothing can ever happen again: a deadlock, which is a failure.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "rt/sim/machine.h"

#define THREAD_STACK_BYTES ((size_t)(FIBER_ASAN ? 1024 : 256) << 10)
#define THREAD_STACK_ALIGN 64
/* Turns of one machine: some thousand times what any does that gets on. */
#define TURNS_MAX 3000000u
/* How long somebody who could run may be kept from it. */
#define BUSY_NS_MAX 10000000u

static struct sim_thread threads[WORKERS_MAX];
static unsigned thread_count; /* those from here on have never been used */
static struct sim_thread *running;
static struct fiber scheduler;
static uint64_t turns;

struct sim_thread *thread_self(void)
{
    return running;
}

static void give_up_turn(struct fiber *from)
{
    struct sim_thread *self = running;

    self->resumed = from;
    self->worker = this_worker;
    running = NULL;
    this_worker = NULL;
    fiber_switch(from, &scheduler);
}

void thread_wait(uint64_t until_ns)
{
    struct sim_thread *self = running;

    self->state = THREAD_WAITING;
    self->until_ns = until_ns;
    give_up_turn(&self->fiber);
    self->interrupted = false;
}

void thread_preempt(void)
{
    struct co *co = co_self();

    running->state = THREAD_READY;
    give_up_turn(co ? &co->fiber : &running->fiber);
}

static void thread_main(void *arg)
{
    struct sim_thread *t = arg;

    t->fn(t->arg);
    t->state = THREAD_ENDED;
    running = NULL;
    this_worker = NULL;
    fiber_exit(&t->fiber, &scheduler);
}

static struct sim_thread *thread_make(void (*fn)(void *arg), void *arg)
{
    struct sim_thread *t = threads;
    void *stack;

    while (t < threads + thread_count && t->state != THREAD_NONE)
        t++;
    stack = aligned_alloc(THREAD_STACK_ALIGN, THREAD_STACK_BYTES);
    if (!stack || t == threads + WORKERS_MAX)
        sim_fail("no thread can be made");
    if (t == threads + thread_count)
        thread_count++;
    *t = (struct sim_thread){
        .state = THREAD_READY, .resumed = &t->fiber, .fn = fn, .arg = arg, .stack = stack};
    fiber_make(&t->fiber, stack, THREAD_STACK_BYTES, thread_main, t);
    return t;
}

static void thread_free(struct sim_thread *t)
{
    assert(t->state == THREAD_ENDED);
    fiber_release(&t->fiber);
    free(t->stack);
    t->state = THREAD_NONE;
}

static bool can_run(const struct sim_thread *t)
{
    return t->state == THREAD_READY ||
           (t->state == THREAD_WAITING &&
               (t->interrupted || t->until_ns <= sim->now_ns || io_ended_for(t)));
}

/* NULL: nobody can run. */
static struct sim_thread *choose_thread(void)
{
    struct sim_thread *able[WORKERS_MAX];
    unsigned count = 0, choice;

    for (unsigned i = 0; i < thread_count; i++)
        if (can_run(&threads[i]))
            able[count++] = &threads[i];
    if (!count)
        return NULL;
    choice = count > 1 ? (unsigned)sim_below(sim_stream(SIM_SCHEDULE), count) : 0;
    sim_hash((uint64_t)(able[choice] - threads));
    return able[choice];
}

static uint64_t next_wait_end_ns(void)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].state == THREAD_WAITING && threads[i].until_ns < next)
            next = threads[i].until_ns;
    return next;
}

static void deadlock(void)
{
    if (sim->trace)
        co_list(stdout);
    sim_fail("deadlock: everybody waits and nothing will happen");
}

static void pass_time(uint64_t until_ns)
{
    const struct sim_cut *cut = &sim->cut;

    if (until_ns > sim->now_ns)
        sim->now_ns = until_ns;
    if (cut->at_ns && sim->now_ns >= cut->at_ns)
        sim_power_cut(cut->kill);
}

/* To the next event; what happens to an io happens. */
static void go_on(void)
{
    uint64_t io_ns = io_next_ns(), wait_ns = next_wait_end_ns();

    if (io_ns == UINT64_MAX && wait_ns == UINT64_MAX)
        deadlock();
    if (io_ns <= wait_ns) {
        pass_time(io_ns);
        io_happen();
    } else {
        pass_time(wait_ns);
    }
}

static void give_turn(struct sim_thread *t)
{
    sim->counts.events++;
    if (++turns > TURNS_MAX) {
        if (sim->trace)
            co_list(stdout);
        sim_fail("livelock: %u turns and no end", TURNS_MAX);
    }
    running = t;
    this_worker = t->worker;
    fiber_switch(&scheduler, t->resumed);
}

/* Processors are slow, but not as slow as a disk that has stalled. */
static bool io_is_near(void)
{
    return io_next_ns() <= sim->now_ns + BUSY_NS_MAX && sim_one_in(sim_stream(SIM_SCHEDULE), 8);
}

static void run_until_ended(const struct sim_thread *main)
{
    while (main->state != THREAD_ENDED) {
        struct sim_thread *t = choose_thread();

        if (!t || io_is_near())
            go_on();
        else
            give_turn(t);
    }
}

void thread_enter(void (*fn)(void *arg), void *arg)
{
    struct sim_thread *main;

    fiber_adopt(&scheduler);
    main = thread_make(fn, arg);
    run_until_ended(main);
    thread_free(main);
}

static void run_worker(void *arg)
{
    worker_run(arg);
}

int worker_thread_start(struct worker *w)
{
    struct sim_thread *caller = running;
    struct worker *callers = this_worker;
    int rc;

    running = thread_make(run_worker, w);
    rc = worker_begin(w);
    running->worker = w;
    assert(rc == 0);
    running = caller;
    this_worker = callers;
    return rc;
}

void worker_thread_join(struct worker *w)
{
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].state == THREAD_ENDED && threads[i].arg == w)
            thread_free(&threads[i]);
}
