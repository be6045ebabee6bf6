/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failures: what is recorded, when, and what the array does without. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "rt/sync.h"

#define DATA_BYTES (1u << 20) /* where it begins on a rig's disk */

struct writer {
    struct rig *r;
    struct co_event done;
    int result;
};

static void write_one(void *arg)
{
    struct writer *w = arg;
    static char buf[4096];

    w->result = blockdev_write(w->r->dev, buf, 0, sizeof buf, 0);
    co_event_set(&w->done);
}

static void start_writer(struct writer *w, struct rig *r)
{
    w->r = r;
    w->result = 1;
    co_event_init(&w->done);
    memset(r->model, 0, 4096);
    CU_ASSERT_EQUAL(co_start("writer", write_one, w), 0);
}

static uint16_t role_in(struct rig *r, unsigned disk, unsigned of)
{
    struct md_superblock sb;

    rig_read_superblock(r, disk, &sb);
    return md_superblock_role(&sb, of);
}

static void recorded_before_acknowledged(void)
{
    struct writer w;
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_write(&r, 0, 4096, 0);
    rig_break(&r, 0, BLOCK_WRITE, DATA_BYTES, 4096, 0);
    fault_add(r.disks[1].fault,
        &(struct fault_rule){.kind = BLOCK_WRITE, .offset = 4096, .length = 4096, .hold = true});
    start_writer(&w, &r);
    fault_wait_held(r.disks[1].fault, 1);
    CU_ASSERT_EQUAL(w.result, 1);
    CU_ASSERT_EQUAL(role_in(&r, 1, 0), 0);
    fault_clear(r.disks[1].fault);
    fault_release(r.disks[1].fault);
    co_event_wait(&w.done);
    CU_ASSERT_EQUAL(w.result, 0);
    CU_ASSERT_EQUAL(role_in(&r, 1, 0), MD_DISK_ROLE_FAULTY);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_DEGRADED);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_failure_is_recorded_before_the_write_returns(void)
{
    run_in_rt(recorded_before_acknowledged);
}

static void others_wait_for_the_record(void)
{
    struct writer w, second;
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_write(&r, 0, 4096, 0);
    rig_break(&r, 0, BLOCK_FLUSH, 0, 0, 1);
    fault_add(r.disks[1].fault,
        &(struct fault_rule){.kind = BLOCK_WRITE, .offset = 4096, .length = 4096, .hold = true});
    rig_break(&r, 0, BLOCK_WRITE, DATA_BYTES, 4096, 1);
    start_writer(&w, &r);
    fault_wait_held(r.disks[1].fault, 1);
    start_writer(&second, &r);
    for (unsigned i = 0; i < 100; i++)
        co_yield ();
    CU_ASSERT_EQUAL(second.result, 1);
    fault_clear(r.disks[1].fault);
    fault_release(r.disks[1].fault);
    co_event_wait(&w.done);
    co_event_wait(&second.done);
    CU_ASSERT_EQUAL(second.result, 0);
    rig_end(&r);
}

static void test_a_write_that_skips_a_failed_member_waits_for_the_record(void)
{
    run_in_rt(others_wait_for_the_record);
}

static void superblocks_fail_too(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 3, 0);
    rig_write(&r, 0, 4096, 0);
    rig_break(&r, 0, BLOCK_WRITE, DATA_BYTES, 4096, 0);
    rig_break(&r, 1, BLOCK_WRITE, 4096, 4096, 0);
    rig_write(&r, 0, 4096, 0);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(role_in(&r, 2, 0), MD_DISK_ROLE_FAULTY);
    CU_ASSERT_EQUAL(role_in(&r, 2, 1), MD_DISK_ROLE_FAULTY);
    rig_check(&r);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 4, ARRAY_DEGRADED_OK), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_superblock_that_cannot_be_written_fails_its_member(void)
{
    run_in_rt(superblocks_fail_too);
}

