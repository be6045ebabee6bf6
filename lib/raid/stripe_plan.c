/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raid/stripe_plan.h"

#include <errno.h>

struct census {
    unsigned covered, covered_unreadable; /* data that is written */
    unsigned kept, kept_unreadable;       /* data that stays */
    unsigned parity_written, parity_readable,
        parity_unreadable; /* the last: written all the same */
};

static struct census count(const unsigned char *blocks, unsigned data_count, unsigned parity_count)
{
    struct census c = {0};

    for (unsigned i = 0; i < data_count; i++) {
        bool covered = blocks[i] & STRIPE_COVERED, readable = blocks[i] & STRIPE_READABLE;

        c.covered += covered;
        c.kept += !covered;
        c.covered_unreadable += covered && !readable;
        c.kept_unreadable += !covered && !readable;
    }
    for (unsigned i = data_count; i < data_count + parity_count; i++) {
        c.parity_written += (blocks[i] & STRIPE_WRITABLE) != 0;
        c.parity_readable += (blocks[i] & STRIPE_READABLE) != 0;
        c.parity_unreadable += (blocks[i] & (STRIPE_WRITABLE | STRIPE_READABLE)) == STRIPE_WRITABLE;
    }
    return c;
}

static unsigned mark(unsigned char *blocks, unsigned first, unsigned end, unsigned char mask,
    unsigned char wanted, unsigned limit)
{
    unsigned marked = 0;

    for (unsigned i = first; i < end && marked < limit; i++)
        if ((blocks[i] & mask) == wanted) {
            blocks[i] |= STRIPE_READ;
            marked++;
        }
    return marked;
}

int stripe_plan_load(unsigned char *blocks, unsigned data_count, unsigned parity_count)
{
    unsigned readable = mark(blocks, 0, data_count, STRIPE_READABLE, STRIPE_READABLE, data_count);
    unsigned missing = data_count - readable;
    unsigned parities = mark(
        blocks, data_count, data_count + parity_count, STRIPE_READABLE, STRIPE_READABLE, missing);

    return parities == missing ? 0 : -EIO;
}

static int load(
    struct stripe_plan *plan, unsigned char *blocks, unsigned data_count, unsigned parity_count)
{
    int rc = stripe_plan_load(blocks, data_count, parity_count);

    plan->method = STRIPE_LOAD;
    for (unsigned i = 0; i < data_count + parity_count; i++)
        plan->reads += (blocks[i] & STRIPE_READ) != 0;
    return rc;
}

int stripe_plan(struct stripe_plan *plan, unsigned char *blocks, unsigned data_count,
    unsigned parity_count, bool in_sync)
{
    struct census c = count(blocks, data_count, parity_count);
    bool can_reconstruct = !c.kept_unreadable;
    bool can_modify = !c.covered_unreadable && !c.parity_unreadable;
    unsigned modify_reads = c.covered + c.parity_readable;

    *plan = (struct stripe_plan){.method = STRIPE_PLAIN};
    if (!c.parity_written)
        return 0;
    if (!c.kept) {
        plan->method = STRIPE_FULL;
        return 0;
    }
    if (can_reconstruct && (!in_sync || !can_modify || c.kept <= modify_reads)) {
        plan->method = STRIPE_RECONSTRUCT;
        plan->reads = mark(blocks, 0, data_count, STRIPE_COVERED, 0, data_count);
        return 0;
    }
    /* where parity does not fit, what it says of the rest is put where there is a member for it */
    if (!can_modify || !in_sync)
        return load(plan, blocks, data_count, parity_count);
    plan->method = STRIPE_MODIFY;
    plan->reads = mark(blocks, 0, data_count, STRIPE_COVERED, STRIPE_COVERED, data_count);
    plan->reads += mark(blocks, data_count, data_count + parity_count, STRIPE_READABLE,
        STRIPE_READABLE, parity_count);
    return 0;
}
