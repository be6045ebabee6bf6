/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small arithmetic that every room needs. */
#ifndef ASHLAR_BASE_ARITH_H
#define ASHLAR_BASE_ARITH_H

#include <stdbool.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof(*(a)))
#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) min_a = (a);                                                                 \
        __typeof__(b) min_b = (b);                                                                 \
        min_a < min_b ? min_a : min_b;                                                             \
    })
#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) max_a = (a);                                                                 \
        __typeof__(b) max_b = (b);                                                                 \
        max_a > max_b ? max_a : max_b;                                                             \
    })

static inline uint64_t div_round_up(uint64_t n, uint64_t d)
{
    return n / d + (n % d != 0);
}

static inline uint64_t round_down(uint64_t n, uint64_t unit)
{
    return n - n % unit;
}

/* The caller knows that n + unit does not overflow. */
static inline uint64_t round_up(uint64_t n, uint64_t unit)
{
    return div_round_up(n, unit) * unit;
}

static inline bool is_power_of_2(uint64_t n)
{
    return n && !(n & (n - 1));
}

#endif
