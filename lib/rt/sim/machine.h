/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The running machine, as the files of rt/sim see it. It is the process's and dies with it. */
#ifndef ASHLAR_RT_SIM_MACHINE_H
#define ASHLAR_RT_SIM_MACHINE_H

#include "rt/internal.h"
#include "rt/sim/sim.h"

/* What the host has as a thread: a stack on which a worker runs until it gives up its turn, in its
 * engine or at a spinlock. */
struct sim_thread {
    enum { THREAD_NONE, THREAD_READY, THREAD_WAITING, THREAD_ENDED } state;
    struct fiber fiber;    /* its own */
    struct fiber *resumed; /* where it goes on: its own or a coroutine's */
    struct worker *worker; /* its this_worker, while it has no turn */
    struct engine engine;
    uint64_t until_ns; /* while it waits */
    bool interrupted;
    void (*fn)(void *arg);
    void *arg;
    void *stack;
};

/* schedule.c */
/* NULL: no thread has the turn. */
struct sim_thread *thread_self(void);
/* Gives up the turn until `until_ns`, an interrupt or the end of an io. */
void thread_wait(uint64_t until_ns);
/* Gives it up in the middle of something. */
void thread_preempt(void);

/* engine.c */
extern const struct engine_ops engine_sim;
void engine_init(void);
bool io_ended_for(const struct sim_thread *t);
/* When the next thing happens to an io, UINT64_MAX: nothing is in flight; and lets it happen. */
uint64_t io_next_ns(void);
void io_happen(void);
/* What becomes of the ios in flight when the machine is cut off. */
void io_cut_off(bool kill);

/* memory.c */
extern const bool memory_can_be_restored; /* so machines need no processes */
void memory_init(void);
/* The machine begins: what it changes from now on is undone by restore. */
void memory_save(void);
void memory_restore(void);

/* site.c: who asks for a write, by the chain of callers; kind: see struct sim_site. */
void site_init(void);
struct sim_site *site_note(const char *kind);
/* In which phase of this write the machine is to be cut off (sim->cut counts writes); SIM_PHASES:
 * in none. */
enum sim_phase site_cut_due(void);
void site_cut(struct sim_site *s, enum sim_phase phase) __attribute__((noreturn));

/* crash.c: once a process; machines inherit it. */
void crash_init(void);

static inline struct sim_random *sim_stream(enum sim_stream stream)
{
    return &sim->random[stream];
}

/* Every choice and event goes in, so that two runs of a seed can be compared. */
static inline void sim_hash(uint64_t value)
{
    sim->hash = (sim->hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    sim->hash ^= sim->hash >> 29;
}

#endif
