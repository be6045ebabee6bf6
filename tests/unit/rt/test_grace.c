/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "rt/sync.h"

extern CU_TestInfo grace_tests[];

static struct grace grace;

/* Somebody who waits for a grace period. */
struct waiter {
    bool passed;
};

static void wait_and_pass(void *arg)
{
    grace_wait(&grace);
    ((struct waiter *)arg)->passed = true;
}

static bool passes(const struct waiter *w)
{
    for (int i = 0; i < 10; i++)
        co_yield ();
    return w->passed;
}

static void order(void)
{
    struct waiter first = {false}, second = {false};
    unsigned before, between, nested;

    grace_init(&grace);
    before = grace_enter(&grace);
    co_start("first", wait_and_pass, &first);
    CU_ASSERT_FALSE(passes(&first));
    between = grace_enter(&grace); /* held up by nobody, and nobody waits for it yet */
    nested = grace_enter(&grace);
    co_start("second", wait_and_pass, &second);
    CU_ASSERT_FALSE(passes(&second));
    grace_leave(&grace, before);
    CU_ASSERT(passes(&first));
    CU_ASSERT_FALSE(passes(&second));
    grace_leave(&grace, nested);
    CU_ASSERT_FALSE(passes(&second));
    grace_leave(&grace, between);
    CU_ASSERT(passes(&second));
}

static void test_order(void)
{
    run_in_rt(order);
}

static void wait_alone(void)
{
    grace_init(&grace);
    for (int i = 0; i < 5; i++) {
        grace_wait(&grace);
        grace_leave(&grace, grace_enter(&grace));
    }
}

static void test_wait_alone(void)
{
    run_in_rt(wait_alone);
}

/* Readers look twice at what others replace; who has replaced it waits, and frees it. */
static int *_Atomic shared;
static atomic_uint differences;
static struct wait_group all;

static void read_often(void *arg)
{
    uint64_t seed = (uintptr_t)arg;

    for (int i = 0; i < 400; i++) {
        unsigned ticket = grace_enter(&grace);
        const int *p = atomic_load(&shared);
        int before = *p;

        if (random_below(&seed, 3) == 0)
            co_yield ();
        differences += *p != before || before < 0;
        grace_leave(&grace, ticket);
        if (random_below(&seed, 16) == 0)
            co_yield ();
    }
    wait_group_done(&all);
}

static void replace_often(void *arg)
{
    for (int i = 0; i < 100; i++) {
        int *mine = malloc(sizeof *mine), *old;

        *mine = i;
        old = atomic_exchange(&shared, mine);
        grace_wait(&grace);
        *old = -1;
        free(old);
        co_yield ();
    }
    wait_group_done(&all);
}

static void replaced(void)
{
    struct crew crew;
    int *first = malloc(sizeof *first);

    crew_start(&crew, 4);
    grace_init(&grace);
    *first = 0;
    atomic_store(&shared, first);
    differences = 0;
    wait_group_init(&all);
    wait_group_add(&all, 19);
    for (uintptr_t i = 0; i < 19; i++)
        CU_ASSERT_EQUAL(worker_start(crew.workers[i % crew.count], "user",
                            i < 16 ? read_often : replace_often, (void *)(i + 1)),
            0);
    wait_group_wait(&all);
    CU_ASSERT_EQUAL(differences, 0);
    free(atomic_load(&shared));
    crew_end(&crew);
}

static void test_replaced(void)
{
    run_in_rt(replaced);
}

CU_TestInfo grace_tests[] = {
    {"those are waited for who entered before", test_order},
    {"nobody is inside", test_wait_alone},
    {"what was replaced is freed under load", test_replaced},
    CU_TEST_INFO_NULL,
};
