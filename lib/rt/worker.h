/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Workers and coroutines.
 *
 * A worker is a thread with an engine (rt/engine.h), a run queue of coroutines, timers and a
 * mailbox through which other threads hand it work. A coroutine is a stackful function that runs on
 * one worker for all of its life; it gives the thread up only in a call that says it may wait.
 * Stacks are pooled per worker, with a guard page below; a switch makes no system call. Sanitizers
 * are told of each switch.
 *
 * Happy path of a program: rt_init, rt_main(entry): the calling thread becomes the first worker and
 * runs `entry` as a coroutine. worker_create starts more workers, which `entry` destroys again.
 * rt_main returns when `entry` and the other coroutines of the first worker have ended.
 */
#ifndef ASHLAR_RT_WORKER_H
#define ASHLAR_RT_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct co;
struct worker;

typedef void co_entry(void *arg);

/* Usable bytes of a coroutine's stack (more under sanitizers): large objects live elsewhere. */
#define CO_STACK_BYTES (64 * 1024)

/*
 * Chooses the engine: `name` is "uring", "aio" or NULL (then $ASHLAR_ENGINE, else io_uring when the
 * kernel lets us, else libaio). Once, before all else. -EINVAL for an unknown name, -ENOSYS when
 * the named one cannot run here.
 */
int rt_init(const char *name, struct error *err);
const char *rt_engine_name(void);

/*
 * The calling thread becomes the worker "main" and runs `entry`. Returns when entry has returned
 * and every other coroutine of this worker has ended; all workers made by worker_create have been
 * destroyed by then. 0 or -errno.
 */
int rt_main(co_entry *entry, void *arg);

/* Starts a thread. The name (at most 15 bytes) shows in top and gdb. Any thread may call it. */
int worker_create(struct worker **w, const char *name, struct error *err);
/* Waits until the worker's coroutines have all ended (the caller has told them to), joins the
 * thread and frees it. From a coroutine. */
void worker_destroy(struct worker *w);
/* The worker whose thread this is; NULL outside. */
struct worker *worker_self(void);
/* Small dense number, 0 for main, below WORKERS_MAX: an index for per-worker data. */
unsigned worker_index(const struct worker *w);
const char *worker_name(const struct worker *w);
#define WORKERS_MAX 64

/* Starts a coroutine on the calling worker; it first runs after the caller waits. `name` is a
 * literal. -ENOMEM. */
int co_start(const char *name, co_entry *entry, void *arg);
/* Starts a coroutine on `w`; any thread may call it. -ENOMEM. */
int worker_start(struct worker *w, const char *name, co_entry *entry, void *arg);
/* Runs fn(arg) as a coroutine on `w` and waits for its end; directly when `w` is the caller's.
 * -ENOMEM: fn has not run. */
int worker_call(struct worker *w, const char *name, co_entry *entry, void *arg);

/* The running coroutine, NULL in a worker's loop (engine callbacks, timers) and outside workers. */
struct co *co_self(void);
/* Lets every other coroutine that is ready run first. */
void co_yield (void);
/*
 * Waits for one co_wake. The pair is the base of rt/sync.h: each suspend is ended by exactly one
 * wake; a wake that comes (from any thread) between the decision to wait and co_suspend is not
 * lost. `why` is a literal, shown by co_list.
 */
void co_suspend(const char *why);
void co_wake(struct co *co);
/* Sleeps; wakes at the earliest at rt_now_ns() + ns. */
void co_sleep_ns(uint64_t ns);

/* Writes a line for each coroutine of each worker (name, what it waits for, since when): for
 * SIGUSR1 and from gdb. */
void co_list(FILE *out);

/*
 * Runs a blocking function on a helper thread (in the simulator: at once) and waits for it; returns
 * what fn returns. For calls that have no asynchronous form (open, fallocate on old kernels,
 * libblkid, device ioctls).
 */
int rt_offload(int (*fn)(void *arg), void *arg);

/* Nanoseconds of a clock that never steps; virtual in the simulator. */
uint64_t rt_now_ns(void);
/* Seconds since 1970: only for time stamps that are stored or shown. */
uint64_t rt_wall_seconds(void);
/* Cryptographic randomness (UUIDs); seeded in the simulator. Cannot fail. */
void rt_random(void *buf, size_t len);

/* A timer calls fn on its worker's loop (no coroutine: fn must not wait). Owned by the caller, used
 * on one worker only. Those due at the same time fire in the order in which they were armed. */
struct timer {
    uint64_t due_ns; /* 0: not armed */
    void (*fn)(struct timer *t);
    uint64_t order; /* below here: private */
    struct timer *child, *next, *prev;
};
/* Arms or re-arms; fires once. */
void timer_arm(struct timer *t, uint64_t due_ns);
void timer_cancel(struct timer *t);

#endif
