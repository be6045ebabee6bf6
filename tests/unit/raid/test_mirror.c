/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes to all copies, reads of one: order, overlap, correction. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "rt/sync.h"

#define DATA_BYTES   (1u << 20)
#define BITMAP_BYTES 8192u

struct writer {
    struct rig *r;
    unsigned seed, count;
    uint64_t range_bytes;
    struct wait_group *group;
    int result;
};

static void overlapping_writer(void *arg)
{
    struct writer *w = arg;
    uint64_t random = w->seed;
    char buf[16384];

    for (unsigned i = 0; i < w->count && !w->result; i++) {
        uint64_t offset = random_below(&random, (unsigned)(w->range_bytes / 512 - 32)) * 512;
        uint64_t length = (1 + random_below(&random, 32)) * UINT64_C(512);

        memset(buf, (int)random, length);
        w->result = blockdev_write(w->r->dev, buf, offset, length, i % 2 ? BLOCK_STABLE : 0);
    }
    wait_group_done(w->group);
}

static void overlap(void)
{
    struct writer writers[12];
    struct wait_group group;
    struct crew crew;
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 3, 0);
    array_start(r.array);
    crew_start(&crew, 3);
    wait_group_init(&group);
    wait_group_add(&group, ARRAY_LEN(writers));
    for (unsigned i = 0; i < ARRAY_LEN(writers); i++) {
        writers[i] = (struct writer){&r, i + 1, 300, 128 << 10, &group, 0};
        CU_ASSERT_EQUAL(
            worker_start(crew.workers[i % crew.count], "writer", overlapping_writer, &writers[i]),
            0);
    }
    wait_group_wait(&group);
    for (unsigned i = 0; i < ARRAY_LEN(writers); i++)
        CU_ASSERT_EQUAL(writers[i].result, 0);
    crew_end(&crew);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void test_overlapping_writes_leave_copies_the_same(void)
{
    run_in_rt(overlap);
}

static bool data_written(struct rig *r, unsigned disk)
{
    struct fault_record records[64];
    unsigned count = fault_log(r->disks[disk].fault, records, ARRAY_LEN(records));

    for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_LEN(records)); i++)
        if (records[i].kind == BLOCK_WRITE && records[i].offset >= DATA_BYTES)
            return true;
    return false;
}

static void write_block(void *arg)
{
    struct writer *w = arg;

    rig_write(w->r, 0, 4096, 0);
    wait_group_done(w->group);
}

/* Holds a write of metadata on one disk, and looks whether data goes to the other. */
static void check_before_data(uint64_t held_offset)
{
    struct wait_group group;
    struct rig r;
    struct writer w = {.r = &r, .group = &group};

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    array_start(r.array);
    array_sync(r.array, ARRAY_RESYNC, NULL);
    rig_wait(&r, rig_is_idle);
    while (rig_unsynced(&r))
        co_sleep_ns(1000000);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    fault_log_clear(r.disks[0].fault);
    fault_add(r.disks[1].fault, &(struct fault_rule){.kind = BLOCK_WRITE,
                                    .offset = held_offset,
                                    .length = 4096,
                                    .skip = held_offset == BITMAP_BYTES,
                                    .hold = true});
    wait_group_init(&group);
    wait_group_add(&group, 1);
    CU_ASSERT_EQUAL(co_start("writer", write_block, &w), 0);
    fault_wait_held(r.disks[1].fault, 1);
    CU_ASSERT_FALSE(data_written(&r, 0));
    fault_clear(r.disks[1].fault);
    fault_release(r.disks[1].fault);
    wait_group_wait(&group);
    CU_ASSERT(data_written(&r, 0));
    rig_check(&r);
    rig_end(&r);
}

static void order(void)
{
    check_before_data(4096);
    check_before_data(BITMAP_BYTES);
}

static void test_superblock_and_bit_are_durable_before_data(void)
{
    run_in_rt(order);
}

static unsigned count_bitmap_writes(struct rig *r, unsigned disk)
{
    static struct fault_record records[4096];
    unsigned count = fault_log(r->disks[disk].fault, records, ARRAY_LEN(records)), writes = 0;

    for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_LEN(records)); i++)
        writes += records[i].kind == BLOCK_WRITE && records[i].offset == BITMAP_BYTES;
    return writes;
}

static void durable_bits_are_free(void)
{
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_write(&r, 0, 4096, 0);
    fault_log_clear(r.disks[0].fault);
    for (unsigned i = 0; i < 50; i++)
        rig_write(&r, (i % 8) * 4096, 4096, 0);
    CU_ASSERT_EQUAL(count_bitmap_writes(&r, 0), 0);
    rig_end(&r);
}

static void test_a_bit_that_is_durable_costs_nothing(void)
{
    run_in_rt(durable_bits_are_free);
}

static void correction(void)
{
    struct array_status *s;
    struct rig r;
    char buf[4096];

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_write(&r, 0, 4096, 0);
    rig_break(&r, 0, BLOCK_READ, DATA_BYTES, 4096, 1);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, buf, 0, 4096), 0);
    CU_ASSERT_EQUAL(memcmp(buf, r.model, 4096), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_IN_SYNC);
    s = array_status(r.array);
    CU_ASSERT_EQUAL(s->members[0].errors_corrected, 1);
    CU_ASSERT_EQUAL(s->members[0].errors, 1);
    free(s);
    /* one that stays unreadable */
    rig_break(&r, 0, BLOCK_READ, DATA_BYTES, 4096, 0);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, buf, 0, 4096), 0);
    CU_ASSERT_EQUAL(memcmp(buf, r.model, 4096), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_FAULTY);
    /* the last copy is not failed for that */
    rig_break(&r, 1, BLOCK_READ, DATA_BYTES, 4096, 0);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, buf, 0, 4096), -EIO);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_DEGRADED);
    rig_end(&r);
}

static void test_what_cannot_be_read_is_corrected_from_another_copy(void)
{
    run_in_rt(correction);
}

static void zeroes(void)
{
    struct rig r;

    rig_init(&r, 2);
    rig_scribble(&r);
    rig_create(&r, 1, 0, 2, 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), r.dev->size_bytes);
    memset(r.model, 0, r.model_bytes);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(r.dev, 0, r.model_bytes, BLOCK_MAY_UNMAP), 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_write(&r, 0, 1 << 20, 0);
    CU_ASSERT_EQUAL(blockdev_discard(r.dev, 0, 1 << 20), 0);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void test_what_is_zeroed_is_in_sync(void)
{
    run_in_rt(zeroes);
}

CU_TestInfo mirror_tests[] = {
    {"overlapping writes leave copies the same", test_overlapping_writes_leave_copies_the_same},
    {"superblock and bit are durable before data", test_superblock_and_bit_are_durable_before_data},
    {"a bit that is durable costs nothing", test_a_bit_that_is_durable_costs_nothing},
    {"what cannot be read is corrected from another copy",
        test_what_cannot_be_read_is_corrected_from_another_copy},
    {"what is zeroed is in sync", test_what_is_zeroed_is_in_sync},
    CU_TEST_INFO_NULL,
};
