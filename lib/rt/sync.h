/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting without holding a thread: locks and gatherings of coroutines. All may be shared by
 * workers; waiters are served first come, first served. Memory is the caller's; none of these fails
 * or allocates.
 */
#ifndef ASHLAR_RT_SYNC_H
#define ASHLAR_RT_SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct co;

/* A few instructions long, never held across a wait: guards the structures below, and the like. */
struct spinlock {
    atomic_flag held;
};
#define SPINLOCK_INIT                                                                              \
    {                                                                                              \
        ATOMIC_FLAG_INIT                                                                           \
    }
void spin_lock(struct spinlock *l);
void spin_unlock(struct spinlock *l);

/* FIFO of waiting coroutines; the base of the rest. The caller's spinlock guards it. */
struct wait_queue {
    struct list waiters;
};
void wait_queue_init(struct wait_queue *q);
/* Called with `l` held: queues the caller, releases `l` and waits; returns without `l`. */
void wait_queue_wait(struct wait_queue *q, struct spinlock *l, const char *why);
/* Called with the lock held. wake_one returns false when nobody waits. */
bool wait_queue_wake_one(struct wait_queue *q);
void wait_queue_wake_all(struct wait_queue *q);

/* Held across waits, by a coroutine. Unlock hands it to the first waiter. */
struct co_mutex {
    struct spinlock lock;
    bool held;
    struct wait_queue queue;
};
void co_mutex_init(struct co_mutex *m);
void co_mutex_lock(struct co_mutex *m);
bool co_mutex_trylock(struct co_mutex *m);
void co_mutex_unlock(struct co_mutex *m);

/* Condition: wait releases the mutex and takes it again. May be signalled from any thread or engine
 * callback. */
struct co_cond {
    struct spinlock lock;
    struct wait_queue queue;
};
void co_cond_init(struct co_cond *c);
void co_cond_wait(struct co_cond *c, struct co_mutex *m);
void co_cond_signal(struct co_cond *c);
void co_cond_broadcast(struct co_cond *c);

/* Waits for a number of things to end: add before starting each, done (from anywhere, also
 * callbacks) when it ends. One waiter. */
struct wait_group {
    struct spinlock lock;
    unsigned pending;
    struct co *waiter;
};
void wait_group_init(struct wait_group *g);
void wait_group_add(struct wait_group *g, unsigned n);
void wait_group_done(struct wait_group *g);
void wait_group_wait(struct wait_group *g);

/* A latch: waiters pass once it is set; also signalled from callbacks. wait_until returns false
 * when `due_ns` passed first. */
struct co_event {
    struct spinlock lock;
    bool set;
    struct wait_queue queue;
};
void co_event_init(struct co_event *e);
void co_event_set(struct co_event *e);
void co_event_clear(struct co_event *e);
void co_event_wait(struct co_event *e);
bool co_event_wait_until(struct co_event *e, uint64_t due_ns);

/*
 * Range lock over byte or chunk numbers: ranges that overlap exclude each other unless both are
 * shared; in order of arrival. The holder is the caller's memory and stays put until unlock.
 * Sharded by range, so that distant ranges do not meet.
 */
#define RANGE_LOCK_SHARDS 16
struct range_holder {
    uint64_t start, end; /* [start, end) */
    bool shared;
    struct co *waiter;
    atomic_uint blockers; /* earlier holders in the way, counted in each shard where they meet */
    struct list links[RANGE_LOCK_SHARDS]; /* set for the shards of this range */
};
struct range_lock {
    unsigned shard_shift; /* ranges inside one aligned 2^shift window meet in one shard */
    struct range_shard {
        struct spinlock lock;
        struct list holders; /* granted and waiting, in order of arrival */
        char pad[40];        /* a cache line each */
    } shards[RANGE_LOCK_SHARDS];
};
void range_lock_init(struct range_lock *r, unsigned shard_shift);
void range_lock_take(
    struct range_lock *r, struct range_holder *h, uint64_t start, uint64_t end, bool shared);
void range_lock_release(struct range_lock *r, struct range_holder *h);

/*
 * Drain gate: requests enter and leave; close waits until those inside have left and holds
 * newcomers until open. For swapping what requests look at. enter/leave cost one uncontended atomic
 * each (counted per worker). Who is inside does not enter again: a close between the two would
 * wait for it, and it for the close.
 */
struct gate {
    struct spinlock lock;
    bool closed;
    struct wait_queue outside; /* newcomers and further closers while closed */
    struct co *closer;
    uint64_t remaining; /* inside, of those that the closer found there */
    struct {
        _Atomic uint64_t inside;
        char pad[56]; /* a cache line each */
    } counts[64];     /* by worker_index */
};
void gate_init(struct gate *g);
void gate_enter(struct gate *g);
/* On the worker that entered. */
void gate_leave(struct gate *g);
/* Closers exclude each other (the second waits). */
void gate_close(struct gate *g);
void gate_open(struct gate *g);

/*
 * Grace periods: for what is taken out of a structure that others may have looked at. Who looks
 * enters, and leaves when done with what was found; grace_wait returns when all have left who had
 * entered before it was called, and holds nobody up. enter/leave cost one uncontended atomic each
 * and may nest; grace_wait is not called inside.
 */
struct grace {
    struct spinlock lock;
    struct co_mutex waiters; /* one period after the other */
    atomic_uint phase;
    struct co *waiter;
    struct {
        _Atomic uint64_t inside[2]; /* by the parity of the phase entered */
        char pad[48];               /* a cache line each */
    } counts[64];                   /* by worker_index */
};
void grace_init(struct grace *g);
/* The ticket is for grace_leave, on the same worker. */
unsigned grace_enter(struct grace *g);
void grace_leave(struct grace *g, unsigned ticket);
void grace_wait(struct grace *g);

#endif
