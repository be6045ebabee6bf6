/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* New members: spares, those that come back, replacements; and what a restart leaves of them. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/bitmap.h"

#define DATA_BYTES (1u << 20)
#define MIB        (UINT64_C(1) << 20)

static void fill(struct rig *r)
{
    for (uint64_t at = 0; at < r->model_bytes; at += MIB)
        rig_write(r, at, MIN(MIB, r->model_bytes - at), 0);
}

static uint64_t written_bytes(struct rig *r, unsigned disk)
{
    static struct fault_record records[65536];
    unsigned count = fault_log(r->disks[disk].fault, records, ARRAY_LEN(records));
    uint64_t bytes = 0;

    for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_LEN(records)); i++)
        if (records[i].kind == BLOCK_WRITE && records[i].offset >= DATA_BYTES)
            bytes += records[i].length;
    return bytes;
}

static void spare_with(int level, uint32_t layout, unsigned members)
{
    struct array_status *s;
    struct rig r;

    rig_init(&r, members + 1);
    rig_scribble(&r);
    rig_create(&r, level, layout, members, 1);
    array_start(r.array);
    fill(&r);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    rig_work(&r, 100);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT_EQUAL(rig_state(&r, members), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_FAULTY);
    s = array_status(r.array);
    CU_ASSERT(s->sync.id >= 1);
    free(s);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r) & ~2u, 0), 0);
    CU_ASSERT_EQUAL(rig_state(&r, members), MEMBER_IN_SYNC);
    rig_check(&r);
    rig_end(&r);
}

static void spares(void)
{
    spare_with(1, 0, 2);
    spare_with(1, 0, 3);
    spare_with(10, RAID10_LAYOUT_NEAR(2), 4);
    spare_with(10, RAID10_LAYOUT_NEAR(2), 3);
    spare_with(10, RAID10_LAYOUT_FAR(2), 3);
    spare_with(10, RAID10_LAYOUT_FAR(2), 4);
    spare_with(10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 5);
}

static void test_a_spare_takes_over(void)
{
    run_in_rt(spares);
}

static void only_what_is_used(void)
{
    struct md_superblock sb;
    struct rig r;

    rig_init(&r, 3);
    rig_scribble(&r);
    rig_create(&r, 1, 0, 2, 1);
    array_start(r.array);
    for (unsigned i = 0; i < 3; i++)
        rig_write(&r, i * MIB, RIG_CHUNK_BYTES, 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), r.model_bytes - 3 * RIG_CHUNK_BYTES);
    fault_log_clear(r.disks[2].fault);
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", NULL), 0);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT_EQUAL(written_bytes(&r, 2), 2 * ARRAY_ENDS_BYTES + 2 * RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(rig_unsynced(&r), r.model_bytes - 3 * RIG_CHUNK_BYTES);
    rig_stop(&r);
    rig_read_superblock(&r, 2, &sb);
    CU_ASSERT_EQUAL(sb.resync_offset, 0);
    CU_ASSERT_EQUAL(rig_assemble(&r, 6, 0), 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), r.model_bytes - 3 * RIG_CHUNK_BYTES);
    array_start(r.array);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    rig_end(&r);
}

static void test_recovery_leaves_out_what_holds_nothing(void)
{
    run_in_rt(only_what_is_used);
}

/* What was in sync but is given up is "not in sync" once a new member has not got it. */
static bool begins_and_ends_with_zeros(struct rig *r)
{
    static char buf[ARRAY_ENDS_BYTES], zeros[ARRAY_ENDS_BYTES];

    if (blockdev_read_bytes(r->dev, buf, 0, sizeof buf) || memcmp(buf, zeros, sizeof buf))
        return false;
    return !blockdev_read_bytes(r->dev, buf, r->dev->size_bytes - sizeof buf, sizeof buf) &&
           !memcmp(buf, zeros, sizeof buf);
}

/* What was on the members before: a label there might be taken for the array's. */
static void remains_with(int level, uint32_t layout, unsigned members)
{
    struct rig r;

    rig_init(&r, members + 1);
    rig_scribble(&r);
    rig_create(&r, level, layout, members, 0);
    array_start(r.array);
    CU_ASSERT(begins_and_ends_with_zeros(&r));
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", rig_open(&r, members), NULL), 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, members), MEMBER_IN_SYNC);
    CU_ASSERT(begins_and_ends_with_zeros(&r));
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    CU_ASSERT(begins_and_ends_with_zeros(&r));
    rig_end(&r);
}