static void all_copies_fail(void)
{
    char buf[4096] = {1};
    struct rig r;

    rig_init(&r, 4);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 4, 0);
    array_start(r.array);
    rig_work(&r, 100);
    for (unsigned i = 0; i < 2; i++)
        rig_break(&r, i, BLOCK_WRITE, 0, 0, 0);
    CU_ASSERT_EQUAL(blockdev_write(r.dev, buf, 0, 4096, 0), -EIO);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_FAILED);
    CU_ASSERT_EQUAL(blockdev_write(r.dev, buf, RIG_CHUNK_BYTES, 4096, 0), -EIO);
    CU_ASSERT_EQUAL(blockdev_flush(r.dev), -EIO);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, buf, RIG_CHUNK_BYTES, 4096), 0);
    CU_ASSERT_EQUAL(memcmp(buf, r.model + RIG_CHUNK_BYTES, 4096), 0);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 15, 0), 0);
    array_start(r.array);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_CLEAN);
    rig_check(&r);
    rig_end(&r);
}

static void test_an_array_without_copies_fails_and_can_be_assembled_again(void)
{
    run_in_rt(all_copies_fail);
}

static void one_copy_then_the_other(void)
{
    char buf[4096] = {1};
    struct rig r;

    rig_init(&r, 4);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 4, 0);
    array_start(r.array);
    rig_work(&r, 100);
    rig_break(&r, 0, BLOCK_WRITE, 0, 0, 0);
    rig_write(&r, 0, 4096, 0);
    rig_break(&r, 1, BLOCK_WRITE, 0, 0, 0);
    CU_ASSERT_EQUAL(blockdev_write(r.dev, buf, 0, 4096, 0), -EIO);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_FAILED);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 14, ARRAY_DEGRADED_OK), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_the_last_copy_is_never_given_up(void)
{
    run_in_rt(one_copy_then_the_other);
}

static void by_hand(void)
{
    struct error err = {0};
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 0);
    CU_ASSERT_EQUAL(array_fail(r.array, "nobody", &err), -ENOENT);
    CU_ASSERT_EQUAL(array_remove(r.array, "d0", &err), -EBUSY);
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", &err), 0);
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", &err), 0);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", &err), -EBUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "d1"));
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(array_remove(r.array, "d0", &err), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_MISSING);
    rig_write(&r, 0, 4096, 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_fail_and_remove_by_hand(void)
{
    run_in_rt(by_hand);
}

static void flush_fails(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 3, 0);
    rig_write(&r, 0, 4096, 0);
    rig_break(&r, 1, BLOCK_FLUSH, 0, 0, 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.dev), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(role_in(&r, 0, 1), MD_DISK_ROLE_FAULTY);
    rig_end(&r);
}

static void test_a_flush_that_fails_fails_the_member(void)
{
    run_in_rt(flush_fails);
}

static unsigned count_data_writes(struct rig *r, unsigned disk)
{
    struct fault_record records[64];
    unsigned count = fault_log(r->disks[disk].fault, records, ARRAY_LEN(records)), found = 0;

    for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_LEN(records)); i++)
        found += records[i].kind == BLOCK_WRITE && records[i].offset >= DATA_BYTES;
    return found;
}

/* Degraded and clean, its bits set: two writes come, and the superblock cannot be made to say
 * dirty. */
static void activation_fails(void)
{
    struct array_params params = {.name = "test", .level = 1, .assume_clean = true};
    struct writer first, second;
    struct rig r;

    rig_init(&r, 2);
    CU_ASSERT_EQUAL(rig_create_plain(&r, &params, 2, 0, NULL), 0);
    rig_learn(&r);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    rig_write(&r, 0, 4096, 0);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 1, ARRAY_DEGRADED_OK), 0);
    fault_log_clear(r.disks[0].fault);
    fault_add(r.disks[0].fault,
        &(struct fault_rule){
            .kind = BLOCK_WRITE, .offset = 8192, .length = 4096, .error = -EIO, .hold = true});
    start_writer(&first, &r);
    fault_wait_held(r.disks[0].fault, 1);
    start_writer(&second, &r);
    for (unsigned i = 0; i < 100; i++)
        co_yield ();
    fault_clear(r.disks[0].fault);
    fault_release(r.disks[0].fault);
    co_event_wait(&first.done);
    co_event_wait(&second.done);
    CU_ASSERT(first.result == -EIO && second.result == -EIO);
    CU_ASSERT_EQUAL(count_data_writes(&r, 0), 0);
    rig_end(&r);
}

static void test_nothing_is_written_when_the_superblocks_cannot_say_dirty(void)
{
    run_in_rt(activation_fails);
}

static uint64_t events_of(struct rig *r, unsigned disk)
{
    struct md_superblock sb;

    rig_read_superblock(r, disk, &sb);
    return sb.events;
}

