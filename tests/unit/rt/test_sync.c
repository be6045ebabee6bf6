/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "rt/sync.h"

extern CU_TestInfo sync_tests[];

static char trace[64];

static void put(char c)
{
    size_t n = strlen(trace);

    trace[n] = c;
    trace[n + 1] = 0;
}

static struct co_mutex mutex;

static void lock_and_put(void *arg)
{
    co_mutex_lock(&mutex);
    put(*(const char *)arg);
    co_yield ();
    put(*(const char *)arg);
    co_mutex_unlock(&mutex);
}

static void mutex_order(void)
{
    trace[0] = 0;
    co_mutex_init(&mutex);
    CU_ASSERT(co_mutex_trylock(&mutex));
    CU_ASSERT(!co_mutex_trylock(&mutex));
    co_start("a", lock_and_put, "a");
    co_start("b", lock_and_put, "b");
    co_start("c", lock_and_put, "c");
    co_yield ();
    CU_ASSERT_STRING_EQUAL(trace, "");
    co_mutex_unlock(&mutex);
    /* It has been handed to a: nobody slips in between. */
    CU_ASSERT(!co_mutex_trylock(&mutex));
    co_mutex_lock(&mutex);
    CU_ASSERT_STRING_EQUAL(trace, "aabbcc");
    co_mutex_unlock(&mutex);
}

static void test_mutex_order(void)
{
    run_in_rt(mutex_order);
}

/* Runs fn on each of four workers, `each` times, and waits. */
static struct wait_group all;

struct part {
    void (*fn)(uint64_t seed);
    uint64_t seed;
};

static void run_part(void *arg)
{
    struct part p = *(struct part *)arg;

    free(arg);
    p.fn(p.seed);
    wait_group_done(&all);
}

static void on_all_workers(void (*fn)(uint64_t seed), unsigned each)
{
    struct crew crew;

    crew_start(&crew, 4);
    wait_group_init(&all);
    for (unsigned i = 0; i < each * crew.count; i++) {
        struct part *p = malloc(sizeof *p);

        *p = (struct part){fn, i + 1};
        wait_group_add(&all, 1);
        CU_ASSERT_EQUAL(worker_start(crew.workers[i % crew.count], "part", run_part, p), 0);
    }
    wait_group_wait(&all);
    crew_end(&crew);
}

static unsigned counter;

static void count_under_mutex(uint64_t seed)
{
    for (int i = 0; i < 200; i++) {
        unsigned before;

        co_mutex_lock(&mutex);
        before = counter;
        if (random_below(&seed, 4) == 0)
            co_yield ();
        counter = before + 1;
        co_mutex_unlock(&mutex);
    }
}

static void mutex_excludes(void)
{
    counter = 0;
    co_mutex_init(&mutex);
    on_all_workers(count_under_mutex, 6);
    CU_ASSERT_EQUAL(counter, 4 * 6 * 200);
}

static void test_mutex_excludes(void)
{
    run_in_rt(mutex_excludes);
}

static struct spinlock spinlock = SPINLOCK_INIT;

static void count_under_spinlock(uint64_t seed)
{
    for (int i = 0; i < 5000; i++) {
        spin_lock(&spinlock);
        counter++;
        spin_unlock(&spinlock);
    }
}

static void spinlock_excludes(void)
{
    counter = 0;
    on_all_workers(count_under_spinlock, 1);
    CU_ASSERT_EQUAL(counter, 4 * 5000);
}

static void test_spinlock(void)
{
    run_in_rt(spinlock_excludes);
}

struct last_user {
    struct co_mutex mutex;
    unsigned users;
};

/* Whoever comes last frees the mutex, as soon as it has been handed to it. */
static void use_and_free(void *arg)
{
    struct last_user *l = arg;
    bool last;

    co_mutex_lock(&l->mutex);
    last = !--l->users;
    co_mutex_unlock(&l->mutex);
    if (last)
        free(l);
}

static void freed_by_successor(void)
{
    struct crew crew;

    crew_start(&crew, 3);
    for (int i = 0; i < 300; i++) {
        struct last_user *l = malloc(sizeof *l);

        co_mutex_init(&l->mutex);
        l->users = crew.count;
        for (unsigned w = 0; w < crew.count; w++)
            CU_ASSERT_EQUAL(worker_start(crew.workers[w], "user", use_and_free, l), 0);
        co_yield ();
    }
    crew_end(&crew);
}

