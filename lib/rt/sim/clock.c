/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time, randomness, helper threads and the choice of the engine, simulated. */
#include <string.h>

#include "rt/sim/machine.h"

#define EPOCH_SECONDS 1767225600u /* 2026-01-01 */

const struct engine_ops *rt_engine;
uint64_t rt_poll_max_ns; /* polling would never end where no time passes */

int rt_init(const char *name, struct error *err)
{
    rt_engine = &engine_sim;
    return 0;
}

const char *rt_engine_name(void)
{
    return rt_engine->name;
}

uint64_t rt_now_ns(void)
{
    return sim->now_ns;
}

uint64_t rt_wall_seconds(void)
{
    return EPOCH_SECONDS + sim->now_ns / 1000000000;
}

void rt_random(void *buf, size_t len)
{
    for (size_t done = 0; done < len; done += sizeof(uint64_t)) {
        uint64_t number = sim_next(sim_stream(SIM_IDENTITY));
        size_t n = len - done < sizeof number ? len - done : sizeof number;

        memcpy((char *)buf + done, &number, n);
    }
}

/* Others get on meanwhile. */
int rt_offload(int (*fn)(void *arg), void *arg)
{
    if (co_self())
        co_sleep_ns(1000 + sim_below(sim_stream(SIM_SCHEDULE), 200000));
    return fn(arg);
}

void offload_end(void)
{
}
