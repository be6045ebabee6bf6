/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rt/run.h"

#include <errno.h>

#include "base/arith.h"
#include "block/fault.h"
#include "block/member.h"
#include "rt/sync.h"

extern CU_TestInfo flush_tests[];

#define FLUSHERS 12

struct flusher {
    struct blockdev *d;
    struct wait_group *group;
    int result;
};

static void flush_one(void *arg)
{
    struct flusher *f = arg;

    f->result = blockdev_flush(f->d);
    wait_group_done(f->group);
}

struct round {
    struct crew crew;
    struct wait_group group;
    struct blockdev *d;
    struct flusher flushers[FLUSHERS];
};

static void round_start(struct round *r, unsigned workers)
{
    struct blockdev *memory;

    crew_start(&r->crew, workers);
    wait_group_init(&r->group);
    CU_ASSERT_EQUAL(member_memory("memory", 1 << 20, 512, &memory), 0);
    CU_ASSERT_EQUAL(fault_create(memory, &r->d), 0);
}

static void start_flusher(struct round *r, unsigned i)
{
    r->flushers[i] = (struct flusher){r->d, &r->group, 1};
    wait_group_add(&r->group, 1);
    CU_ASSERT_EQUAL(
        worker_start(r->crew.workers[i % r->crew.count], "flush", flush_one, &r->flushers[i]), 0);
}

/* Until `n` wait for the next flush. */
static void wait_for_queue(struct round *r, unsigned n)
{
    for (;;) {
        unsigned waiting = 0;

        spin_lock(&r->d->flushes.lock);
        list_for_each (link, &r->d->flushes.waiting)
            waiting++;
        spin_unlock(&r->d->flushes.lock);
        if (waiting >= n)
            return;
        co_yield ();
    }
}

static void round_end(struct round *r)
{
    blockdev_close(r->d);
    crew_end(&r->crew);
}

/* One runs; all that come meanwhile share the next. */
static void share(unsigned workers)
{
    struct round r;
    struct fault_record log[4];

    round_start(&r, workers);
    fault_add(r.d, &(struct fault_rule){.kind = BLOCK_FLUSH, .hold = true, .times = 1});
    start_flusher(&r, 0);
    fault_wait_held(r.d, 1);
    for (unsigned i = 1; i < FLUSHERS; i++)
        start_flusher(&r, i);
    wait_for_queue(&r, FLUSHERS - 1);
    fault_release(r.d);
    wait_group_wait(&r.group);
    CU_ASSERT_EQUAL(fault_log(r.d, log, 4), 2);
    for (unsigned i = 0; i < FLUSHERS; i++)
        CU_ASSERT_EQUAL(r.flushers[i].result, 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.d), 0);
    CU_ASSERT_EQUAL(fault_log(r.d, log, 4), 3);
    round_end(&r);
}

static void share_on_one_worker(void)
{
    share(1);
}

static void share_across_workers(void)
{
    share(3);
}

static void test_share_one(void)
{
    run_in_rt(share_on_one_worker);
}

static void test_share_across(void)
{
    run_in_rt(share_across_workers);
}

/* The failure of the second flush is told to all that shared it, and to nobody else. */
static void failure(void)
{
    struct round r;

    round_start(&r, 2);
    fault_add(r.d, &(struct fault_rule){.kind = BLOCK_FLUSH, .hold = true, .times = 1});
    fault_add(r.d, &(struct fault_rule){.kind = BLOCK_FLUSH, .error = -EIO, .times = 1});
    start_flusher(&r, 0);
    fault_wait_held(r.d, 1);
    for (unsigned i = 1; i < FLUSHERS; i++)
        start_flusher(&r, i);
    wait_for_queue(&r, FLUSHERS - 1);
    fault_release(r.d);
    wait_group_wait(&r.group);
    for (unsigned i = 0; i < FLUSHERS; i++)
        CU_ASSERT_EQUAL(r.flushers[i].result, i ? -EIO : 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.d), 0);
    round_end(&r);
}

static void test_failure(void)
{
    run_in_rt(failure);
}

static void flush_often(void *arg)
{
    struct flusher *f = arg;

    for (unsigned i = 0; i < 300; i++)
        if (blockdev_flush(f->d) < 0)
            f->result = -1;
    wait_group_done(f->group);
}

static void storm(void)
{
    struct round r;

    round_start(&r, 4);
    for (unsigned i = 0; i < FLUSHERS; i++) {
        r.flushers[i] = (struct flusher){r.d, &r.group, 0};
        wait_group_add(&r.group, 1);
        CU_ASSERT_EQUAL(
            worker_start(r.crew.workers[i % 4], "storm", flush_often, &r.flushers[i]), 0);
    }
    wait_group_wait(&r.group);
    for (unsigned i = 0; i < FLUSHERS; i++)
        CU_ASSERT_EQUAL(r.flushers[i].result, 0);
    CU_ASSERT(!r.d->flushes.running);
    CU_ASSERT(list_empty(&r.d->flushes.waiting));
    round_end(&r);
}

static void test_storm(void)
{
    run_in_rt(storm);
}

CU_TestInfo flush_tests[] = {
    {"those that arrive while one runs share the next", test_share_one},
    {"they do across workers", test_share_across},
    {"a failure goes to all that shared", test_failure},
    {"many on many workers", test_storm},
    CU_TEST_INFO_NULL,
};
