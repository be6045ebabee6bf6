/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "rt/sync.h"

extern CU_TestInfo worker_tests[];

static void indexes(void)
{
    struct worker *a, *b;

    CU_ASSERT_EQUAL(worker_index(worker_self()), 0);
    CU_ASSERT_STRING_EQUAL(worker_name(worker_self()), "main");
    CU_ASSERT_EQUAL(worker_create(&a, "first", NULL), 0);
    CU_ASSERT_EQUAL(worker_create(&b, "second", NULL), 0);
    CU_ASSERT_EQUAL(worker_index(a), 1);
    CU_ASSERT_EQUAL(worker_index(b), 2);
    CU_ASSERT_STRING_EQUAL(worker_name(b), "second");
    worker_destroy(a);
    CU_ASSERT_EQUAL(worker_create(&a, "third", NULL), 0);
    CU_ASSERT_EQUAL(worker_index(a), 1);
    worker_destroy(a);
    worker_destroy(b);
}

static void test_indexes(void)
{
    run_in_rt(indexes);
}

/* libaio runs out of contexts earlier, with the same error. */
static void too_many(void)
{
    struct worker *workers[WORKERS_MAX + 1];
    struct error err = {0};
    int count = 1, rc;

    while ((rc = worker_create(&workers[count], "many", &err)) == 0)
        if (++count > WORKERS_MAX)
            break;
    CU_ASSERT_EQUAL(rc, -EAGAIN);
    CU_ASSERT_EQUAL(err.code, EAGAIN);
    if (strcmp(rt_engine_name(), "aio")) {
        CU_ASSERT_EQUAL(count, WORKERS_MAX);
        CU_ASSERT_STRING_EQUAL(err.text, "worker many: there are 64 already");
    }
    while (--count)
        worker_destroy(workers[count]);
}

static void test_too_many(void)
{
    run_in_rt(too_many);
}

static void note_worker(void *arg)
{
    co_yield ();
    *(struct worker **)arg = worker_self();
}

static void calls(void)
{
    struct worker *w, *ran_on = NULL;

    CU_ASSERT_EQUAL(worker_call(worker_self(), "here", note_worker, &ran_on), 0);
    CU_ASSERT_PTR_EQUAL(ran_on, worker_self());
    CU_ASSERT_EQUAL(worker_create(&w, "callee", NULL), 0);
    CU_ASSERT_EQUAL(worker_call(w, "there", note_worker, &ran_on), 0);
    CU_ASSERT_PTR_EQUAL(ran_on, w);
    worker_destroy(w);
}

static void test_call(void)
{
    run_in_rt(calls);
}

static void linger(void *arg)
{
    co_sleep_ns(2000000);
    (*(atomic_uint *)arg)++;
}

static void start_and_leave(void *arg)
{
    for (int i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(co_start("linger", linger, arg), 0);
}

/* Neither worker_destroy nor rt_main leaves coroutines behind. */
static void test_waits_for_coroutines(void)
{
    atomic_uint done = 0;

    CU_ASSERT_EQUAL(rt_main(start_and_leave, &done), 0);
    CU_ASSERT_EQUAL(done, 10);
}

static void destroy_waits(void)
{
    atomic_uint done = 0;
    struct worker *w;

    CU_ASSERT_EQUAL(worker_create(&w, "busy", NULL), 0);
    for (int i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(worker_start(w, "linger", linger, &done), 0);
    worker_destroy(w);
    CU_ASSERT_EQUAL(done, 10);
}

static void test_destroy_waits(void)
{
    run_in_rt(destroy_waits);
}

/* Coroutines that pass tokens on to random others, on all workers. */
enum { RUNNERS = 24, HOPS = 4000 };

static struct runner {
    struct co *co;
    uint64_t seed;
} runners[RUNNERS];
static atomic_uint hops, ended;
/* Runners that nobody has a token for, as a bit set: who wakes one has taken its bit. */
static atomic_uint parked;

static bool unpark(unsigned i)
{
    return atomic_fetch_and(&parked, ~(1u << i)) & 1u << i;
}

static void run(void *arg)
{
    struct runner *r = arg;
    unsigned own = (unsigned)(r - runners);

    r->co = co_self();
    atomic_fetch_or(&parked, 1u << own);
    for (;;) {
        co_suspend("token");
        if (atomic_fetch_add(&hops, 1) >= HOPS)
            break;
        /* Parked before it waits: the wake may come first. */
        atomic_fetch_or(&parked, 1u << own);
        for (;;) {
            unsigned next = random_below(&r->seed, RUNNERS);

            if (unpark(next)) {
                co_wake(runners[next].co);
                break;
            }
        }
    }
    ended++;
}

static void tokens(void)
{
    struct crew crew;

    crew_start(&crew, 4);
    hops = 0;
    parked = 0;
    ended = 0;
    for (unsigned i = 0; i < RUNNERS; i++) {
        runners[i].seed = i + 1;
        CU_ASSERT_EQUAL(worker_start(crew.workers[i % crew.count], "runner", run, &runners[i]), 0);
    }
    while (parked != (1u << RUNNERS) - 1)
        co_yield ();
    for (unsigned i = 0; i < RUNNERS / 2; i++)
        if (unpark(i))
            co_wake(runners[i].co);
    /* Tokens end with their runners: those that are left get one each. */
    while (ended < RUNNERS) {
        for (unsigned i = 0; i < RUNNERS; i++)
            if (hops >= HOPS && unpark(i))
                co_wake(runners[i].co);
        co_yield ();
    }
    crew_end(&crew);
}

static void test_cross_wakes(void)
{
    run_in_rt(tokens);
}

/* Starts from everywhere to everywhere: each child starts another, until the budget is used up. */
static struct crew relay_crew;
static struct wait_group relay_group;
static atomic_uint relays_lost;

static void relay(void *arg)
{
    uintptr_t left = (uintptr_t)arg;

    if (left) {
        struct worker *next = relay_crew.workers[left % relay_crew.count];

        relays_lost += worker_start(next, "relay", relay, (void *)(left - 1)) < 0;
    }
    wait_group_done(&relay_group);
}

static void relays(void)
{
    enum { CHAINS = 16, LENGTH = 200 };

    crew_start(&relay_crew, 3);
    wait_group_init(&relay_group);
    wait_group_add(&relay_group, CHAINS * (LENGTH + 1));
    for (uintptr_t i = 0; i < CHAINS; i++)
        CU_ASSERT_EQUAL(worker_start(relay_crew.workers[i % relay_crew.count], "relay", relay,
                            (void *)(uintptr_t)LENGTH),
            0);
    wait_group_wait(&relay_group);
    CU_ASSERT_EQUAL(relays_lost, 0);
    crew_end(&relay_crew);
}

static void test_cross_starts(void)
{
    run_in_rt(relays);
}

static void yield_and_end(void *arg)
{
    co_yield ();
    wait_group_done(arg);
}

/* From another thread than theirs. */
static void list_meanwhile(void)
{
    struct worker *w;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    CU_ASSERT_EQUAL(worker_create(&w, "busy", NULL), 0);
    for (int i = 0; i < 300; i++) {
        struct wait_group g;

        wait_group_init(&g);
        wait_group_add(&g, 3);
        for (int n = 0; n < 3; n++)
            CU_ASSERT_EQUAL(worker_start(w, "yields and ends", yield_and_end, &g), 0);
        co_list(out);
        wait_group_wait(&g);
    }
    worker_destroy(w);
    fclose(out);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "busy"));
    free(text);
}

