/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Life: create, stop, assemble; every level and layout against a flat model. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/member.h"

struct shape {
    const char *name;
    int level;
    uint32_t layout;
    unsigned members;
};

static const struct shape shapes[] = {
    {"raid0", 0, 0, 3},
    {"raid1 of 2", 1, 0, 2},
    {"raid1 of 3", 1, 0, 3},
    {"near2 of 2", 10, RAID10_LAYOUT_NEAR(2), 2},
    {"near2 of 3", 10, RAID10_LAYOUT_NEAR(2), 3},
    {"near2 of 4", 10, RAID10_LAYOUT_NEAR(2), 4},
    {"near3 of 5", 10, RAID10_LAYOUT_NEAR(3), 5},
    {"far2 of 3", 10, RAID10_LAYOUT_FAR(2), 3},
    {"far3 of 5", 10, RAID10_LAYOUT_FAR(3), 5},
    {"offset2 of 4", 10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 4},
    {"offset3 of 5", 10, RAID10_LAYOUT_FAR(3) | RAID10_LAYOUT_OFFSET, 5},
    {"near2 far2 of 4", 10, 0x202, 4},
};

static void work_and_restart(const struct shape *shape)
{
    struct rig r;

    rig_init(&r, shape->members);
    rig_scribble(&r);
    rig_create(&r, shape->level, shape->layout, shape->members, 0);
    array_start(r.array);
    rig_work(&r, 300);
    rig_check(&r);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    rig_check(&r);
    array_start(r.array);
    rig_work(&r, 50);
    rig_settle(&r);
    rig_check(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void every_shape_holds_what_was_written(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
        work_and_restart(&shapes[i]);
}

static void test_every_shape_holds_what_was_written(void)
{
    run_in_rt(every_shape_holds_what_was_written);
}

static void large_blocks(void)
{
    struct rig r;

    rig_init(&r, 5);
    rig_use_4k_blocks(&r);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 4, 1);
    CU_ASSERT_EQUAL(r.dev->logical_block_bytes, 4096);
    array_start(r.array);
    rig_work(&r, 100);
    CU_ASSERT_EQUAL(array_fail(r.array, "d2", NULL), 0);
    rig_work(&r, 100);
    rig_wait(&r, rig_is_whole);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 27, 0), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_members_with_blocks_of_4_kib(void)
{
    run_in_rt(large_blocks);
}

static void one_member_more_than_the_first_time(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 1, 0, 2, 0);
    CU_ASSERT_EQUAL(r.dev->size_bytes, 7 << 20);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 7, 0), -ENODATA);
    CU_ASSERT_EQUAL(rig_assemble(&r, 1, 0), -ENXIO);
    CU_ASSERT_EQUAL(rig_assemble(&r, 1, ARRAY_DEGRADED_OK), 0);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_DEGRADED);
    rig_end(&r);
}

static void test_assembly_wants_all_that_were_there(void)
{
    run_in_rt(one_member_more_than_the_first_time);
}

/* Of three members, each with half of what each other one has: a stale one is needed for what only
 * the missing one has beside it, and has another copy of what the fresh one has. */
static void stale_beside_fresh(void)
{
    struct rig r;

    rig_init(&r, 3);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 3, 0);
    array_start(r.array);
    for (uint64_t at = 0; at < r.model_bytes; at += RIG_CHUNK_BYTES)
        rig_write(&r, at, MIN((uint64_t)RIG_CHUNK_BYTES, r.model_bytes - at), 0);
    rig_settle(&r);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, ARRAY_DEGRADED_OK), 0);
    rig_work(&r, 100);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, 5, ARRAY_FORCE), 0);
    CU_ASSERT(rig_count_differing(&r) > 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), r.model_bytes);
    array_start(r.array);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void test_stale_members_by_force_are_synced(void)
{
    run_in_rt(stale_beside_fresh);
}

static void check_create(struct array_params params, unsigned members, int expected)
{
    struct error err = {0};
    struct rig r;

    rig_init(&r, 4);
    CU_ASSERT_EQUAL(rig_create_plain(&r, &params, members, 0, &err), expected);
    CU_ASSERT_EQUAL(err.code, -expected);
    rig_end(&r);
}

