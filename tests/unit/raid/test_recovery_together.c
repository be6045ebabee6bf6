/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several members that recover at once: one reading for all, each from its own point on. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"

#define DATA_BYTES (1u << 20)
#define DISK_BYTES (4u << 20)
#define MIB        (UINT64_C(1) << 20)

struct shape {
    int level;
    uint32_t layout;
    unsigned members, lost[2];
};

static const struct shape shapes[] = {
    {6, RAID5_LAYOUT_LEFT_SYMMETRIC, 4, {0, 1}},
    {6, RAID5_LAYOUT_LEFT_ASYMMETRIC, 5, {1, 4}},
    {6, RAID5_LAYOUT_PARITY_FIRST, 6, {0, 1}}, /* both parities */
    {6, RAID5_LAYOUT_PARITY_LAST, 5, {2, 3}},  /* data and P */
    {1, 0, 3, {0, 2}},
    {10, RAID10_LAYOUT_NEAR(2), 4, {1, 2}},
    {10, RAID10_LAYOUT_NEAR(3), 4, {0, 1}},
    {10, RAID10_LAYOUT_FAR(2), 4, {0, 2}},
    {10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 4, {1, 3}},
};

static void fill(struct rig *r)
{
    for (uint64_t at = 0; at < r->model_bytes; at += MIB)
        rig_write(r, at, MIN(MIB, r->model_bytes - at), 0);
}

static void begin(struct rig *r, const struct shape *s, unsigned spares)
{
    rig_init(r, s->members + spares);
    for (unsigned i = 0; i < r->disk_count; i++)
        rig_resize_disk(r, i, DISK_BYTES);
    rig_scribble(r);
    rig_create(r, s->level, s->layout, s->members, spares);
    array_start(r->array);
    fill(r);
    rig_settle(r);
}

static bool both_recover(const struct array_status *s)
{
    unsigned count = 0;

    for (unsigned i = 0; i < s->member_count; i++)
        count += s->members[i].state == MEMBER_RECOVERING;
    return count == 2 && s->sync.action == ARRAY_RECOVERY;
}

/* Both members are lost, and the next two disks recover in their places; paused. */
static void lose_both(struct rig *r, const struct shape *s)
{
    array_sync_pause(r->array, true);
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(array_fail(r->array, rig_name(s->lost[i]), NULL), 0);
    CU_ASSERT(rig_wait(r, both_recover));
    while (r->array->sync.target_count < 2) /* the second one joins */
        co_sleep_ns(1000000);
}

/* What is on the disks of new members is read, and fits: others fail where they may. */
static void check_new(struct rig *r, const struct shape *s)
{
    rig_check(r);
    CU_ASSERT_EQUAL(rig_state(r, s->members), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(r, s->members + 1), MEMBER_IN_SYNC);
    for (unsigned i = 0; i < s->members; i++)
        array_fail(r->array, rig_name(i), NULL);
    rig_check(r);
}

/* Of the members' data, in so many operations as it has taken. */
static uint64_t logged_bytes(struct rig *r, unsigned disk, enum block_kind kind, uint64_t from)
{
    static struct fault_record records[65536];
    unsigned count = fault_log(r->disks[disk].fault, records, ARRAY_LEN(records));
    uint64_t bytes = 0;

    CU_ASSERT(count < ARRAY_LEN(records));
    for (unsigned i = 0; i < count; i++)
        if (records[i].kind == kind && records[i].offset >= from)
            bytes += records[i].length;
    return bytes;
}

static void one_pass(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        const struct shape *s = &shapes[n];
        struct rig r;

        begin(&r, s, 2);
        lose_both(&r, s);
        for (unsigned i = 0; i < r.disk_count; i++)
            fault_log_clear(r.disks[i].fault);
        array_sync_pause(r.array, false);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        for (unsigned i = 0; i < s->members; i++)
            CU_ASSERT(
                logged_bytes(&r, i, BLOCK_READ, DATA_BYTES) <= r.array->geometry.member_bytes);
        for (unsigned i = 0; i < 2; i++)
            CU_ASSERT_EQUAL(logged_bytes(&r, s->members + i, BLOCK_WRITE, DATA_BYTES),
                r.array->geometry.member_bytes);
        check_new(&r, s);
        rig_end(&r);
    }
}

static void test_what_two_members_need_is_read_once(void)
{
    run_in_rt(one_pass);
}

static void guests(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        struct rig r;

        begin(&r, &shapes[n], 2);
        lose_both(&r, &shapes[n]);
        array_sync_pause(r.array, false);
        rig_work(&r, 150);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        check_new(&r, &shapes[n]);
        rig_end(&r);
    }
}

static void test_guests_write_to_all_that_recover(void)
{
    run_in_rt(guests);
}

static bool is_done(const struct array_status *s)
{
    return s->sync.action == ARRAY_IDLE;
}

