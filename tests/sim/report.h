/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run of seeds says in the end: for people, as JSON for tests/sim/run, and write sites. */
#ifndef ASHLAR_TESTS_SIM_REPORT_H
#define ASHLAR_TESTS_SIM_REPORT_H

#include <stdint.h>

#include "rt/sim/sim.h"
#include "scenario.h"

#define FAILURES_MAX 1000u /* that are told by seed; more are counted */

struct failure {
    uint64_t seed;
    char reason[sizeof sim->failure];
};

struct report {
    const char *scenario;
    uint64_t seeds, last_seed;
    double seconds;
    uint64_t hash;          /* world_hash after the last seed */
    const uint64_t *faults; /* [FAULTS] */
    uint64_t failed;
    struct failure *failures; /* [FAILURES_MAX] */
};

void report_text(const struct report *r);
void report_json(const struct report *r);

/*
 * A line for each write site: KIND SEEN BEFORE DURING AFTER ADDRESS...; how often it was reached
 * and the machine cut off there, and the chain of return addresses, the innermost first, relative
 * to where the executable was loaded. 0 or -errno.
 */
int report_sites(const char *path);

#endif
