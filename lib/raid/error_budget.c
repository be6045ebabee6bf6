/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raid/error_budget.h"

#include <limits.h>

#define HOUR_NS (3600 * UINT64_C(1000000000))

static uint64_t hours_since(const struct error_budget *b, uint64_t now_ns)
{
    return now_ns > b->since_ns ? (now_ns - b->since_ns) / HOUR_NS : 0;
}

unsigned error_budget_used(const struct error_budget *b, uint64_t now_ns)
{
    uint64_t hours = hours_since(b, now_ns);

    return hours < sizeof b->used * CHAR_BIT ? b->used >> hours : 0;
}

void error_budget_spend(struct error_budget *b, uint64_t now_ns)
{
    unsigned used = error_budget_used(b, now_ns);

    b->since_ns = used ? b->since_ns + hours_since(b, now_ns) * HOUR_NS : now_ns;
    b->used = used < UINT_MAX ? used + 1 : used;
}