static void one_fails(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        const struct shape *s = &shapes[n];
        struct array_status *before, *after;
        struct rig r;

        begin(&r, s, 2);
        lose_both(&r, s);
        before = array_status(r.array);
        rig_break(&r, s->members + n % 2, BLOCK_WRITE, DATA_BYTES + MIB, MIB, 0);
        array_sync_pause(r.array, false);
        CU_ASSERT(rig_wait(&r, is_done));
        after = array_status(r.array);
        CU_ASSERT_EQUAL(after->sync.id, before->sync.id);
        CU_ASSERT_EQUAL(after->sync.result, 0);
        CU_ASSERT_EQUAL(after->missing, 1);
        CU_ASSERT_EQUAL(rig_state(&r, s->members + n % 2), MEMBER_FAULTY);
        CU_ASSERT_EQUAL(rig_state(&r, s->members + (n + 1) % 2), MEMBER_IN_SYNC);
        rig_check(&r);
        free(before);
        free(after);
        rig_end(&r);
    }
}

static void test_one_that_fails_does_not_end_the_others_recovery(void)
{
    run_in_rt(one_fails);
}

/* What nobody can read is on the way of one only. */
static void one_unreadable(void)
{
    static const struct shape s = {10, RAID10_LAYOUT_NEAR(2), 4, {1, 2}};
    struct array_status *status;
    struct rig r;

    begin(&r, &s, 2);
    lose_both(&r, &s);
    rig_break(&r, 0, BLOCK_READ, DATA_BYTES + MIB, 4096, 0);
    array_sync_pause(r.array, false);
    CU_ASSERT(rig_wait(&r, is_done));
    status = array_status(r.array);
    CU_ASSERT_EQUAL(status->sync.result, -EIO);
    CU_ASSERT_EQUAL(status->missing, 1);
    CU_ASSERT_EQUAL(rig_state(&r, 4), MEMBER_RECOVERING);
    CU_ASSERT_EQUAL(rig_state(&r, 5), MEMBER_IN_SYNC);
    free(status);
    rig_end(&r);
}

static void test_what_cannot_be_read_holds_up_only_who_needs_it(void)
{
    run_in_rt(one_unreadable);
}

/* The first is held half-way when the second comes, by itself or by hand. */
static void joins(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        const struct shape *s = &shapes[n];
        bool readded = false;
        struct rig r;

        begin(&r, s, 1);
        array_sync_pause(r.array, true);
        CU_ASSERT_EQUAL(array_fail(r.array, rig_name(s->lost[0]), NULL), 0);
        CU_ASSERT_EQUAL(array_fail(r.array, rig_name(s->lost[1]), NULL), 0);
        while (!r.array->sync.target_count)
            co_sleep_ns(1000000);
        fault_add(r.disks[s->members].fault,
            &(struct fault_rule){
                .kind = BLOCK_WRITE, .offset = DATA_BYTES + MIB, .length = MIB, .hold = true});
        array_sync_pause(r.array, false);
        fault_wait_held(r.disks[s->members].fault, 1);
        array_sync_pause(r.array, true);
        fault_clear(r.disks[s->members].fault);
        fault_release(r.disks[s->members].fault);
        CU_ASSERT_EQUAL(array_remove(r.array, rig_name(s->lost[1]), NULL), 0);
        CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, s->lost[1]), false, &readded, NULL), 0);
        while (r.array->sync.target_count != 2)
            co_sleep_ns(1000000);
        array_sync_pause(r.array, false);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        rig_check(&r);
        for (unsigned i = 0; i < s->members; i++)
            if (i != s->lost[1])
                array_fail(r.array, rig_name(i), NULL);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_one_that_comes_later_joins(void)
{
    run_in_rt(joins);
}

/* As checkpoints leave it: one has come further than the other. */
static void set_recovered(struct rig *r, unsigned disk, uint64_t bytes)
{
    atomic_store(&members_find(r->array, rig_name(disk))->recovered_bytes, bytes);
    co_mutex_lock(&r->array->update);
    CU_ASSERT_EQUAL(members_write_superblocks(r->array), 0);
    co_mutex_unlock(&r->array->update);
}

static uint64_t recovered_on_disk(struct rig *r, unsigned disk)
{
    struct md_superblock sb;

    rig_read_superblock(r, disk, &sb);
    CU_ASSERT(sb.feature_map & MD_FEATURE_RECOVERY_OFFSET);
    return sb.recovery_offset * MD_SECTOR_BYTES;
}

