/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rt/run.h"

#include <errno.h>
#include <string.h>

#include "block/fault.h"
#include "block/member.h"
#include "rt/sync.h"

extern CU_TestInfo fault_tests[];

static struct blockdev *fault_over_memory(void)
{
    struct blockdev *memory, *d;

    CU_ASSERT_EQUAL(member_memory("memory", 1 << 20, 512, &memory), 0);
    CU_ASSERT_EQUAL(fault_create(memory, &d), 0);
    return d;
}

static void errors(void)
{
    struct blockdev *d = fault_over_memory();
    char buf[4096] = "new", old[4096];
    int id, write_id;

    id = fault_add(d, &(struct fault_rule){.kind = BLOCK_READ,
                          .offset = 4096,
                          .length = 512,
                          .skip = 1,
                          .times = 2,
                          .error = -EIO});
    CU_ASSERT(id > 0);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 4608, 4096), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 4096, 512), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 0, 4096), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 3584, 4096), -EIO);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 4096, 512), -EIO);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 4096, 512), 0);
    write_id = fault_add(d, &(struct fault_rule){.kind = BLOCK_WRITE, .error = -ENOSPC});
    CU_ASSERT(write_id > id);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 0, 4096, 0), -ENOSPC);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 0, 4096), 0);
    CU_ASSERT_STRING_EQUAL(old, "");
    fault_remove(d, write_id);
    fault_add(d, &(struct fault_rule){.kind = BLOCK_WRITE, .error = -EIO, .after = true});
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 0, 4096, 0), -EIO);
    CU_ASSERT_EQUAL(blockdev_read(d, old, 0, 4096), 0);
    CU_ASSERT_STRING_EQUAL(old, "new");
    fault_clear(d);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 0, 4096, 0), 0);
    blockdev_close(d);
}

static void test_errors(void)
{
    run_in_rt(errors);
}

static void log_order(void)
{
    static const struct fault_record expected[] = {
        {BLOCK_WRITE, BLOCK_STABLE, 512, 1024},
        {BLOCK_FLUSH, 0, 0, 0},
        {BLOCK_WRITE_ZEROES, BLOCK_MAY_UNMAP, 4096, 512},
        {BLOCK_DISCARD, 0, 0, 512},
        {BLOCK_READ, 0, 8192, 512},
    };
    struct blockdev *d = fault_over_memory();
    struct fault_record log[8];
    char buf[1024] = "";

    d->capabilities &= ~BLOCK_CAN_FUA;
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 512, 1024, BLOCK_FUA | BLOCK_STABLE), 0);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 4096, 512, BLOCK_MAY_UNMAP), 0);
    CU_ASSERT_EQUAL(blockdev_discard(d, 0, 512), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 8192, 512), 0);
    CU_ASSERT_EQUAL(fault_log(d, log, 8), 5);
    for (unsigned i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(log[i].kind, expected[i].kind);
        CU_ASSERT_EQUAL(log[i].flags, expected[i].flags);
        CU_ASSERT_EQUAL(log[i].offset, expected[i].offset);
        CU_ASSERT_EQUAL(log[i].length, expected[i].length);
    }
    fault_log_clear(d);
    CU_ASSERT_EQUAL(fault_log(d, log, 8), 0);
    for (unsigned i = 0; i < 200; i++)
        CU_ASSERT_EQUAL(blockdev_read(d, buf, i * 512, 512), 0);
    CU_ASSERT_EQUAL(fault_log(d, log, 8), 200);
    CU_ASSERT_EQUAL(log[7].offset, 7 * 512);
    blockdev_close(d);
}

static void test_log(void)
{
    run_in_rt(log_order);
}

struct writing {
    struct blockdev *d;
    struct wait_group *group;
    int result;
};

static void write_one(void *arg)
{
    struct writing *w = arg;
    char buf[512] = "held";

    w->result = blockdev_write(w->d, buf, 0, 512, 0);
    wait_group_done(w->group);
}

static void holds(void)
{
    struct blockdev *d = fault_over_memory();
    struct wait_group group;
    struct writing w = {d, &group, 1};
    char buf[512];

    wait_group_init(&group);
    wait_group_add(&group, 1);
    fault_add(d, &(struct fault_rule){.kind = BLOCK_WRITE, .hold = true, .delay_ns = 1000});
    CU_ASSERT_EQUAL(co_start("writer", write_one, &w), 0);
    fault_wait_held(d, 1);
    CU_ASSERT_EQUAL(w.result, 1);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 0, 512), 0);
    CU_ASSERT_STRING_EQUAL(buf, "");
    fault_release(d);
    wait_group_wait(&group);
    CU_ASSERT_EQUAL(w.result, 0);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 0, 512), 0);
    CU_ASSERT_STRING_EQUAL(buf, "held");
    blockdev_close(d);
}

static void test_holds(void)
{
    run_in_rt(holds);
}

CU_TestInfo fault_tests[] = {
    {"errors, skipped, counted, before and after", test_errors},
    {"the order of what passed", test_log},
    {"holds and releases", test_holds},
    CU_TEST_INFO_NULL,
};
