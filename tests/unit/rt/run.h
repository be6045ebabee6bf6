/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the suites of rt/ start from: a test runs inside the runtime, on some workers. */
#ifndef ASHLAR_TESTS_RT_RUN_H
#define ASHLAR_TESTS_RT_RUN_H

#include "unit.h"

#include "rt/worker.h"

/* Calls fn as the main coroutine. CUnit's assertions belong on its worker (they know no threads),
 * and none of the fatal ones (they jump across stacks). */
void run_in_rt(void (*fn)(void));

/* Workers "w1" to "wN"; crew[0] is the caller's. */
#define CREW_MAX 8
struct crew {
    unsigned count;
    struct worker *workers[CREW_MAX];
};
void crew_start(struct crew *c, unsigned count);
void crew_end(struct crew *c);

/* A generator of one's own for each coroutine; any seed but 0. */
static inline unsigned random_below(uint64_t *state, unsigned limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (unsigned)(*state % limit);
}

#endif
