/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <stdlib.h>

#include "base/list.h"

extern CU_TestInfo timer_tests[];

#define COUNT 500

static struct entry {
    struct timer timer;
    uint64_t due_ns;
    unsigned armed; /* position in the order of arming */
    bool wanted, fired;
} entries[COUNT];

static struct entry *fired[COUNT];
static unsigned fired_count;

static void note(struct timer *t)
{
    struct entry *e = container_of(t, struct entry, timer);

    e->fired = true;
    fired[fired_count++] = e;
}

static bool in_order(const struct entry *a, const struct entry *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->armed < b->armed;
}

/* Arms, re-arms and cancels at random: what is left fires in order of time, then of arming. */
static void random_timers(void)
{
    uint64_t seed = 42, base = rt_now_ns() + 20000000;
    unsigned wanted = 0;

    fired_count = 0;
    for (unsigned n = 0; n < 4 * COUNT; n++) {
        struct entry *e = &entries[random_below(&seed, COUNT)];

        e->timer.fn = note;
        e->due_ns = base + random_below(&seed, 50) * 100000;
        e->armed = n;
        e->wanted = random_below(&seed, 3);
        e->fired = false;
        if (e->wanted)
            timer_arm(&e->timer, e->due_ns);
        else
            timer_cancel(&e->timer);
    }
    for (unsigned i = 0; i < COUNT; i++)
        wanted += entries[i].wanted;
    co_sleep_ns(base + 5000000 - rt_now_ns());

    CU_ASSERT_EQUAL(fired_count, wanted);
    for (unsigned i = 1; i < fired_count; i++)
        CU_ASSERT(in_order(fired[i - 1], fired[i]));
    for (unsigned i = 0; i < COUNT; i++) {
        CU_ASSERT_EQUAL(entries[i].fired, entries[i].wanted);
        CU_ASSERT_EQUAL(entries[i].timer.due_ns, 0);
    }
}

static void test_order(void)
{
    run_in_rt(random_timers);
}

static void never_early(void)
{
    for (uint64_t ns = 1; ns < 3000000; ns *= 7) {
        uint64_t due_ns = rt_now_ns() + ns;

        co_sleep_ns(ns);
        CU_ASSERT(rt_now_ns() >= due_ns);
    }
}

static void test_sleep(void)
{
    run_in_rt(never_early);
}

static void rearm(struct timer *t)
{
    if (++fired_count < 5)
        timer_arm(t, rt_now_ns() + 1000);
}

static void periodic(void)
{
    struct timer t = {.fn = rearm};

    fired_count = 0;
    timer_arm(&t, 0);
    while (fired_count < 5)
        co_sleep_ns(100000);
    CU_ASSERT_EQUAL(t.due_ns, 0);
    timer_cancel(&t);
}

static void test_rearm(void)
{
    run_in_rt(periodic);
}

CU_TestInfo timer_tests[] = {
    {"order of time, then of arming", test_order},
    {"a sleep never ends early", test_sleep},
    {"a timer arms itself again", test_rearm},
    CU_TEST_INFO_NULL,
};
