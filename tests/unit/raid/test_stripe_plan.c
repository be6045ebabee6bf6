/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every stripe of up to four data blocks, every state of each block, every choice of what is
 * written: held against what reads are enough for, worked out another way. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "raid/stripe_plan.h"

#define DATA_MAX 4u
#define MOST     100u

struct stripe_case {
    unsigned char blocks[DATA_MAX + 2];
    unsigned data_count, parity_count;
    bool in_sync;
};

static bool has(const struct stripe_case *c, unsigned i, unsigned char flag)
{
    return c->blocks[i] & flag;
}

static unsigned unreadable_data(const struct stripe_case *c)
{
    unsigned count = 0;

    for (unsigned i = 0; i < c->data_count; i++)
        count += !has(c, i, STRIPE_READABLE);
    return count;
}

static unsigned readable_parities(const struct stripe_case *c)
{
    unsigned count = 0;

    for (unsigned i = c->data_count; i < c->data_count + c->parity_count; i++)
        count += has(c, i, STRIPE_READABLE);
    return count;
}

/* Reads for each method; MOST: it is impossible. */
static unsigned reconstruct_reads(const struct stripe_case *c)
{
    unsigned reads = 0;

    for (unsigned i = 0; i < c->data_count; i++) {
        if (has(c, i, STRIPE_COVERED))
            continue;
        if (!has(c, i, STRIPE_READABLE))
            return MOST;
        reads++;
    }
    return reads;
}

static unsigned modify_reads(const struct stripe_case *c)
{
    unsigned reads = 0;

    for (unsigned i = 0; i < c->data_count + c->parity_count; i++) {
        bool wanted = i < c->data_count ? has(c, i, STRIPE_COVERED) : has(c, i, STRIPE_WRITABLE);

        if (!wanted)
            continue;
        if (!has(c, i, STRIPE_READABLE))
            return MOST;
        reads++;
    }
    return reads;
}

static bool writes_parity(const struct stripe_case *c)
{
    bool any = false;

    for (unsigned i = c->data_count; i < c->data_count + c->parity_count; i++)
        any |= has(c, i, STRIPE_WRITABLE);
    return any;
}

static bool covers_all(const struct stripe_case *c)
{
    return reconstruct_reads(c) == 0;
}

static bool is_to_be_read(const struct stripe_case *c, enum stripe_method method, unsigned i)
{
    bool data = i < c->data_count;

    if (method == STRIPE_RECONSTRUCT)
        return data && !has(c, i, STRIPE_COVERED);
    if (method == STRIPE_MODIFY)
        return has(c, i, data ? STRIPE_COVERED : STRIPE_WRITABLE);
    return false;
}

static void check_reads(const struct stripe_case *c, const struct stripe_plan *plan)
{
    unsigned reads = 0, parities = 0;

    for (unsigned i = 0; i < c->data_count + c->parity_count; i++) {
        bool read = has(c, i, STRIPE_READ);

        reads += read;
        parities += read && i >= c->data_count;
        CU_ASSERT(!read || has(c, i, STRIPE_READABLE));
        CU_ASSERT(read == is_to_be_read(c, plan->method, i) || plan->method == STRIPE_LOAD);
    }
    CU_ASSERT(reads == plan->reads);
    if (plan->method == STRIPE_LOAD)
        CU_ASSERT(parities == unreadable_data(c));
}

static void check_case(struct stripe_case *c)
{
    unsigned reconstruct = reconstruct_reads(c), modify = modify_reads(c);
    struct stripe_plan plan;
    int rc = stripe_plan(&plan, c->blocks, c->data_count, c->parity_count, c->in_sync);

    if (!writes_parity(c)) {
        CU_ASSERT(rc == 0 && plan.method == STRIPE_PLAIN && plan.reads == 0);
    } else if (covers_all(c)) {
        CU_ASSERT(rc == 0 && plan.method == STRIPE_FULL && plan.reads == 0);
    } else if (reconstruct == MOST && (modify == MOST || !c->in_sync)) {
        CU_ASSERT(rc == (unreadable_data(c) <= readable_parities(c) ? 0 : -EIO));
        CU_ASSERT(plan.method == STRIPE_LOAD);
    } else {
        CU_ASSERT(rc == 0);
        if (!c->in_sync && reconstruct < MOST) {
            CU_ASSERT(plan.method == STRIPE_RECONSTRUCT);
        } else {
            CU_ASSERT(plan.reads == (reconstruct <= modify ? reconstruct : modify));
        }
    }
    if (rc == 0)
        check_reads(c, &plan);
}

/* A block is readable and writable, only writable, or neither; data is covered or not. */
static void try_all(struct stripe_case *c, unsigned i)
{
    static const unsigned char states[] = {STRIPE_READABLE | STRIPE_WRITABLE, STRIPE_WRITABLE, 0};
    struct stripe_case complete = *c;

    if (i == c->data_count + c->parity_count) {
        check_case(&complete);
        return;
    }
    for (unsigned state = 0; state < 3; state++)
        for (unsigned covered = 0; covered < (i < c->data_count ? 2u : 1u); covered++) {
            c->blocks[i] = states[state] | (covered ? STRIPE_COVERED : 0);
            try_all(c, i + 1);
        }
}

static void test_every_stripe(void)
{
    for (unsigned n = 0; n < DATA_MAX * 2 * 2; n++) {
        struct stripe_case c = {.data_count = 1 + n % DATA_MAX,
            .parity_count = 1 + n / DATA_MAX % 2,
            .in_sync = n / DATA_MAX / 2};

        try_all(&c, 0);
    }
}

CU_TestInfo stripe_plan_tests[] = {
    {"every stripe, every state of its blocks", test_every_stripe},
    CU_TEST_INFO_NULL,
};
