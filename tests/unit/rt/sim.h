/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the suites of rt/sim start from. A test's body runs in a simulated machine, which is another
 * process: it checks with CHECK, which ends the machine. */
#ifndef ASHLAR_TESTS_RT_SIM_H
#define ASHLAR_TESTS_RT_SIM_H

#include "unit.h"

#include "rt/sim/sim.h"
#include "rt/worker.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            sim_fail("%s:%d: %s", __FILE__, __LINE__, #condition);                                 \
    } while (0)

/* A machine that runs to its end without a failed check. */
void sim_check(co_entry *body, void *arg);
/* One in the empty world of each of some seeds. */
#define SIM_SEEDS 30u
void sim_check_each(co_entry *body);

#endif
