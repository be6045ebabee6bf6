/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <stdatomic.h>
#include <string.h>

#include "base/arith.h"
#include "rt/sync.h"

extern CU_TestInfo range_lock_tests[];

/* Windows of 4 numbers: 64 of them, so that shards hold several and wide ranges take all. */
enum { NUMBERS = 256, SHIFT = 2 };

static struct range_lock lock;

/* Mostly narrow, some over many windows, some over nearly all. */
static void random_range(uint64_t *seed, uint64_t *start, uint64_t *end)
{
    static const unsigned widths[] = {1, 1, 3, 3, 9, 40, 250};
    unsigned width = 1 + random_below(seed, widths[random_below(seed, ARRAY_LEN(widths))]);

    *start = random_below(seed, NUMBERS - width + 1);
    *end = *start + width;
}

/* A model: who has come, in order, and who of them may hold. */
struct member {
    struct range_holder holder;
    uint64_t start, end;
    bool shared, present, granted, leave;
    unsigned arrival;
    struct co *co;
};

enum { MEMBERS = 24 };
static struct member members[MEMBERS];

static void hold(void *arg)
{
    struct member *m = arg;

    range_lock_take(&lock, &m->holder, m->start, m->end, m->shared);
    m->granted = true;
    m->co = co_self();
    co_suspend("held");
    range_lock_release(&lock, &m->holder);
    m->granted = m->present = false;
}

static bool should_hold(const struct member *m)
{
    for (const struct member *o = members; o < members + MEMBERS; o++)
        if (o->present && o->arrival < m->arrival && o->start < m->end && m->start < o->end &&
            !(o->shared && m->shared))
            return false;
    return true;
}

static void arrive(struct member *m, uint64_t *seed, unsigned arrival)
{
    random_range(seed, &m->start, &m->end);
    m->shared = random_below(seed, 2);
    m->arrival = arrival;
    m->present = true;
    CU_ASSERT_EQUAL(co_start("member", hold, m), 0);
}

/* After each step exactly those hold that the model lets hold. */
static void as_the_model(void)
{
    uint64_t seed = 99;

    range_lock_init(&lock, SHIFT);
    memset(members, 0, sizeof members);
    for (unsigned step = 0; step < 6000; step++) {
        struct member *m = &members[random_below(&seed, MEMBERS)];

        if (!m->present)
            arrive(m, &seed, step);
        else if (m->granted)
            co_wake(m->co);
        co_yield ();
        co_yield ();
        for (m = members; m < members + MEMBERS; m++)
            CU_ASSERT(!m->present || m->granted == should_hold(m));
    }
    for (unsigned left = 1; left;) {
        left = 0;
        for (struct member *m = members; m < members + MEMBERS; m++) {
            left += m->present;
            if (m->granted)
                co_wake(m->co);
        }
        co_yield ();
        co_yield ();
    }
    for (unsigned i = 0; i < RANGE_LOCK_SHARDS; i++)
        CU_ASSERT(list_empty(&lock.shards[i].holders));
}

static void test_model(void)
{
    run_in_rt(as_the_model);
}

/* What is held: -1000 for one that excludes, 1 for each that shares. */
static atomic_int numbers[NUMBERS];
static atomic_uint violations;
static struct wait_group all;

static void enter(uint64_t start, uint64_t end, bool shared)
{
    for (uint64_t n = start; n < end; n++) {
        int before = atomic_fetch_add(&numbers[n], shared ? 1 : -1000);

        if (shared ? before < 0 : before != 0)
            violations++;
    }
}

static void leave(uint64_t start, uint64_t end, bool shared)
{
    for (uint64_t n = start; n < end; n++)
        atomic_fetch_sub(&numbers[n], shared ? 1 : -1000);
}

static void take_often(void *arg)
{
    uint64_t seed = (uintptr_t)arg;

    for (int i = 0; i < 150; i++) {
        struct range_holder h;
        bool shared = random_below(&seed, 3) == 0;
        uint64_t start, end;

        random_range(&seed, &start, &end);
        range_lock_take(&lock, &h, start, end, shared);
        enter(start, end, shared);
        if (random_below(&seed, 2))
            co_yield ();
        leave(start, end, shared);
        range_lock_release(&lock, &h);
        memset(&h, 0xff, sizeof h);
    }
    wait_group_done(&all);
}

static void on_workers(void)
{
    struct crew crew;

    range_lock_init(&lock, SHIFT);
    crew_start(&crew, 4);
    wait_group_init(&all);
    wait_group_add(&all, 24);
    violations = 0;
    for (uintptr_t i = 0; i < 24; i++)
        CU_ASSERT_EQUAL(
            worker_start(crew.workers[i % crew.count], "taker", take_often, (void *)(i + 1)), 0);
    wait_group_wait(&all);
    CU_ASSERT_EQUAL(violations, 0);
    for (int n = 0; n < NUMBERS; n++)
        CU_ASSERT_EQUAL(numbers[n], 0);
    crew_end(&crew);
}

static void test_exclusion(void)
{
    run_in_rt(on_workers);
}

/* The last number there is, and a window that is all numbers. */
static void extremes(void)
{
    struct range_holder a, b;

    range_lock_init(&lock, 0);
    range_lock_take(&lock, &a, UINT64_MAX - 1, UINT64_MAX, false);
    range_lock_take(&lock, &b, 0, UINT64_MAX - 1, false);
    range_lock_release(&lock, &a);
    range_lock_release(&lock, &b);
    range_lock_init(&lock, 63);
    range_lock_take(&lock, &a, 0, UINT64_MAX, true);
    range_lock_take(&lock, &b, 5, 6, true);
    range_lock_release(&lock, &b);
    range_lock_release(&lock, &a);
}

static void test_extremes(void)
{
    run_in_rt(extremes);
}

CU_TestInfo range_lock_tests[] = {
    {"holders are those of the model", test_model},
    {"exclusion between workers", test_exclusion},
    {"the first and the last number", test_extremes},
    CU_TEST_INFO_NULL,
};
