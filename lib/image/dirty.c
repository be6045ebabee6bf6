/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which sectors of a table in memory are not on the disk yet. The caller's lock guards it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/image.h"

static unsigned words_of(const struct dirty *d)
{
    return (unsigned)div_round_up(d->sectors, 64);
}

int dirty_init(struct dirty *d, uint64_t bytes)
{
    d->sectors = (unsigned)div_round_up(bytes, SECTOR_BYTES);
    d->bits = calloc(MAX(words_of(d), 1u), sizeof *d->bits);
    return d->bits ? 0 : -ENOMEM;
}

void dirty_free(struct dirty *d)
{
    free(d->bits);
    d->bits = NULL;
}

void dirty_mark(struct dirty *d, uint64_t offset, uint64_t length)
{
    for (uint64_t i = offset / SECTOR_BYTES; i <= (offset + length - 1) / SECTOR_BYTES; i++)
        d->bits[i / 64] |= UINT64_C(1) << i % 64;
}

void dirty_clear(struct dirty *d)
{
    memset(d->bits, 0, words_of(d) * sizeof *d->bits);
}

bool dirty_any(const struct dirty *d)
{
    for (unsigned i = 0; i < words_of(d); i++)
        if (d->bits[i])
            return true;
    return false;
}

static bool is_set(const struct dirty *d, unsigned sector)
{
    return d->bits[sector / 64] >> sector % 64 & 1;
}

bool dirty_next(const struct dirty *d, unsigned from, unsigned *start, unsigned *end)
{
    unsigned i = from;

    while (i < d->sectors && !is_set(d, i))
        i += d->bits[i / 64] >> i % 64 ? 1 : 64 - i % 64;
    if (i >= d->sectors)
        return false;
    *start = i;
    while (i < d->sectors && is_set(d, i))
        i++;
    *end = i;
    return true;
}