static void remains(void)
{
    remains_with(1, 0, 2);
    remains_with(10, RAID10_LAYOUT_NEAR(2), 4);
    remains_with(10, RAID10_LAYOUT_FAR(2), 3);
    remains_with(10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 4);
}

static void test_what_members_carried_is_not_taken_for_the_arrays(void)
{
    run_in_rt(remains);
}

static void given_up(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_scribble(&r);
    rig_create(&r, 1, 0, 2, 1);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    blockdev_unused(r.dev, 2 * MIB, 2 * MIB);
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", NULL), 0);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 2 * MIB);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 2 * MIB / RIG_CHUNK_BYTES);
    rig_crash(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 6, 0), 0);
    array_start(r.array);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_write(&r, 2 * MIB, 2 * MIB, 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_what_a_new_member_has_not_got_counts_as_not_in_sync(void)
{
    run_in_rt(given_up);
}

static void readd_with(int level, uint32_t layout, unsigned members)
{
    struct blockdev *again;
    bool readded = false;
    struct rig r;

    rig_init(&r, members);
    rig_create(&r, level, layout, members, 0);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    array_start(r.array);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    rig_write(&r, 3 * RIG_CHUNK_BYTES, 4096, 0);
    rig_write(&r, 40 * RIG_CHUNK_BYTES, 4096, 0);
    CU_ASSERT_EQUAL(array_remove(r.array, "d1", NULL), 0);
    rig_write(&r, 20 * RIG_CHUNK_BYTES, 4096, 0);
    again = rig_open(&r, 1);
    CU_ASSERT_EQUAL(array_add(r.array, again, false, &readded, NULL), 0);
    CU_ASSERT(readded);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT(written_bytes(&r, 1) <= 3 * RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_end(&r);
}

static void readds(void)
{
    readd_with(1, 0, 2);
    readd_with(10, RAID10_LAYOUT_NEAR(2), 4);
    readd_with(10, RAID10_LAYOUT_FAR(2), 3);
}

static void test_a_former_member_gets_only_what_it_has_missed(void)
{
    run_in_rt(readds);
}

static void left_behind(void)
{
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 2, ARRAY_DEGRADED_OK), 0);
    rig_write(&r, 5 * RIG_CHUNK_BYTES, 4096, 0);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_RECOVERING);
    rig_check(&r);
    array_start(r.array);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT(written_bytes(&r, 0) <= 2 * RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void test_a_member_that_was_away_catches_up_at_assembly(void)
{
    run_in_rt(left_behind);
}

static void replacement(void)
{
    bool readded;
    struct rig r;

    rig_init(&r, 6);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 4, 1);
    array_start(r.array);
    fill(&r);
    CU_ASSERT_EQUAL(array_replace(r.array, "d2", NULL, NULL), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 4), MEMBER_REPLACING);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_IN_SYNC);
    rig_work(&r, 100);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 4), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", rig_open(&r, 5), NULL), 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 5), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    CU_ASSERT_EQUAL(array_remove(r.array, "d2", NULL), 0);
    CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, 2), false, &readded, NULL), 0);
    CU_ASSERT_FALSE(readded);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_SPARE);
    rig_end(&r);
}

static void test_replace_while_the_old_one_serves(void)
{
    run_in_rt(replacement);
}

static void original_dies(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 1);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    array_sync_pause(r.array, true);
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", NULL, NULL), 0);
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", NULL), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_RECOVERING);
    array_sync_pause(r.array, false);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_replacement_recovers_when_the_original_fails(void)
{
    run_in_rt(original_dies);
}

static void cancelled_replace(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 1);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    array_sync_pause(r.array, true);
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", NULL, NULL), 0);
    while (!r.array->sync.running)
        co_sleep_ns(1000000);
    array_sync_cancel(r.array);
    array_sync_pause(r.array, false);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_SPARE);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_IN_SYNC);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_replace_cancelled_gives_the_spare_back(void)
{
    run_in_rt(cancelled_replace);
}

/* Its superblock says that it has one. */
static void damaged_spare(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 1);
    rig_write(&r, 0, MIB, 0);
    rig_stop(&r);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(r.disks[2].memory, 8192, 4096, 0), 0);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_SPARE);
    CU_ASSERT_EQUAL(rig_count_bits(&r, 2), rig_count_bits(&r, 0));
    rig_end(&r);
}