static void test_list(void)
{
    run_in_rt(list_meanwhile);
}

static int square(void *arg)
{
    int n = *(int *)arg;

    return worker_self() ? -1 : n * n;
}

static void offload_one(void *arg)
{
    int n = *(int *)arg;

    *(int *)arg = rt_offload(square, &n);
}

static void offloads(void)
{
    int numbers[100];
    bool done = false;

    for (int i = 0; i < 100; i++) {
        numbers[i] = -i;
        CU_ASSERT_EQUAL(co_start("offload", offload_one, &numbers[i]), 0);
    }
    while (!done) {
        co_sleep_ns(100000);
        done = true;
        for (int i = 0; i < 100; i++)
            done &= numbers[i] == i * i;
    }
}

static void test_offload(void)
{
    int n = 3;

    run_in_rt(offloads);
    CU_ASSERT_EQUAL(rt_offload(square, &n), 9);
}

static void nothing(void *arg)
{
}

static void offload_nothing(void *arg)
{
    int n = 0;

    rt_offload(square, &n);
}

/* Workers that come and go while work reaches them, also from third threads: interrupts must find
 * their engine. */
static void come_and_go(void)
{
    for (int i = 0; i < 50; i++) {
        struct worker *w;

        CU_ASSERT_EQUAL(worker_create(&w, "short", NULL), 0);
        CU_ASSERT_EQUAL(worker_start(w, "nothing", offload_nothing, NULL), 0);
        if (i % 2)
            CU_ASSERT_EQUAL(worker_call(w, "nothing", nothing, NULL), 0);
        worker_destroy(w);
    }
}

static void test_come_and_go(void)
{
    run_in_rt(come_and_go);
}

static void test_engines(void)
{
    const char *name = rt_engine_name();
    struct error err = {0};

    CU_ASSERT_EQUAL(rt_init("kqueue", &err), -EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, "there is no I/O engine kqueue (uring, aio)");
    CU_ASSERT_STRING_EQUAL(rt_engine_name(), name);
    CU_ASSERT_EQUAL(rt_init(name, NULL), 0);
    CU_ASSERT_STRING_EQUAL(rt_engine_name(), name);
}

CU_TestInfo worker_tests[] = {
    {"indexes are dense and used again", test_indexes},
    {"more workers than there may be", test_too_many},
    {"calls to this and another worker", test_call},
    {"rt_main waits for all coroutines", test_waits_for_coroutines},
    {"worker_destroy waits for all coroutines", test_destroy_waits},
    {"wakes between workers are not lost", test_cross_wakes},
    {"starts between workers", test_cross_starts},
    {"the list while coroutines come and go", test_list},
    {"blocking calls on helper threads", test_offload},
    {"workers come and go", test_come_and_go},
    {"an unknown engine is refused", test_engines},
    CU_TEST_INFO_NULL,
};
