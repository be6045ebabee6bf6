/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raid/stripe_flush.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"

#define SLOTS 4096u

struct stripe_flushes {
    _Atomic uint64_t begun;          /* flushes, and one */
    _Atomic uint64_t durable;        /* what was written when so many had begun */
    _Atomic uint64_t written[SLOTS]; /* how many had begun when it was */
};

int stripe_flush_init(struct array *a)
{
    a->flushes = calloc(1, sizeof *a->flushes);
    if (!a->flushes)
        return -ENOMEM;
    atomic_init(&a->flushes->begun, 1);
    return 0;
}

void stripe_flush_destroy(struct array *a)
{
    free(a->flushes);
}

void stripe_flush_due(struct array *a, uint64_t first, uint64_t end)
{
    uint64_t begun = atomic_load(&a->flushes->begun);

    end = MIN(end, first + SLOTS);
    for (uint64_t stripe = first; stripe < end; stripe++)
        atomic_store(&a->flushes->written[stripe % SLOTS], begun);
}

bool stripe_flush_is_due(const struct array *a, uint64_t stripe)
{
    return atomic_load(&a->flushes->written[stripe % SLOTS]) > atomic_load(&a->flushes->durable);
}

uint64_t stripe_flush_begin(struct array *a)
{
    return a->flushes ? atomic_fetch_add(&a->flushes->begun, 1) : 0;
}

void stripe_flush_end(struct array *a, uint64_t flush)
{
    uint64_t durable = a->flushes ? atomic_load(&a->flushes->durable) : flush;

    while (durable < flush && !atomic_compare_exchange_weak(&a->flushes->durable, &durable, flush))
        ;
}
