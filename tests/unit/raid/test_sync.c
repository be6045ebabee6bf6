/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Actions that meet: what one leaves for another, and what guests do in between. */
#include "rig.h"

#include <string.h>

#include "raid/array_private.h"

#define MIB UINT64_C(1048576)

/* As if one that was cancelled were due again. */
static void due_now(struct rig *r)
{
    memset(r->array->sync.not_before_ns, 0, sizeof r->array->sync.not_before_ns);
    array_wake(r->array);
}

static struct member *target_in_role(struct rig *r, unsigned role, uint64_t recovered_bytes)
{
    struct member *m = members_find_spare(r->array);

    CU_ASSERT_EQUAL(array_place_member(r->array, m, role, MEMBER_RECOVERING, false), 0);
    atomic_store(&m->recovered_bytes, recovered_bytes);
    return m;
}

/* A new member has come further than what is resynced before its recovery goes on. */
static void resync_before_recovery(void)
{
    struct rig r;
    static char noise[RIG_CHUNK_BYTES];

    memset(noise, 0x5a, sizeof noise);
    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 1);
    rig_work(&r, 50);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    target_in_role(&r, 1, 4 * MIB);
    rig_stop(&r);
    /* the power goes when a write has come to d0 only */
    CU_ASSERT_EQUAL(rig_assemble(&r, 5, ARRAY_DEGRADED_OK), 0);
    rig_write(&r, MIB, RIG_CHUNK_BYTES, 0);
    rig_crash(&r);
    blockdev_write(r.disks[2].memory, noise, 2 * MIB, sizeof noise, 0);
    CU_ASSERT_EQUAL(rig_assemble(&r, 5, ARRAY_DEGRADED_OK), 0);
    array_sync_pause(r.array, true);
    array_start(r.array);
    co_sleep_ns(1000000);
    array_sync_cancel(r.array);
    array_sync_pause(r.array, false);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    due_now(&r);
    rig_wait(&r, rig_is_whole);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_resync_goes_on_to_new_members(void)
{
    run_in_rt(resync_before_recovery);
}

/* What is given up while a recovery makes its plan is copied, or not in sync. */
static void given_up_meanwhile(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_scribble(&r);
    rig_create(&r, 1, 0, 2, 1);
    for (uint64_t at = 0; at < r.model_bytes; at += MIB / 2)
        rig_write(&r, at, MIB / 2, 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    blockdev_unused(r.dev, MIB, MIB);
    bitmap_log_clean(r.array, true);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    target_in_role(&r, 1, 0);
    fault_add(r.disks[0].fault,
        &(struct fault_rule){
            .kind = BLOCK_WRITE, .offset = 8192, .length = 4096, .times = 1, .hold = true});
    array_start(r.array);
    fault_wait_held(r.disks[0].fault, 1);
    blockdev_unused(r.dev, 2 * MIB, MIB);
    fault_clear(r.disks[0].fault);
    fault_release(r.disks[0].fault);
    rig_wait(&r, rig_is_whole);
    CU_ASSERT(bitmap_log_unsynced(r.array, MIB, MIB));
    CU_ASSERT_EQUAL(rig_count_differing(&r), rig_unsynced(&r) / RIG_CHUNK_BYTES);
    rig_end(&r);
}

static void test_what_is_given_up_while_planning_is_not_forgotten(void)
{
    run_in_rt(given_up_meanwhile);
}

/* A new array that has been synced by hand and never written is clean when it stops. */
static void clean_after_sync(void)
{
    struct md_superblock sb;
    struct rig r;

    rig_init(&r, 2);
    rig_scribble(&r);
    rig_create(&r, 1, 0, 2, 0);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    r.array->dirty = false; /* as after array_create */
    array_start(r.array);
    CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_RESYNC, NULL), 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    rig_stop(&r);
    rig_read_superblock(&r, 0, &sb);
    CU_ASSERT_EQUAL(sb.resync_offset, MD_MAX_SECTOR);
    rig_end(&r);
}

static void test_a_new_array_is_clean_after_a_sync(void)
{
    run_in_rt(clean_after_sync);
}

CU_TestInfo sync_tests[] = {
    {"a resync goes on to new members", test_a_resync_goes_on_to_new_members},
    {"what is given up while planning is not forgotten",
        test_what_is_given_up_while_planning_is_not_forgotten},
    {"a new array is clean after a sync", test_a_new_array_is_clean_after_a_sync},
    CU_TEST_INFO_NULL,
};