static void test_freed_by_successor(void)
{
    run_in_rt(freed_by_successor);
}

/* A bounded queue with a condition for each end. */
enum { QUEUE_MAX = 3, ITEMS = 150 };
static struct co_cond not_full, not_empty;
static unsigned queue_length, queue_longest;
static atomic_uint produced, consumed;

static void produce(void)
{
    co_mutex_lock(&mutex);
    while (queue_length == QUEUE_MAX)
        co_cond_wait(&not_full, &mutex);
    queue_length++;
    queue_longest = queue_length > queue_longest ? queue_length : queue_longest;
    co_cond_signal(&not_empty);
    co_mutex_unlock(&mutex);
    produced++;
}

static void consume(void)
{
    co_mutex_lock(&mutex);
    while (!queue_length)
        co_cond_wait(&not_empty, &mutex);
    queue_length--;
    co_mutex_unlock(&mutex);
    /* Without the mutex, which is allowed too. */
    co_cond_signal(&not_full);
    consumed++;
}

/* Seeds count from 1 and go round the workers: each has both. */
static void produce_or_consume(uint64_t seed)
{
    bool producer = seed % 8 < 4;

    for (int i = 0; i < ITEMS; i++) {
        if (producer)
            produce();
        else
            consume();
        if (random_below(&seed, 8) == 0)
            co_yield ();
    }
}

static void bounded_queue(void)
{
    co_mutex_init(&mutex);
    co_cond_init(&not_full);
    co_cond_init(&not_empty);
    queue_length = queue_longest = 0;
    produced = consumed = 0;
    on_all_workers(produce_or_consume, 4);
    CU_ASSERT_EQUAL(produced, 8 * ITEMS);
    CU_ASSERT_EQUAL(consumed, 8 * ITEMS);
    CU_ASSERT_EQUAL(queue_length, 0);
    CU_ASSERT(queue_longest <= QUEUE_MAX);
}

static void test_cond(void)
{
    run_in_rt(bounded_queue);
}

/* Two that need each other's every signal: a lost one is the end. */
static unsigned turns;

static void take_turns(unsigned own)
{
    for (int i = 0; i < 3000; i++) {
        co_mutex_lock(&mutex);
        while (turns % 2 != own)
            co_cond_wait(&not_empty, &mutex);
        turns++;
        co_mutex_unlock(&mutex);
        co_cond_signal(&not_empty);
    }
}

static void take_odd_turns(void *arg)
{
    take_turns(1);
    wait_group_done(&all);
}

static void alternate(void)
{
    struct worker *other;

    turns = 0;
    co_mutex_init(&mutex);
    co_cond_init(&not_empty);
    wait_group_init(&all);
    wait_group_add(&all, 1);
    CU_ASSERT_EQUAL(worker_create(&other, "odd", NULL), 0);
    CU_ASSERT_EQUAL(worker_start(other, "odd", take_odd_turns, NULL), 0);
    take_turns(0);
    wait_group_wait(&all);
    CU_ASSERT_EQUAL(turns, 6000);
    worker_destroy(other);
}

static void test_alternate(void)
{
    run_in_rt(alternate);
}

static void wait_and_put(void *arg)
{
    co_mutex_lock(&mutex);
    co_cond_wait(&not_empty, &mutex);
    put(*(const char *)arg);
    co_mutex_unlock(&mutex);
}

static void signal_and_broadcast(void)
{
    trace[0] = 0;
    co_mutex_init(&mutex);
    co_cond_init(&not_empty);
    co_cond_signal(&not_empty);
    co_start("a", wait_and_put, "a");
    co_start("b", wait_and_put, "b");
    co_start("c", wait_and_put, "c");
    co_yield ();
    co_cond_signal(&not_empty);
    co_yield ();
    CU_ASSERT_STRING_EQUAL(trace, "a");
    co_cond_broadcast(&not_empty);
    co_yield ();
    co_yield ();
    CU_ASSERT_STRING_EQUAL(trace, "abc");
}

static void test_broadcast(void)
{
    run_in_rt(signal_and_broadcast);
}

static void end_one(void *arg)
{
    wait_group_done(arg);
}

