/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies that differ: after a crash, where nothing has been synced, and by accident. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"

#define DATA_BYTES (1u << 20)
#define MIB        (UINT64_C(1) << 20)
#define SECOND_NS  UINT64_C(1000000000)

static void fill(struct rig *r)
{
    for (uint64_t at = 0; at < r->model_bytes; at += MIB)
        rig_write(r, at, MIN(MIB, r->model_bytes - at), 0);
}

/* Changes a copy behind the array's back. */
static void damage(struct rig *r, unsigned disk, uint64_t member_offset, uint64_t bytes)
{
    char *buf = malloc(bytes);

    memset(buf, 0x5a, bytes);
    CU_ASSERT_EQUAL(
        blockdev_write(r->disks[disk].memory, buf, DATA_BYTES + member_offset, bytes, 0), 0);
    free(buf);
}

static uint64_t read_bytes(struct rig *r, unsigned disk)
{
    static struct fault_record records[65536];
    unsigned count = fault_log(r->disks[disk].fault, records, ARRAY_LEN(records));
    uint64_t bytes = 0;

    for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_LEN(records)); i++)
        if (records[i].kind == BLOCK_READ && records[i].offset >= DATA_BYTES)
            bytes += records[i].length;
    return bytes;
}

static void start_synced(struct rig *r, int level, uint32_t layout, unsigned members)
{
    rig_init(r, members);
    rig_create(r, level, layout, members, 0);
    array_start(r->array);
    fill(r);
    rig_settle(r);
    rig_stop(r);
    CU_ASSERT_EQUAL(rig_assemble(r, RIG_ALL(r), 0), 0);
    array_start(r->array);
    rig_settle(r);
    CU_ASSERT_EQUAL(rig_unsynced(r), 0);
    CU_ASSERT_EQUAL(rig_count_bits(r, 0), 0);
}

static void crashed(void)
{
    struct rig r;

    start_synced(&r, 1, 0, 2);
    rig_write(&r, 10 * RIG_CHUNK_BYTES, 4096, 0);
    rig_write(&r, 30 * RIG_CHUNK_BYTES, 4096, 0);
    rig_crash(&r);
    /* what the crash left half done, and what is none of its business */
    damage(&r, 1, 10 * RIG_CHUNK_BYTES, 4096);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 2 * RIG_CHUNK_BYTES);
    rig_check(&r);
    fault_log_clear(r.disks[0].fault);
    array_start(r.array);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    CU_ASSERT_EQUAL(read_bytes(&r, 0), 2 * RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void test_after_a_crash_only_marked_chunks_are_synced(void)
{
    run_in_rt(crashed);
}

static void stale_bitmap(void)
{
    uint8_t zeros[4096] = {0};
    struct rig r;

    start_synced(&r, 1, 0, 2);
    rig_write(&r, 10 * RIG_CHUNK_BYTES, 4096, 0);
    rig_crash(&r);
    damage(&r, 1, 70 * RIG_CHUNK_BYTES, 4096);
    for (unsigned i = 0; i < 2; i++)
        blockdev_write(r.disks[i].memory, zeros, 8192, sizeof zeros, 0);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, 0), 0);
    CU_ASSERT_EQUAL(rig_unsynced(&r), r.model_bytes);
    array_start(r.array);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_without_a_bitmap_all_is_synced(void)
{
    run_in_rt(stale_bitmap);
}

static void cleaned(void)
{
    uint64_t bits = 1;
    struct rig r;

    start_synced(&r, 10, RAID10_LAYOUT_NEAR(2), 4);
    rig_write(&r, 10 * RIG_CHUNK_BYTES, 4096, 0);
    CU_ASSERT_EQUAL(rig_count_bits(&r, 3), 1);
    for (unsigned i = 0; i < 60 && bits; i++) {
        co_sleep_ns(SECOND_NS / 10);
        bits = rig_count_bits(&r, 3);
    }
    CU_ASSERT_EQUAL(bits, 0);
    /* the next write has it set again */
    rig_write(&r, 10 * RIG_CHUNK_BYTES, 4096, 0);
    CU_ASSERT_EQUAL(rig_count_bits(&r, 0), 1);
    rig_end(&r);
}

static void test_bits_are_cleared_after_a_while(void)
{
    run_in_rt(cleaned);
}

