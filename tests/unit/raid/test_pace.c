/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which requests of guests are timed. */
#include "rig.h"

#include "raid/array_private.h"

static uint64_t timed(struct rig *r)
{
    return array_activity(r->array)->timed;
}

static void begin(struct rig *r, int level, unsigned disks)
{
    rig_init(r, disks);
    rig_create(r, level, level == 5 ? RAID5_LAYOUT_LEFT_SYMMETRIC : 0, disks, 0);
}

static void only_beside_actions(void)
{
    struct rig r;

    begin(&r, 1, 2);
    rig_work(&r, 10);
    CU_ASSERT_EQUAL(timed(&r), 0);
    pace_start(r.array);
    rig_work(&r, 10);
    CU_ASSERT_NOT_EQUAL(timed(&r), 0);
    pace_end(r.array);
    CU_ASSERT_EQUAL(pace_guest_begin(r.array), 0);
    rig_end(&r);
}

static void test_only_beside_actions(void)
{
    run_in_rt(only_beside_actions);
}

static void one_at_a_time(void)
{
    struct rig r;
    uint64_t first, second;

    begin(&r, 1, 2);
    pace_start(r.array);
    first = pace_guest_begin(r.array);
    second = pace_guest_begin(r.array);
    CU_ASSERT_NOT_EQUAL(first, 0);
    CU_ASSERT_EQUAL(second, 0);
    pace_guest_end(r.array, second);
    CU_ASSERT_EQUAL(timed(&r), 0);
    pace_guest_end(r.array, first);
    CU_ASSERT_EQUAL(timed(&r), 1);
    CU_ASSERT_NOT_EQUAL(pace_guest_begin(r.array), 0);
    rig_end(&r);
}

static void test_one_at_a_time_on_a_worker(void)
{
    run_in_rt(one_at_a_time);
}

static void none_of_two_phases(void)
{
    struct rig r;
    uint64_t begun;

    begin(&r, 1, 2);
    pace_start(r.array);
    begun = pace_guest_begin(r.array);
    atomic_fetch_add(&r.array->sync.pace.epoch, 1);
    pace_guest_end(r.array, begun);
    CU_ASSERT_EQUAL(timed(&r), 0);
    CU_ASSERT_NOT_EQUAL(pace_guest_begin(r.array), 0);
    rig_end(&r);
}

static void test_none_that_saw_two_phases(void)
{
    run_in_rt(none_of_two_phases);
}

static void reads_and_writes_of_guests(int level, unsigned disks)
{
    static char block[4096];
    struct rig r;

    begin(&r, level, disks);
    pace_start(r.array);
    CU_ASSERT_EQUAL(blockdev_write(r.dev, block, 0, sizeof block, 0), 0);
    CU_ASSERT_EQUAL(timed(&r), 1);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, block, 0, sizeof block), 0);
    CU_ASSERT_EQUAL(timed(&r), 2);
    CU_ASSERT_EQUAL(blockdev_write(r.dev, block, 0, sizeof block, BLOCK_BACKGROUND), 0);
    CU_ASSERT_EQUAL(timed(&r), 2);
    rig_learn(&r);
    rig_end(&r);
}

static void reads_and_writes(void)
{
    reads_and_writes_of_guests(1, 2);
    reads_and_writes_of_guests(5, 3);
}

static void test_reads_and_writes_of_guests(void)
{
    run_in_rt(reads_and_writes);
}

/* What is waited for would else be waited for by whoever cancels. */
static void cancelled(void)
{
    struct rig r;

    begin(&r, 1, 2);
    pace_start(r.array);
    r.array->sync.pace.throttle.phase = THROTTLE_DRAIN;
    atomic_store(&r.array->sync.cancelled, true);
    CU_ASSERT_FALSE(sync_may_go_on(r.array, 4096));
    CU_ASSERT_EQUAL(r.array->sync.pace.in_flight, 0);
    rig_end(&r);
}

static void test_a_cancelled_action_is_not_held(void)
{
    run_in_rt(cancelled);
}

CU_TestInfo pace_tests[] = {
    {"only beside actions", test_only_beside_actions},
    {"one at a time on a worker", test_one_at_a_time_on_a_worker},
    {"none that saw two phases", test_none_that_saw_two_phases},
    {"reads and writes of guests", test_reads_and_writes_of_guests},
    {"a cancelled action is not held", test_a_cancelled_action_is_not_held},
    CU_TEST_INFO_NULL,
};
