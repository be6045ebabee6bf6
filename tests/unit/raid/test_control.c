/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members that come and go where it goes wrong: numbers used again, arrays that fail meanwhile. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#include "raid/array_private.h"
#include "raid/bitmap.h"

#define SUPERBLOCK 4096, 512

static void spare_with_anothers_number(void)
{
    bool readded;
    struct rig r;

    rig_init(&r, 4);
    rig_create(&r, 1, 0, 2, 1);
    array_start(r.array);
    rig_work(&r, 50);
    CU_ASSERT_EQUAL(array_remove(r.array, "d2", NULL), 0);
    CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, 3), false, &readded, NULL), 0);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    rig_wait(&r, rig_is_whole);
    for (unsigned i = 0; i < 2; i++) {
        rig_stop(&r);
        CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
        if (!r.array)
            break;
        CU_ASSERT_EQUAL(rig_state(&r, 3), MEMBER_IN_SYNC);
        CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_SPARE);
        rig_check(&r);
    }
    rig_end(&r);
}

static void test_a_spare_that_was_away_gets_a_new_number(void)
{
    run_in_rt(spare_with_anothers_number);
}

static void spare_has_bitmap(void)
{
    struct md_bitmap_header h;
    struct md_superblock sb;
    uint8_t buf[512];
    bool readded;
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 0);
    CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, 2), false, &readded, NULL), 0);
    rig_read_superblock(&r, 2, &sb);
    CU_ASSERT(sb.feature_map & MD_FEATURE_BITMAP_OFFSET);
    blockdev_read(r.disks[2].memory, buf, 8192, sizeof buf);
    CU_ASSERT_EQUAL(md_bitmap_decode(&h, buf, NULL), 0);
    CU_ASSERT(memcmp(h.uuid, sb.set_uuid, sizeof h.uuid) == 0);
    rig_end(&r);
}

/* mdadm calls the checksum of a superblock wrong that names a bitmap which is not there. */
static void test_a_spare_has_the_bitmap_that_it_names(void)
{
    run_in_rt(spare_has_bitmap);
}

static void array_fails_at_readd(void)
{
    struct blockdev *d;
    bool readded;
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_work(&r, 50);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    CU_ASSERT_EQUAL(array_remove(r.array, "d1", NULL), 0);
    rig_break(&r, 0, BLOCK_WRITE, SUPERBLOCK, 0);
    d = rig_open(&r, 1);
    CU_ASSERT_EQUAL(array_add(r.array, d, false, &readded, NULL), -EIO);
    blockdev_close(d);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_FAILED);
    rig_check(&r);
    rig_end(&r);
}

static void test_an_array_that_fails_at_a_readd_keeps_nothing_of_it(void)
{
    run_in_rt(array_fails_at_readd);
}

static void array_fails_at_replace(void)
{
    struct blockdev *d;
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 0);
    rig_work(&r, 50);
    for (unsigned i = 0; i < 2; i++) /* after it has become a spare */
        fault_add(r.disks[i].fault,
            &(struct fault_rule){
                .kind = BLOCK_WRITE, .offset = 4096, .length = 512, .skip = 1, .error = -EIO});
    d = rig_open(&r, 2);
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", d, NULL), -EIO);
    blockdev_close(d);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_FAILED);
    rig_check(&r);
    rig_end(&r);
}

static void test_an_array_that_fails_at_a_replace_keeps_nothing_of_it(void)
{
    run_in_rt(array_fails_at_replace);
}

static void replacement_fails_at_once(void)
{
    struct error err = {0};
    struct blockdev *d;
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 0);
    rig_work(&r, 50);
    d = rig_open(&r, 2);
    rig_break(&r, 2, BLOCK_WRITE, 8192, 512, 0);
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", d, &err), -EIO);
    CU_ASSERT_STRING_NOT_EQUAL(err.text, "");
    blockdev_close(d);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_MISSING);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_replacement_that_fails_at_once_is_refused(void)
{
    run_in_rt(replacement_fails_at_once);
}

static unsigned count_superblock_writes(struct rig *r, unsigned disk)
{
    struct fault_record records[64];
    unsigned logged = fault_log(r->disks[disk].fault, records, 64), count = 0;

    for (unsigned i = 0; i < logged && i < 64; i++)
        count += records[i].kind == BLOCK_WRITE && records[i].offset == MD_SUPERBLOCK_OFFSET_BYTES;
    return count;
}

static void one_update_behind(void)
{
    static char buf[MD_SUPERBLOCK_BYTES];
    struct md_superblock sb;
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_work(&r, 50);
    rig_stop(&r);
    rig_read_superblock(&r, 1, &sb);
    sb.events--;
    md_superblock_encode(&sb, buf);
    blockdev_write(r.disks[1].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf, 0);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    CU_ASSERT_EQUAL(count_superblock_writes(&r, 0), 1);
    CU_ASSERT_EQUAL(count_superblock_writes(&r, 1), 2);
    rig_check(&r);
    rig_end(&r);
}

static void test_one_update_behind_is_caught_up_before_the_next(void)
{
    run_in_rt(one_update_behind);
}

static void write_one(void *arg)
{
    rig_write(arg, 0, 512, 0);
}

