/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time and randomness as the kernel gives them: the one place that asks. */
#include "rt/worker.h"

#include <sys/random.h>
#include <time.h>

uint64_t rt_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t rt_wall_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec;
}

/* getrandom fails only by a signal, and gives all up to 256 bytes at once. */
void rt_random(void *buf, size_t len)
{
    char *at = buf;

    while (len) {
        ssize_t n = getrandom(at, len, 0);

        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}
