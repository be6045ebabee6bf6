/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulator, as its programs (tests/sim) see it: a world of disks and small files that lasts,
 * and machines in it that live until they stop or are cut off.
 *
 * The world lies in memory shared with the machines: disks, files, the clock, generators, counters.
 * A machine (sim_live) is a forked process, which runs fn in the real runtime with the engine
 * "sim": all workers take turns on one thread, chosen by the seed; time is virtual and stands still
 * while anybody can run. It ends when fn returns, or in the middle of anything by a power cut or a
 * kill -9; then the next machine finds what is left.
 *
 * The same seed gives the same history, to the last bit.
 */
#ifndef ASHLAR_RT_SIM_SIM_H
#define ASHLAR_RT_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rt/sim/disk.h"
#include "rt/sim/random.h"

#define SIM_DISKS_MAX 10

/* Separate generators, so that leaving out faults of one kind changes the rest as little as can be.
 */
enum sim_stream {
    SIM_SCHEDULE,
    SIM_MEDIUM,
    SIM_FAULTS,
    SIM_GUESTS,
    SIM_ADMIN,
    SIM_IDENTITY,
    SIM_STREAMS
};

enum sim_phase { SIM_BEFORE, SIM_DURING, SIM_AFTER, SIM_PHASES };

enum sim_end {
    SIM_STOPPED,   /* fn returned */
    SIM_POWER_CUT, /* unflushed writes are kept, lost or torn */
    SIM_KILLED,    /* the disks' caches survive */
    SIM_FAILED     /* sim_fail, a signal, a deadlock: world->failure says what */
};

/* When a machine is cut off. */
struct sim_cut {
    bool kill;       /* -9, not the power */
    uint64_t writes; /* at the so-manieth write, zeroes, discard, flush or change of a small file
                        from now on; 0: never */
    enum sim_phase phase; /* before it reaches the disk, when part of it has, after all has */
    uint64_t at_ns;       /* or at this time; 0: never */
};

struct sim_counts {
    uint64_t machines, power_cuts, kills, stops;
    uint64_t ios, events; /* events: turns of workers */
};

struct sim_world {
    uint64_t seed;
    struct sim_random random[SIM_STREAMS];
    uint64_t hash;   /* of all that has happened */
    uint64_t now_ns; /* virtual; goes on over machines */
    bool trace;      /* sim_trace prints */
    bool isolated;   /* machines are processes, so that they may die of anything */
    bool preempt;    /* workers lose their turn at spinlocks too */
    unsigned disk_count;
    struct sim_disk disks[SIM_DISKS_MAX];
    struct sim_cut cut;
    enum sim_end end; /* of the last machine */
    struct sim_counts counts;
    char failure[512]; /* the first one */
};

extern struct sim_world *sim;

/* Maps the world, once a process, before anything else. Starts the program anew without address
 * space randomization. */
void sim_init(char **argv);
/* From now on machines need no processes of their own, where that can be done (not with
 * sanitizers): ten times as fast, but a machine that dies takes the program with it. */
void sim_share_process(void);
/* An empty world. */
void sim_reset(uint64_t seed);
struct sim_disk *sim_add_disk(const struct sim_disk_params *params);

/* Runs a machine until it ends. */
enum sim_end sim_live(void (*fn)(void *arg), void *arg);

/* Inside a machine. fail does not return: it ends the machine. */
void sim_power_cut(bool kill) __attribute__((noreturn));
void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* A line of the history, with the time and the worker. Anywhere. */
void sim_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define SIM_TRACE(...)                                                                             \
    do {                                                                                           \
        if (sim->trace)                                                                            \
            sim_trace(__VA_ARGS__);                                                                \
    } while (0)

/* Shared memory for a program's own part of the world: zeroed by sim_reset; once, after sim_init.
 */
void *sim_share(size_t bytes);
/* The same, and never zeroed: for counts over many seeds. */
void *sim_keep(size_t bytes);

#endif