static void bits_that_cannot_be_set(void)
{
    struct md_superblock sb;
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_write(&r, 0, RIG_CHUNK_BYTES, 0);
    bitmap_log_clean(r.array, true);
    rig_break(&r, 0, BLOCK_WRITE, 8192, 512, 0);
    fault_add(r.disks[1].fault,
        &(struct fault_rule){
            .kind = BLOCK_WRITE, .offset = 1 << 20, .length = 1 << 20, .hold = true});
    CU_ASSERT_EQUAL(co_start("write", write_one, &r), 0);
    fault_wait_held(r.disks[1].fault, 1);
    rig_read_superblock(&r, 1, &sb);
    CU_ASSERT_EQUAL(sb.dev_roles[0], MD_DISK_ROLE_FAULTY);
    fault_clear(r.disks[1].fault);
    fault_release(r.disks[1].fault);
    array_quiesce(r.array); /* the write has ended */
    array_resume(r.array);
    rig_check(&r);
    rig_end(&r);
}

static void test_who_misses_a_bit_is_faulty_before_the_data(void)
{
    run_in_rt(bits_that_cannot_be_set);
}

/* As a power cut in the middle of an update leaves it: one member has it, the others have not. */
static void set_ahead(struct rig *r, unsigned disk)
{
    static char buf[MD_SUPERBLOCK_BYTES];
    struct md_superblock sb;

    rig_read_superblock(r, disk, &sb);
    sb.events++;
    md_superblock_encode(&sb, buf);
    blockdev_write(r->disks[disk].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf, 0);
    for (unsigned i = 0; i < r->disk_count; i++) {
        struct md_bitmap_header h;
        blockdev_read(r->disks[i].memory, buf, 8192, 512);
        CU_ASSERT_EQUAL(md_bitmap_decode(&h, buf, NULL), 0);
        h.events = sb.events;
        md_bitmap_encode(&h, buf);
        blockdev_write(r->disks[i].memory, buf, 8192, 512, 0);
    }
}

static void ahead_and_away(void)
{
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    rig_work(&r, 50);
    rig_crash(&r);
    set_ahead(&r, 0);
    CU_ASSERT_EQUAL(rig_assemble(&r, 2, ARRAY_DEGRADED_OK), 0);
    rig_work(&r, 50);
    rig_crash(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_one_update_ahead_and_away_is_out_of_date(void)
{
    run_in_rt(ahead_and_away);
}

static uint64_t events_on(struct rig *r, unsigned disk)
{
    struct md_superblock sb;

    rig_read_superblock(r, disk, &sb);
    return sb.events;
}

static void place_spare(void *arg)
{
    struct array *a = ((struct rig *)arg)->array;

    CU_ASSERT_EQUAL(array_place_member(a, members_find(a, "d3"), 2, MEMBER_RECOVERING, false), 0);
}

static void complete_spare(void *arg)
{
    struct array *a = ((struct rig *)arg)->array;

    atomic_store(&members_find(a, "d3")->state, MEMBER_IN_SYNC);
    co_mutex_lock(&a->update);
    members_settle(a);
    CU_ASSERT_EQUAL(members_write_superblocks(a), 0);
    co_mutex_unlock(&a->update);
}

/* While d3's superblock is on its way, nobody else's is. */
static void expect_first(struct rig *r, void (*change)(void *rig))
{
    uint64_t events = events_on(r, 0);

    fault_add(r->disks[3].fault,
        &(struct fault_rule){.kind = BLOCK_WRITE, .offset = 4096, .length = 512, .hold = true});
    CU_ASSERT_EQUAL(co_start("change", change, r), 0);
    fault_wait_held(r->disks[3].fault, 1);
    co_sleep_ns(UINT64_C(5000000));
    CU_ASSERT_EQUAL(events_on(r, 0), events);
    CU_ASSERT_EQUAL(events_on(r, 1), events);
    fault_clear(r->disks[3].fault);
    fault_release(r->disks[3].fault);
    co_mutex_lock(&r->array->update); /* the change has ended */
    co_mutex_unlock(&r->array->update);
    CU_ASSERT_EQUAL(events_on(r, 3), events + 1);
    CU_ASSERT_EQUAL(events_on(r, 0), events + 1);
}

static void who_rises_is_first(void)
{
    struct rig r;

    rig_init(&r, 4);
    rig_create(&r, 1, 0, 3, 1);
    CU_ASSERT_EQUAL(array_fail(r.array, "d2", NULL), 0);
    expect_first(&r, place_spare);
    expect_first(&r, complete_spare);
    rig_end(&r);
}

static void test_who_rises_says_so_first(void)
{
    run_in_rt(who_rises_is_first);
}

CU_TestInfo control_tests[] = {
    {"a spare that was away gets a new number", test_a_spare_that_was_away_gets_a_new_number},
    {"a spare has the bitmap that it names", test_a_spare_has_the_bitmap_that_it_names},
    {"an array that fails at a re-add keeps nothing of it",
        test_an_array_that_fails_at_a_readd_keeps_nothing_of_it},
    {"an array that fails at a replace keeps nothing of it",
        test_an_array_that_fails_at_a_replace_keeps_nothing_of_it},
    {"a replacement that fails at once is refused",
        test_a_replacement_that_fails_at_once_is_refused},
    {"who misses a bit is faulty before the data", test_who_misses_a_bit_is_faulty_before_the_data},
    {"one update behind is caught up before the next",
        test_one_update_behind_is_caught_up_before_the_next},
    {"who rises says so before the others", test_who_rises_says_so_first},
    {"one update ahead and away is out of date", test_one_update_ahead_and_away_is_out_of_date},
    CU_TEST_INFO_NULL,
};