static void kept_while_degraded(void)
{
    struct rig r;

    start_synced(&r, 1, 0, 2);
    CU_ASSERT_EQUAL(array_fail(r.array, "d0", NULL), 0);
    rig_write(&r, 10 * RIG_CHUNK_BYTES, 4096, 0);
    co_sleep_ns(3 * SECOND_NS);
    CU_ASSERT_EQUAL(rig_count_bits(&r, 1), 1);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_count_bits(&r, 1), 1);
    rig_end(&r);
}

static void test_bits_are_kept_while_a_member_is_missing(void)
{
    run_in_rt(kept_while_degraded);
}

static struct array_sync_status act(struct rig *r, enum array_action action)
{
    struct array_sync_status sync;
    struct array_status *s;

    CU_ASSERT_EQUAL(array_sync(r->array, action, NULL), 0);
    rig_wait(r, rig_is_idle);
    s = array_status(r->array);
    sync = s->sync;
    free(s);
    CU_ASSERT_EQUAL(sync.last_action, action);
    CU_ASSERT_EQUAL(sync.result, 0);
    CU_ASSERT_EQUAL(sync.done_bytes, sync.total_bytes);
    return sync;
}

static void check_and_repair(int level, uint32_t layout, unsigned members)
{
    struct rig r;

    start_synced(&r, level, layout, members);
    CU_ASSERT_EQUAL(act(&r, ARRAY_CHECK).mismatch_bytes, 0);
    damage(&r, members - 1, 3 * RIG_CHUNK_BYTES, 4096);
    damage(&r, members - 1, 9 * RIG_CHUNK_BYTES, 8192);
    CU_ASSERT_EQUAL(act(&r, ARRAY_CHECK).mismatch_bytes, 12288);
    CU_ASSERT_EQUAL(act(&r, ARRAY_CHECK).mismatch_bytes, 12288);
    CU_ASSERT_EQUAL(act(&r, ARRAY_REPAIR).mismatch_bytes, 12288);
    CU_ASSERT_EQUAL(act(&r, ARRAY_CHECK).mismatch_bytes, 0);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void checks(void)
{
    check_and_repair(1, 0, 2);
    check_and_repair(1, 0, 3);
    check_and_repair(10, RAID10_LAYOUT_NEAR(2), 4);
    check_and_repair(10, RAID10_LAYOUT_FAR(2), 4);
}

static void test_check_counts_and_repair_mends(void)
{
    run_in_rt(checks);
}

static void unreadable(void)
{
    struct array_status *s;
    struct rig r;

    start_synced(&r, 1, 0, 2);
    rig_break(&r, 0, BLOCK_READ, DATA_BYTES + 5 * RIG_CHUNK_BYTES, 4096, 1);
    rig_break(&r, 1, BLOCK_READ, DATA_BYTES + 50 * RIG_CHUNK_BYTES, 4096, 1);
    act(&r, ARRAY_CHECK);
    s = array_status(r.array);
    CU_ASSERT_EQUAL(s->members[0].errors_corrected, 1);
    CU_ASSERT_EQUAL(s->members[1].errors_corrected, 1);
    CU_ASSERT_EQUAL(s->missing, 0);
    free(s);
    rig_check(&r);
    rig_end(&r);
}

static void test_check_corrects_what_cannot_be_read(void)
{
    run_in_rt(unreadable);
}

static void wait_until_said_clean(struct rig *r)
{
    struct md_superblock sb = {0};

    for (unsigned i = 0; i < 500 && sb.resync_offset != MD_MAX_SECTOR; i++) {
        co_sleep_ns(SECOND_NS / 100);
        rig_read_superblock(r, 0, &sb);
    }
    CU_ASSERT_EQUAL(sb.resync_offset, MD_MAX_SECTOR);
}

static void all_of_it(void)
{
    struct rig r;

    rig_init(&r, 4);
    rig_scribble(&r);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 4, 0);
    array_start(r.array);
    rig_write(&r, 0, 4096, 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), r.model_bytes - RIG_CHUNK_BYTES);
    while (rig_array_state(&r) != ARRAY_CLEAN)
        co_sleep_ns(SECOND_NS / 100);
    act(&r, ARRAY_RESYNC);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    wait_until_said_clean(&r);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_resync_by_hand_is_of_all(void)
{
    run_in_rt(all_of_it);
}