static void bad_parameters(void)
{
    const struct array_params good = {.name = "a", .level = 1};
    struct array_params p = good;

    check_create(p, 2, 0);
    p.name = "a:b";
    check_create(p, 2, -EINVAL);
    p.name = "";
    check_create(p, 2, -EINVAL);
    p = good;
    p.level = 4;
    check_create(p, 4, -EOPNOTSUPP);
    p = good;
    p.member_bytes = 1 << 30;
    check_create(p, 2, -ENOSPC);
    p = (struct array_params){.name = "a", .level = 10, .layout = 0x102, .chunk_bytes = 12345};
    check_create(p, 2, -EINVAL);
}

static void test_create_refuses(void)
{
    run_in_rt(bad_parameters);
}

static void stopped_is_clean(void)
{
    struct array_params params = {.name = "a", .level = 1, .assume_clean = true};
    struct md_superblock sb;
    struct rig r;

    rig_init(&r, 2);
    CU_ASSERT_EQUAL(rig_create_plain(&r, &params, 2, 0, NULL), 0);
    rig_learn(&r);
    rig_read_superblock(&r, 0, &sb);
    CU_ASSERT_EQUAL(sb.resync_offset, MD_MAX_SECTOR);
    CU_ASSERT_EQUAL(sb.events, 0);
    array_start(r.array);
    rig_write(&r, 0, 4096, 0);
    rig_read_superblock(&r, 1, &sb);
    CU_ASSERT_EQUAL(sb.resync_offset, 0);
    CU_ASSERT_EQUAL(sb.events, 1);
    CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_ACTIVE);
    while (rig_array_state(&r) != ARRAY_CLEAN)
        co_sleep_ns(1000000);
    rig_read_superblock(&r, 0, &sb);
    CU_ASSERT_EQUAL(sb.resync_offset, MD_MAX_SECTOR);
    rig_write(&r, 8192, 4096, 0);
    rig_stop(&r);
    rig_read_superblock(&r, 0, &sb);
    CU_ASSERT_EQUAL(sb.resync_offset, MD_MAX_SECTOR);
    rig_end(&r);
}

static void test_superblocks_say_clean_when_idle_and_when_stopped(void)
{
    run_in_rt(stopped_is_clean);
}

static void in_use(void)
{
    struct error err = {0};
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    array_start(r.array);
    CU_ASSERT_EQUAL(blockdev_use(r.dev, false), 0);
    CU_ASSERT_EQUAL(array_stop(r.array, &err), -EBUSY);
    CU_ASSERT_EQUAL(err.code, EBUSY);
    blockdev_unuse(r.dev);
    rig_end(&r);
}

static void test_an_array_in_use_does_not_stop(void)
{
    run_in_rt(in_use);
}

static void destroyed(void)
{
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    CU_ASSERT_EQUAL(array_destroy(r.array, NULL), 0);
    r.array = NULL;
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), -ENODATA);
    rig_end(&r);
}

static void test_nothing_is_left_of_one_destroyed(void)
{
    run_in_rt(destroyed);
}

struct watcher {
    struct array *array;
    unsigned changes;
    int last;
};

static void watch(void *arg)
{
    struct watcher *w = arg;
    uint64_t version = 0;

    while ((w->last = array_wait_change(w->array, &version)) == 0)
        w->changes++;
}

static void watched(void)
{
    struct watcher w = {0};
    struct rig r;

    rig_init(&r, 2);
    rig_create(&r, 1, 0, 2, 0);
    w.array = r.array;
    CU_ASSERT_EQUAL(co_start("watcher", watch, &w), 0);
    co_yield ();
    w.changes = 0;
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", NULL), 0);
    co_yield ();
    CU_ASSERT(w.changes > 0);
    rig_stop(&r);
    CU_ASSERT_EQUAL(w.last, -ESHUTDOWN);
    rig_end(&r);
}

static void test_watchers_see_changes_and_the_end(void)
{
    run_in_rt(watched);
}

CU_TestInfo array_tests[] = {
    {"every shape holds what was written", test_every_shape_holds_what_was_written},
    {"members with blocks of 4 KiB", test_members_with_blocks_of_4_kib},
    {"create refuses", test_create_refuses},
    {"assembly wants all that were there", test_assembly_wants_all_that_were_there},
    {"stale members that stand in by force are synced", test_stale_members_by_force_are_synced},
    {"superblocks say clean when idle and when stopped",
        test_superblocks_say_clean_when_idle_and_when_stopped},
    {"an array in use does not stop", test_an_array_in_use_does_not_stop},
    {"watchers see changes and the end", test_watchers_see_changes_and_the_end},
    {"nothing is left of one destroyed", test_nothing_is_left_of_one_destroyed},
    CU_TEST_INFO_NULL,
};
