/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spinlocks between simulated threads, one of which runs: who finds one held, or has bad luck,
 * gives up its turn. */
#include "rt/sim/machine.h"
#include "rt/sync.h"

#define LOSES_TURN_ONE_IN 16

void spin_lock(struct spinlock *l)
{
    if (sim->preempt && thread_self() && sim_one_in(sim_stream(SIM_SCHEDULE), LOSES_TURN_ONE_IN))
        thread_preempt();
    while (atomic_flag_test_and_set(&l->held))
        thread_preempt();
}

void spin_unlock(struct spinlock *l)
{
    atomic_flag_clear(&l->held);
}