static void cancelled(void)
{
    struct array_status *s;
    struct error err = {0};
    struct rig r;

    start_synced(&r, 1, 0, 2);
    CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_RECOVERY, &err), -EINVAL);
    array_sync_pause(r.array, true);
    CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_CHECK, NULL), 0);
    CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_CHECK, &err), -EBUSY);
    s = array_status(r.array);
    CU_ASSERT_EQUAL(s->sync.action, ARRAY_CHECK);
    CU_ASSERT(s->sync.paused);
    free(s);
    array_sync_cancel(r.array);
    s = array_status(r.array);
    CU_ASSERT_EQUAL(s->sync.action, ARRAY_IDLE);
    CU_ASSERT_EQUAL(s->sync.result, -ECANCELED);
    free(s);
    array_sync_pause(r.array, false);
    rig_end(&r);
}

static void test_pause_and_cancel(void)
{
    run_in_rt(cancelled);
}

/* --- guests on several workers, while members come and go --- */

struct guest {
    struct rig *r;
    uint64_t random, start, length;
    char *model;
    _Atomic bool *stop;
    struct wait_group *group;
    unsigned wrong;
};

static void guest(void *arg)
{
    struct guest *g = arg;
    char *buf = malloc(32768);

    while (!atomic_load(g->stop)) {
        uint64_t length = (1 + random_below(&g->random, 64)) * UINT64_C(512);
        uint64_t offset =
            random_below(&g->random, (unsigned)((g->length - length) / 512)) * UINT64_C(512);

        if (random_below(&g->random, 2)) {
            memset(g->model + offset, (int)random_below(&g->random, 256), length);
            g->wrong += blockdev_write(g->r->dev, g->model + offset, g->start + offset, length,
                            random_below(&g->random, 2) ? BLOCK_STABLE : 0) != 0;
        } else {
            g->wrong += blockdev_read(g->r->dev, buf, g->start + offset, length) != 0;
            g->wrong += memcmp(buf, g->model + offset, length) != 0;
        }
        co_sleep_ns(100000);
    }
    free(buf);
    wait_group_done(g->group);
}

static void swap_members(struct rig *r)
{
    bool readded;

    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 3; i++) {
            array_fail(r->array, rig_name(i), NULL);
            rig_settle(r);
            CU_ASSERT_EQUAL(array_remove(r->array, rig_name(i), NULL), 0);
            CU_ASSERT_EQUAL(array_add(r->array, rig_open(r, i), false, &readded, NULL), 0);
            rig_settle(r);
        }
}

static void busy_guests(void)
{
    struct guest guests[6];
    struct wait_group group;
    _Atomic bool stop = false;
    struct crew crew;
    struct rig r;

    rig_init(&r, 5);
    rig_create(&r, 10, RAID10_LAYOUT_NEAR(2), 4, 1);
    array_start(r.array);
    fill(&r);
    crew_start(&crew, 3);
    wait_group_init(&group);
    wait_group_add(&group, ARRAY_LEN(guests));
    for (unsigned i = 0; i < ARRAY_LEN(guests); i++) {
        guests[i] = (struct guest){
            &r, i + 1, i * 2 * MIB, 2 * MIB, r.model + i * 2 * MIB, &stop, &group, 0};
        CU_ASSERT_EQUAL(worker_start(crew.workers[i % crew.count], "guest", guest, &guests[i]), 0);
    }
    swap_members(&r);
    atomic_store(&stop, true);
    wait_group_wait(&group);
    crew_end(&crew);
    for (unsigned i = 0; i < ARRAY_LEN(guests); i++)
        CU_ASSERT_EQUAL(guests[i].wrong, 0);
    rig_settle(&r);
    rig_check(&r);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void test_guests_notice_nothing_of_members_that_come_and_go(void)
{
    run_in_rt(busy_guests);
}

CU_TestInfo resync_tests[] = {
    {"after a crash only marked chunks are synced",
        test_after_a_crash_only_marked_chunks_are_synced},
    {"without a bitmap all is synced", test_without_a_bitmap_all_is_synced},
    {"bits are cleared after a while", test_bits_are_cleared_after_a_while},
    {"bits are kept while a member is missing", test_bits_are_kept_while_a_member_is_missing},
    {"check counts and repair mends", test_check_counts_and_repair_mends},
    {"check corrects what cannot be read", test_check_corrects_what_cannot_be_read},
    {"a resync by hand is of all", test_a_resync_by_hand_is_of_all},
    {"pause and cancel", test_pause_and_cancel},
    {"guests notice nothing of members that come and go",
        test_guests_notice_nothing_of_members_that_come_and_go},
    CU_TEST_INFO_NULL,
};
