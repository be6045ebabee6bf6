/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the runtime costs: prints nanoseconds per operation, the best of five rounds. Run by hand:
 * build/tests/bench/bench_rt
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt/sync.h"
#include "rt/worker.h"

#define ROUNDS 5

/* `fn` does `count` operations. */
static void measure(const char *what, void (*fn)(unsigned count), unsigned count)
{
    double best = 0;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start_ns = rt_now_ns();
        double each_ns;

        fn(count);
        each_ns = (double)(rt_now_ns() - start_ns) / count;
        if (!i || each_ns < best)
            best = each_ns;
    }
    printf("%-44s %9.1f ns\n", what, best);
}

static struct wait_group group;

static void must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", strerror(-rc));
        exit(1);
    }
}

/* Each yield is a switch to the loop and one from it. */
static void yields(unsigned count)
{
    for (unsigned i = 0; i < count / 2; i++)
        co_yield ();
}

static void yield_often(void *arg)
{
    yields(*(unsigned *)arg);
    wait_group_done(&group);
}

static void yields_of_32(unsigned count)
{
    unsigned each = count / 32;

    wait_group_init(&group);
    wait_group_add(&group, 32);
    for (int i = 0; i < 32; i++)
        must(co_start("yield", yield_often, &each));
    wait_group_wait(&group);
}

static void end_at_once(void *arg)
{
    wait_group_done(&group);
}

static void starts(unsigned count)
{
    for (unsigned i = 0; i < count; i += 32) {
        wait_group_init(&group);
        wait_group_add(&group, 32);
        for (int n = 0; n < 32; n++)
            must(co_start("start", end_at_once, NULL));
        wait_group_wait(&group);
    }
}

static void mutexes(unsigned count)
{
    struct co_mutex m;

    co_mutex_init(&m);
    for (unsigned i = 0; i < count; i++) {
        co_mutex_lock(&m);
        co_mutex_unlock(&m);
    }
}

static void range_locks(unsigned count)
{
    static struct range_lock r;

    range_lock_init(&r, 0);
    for (unsigned i = 0; i < count; i++) {
        struct range_holder h;

        range_lock_take(&r, &h, i, i + 1, false);
        range_lock_release(&r, &h);
    }
}

static void gates(unsigned count)
{
    static struct gate g;

    gate_init(&g);
    for (unsigned i = 0; i < count; i++) {
        gate_enter(&g);
        gate_leave(&g);
    }
}

static void sleep_once(struct timer *t)
{
}

static void timers(unsigned count)
{
    struct timer t = {.fn = sleep_once};
    uint64_t due_ns = rt_now_ns() + UINT64_C(3600000000000);

    for (unsigned i = 0; i < count; i++)
        timer_arm(&t, due_ns + i);
    timer_cancel(&t);
}

static struct worker *other;

static void nothing(void *arg)
{
}

static void calls(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(worker_call(other, "call", nothing, NULL));
}

static int return_0(void *arg)
{
    return 0;
}

static void offloads(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(rt_offload(return_0, NULL));
}

static void bench(void *arg)
{
    struct error err;

    printf("engine %s\n", rt_engine_name());
    measure("switch, one coroutine", yields, 1000000);
    measure("switch, 32 coroutines", yields_of_32, 1000000);
    measure("start and end", starts, 320000);
    measure("mutex, lock and unlock", mutexes, 1000000);
    measure("range lock, take and release", range_locks, 1000000);
    measure("gate, enter and leave", gates, 1000000);
    measure("timer, arm again", timers, 1000000);
    must(worker_create(&other, "other", &err));
    measure("call of another worker, there and back", calls, 20000);
    worker_destroy(other);
    measure("helper thread, there and back", offloads, 5000);
}

int main(void)
{
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    must(rt_main(bench, NULL));
    return 0;
}