/* The group lies on the stack, and is gone when the wait has ended. */
static void gather(uint64_t seed)
{
    for (int i = 0; i < 100; i++) {
        struct wait_group g;
        unsigned n = random_below(&seed, 4);

        wait_group_init(&g);
        wait_group_add(&g, n);
        while (n--)
            worker_start(worker_self(), "one", end_one, &g);
        wait_group_wait(&g);
        memset(&g, 0xff, sizeof g);
    }
}

static struct crew gather_crew;

static void gather_from_others(void)
{
    crew_start(&gather_crew, 3);
    for (int i = 0; i < 500; i++) {
        struct wait_group g;

        wait_group_init(&g);
        wait_group_add(&g, 2);
        CU_ASSERT_EQUAL(worker_start(gather_crew.workers[1], "one", end_one, &g), 0);
        CU_ASSERT_EQUAL(worker_start(gather_crew.workers[2], "one", end_one, &g), 0);
        wait_group_wait(&g);
        memset(&g, 0xff, sizeof g);
    }
    crew_end(&gather_crew);
    on_all_workers(gather, 2);
}

static void test_wait_group(void)
{
    run_in_rt(gather_from_others);
}

struct group_timer {
    struct timer timer;
    struct wait_group group;
};

static void done_from_timer(struct timer *t)
{
    wait_group_done(&container_of(t, struct group_timer, timer)->group);
}

static void group_from_callback(void)
{
    struct group_timer t = {.timer.fn = done_from_timer};

    wait_group_init(&t.group);
    wait_group_wait(&t.group);
    wait_group_add(&t.group, 1);
    timer_arm(&t.timer, rt_now_ns() + 100000);
    wait_group_wait(&t.group);
    CU_ASSERT_EQUAL(t.timer.due_ns, 0);
}

static void test_group_from_callback(void)
{
    run_in_rt(group_from_callback);
}

static struct co_event event;

static void wait_event(void *arg)
{
    co_event_wait(&event);
    put(*(const char *)arg);
}

static void latch(void)
{
    trace[0] = 0;
    co_event_init(&event);
    co_start("a", wait_event, "a");
    co_start("b", wait_event, "b");
    co_yield ();
    CU_ASSERT_STRING_EQUAL(trace, "");
    co_event_set(&event);
    co_event_wait(&event);
    co_yield ();
    CU_ASSERT_STRING_EQUAL(trace, "ab");
    CU_ASSERT(co_event_wait_until(&event, 0));
    co_event_clear(&event);
    CU_ASSERT(!co_event_wait_until(&event, 0));
    CU_ASSERT(!co_event_wait_until(&event, rt_now_ns() + 200000));
    co_event_set(&event);
    CU_ASSERT(co_event_wait_until(&event, rt_now_ns()));
}

static void test_event(void)
{
    run_in_rt(latch);
}

static void set_event(void *arg)
{
    co_event_set(arg);
}

/* The set and the end of the wait meet at any moment: a wait ends once, and true means set. */
static void set_against_timeout(void)
{
    uint64_t seed = 7;
    struct worker *other;
    unsigned early = 0;

    CU_ASSERT_EQUAL(worker_create(&other, "setter", NULL), 0);
    for (int i = 0; i < 400; i++) {
        struct co_event e;

        co_event_init(&e);
        CU_ASSERT_EQUAL(worker_start(other, "set", set_event, &e), 0);
        if (!co_event_wait_until(&e, rt_now_ns() + random_below(&seed, 30000))) {
            early++;
            co_event_wait(&e);
        }
        CU_ASSERT(e.set);
    }
    CU_ASSERT(early < 400);
    worker_destroy(other);
}

static void test_event_timeout(void)
{
    run_in_rt(set_against_timeout);
}

CU_TestInfo sync_tests[] = {
    {"a mutex is handed on in order", test_mutex_order},
    {"a mutex excludes", test_mutex_excludes},
    {"a spinlock excludes", test_spinlock},
    {"a mutex may be freed by who got it last", test_freed_by_successor},
    {"conditions of a bounded queue", test_cond},
    {"no signal is lost", test_alternate},
    {"signal wakes the first, broadcast all", test_broadcast},
    {"a wait group gathers from other workers", test_wait_group},
    {"a wait group ended by a callback", test_group_from_callback},
    {"an event is a latch", test_event},
    {"an event set while the wait times out", test_event_timeout},
    CU_TEST_INFO_NULL,
};
