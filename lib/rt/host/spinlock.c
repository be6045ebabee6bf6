/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spinlocks between threads. */
#include <sched.h>

#include "rt/cpu.h"
#include "rt/sync.h"

/* The holder may have lost its processor. */
#define SPINS_BEFORE_YIELD 100

void spin_lock(struct spinlock *l)
{
    unsigned spins = 0;

    while (atomic_flag_test_and_set_explicit(&l->held, memory_order_acquire)) {
        cpu_relax();
        if (++spins % SPINS_BEFORE_YIELD == 0)
            sched_yield();
    }
}

void spin_unlock(struct spinlock *l)
{
    atomic_flag_clear_explicit(&l->held, memory_order_release);
}
