/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim.h"

#include <stdio.h>

void sim_check(co_entry *body, void *arg)
{
    enum sim_end end = sim_live(body, arg);

    CU_ASSERT_EQUAL(end, SIM_STOPPED);
    if (end == SIM_FAILED)
        printf("seed %llu: %s\n", (unsigned long long)sim->seed, sim->failure);
}

void sim_check_each(co_entry *body)
{
    for (uint64_t seed = 1; seed <= SIM_SEEDS; seed++) {
        sim_reset(seed);
        sim_check(body, NULL);
    }
}
