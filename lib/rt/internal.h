/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Coroutines and workers as the files of rt/ see them.
 *
 * A struct co lies at the top of its own stack. It is on one list at a time: its worker's ready
 * coroutines, its worker's mailbox (woken or started from another thread) or a pool of idle ones.
 */
#ifndef ASHLAR_RT_INTERNAL_H
#define ASHLAR_RT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "rt/engine.h"
#include "rt/fiber.h"
#include "rt/worker.h"

struct co {
    struct fiber fiber;
    struct worker *worker;
    co_entry *entry;
    void *arg;
    bool ready, ended;
    struct co *next;

    /* Read by co_list on other threads: */
    const char *_Atomic name; /* NULL: idle */
    const char *_Atomic why;  /* NULL: runs or is ready */
    _Atomic uint64_t since_ns;
    struct list every; /* all stacks there are, coroutine.c */
};

struct worker {
    /* Its own thread's: */
    struct engine *engine;
    struct fiber loop;
    struct co *current;
    struct co *ready, **ready_tail; /* in the order of arrival */
    struct timer *timers;           /* timer.c */
    uint64_t timers_armed;
    uint64_t now_ns;  /* at the last turn of the loop */
    uint64_t poll_ns; /* before it sleeps */
    unsigned live;    /* coroutines that have begun and not ended */
    struct co *idle;  /* stacks for the next ones */
    unsigned idle_count;
    uint64_t interrupts_due;

    /* Constant while it runs: */
    bool used;
    char name[16];
    pthread_t thread;
    struct co *destroyer; /* set before `stopping` */

    /* Other threads write these: */
    _Alignas(64) struct co *_Atomic mailbox; /* the newest first */
    atomic_bool asleep;                      /* whoever clears it interrupts the engine */
    atomic_bool stopping;
    _Atomic uint64_t interrupts;
};

/* coroutine.c */
/* NULL: out of memory. To be made ready or put into the mailbox of `w`. */
struct co *co_create(struct worker *w, const char *name, co_entry *entry, void *arg);
/* From the loop: runs it until it waits or ends. */
void co_resume(struct worker *w, struct co *co);
/* Unmaps the idle stacks of a worker, and those that no worker keeps. */
void stacks_free_idle(struct worker *w);
void stacks_free_shared(void);

/* loop.c */
extern __thread struct worker *this_worker;
void worker_loop(struct worker *w);
/* Ends its sleep; from any thread. */
void worker_rouse(struct worker *w);

/* timer.c: calls those due at `now_ns`; when the next is due, UINT64_MAX for never. */
void timers_fire(struct worker *w, uint64_t now_ns);
uint64_t timers_next_due(const struct worker *w);

/* host/offload.c: ends the helper threads, which are idle. */
void offload_end(void);

/* worker.c, on the worker's thread: makes its engine, 0 or -errno; then runs it until it ends. */
int worker_begin(struct worker *w);
void worker_run(struct worker *w);

/* host/thread.c; sim/schedule.c: fibers that take turns. */
/* Begins and runs `w` on a thread of its own; returns what worker_begin said. */
int worker_thread_start(struct worker *w);
/* After the worker's end. */
void worker_thread_join(struct worker *w);
/* Calls fn(arg) as the main worker's thread. */
void thread_enter(void (*fn)(void *arg), void *arg);

/* host/init.c, sim/init.c */
extern const struct engine_ops *rt_engine;
extern uint64_t rt_poll_max_ns;

#endif
