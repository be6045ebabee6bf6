/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For test_gdb: stops in a trap while two coroutines wait. */
#include <signal.h>

#include "rt/sync.h"
#include "rt/worker.h"

static struct co_event never;

static void __attribute__((noinline)) wait_inside(void)
{
    co_event_wait(&never);
    co_event_clear(&never);
}

static void wait_outside(void *arg)
{
    wait_inside();
    co_yield ();
}

static void park(void *arg)
{
    co_event_init(&never);
    if (co_start("first", wait_outside, NULL) < 0 || co_start("second", wait_outside, NULL) < 0)
        return;
    co_yield ();
    raise(SIGTRAP);
    co_event_set(&never);
}

int main(void)
{
    return rt_init(NULL, NULL) < 0 || rt_main(park, NULL) < 0;
}
