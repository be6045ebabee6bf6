/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Generators of the simulator: the same seed, the same numbers, on every machine. */
#ifndef ASHLAR_RT_SIM_RANDOM_H
#define ASHLAR_RT_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t state;
};

/* splitmix64: any state will do, and neighbouring seeds give unrelated numbers. */
static inline uint64_t sim_next(struct sim_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Below `limit`, which is not 0. */
static inline uint64_t sim_below(struct sim_random *r, uint64_t limit)
{
    return sim_next(r) % limit;
}

static inline bool sim_one_in(struct sim_random *r, uint64_t n)
{
    return sim_below(r, n) == 0;
}

#endif
