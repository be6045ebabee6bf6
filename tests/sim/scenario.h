/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A scenario: a world, and what guests, administrators and bad luck do in it, over several
 * machines, all from the seed. It ends when it has nothing more to do or something is wrong
 * (sim->failure).
 *
 * The options make a history shorter without changing its beginning: that is how a failure's
 * shortest trace is found.
 */
#ifndef ASHLAR_TESTS_SIM_SCENARIO_H
#define ASHLAR_TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

/* What is done to a machine and its disks; counted each time. */
enum fault {
    FAULT_POWER_CUT,
    FAULT_KILL,
    FAULT_READ_ERROR,
    FAULT_WRITE_ERROR,
    FAULT_FLUSH_ERROR,
    FAULT_LATENT,     /* sectors that cannot be read until they are written */
    FAULT_CORRUPT,    /* sectors that hold something else */
    FAULT_MISDIRECT,  /* a write that goes elsewhere */
    FAULT_LOST_WRITE, /* acknowledged, never done */
    FAULT_STALL,      /* a disk that answers nothing for minutes */
    FAULT_GONE,       /* a disk that is not there any more */
    FAULT_STALE,      /* one that comes back with what it held when it went */
    FAULT_NO_SPACE,
    FAULTS
};
extern const char *const fault_names[FAULTS]; /* "power-cut", "read-error", ... */

struct scenario_options {
    unsigned machines_max; /* 0: as many as the seed says */
    unsigned ops_max;      /* of guests and administrators, per machine; 0: as the seed says */
    uint32_t without;      /* 1u << enum fault: never done */
    unsigned workers_max;  /* 0: as the seed says */
};

struct scenario {
    const char *name;
    /* Once a process, after sim_init: takes its memory by sim_share. */
    void (*init)(void);
    /* After sim_reset(seed). Leaves the disks as they were at the end. */
    void (*run)(const struct scenario_options *options);
};
extern const struct scenario array_scenario, image_scenario, host_scenario;

/* Counters of all seeds of this process, in shared memory (main.c): machines count too. */
void fault_count(enum fault fault);
/* Whether `options` allow it. */
bool fault_allowed(const struct scenario_options *options, enum fault fault);

#endif