static void test_a_spare_gets_the_bitmap(void)
{
    run_in_rt(damaged_spare);
}

/* As it is when nothing has been written for a while. */
static void set_clean(struct rig *r, unsigned disk)
{
    char buf[MD_SUPERBLOCK_BYTES];
    struct md_superblock sb;

    rig_read_superblock(r, disk, &sb);
    sb.resync_offset = MD_MAX_SECTOR;
    md_superblock_encode(&sb, buf);
    CU_ASSERT_EQUAL(
        blockdev_write(r->disks[disk].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf, 0), 0);
}

/* The only whole bitmap is gone. Until the member that lacks what it named says that it lacks all,
 * a bitmap without bits would mean that it lacks nothing. */
static void bitmap_is_lost(void)
{
    bool readded = false;
    char zeros[4096] = {0};
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    array_start(r.array);
    rig_settle(&r);
    array_sync_pause(r.array, true);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(1), NULL), 0);
    CU_ASSERT_EQUAL(array_remove(r.array, rig_name(1), NULL), 0);
    rig_write(&r, RIG_CHUNK_BYTES, RIG_CHUNK_BYTES, 0);
    CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, 1), false, &readded, NULL), 0);
    CU_ASSERT(readded);
    rig_stop(&r);
    set_clean(&r, 0);
    set_clean(&r, 1);
    CU_ASSERT_EQUAL(blockdev_write(r.disks[0].memory, zeros, 8192, sizeof zeros, 0), 0);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    CU_ASSERT_EQUAL(rig_count_bits(&r, 1), r.array->bitmap.bits);
    array_start(r.array);
    CU_ASSERT(rig_wait(&r, rig_is_whole));
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_who_goes_by_a_bitmap_never_meets_an_empty_one(void)
{
    run_in_rt(bitmap_is_lost);
}