/* A spare that gets a role says so first, and cannot; d2 has not written what the others have. */
static void nobody_two_behind(void)
{
    struct rig r;

    rig_init(&r, 5);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 4, 1);
    array_start(r.array);
    rig_settle(&r);
    fault_add(r.disks[4].fault, &(struct fault_rule){.kind = BLOCK_WRITE,
                                    .offset = 4096,
                                    .length = 4096,
                                    .skip = 2,
                                    .times = 1,
                                    .error = -EIO});
    fault_add(r.disks[2].fault,
        &(struct fault_rule){
            .kind = BLOCK_WRITE, .offset = 4096, .length = 4096, .skip = 2, .hold = true});
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    fault_wait_held(r.disks[2].fault, 1);
    CU_ASSERT_EQUAL(rig_state(&r, 4), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(events_of(&r, 0), events_of(&r, 2) + 1);
    CU_ASSERT_EQUAL(events_of(&r, 3), events_of(&r, 2) + 1);
    fault_clear(r.disks[2].fault);
    fault_release(r.disks[2].fault);
    rig_end(&r);
}

static void test_a_failure_to_rise_leaves_nobody_two_updates_behind(void)
{
    run_in_rt(nobody_two_behind);
}

static const enum block_kind kinds[] = {BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_WRITE_ZEROES};

static void run_short_of_memory(struct rig *r)
{
    for (unsigned n = 0; n < 60; n++) {
        for (unsigned i = 0; i < r->disk_count; i++)
            fault_add(r->disks[i].fault,
                &(struct fault_rule){
                    .kind = kinds[n % ARRAY_LEN(kinds)], .times = 1, .error = -ENOMEM});
        rig_work(r, 4);
    }
}

static void memory_for(int level, uint32_t layout, unsigned members)
{
    struct array_status *s;
    struct rig r;

    rig_init(&r, members + 1);
    for (unsigned i = 0; i < r.disk_count; i++)
        rig_resize_disk(&r, i, 2u << 20);
    rig_create(&r, level, layout, members, 1);
    array_start(r.array);
    run_short_of_memory(&r);
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", NULL, NULL), 0);
    run_short_of_memory(&r);
    rig_settle(&r);
    CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_RESYNC, NULL), 0);
    run_short_of_memory(&r);
    s = array_status(r.array);
    CU_ASSERT_EQUAL(s->missing, 0);
    CU_ASSERT_EQUAL(s->sync.result, 0);
    for (unsigned i = 0; i < s->member_count; i++) {
        CU_ASSERT_EQUAL(s->members[i].errors, 0);
        CU_ASSERT_EQUAL(s->members[i].state == MEMBER_FAULTY, !strcmp(s->members[i].name, "d0"));
    }
    free(s);
    rig_check(&r);
    rig_end(&r);
}

static void memory(void)
{
    memory_for(1, 0, 2);
    memory_for(10, RAID10_LAYOUT_NEAR(2), 4);
    memory_for(5, RAID5_LAYOUT_LEFT_SYMMETRIC, 3);
    memory_for(6, RAID5_LAYOUT_LEFT_SYMMETRIC, 5);
}

static void test_who_lacks_memory_does_not_blame_a_member(void)
{
    run_in_rt(memory);
}

CU_TestInfo members_tests[] = {
    {"who lacks memory does not blame a member", test_who_lacks_memory_does_not_blame_a_member},
    {"a failure is recorded before the write returns",
        test_a_failure_is_recorded_before_the_write_returns},
    {"a write that skips a failed member waits for the record",
        test_a_write_that_skips_a_failed_member_waits_for_the_record},
    {"a superblock that cannot be written fails its member",
        test_a_superblock_that_cannot_be_written_fails_its_member},
    {"an array without copies fails and can be assembled again",
        test_an_array_without_copies_fails_and_can_be_assembled_again},
    {"the last copy is never given up", test_the_last_copy_is_never_given_up},
    {"fail and remove by hand", test_fail_and_remove_by_hand},
    {"a flush that fails fails the member", test_a_flush_that_fails_fails_the_member},
    {"a failure to rise leaves nobody two updates behind",
        test_a_failure_to_rise_leaves_nobody_two_updates_behind},
    {"nothing is written when the superblocks cannot say dirty",
        test_nothing_is_written_when_the_superblocks_cannot_say_dirty},
    CU_TEST_INFO_NULL,
};