/* Half-way, after all that has been written is in place there. */
static void crash(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        const struct shape *s = &shapes[n];
        unsigned first = s->members, second = s->members + 1;
        uint64_t member_bytes;
        struct rig r;

        begin(&r, s, 2);
        lose_both(&r, s);
        array_sync_pause(r.array, false);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        rig_stop(&r);
        CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), ARRAY_DEGRADED_OK), 0);
        for (unsigned i = 0; i < 2; i++) {
            struct member *m = members_find(r.array, rig_name(first + i));
            atomic_store(&m->state, MEMBER_RECOVERING);
        }
        members_settle(r.array);
        set_recovered(&r, first, 2 * MIB);
        set_recovered(&r, second, MIB);
        blockdev_write_zeroes(r.disks[first].memory, DATA_BYTES + 2 * MIB, MIB, 0);
        blockdev_write_zeroes(r.disks[second].memory, DATA_BYTES + MIB, 2 * MIB, 0);
        rig_crash(&r);
        CU_ASSERT_EQUAL(recovered_on_disk(&r, first), 2 * MIB);
        CU_ASSERT_EQUAL(recovered_on_disk(&r, second), MIB);
        CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), ARRAY_DEGRADED_OK), 0);
        CU_ASSERT_EQUAL(rig_state(&r, first), MEMBER_RECOVERING);
        CU_ASSERT_EQUAL(rig_state(&r, second), MEMBER_RECOVERING);
        member_bytes = r.array->geometry.member_bytes;
        array_start(r.array);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        CU_ASSERT_EQUAL(logged_bytes(&r, first, BLOCK_WRITE, DATA_BYTES), member_bytes - 2 * MIB);
        CU_ASSERT_EQUAL(logged_bytes(&r, second, BLOCK_WRITE, DATA_BYTES), member_bytes - MIB);
        check_new(&r, s);
        rig_end(&r);
    }
}

static void test_after_a_crash_each_goes_on_from_its_own_point(void)
{
    run_in_rt(crash);
}

/* One was only away, the other is new. */
static void by_bitmap(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        const struct shape *s = &shapes[n];
        bool readded = false;
        struct rig r;

        begin(&r, s, 0);
        rig_stop(&r);
        CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
        array_start(r.array);
        for (unsigned i = 0; i < 2; i++) {
            CU_ASSERT_EQUAL(array_fail(r.array, rig_name(s->lost[i]), NULL), 0);
            CU_ASSERT_EQUAL(array_remove(r.array, rig_name(s->lost[i]), NULL), 0);
        }
        rig_write(&r, 3 * RIG_CHUNK_BYTES, 4096, 0);
        array_sync_pause(r.array, true);
        CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, s->lost[0]), false, &readded, NULL), 0);
        CU_ASSERT(readded);
        blockdev_write_zeroes(r.disks[s->lost[1]].memory, 0, DISK_BYTES, 0);
        CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, s->lost[1]), false, &readded, NULL), 0);
        CU_ASSERT_FALSE(readded);
        while (r.array->sync.target_count != 2)
            co_sleep_ns(1000000);
        array_sync_pause(r.array, false);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        CU_ASSERT(logged_bytes(&r, s->lost[0], BLOCK_WRITE, DATA_BYTES) <= 3 * RIG_CHUNK_BYTES);
        CU_ASSERT(logged_bytes(&r, s->lost[1], BLOCK_WRITE, DATA_BYTES) >=
                  r.array->geometry.member_bytes);
        rig_check(&r);
        for (unsigned i = 0; i < s->members; i++)
            if (i != s->lost[0] && i != s->lost[1])
                array_fail(r.array, rig_name(i), NULL);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_one_that_was_away_gets_only_what_it_has_missed(void)
{
    run_in_rt(by_bitmap);
}

static bool was_started(const struct array_status *s)
{
    return s->sync.total_bytes > 0;
}

static void progress(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        struct array_status *s;
        struct rig r;

        begin(&r, &shapes[n], 2);
        lose_both(&r, &shapes[n]);
        CU_ASSERT(rig_wait(&r, was_started));
        s = array_status(r.array);
        CU_ASSERT_EQUAL(s->sync.done_bytes, 0);
        CU_ASSERT_EQUAL(s->sync.total_bytes, s->size_bytes);
        free(s);
        array_sync_pause(r.array, false);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_CHECK, NULL), 0);
        CU_ASSERT(rig_wait(&r, is_done));
        s = array_status(r.array);
        CU_ASSERT_EQUAL(s->sync.done_bytes, s->size_bytes);
        CU_ASSERT_EQUAL(s->sync.total_bytes, s->size_bytes);
        free(s);
        rig_end(&r);
    }
}

static void test_progress_is_in_bytes_of_the_array(void)
{
    run_in_rt(progress);
}

CU_TestInfo recovery_together_tests[] = {
    {"what two members need is read once", test_what_two_members_need_is_read_once},
    {"guests write to all that recover", test_guests_write_to_all_that_recover},
    {"one that fails does not end the other's recovery",
        test_one_that_fails_does_not_end_the_others_recovery},
    {"what cannot be read holds up only who needs it",
        test_what_cannot_be_read_holds_up_only_who_needs_it},
    {"one that comes later joins", test_one_that_comes_later_joins},
    {"after a crash each goes on from its own point",
        test_after_a_crash_each_goes_on_from_its_own_point},
    {"one that was away gets only what it has missed",
        test_one_that_was_away_gets_only_what_it_has_missed},
    {"progress is in bytes of the array", test_progress_is_in_bytes_of_the_array},
    CU_TEST_INFO_NULL,
};