static void target_dies(void)
{
    struct rig r;

    rig_init(&r, 4);
    rig_create(&r, 1, 0, 2, 2);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    rig_break(&r, 2, BLOCK_WRITE, DATA_BYTES + 3 * MIB, MIB, 0);
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", NULL), 0);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(rig_state(&r, 3), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_when_a_spare_fails_the_next_one_takes_over(void)
{
    run_in_rt(target_dies);
}

#define LARGE_BYTES (160 * MIB)

static void continued(void)
{
    struct md_superblock sb;
    struct rig r;

    rig_init(&r, 3);
    for (unsigned i = 0; i < 3; i++)
        rig_resize_disk(&r, i, LARGE_BYTES);
    rig_create(&r, 1, 0, 2, 1);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    fault_add(r.disks[2].fault,
        &(struct fault_rule){
            .kind = BLOCK_WRITE, .offset = 100 * MIB, .length = MIB, .hold = true});
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", NULL), 0);
    fault_wait_held(r.disks[2].fault, 1);
    array_sync_pause(r.array, true);
    fault_clear(r.disks[2].fault);
    fault_release(r.disks[2].fault);
    rig_stop(&r);
    rig_read_superblock(&r, 2, &sb);
    CU_ASSERT(sb.feature_map & MD_FEATURE_RECOVERY_OFFSET);
    CU_ASSERT(sb.recovery_offset * 512 >= 64 * MIB);
    CU_ASSERT_EQUAL(rig_assemble(&r, 6, 0), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_RECOVERING);
    array_start(r.array);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT(written_bytes(&r, 2) <= LARGE_BYTES - 64 * MIB);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_recovery_goes_on_after_a_restart(void)
{
    run_in_rt(continued);
}

/* As a crash leaves it: the superblock says how far a member has recovered, and that the array may
 * be dirty. */
static void set_recovered(struct rig *r, unsigned disk, uint64_t bytes)
{
    struct md_superblock sb;
    char buf[MD_SUPERBLOCK_BYTES];

    for (unsigned i = 0; i < 2; i++) {
        rig_read_superblock(r, i, &sb);
        sb.resync_offset = 0;
        if (i == disk) {
            sb.feature_map |= MD_FEATURE_RECOVERY_OFFSET;
            sb.recovery_offset = bytes / MD_SECTOR_BYTES;
        }
        blockdev_read_bytes(
            r->disks[i].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, MD_SUPERBLOCK_BYTES);
        md_superblock_encode(&sb, buf);
        blockdev_write_bytes(
            r->disks[i].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, MD_SUPERBLOCK_BYTES, 0);
    }
}

/* A write under way has reached only the member that recovers, below what it has reached. */
static void differs_below(void)
{
    char other[4096];
    struct rig r;

    memset(other, 0x5a, sizeof other);
    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    array_start(r.array);
    fill(&r);
    rig_settle(&r);
    rig_write(&r, 0, 4096, 0);
    rig_crash(&r);
    blockdev_write(r.disks[0].memory, other, DATA_BYTES, sizeof other, 0);
    set_recovered(&r, 0, 2 * MIB);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_RECOVERING);
    rig_check(&r);
    array_start(r.array);
    rig_wait(&r, rig_is_whole);
    rig_check(&r);
    rig_settle(&r);
    rig_check(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void test_what_differs_below_where_recovery_goes_on_is_copied_again(void)
{
    run_in_rt(differs_below);
}

/* Without its original, a replacement is assembled in that one's place. Brought to the others'
 * events first, its superblock must not say so yet: they still name the original, too. */
static void promoted(void)
{
    struct md_superblock sb;
    struct member *m;
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 1);
    CU_ASSERT_EQUAL(array_replace(r.array, "d0", NULL, NULL), 0);
    rig_crash(&r);
    rig_read_superblock(&r, 2, &sb);
    CU_ASSERT(sb.feature_map & MD_FEATURE_REPLACEMENT);
    CU_ASSERT_EQUAL(rig_assemble(&r, 6, ARRAY_DEGRADED_OK), 0);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_RECOVERING);
    m = members_find(r.array, "d2");
    m->sb = sb; /* as assembly found it, had it been one update behind */
    m->sb.events = r.array->sb.events - 1;
    members_catch_up(r.array);
    rig_read_superblock(&r, 2, &sb);
    CU_ASSERT_EQUAL(sb.events, r.array->sb.events);
    CU_ASSERT(sb.feature_map & MD_FEATURE_REPLACEMENT);
    rig_end(&r);
}

static void test_a_replacement_does_not_say_early_that_it_is_more(void)
{
    run_in_rt(promoted);
}

static void adding(void)
{
    struct error err = {0};
    struct blockdev *d;
    bool readded;
    struct rig r, other;

    rig_init(&r, 4);
    rig_resize_disk(&r, 3, 4 * MIB);
    rig_create(&r, 1, 0, 2, 0);
    d = rig_open(&r, 3);
    CU_ASSERT_EQUAL(array_add(r.array, d, false, &readded, &err), -ENOSPC);
    blockdev_close(d);
    rig_init(&other, 3);
    rig_create(&other, 1, 0, 2, 0);
    rig_stop(&other);
    d = rig_open(&other, 0);
    snprintf(d->name, sizeof d->name, "other");
    CU_ASSERT_EQUAL(array_add(r.array, d, false, &readded, &err), -EEXIST);
    CU_ASSERT_EQUAL(array_add(r.array, d, true, &readded, &err), 0);
    d = rig_open(&r, 1);
    CU_ASSERT_EQUAL(array_add(r.array, d, true, &readded, &err), -EEXIST);
    blockdev_close(d);
    rig_end(&r);
    rig_end(&other);
}

static void test_add_refuses(void)
{
    run_in_rt(adding);
}

/* --- anything, in any order --- */

static bool may_fail(struct rig *r, unsigned disk)
{
    struct member *m = members_find(r->array, rig_name(disk));

    return m && member_state(m) == MEMBER_IN_SYNC && members_can_lose(r->array, &m, 1);
}

/* For a while: it must not be the last copy by then. */
static void hurt(struct rig *r, unsigned disk, enum block_kind kind)
{
    if (!may_fail(r, disk))
        return;
    rig_break(r, disk, kind, 0, 0, 2);
    rig_work(r, 10);
    if (members_find(r->array, rig_name(disk)))
        fault_clear(r->disks[disk].fault);
}

static void come_back(struct rig *r, unsigned disk)
{
    struct blockdev *d;
    bool readded;

    array_remove(r->array, rig_name(disk), NULL);
    if (members_find(r->array, rig_name(disk)))
        return;
    d = rig_open(r, disk);
    if (array_add(r->array, d, random_below(&r->random, 4) == 0, &readded, NULL))
        blockdev_close(d);
}

static void restart(struct rig *r, bool crash)
{
    if (crash)
        rig_crash(r);
    else
        rig_stop(r);
    CU_ASSERT_EQUAL(rig_assemble(r, RIG_ALL(r), ARRAY_DEGRADED_OK), 0);
    array_start(r->array);
}

static void stir(struct rig *r)
{
    unsigned disk = random_below(&r->random, r->disk_count);

    switch (random_below(&r->random, 8)) {
    case 0:
        array_fail(r->array, rig_name(disk), NULL);
        break;
    case 1:
        hurt(r, disk, BLOCK_WRITE);
        break;
    case 2:
        hurt(r, disk, BLOCK_READ);
        break;
    case 3:
        array_replace(r->array, rig_name(disk), NULL, NULL);
        break;
    case 4:
    case 5:
        come_back(r, disk);
        break;
    case 6:
        restart(r, random_below(&r->random, 2));
        break;
    default:
        rig_settle(r);
        break;
    }
}

static void mend(struct rig *r)
{
    rig_settle(r);
    for (unsigned i = 0; i < r->disk_count; i++)
        if (rig_state(r, i) != MEMBER_IN_SYNC && rig_state(r, i) != MEMBER_SPARE) {
            /* also one whose recovery met what it could not read, and waits */
            array_fail(r->array, rig_name(i), NULL);
            come_back(r, i);
        }
    rig_wait(r, rig_is_whole);
    rig_settle(r);
}

static void stir_array(int level, uint32_t layout, unsigned members, uint64_t seed)
{
    struct rig r;

    rig_init(&r, members + 2);
    r.random = seed;
    rig_create(&r, level, layout, members, 2);
    array_start(r.array);
    fill(&r);
    for (unsigned i = 0; i < 25; i++) {
        stir(&r);
        rig_work(&r, 20);
    }
    for (unsigned i = 0; i < r.disk_count; i++)
        if (members_find(r.array, rig_name(i)))
            fault_clear(r.disks[i].fault);
    mend(&r);
    rig_check(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    CU_ASSERT_EQUAL(rig_array_state(&r) == ARRAY_FAILED, 0);
    rig_end(&r);
}

static void stir_all(void)
{
    const char *text = getenv("ASHLAR_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 1;

    stir_array(1, 0, 2, seed * 1000003);
    stir_array(1, 0, 3, seed * 1000033);
    stir_array(10, RAID10_LAYOUT_NEAR(2), 4, seed * 1000037);
    stir_array(10, RAID10_LAYOUT_NEAR(2), 5, seed * 1000039);
    stir_array(10, RAID10_LAYOUT_FAR(2), 4, seed * 1000081);
    stir_array(10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 3, seed * 1000099);
}

static void test_members_fail_come_back_and_are_replaced_at_random(void)
{
    run_in_rt(stir_all);
}

CU_TestInfo recovery_tests[] = {
    {"a spare takes over", test_a_spare_takes_over},
    {"recovery leaves out what holds nothing", test_recovery_leaves_out_what_holds_nothing},
    {"what members carried is not taken for the array's",
        test_what_members_carried_is_not_taken_for_the_arrays},
    {"what a new member has not got counts as not in sync",
        test_what_a_new_member_has_not_got_counts_as_not_in_sync},
    {"a former member gets only what it has missed",
        test_a_former_member_gets_only_what_it_has_missed},
    {"a member that was away catches up at assembly",
        test_a_member_that_was_away_catches_up_at_assembly},
    {"replace while the old one serves", test_replace_while_the_old_one_serves},
    {"a replacement recovers when the original fails",
        test_a_replacement_recovers_when_the_original_fails},
    {"a replace cancelled gives the spare back", test_a_replace_cancelled_gives_the_spare_back},
    {"a spare gets the bitmap", test_a_spare_gets_the_bitmap},
    {"who goes by a bitmap never meets an empty one",
        test_who_goes_by_a_bitmap_never_meets_an_empty_one},
    {"when a spare fails the next one takes over", test_when_a_spare_fails_the_next_one_takes_over},
    {"recovery goes on after a restart", test_recovery_goes_on_after_a_restart},
    {"what differs below where recovery goes on is copied again",
        test_what_differs_below_where_recovery_goes_on_is_copied_again},
    {"a replacement does not say early that it is more",
        test_a_replacement_does_not_say_early_that_it_is_more},
    {"add refuses", test_add_refuses},
    {"members fail, come back and are replaced at random",
        test_members_fail_come_back_and_are_replaced_at_random},
    CU_TEST_INFO_NULL,
};
