/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "rt/sync.h"

extern CU_TestInfo gate_tests[];

static char trace[64];

static void put(char c)
{
    size_t n = strlen(trace);

    trace[n] = c;
    trace[n + 1] = 0;
}

static struct gate gate;

static void enter_and_put(void *arg)
{
    gate_enter(&gate);
    put(*(const char *)arg);
    co_yield ();
    co_yield ();
    put('-');
    gate_leave(&gate);
}

static void close_and_put(void *arg)
{
    gate_close(&gate);
    put(*(const char *)arg);
    co_yield ();
    gate_open(&gate);
}

static void order(void)
{
    trace[0] = 0;
    gate_init(&gate);
    co_start("a", enter_and_put, "a");
    co_start("b", enter_and_put, "b");
    co_start("closer", close_and_put, "1");
    co_start("c", enter_and_put, "c");
    co_start("closer", close_and_put, "2");
    for (int i = 0; i < 20; i++)
        co_yield ();
    /* The second closer comes when c, admitted before it, has left. */
    CU_ASSERT_STRING_EQUAL(trace, "ab--1c-2");
}

static void test_order(void)
{
    run_in_rt(order);
}

static void close_alone(void)
{
    gate_init(&gate);
    for (int i = 0; i < 3; i++) {
        gate_close(&gate);
        gate_open(&gate);
        gate_enter(&gate);
        gate_leave(&gate);
    }
}

static void test_close_alone(void)
{
    run_in_rt(close_alone);
}

/* Readers look twice at what the gate guards; closers free it and put another there. */
static int *guarded;
static atomic_uint differences;
static struct wait_group all;

static void read_often(void *arg)
{
    uint64_t seed = (uintptr_t)arg;

    for (int i = 0; i < 400; i++) {
        const int *p;
        int before;

        gate_enter(&gate);
        p = guarded;
        before = *p;
        if (random_below(&seed, 3) == 0)
            co_yield ();
        differences += *p != before || guarded != p;
        gate_leave(&gate);
        if (random_below(&seed, 16) == 0)
            co_yield ();
    }
    wait_group_done(&all);
}

static void swap_often(void *arg)
{
    for (int i = 0; i < 50; i++) {
        gate_close(&gate);
        *guarded = -1;
        free(guarded);
        guarded = malloc(sizeof *guarded);
        *guarded = i;
        gate_open(&gate);
        co_yield ();
    }
    wait_group_done(&all);
}

static void swaps(void)
{
    struct crew crew;

    crew_start(&crew, 4);
    gate_init(&gate);
    guarded = malloc(sizeof *guarded);
    *guarded = 0;
    differences = 0;
    wait_group_init(&all);
    wait_group_add(&all, 18);
    for (uintptr_t i = 0; i < 18; i++)
        CU_ASSERT_EQUAL(worker_start(crew.workers[i % crew.count], "user",
                            i < 16 ? read_often : swap_often, (void *)(i + 1)),
            0);
    wait_group_wait(&all);
    CU_ASSERT_EQUAL(differences, 0);
    free(guarded);
    crew_end(&crew);
}

static void test_swaps(void)
{
    run_in_rt(swaps);
}

struct guest {
    struct gate *gate;
    struct wait_group *inside;
};

static void visit(void *arg)
{
    struct guest guest = *(struct guest *)arg;

    gate_enter(guest.gate);
    wait_group_done(guest.inside);
    co_yield ();
    gate_leave(guest.gate);
}

/* Once it has closed, nobody who has left looks at it again. */
static void freed_when_closed(void)
{
    struct crew crew;

    crew_start(&crew, 3);
    for (int i = 0; i < 200; i++) {
        struct gate *g = malloc(sizeof *g);
        struct wait_group inside;
        struct guest guest = {g, &inside};

        gate_init(g);
        wait_group_init(&inside);
        wait_group_add(&inside, 2);
        CU_ASSERT_EQUAL(worker_start(crew.workers[1], "guest", visit, &guest), 0);
        CU_ASSERT_EQUAL(worker_start(crew.workers[2], "guest", visit, &guest), 0);
        wait_group_wait(&inside);
        gate_close(g);
        free(g);
    }
    crew_end(&crew);
}

static void test_freed(void)
{
    run_in_rt(freed_when_closed);
}

CU_TestInfo gate_tests[] = {
    {"closers wait for those inside, newcomers for them", test_order},
    {"nobody is inside", test_close_alone},
    {"what is guarded is swapped under load", test_swaps},
    {"a closed gate may be freed", test_freed},
    CU_TEST_INFO_NULL,
};
