/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a check finds: the list of it, and arrays whose members are changed behind their back. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/mismatch.h"

extern CU_TestInfo mismatch_tests[];

#define DATA_BYTES (1u << 20)
#define DISK_BYTES (2u << 20)
#define BLOCK      UINT64_C(4096)

/* --- the list --- */

static void add(struct array_mismatches *l, uint64_t block, int role)
{
    struct array_mismatch m = {.offset_bytes = block * BLOCK,
        .length_bytes = BLOCK,
        .count = 1,
        .wrong = ARRAY_WRONG_DATA,
        .suspects = 1,
        .roles = {role}};

    mismatches_add(l, &m);
}

static void expect(
    const struct array_mismatches *l, unsigned i, uint64_t block, uint64_t blocks, int role)
{
    CU_ASSERT_EQUAL(l->items[i].offset_bytes, block * BLOCK);
    CU_ASSERT_EQUAL(l->items[i].length_bytes, blocks * BLOCK);
    CU_ASSERT_EQUAL(l->items[i].roles[0], role);
}

static void test_neighbours_are_one(void)
{
    struct array_mismatches *l = mismatches_new(3), *sorted;

    mismatches_clear(l, 7, ARRAY_CHECK);
    add(l, 10, 1);
    add(l, 12, 1);
    add(l, 13, 1);
    add(l, 11, 2);
    add(l, 11, 1); /* joins both */
    add(l, 9, 1);
    add(l, 3, 0);
    sorted = mismatches_copy(l);
    CU_ASSERT_EQUAL(sorted->count, 3);
    expect(sorted, 0, 3, 1, 0);
    expect(sorted, 1, 9, 5, 1);
    expect(sorted, 2, 11, 1, 2);
    CU_ASSERT_EQUAL(sorted->sync_id, 7);
    CU_ASSERT(!sorted->more);
    free(sorted);
    free(l);
}

static void test_a_full_list_says_so(void)
{
    struct array_mismatches *l = mismatches_new(3);

    for (unsigned i = 0; i < ARRAY_MISMATCHES_MAX; i++)
        add(l, UINT64_C(2) * i, 1);
    CU_ASSERT(!l->more);
    add(l, 1, 1); /* joins two */
    add(l, 1000, 1);
    CU_ASSERT(!l->more);
    add(l, 1002, 1);
    CU_ASSERT_EQUAL(l->count, ARRAY_MISMATCHES_MAX);
    CU_ASSERT(l->more);
    mismatches_clear(l, 8, ARRAY_REPAIR);
    CU_ASSERT_EQUAL(l->count, 0);
    CU_ASSERT(!l->more);
    free(l);
}

/* --- arrays --- */

static void begin(struct rig *r, int level, uint32_t layout, unsigned members)
{
    rig_init(r, members);
    for (unsigned i = 0; i < members; i++)
        rig_resize_disk(r, i, DISK_BYTES);
    rig_create(r, level, layout, members, 0);
    array_start(r->array);
    for (uint64_t at = 0; at < r->model_bytes; at += RIG_CHUNK_BYTES)
        rig_write(r, at, MIN((uint64_t)RIG_CHUNK_BYTES, r->model_bytes - at), 0);
    rig_settle(r);
    CU_ASSERT_EQUAL(rig_unsynced(r), 0);
}

static struct array_mismatches *act(struct rig *r, enum array_action action)
{
    struct array_mismatches *l;

    CU_ASSERT_EQUAL(array_sync(r->array, action, NULL), 0);
    rig_settle(r);
    l = array_mismatches(r->array);
    CU_ASSERT_EQUAL(l->action, action);
    CU_ASSERT(!l->more);
    return l;
}

static void expect_none(struct rig *r)
{
    struct array_mismatches *l = act(r, ARRAY_CHECK);

    CU_ASSERT_EQUAL(l->count, 0);
    free(l);
}

/* Changes a few bytes, here and there, of one block. */
static void damage(struct rig *r, unsigned disk, uint64_t member_offset, uint8_t seed)
{
    uint8_t buf[BLOCK];

    blockdev_read(r->disks[disk].memory, buf, DATA_BYTES + member_offset, sizeof buf);
    for (unsigned i = 0; i < 5; i++)
        buf[i * 777] ^= (uint8_t)(seed + i) | 1;
    blockdev_write(r->disks[disk].memory, buf, DATA_BYTES + member_offset, sizeof buf, 0);
}

static const uint32_t raid6_layouts[] = {
    RAID5_LAYOUT_LEFT_SYMMETRIC,
    RAID5_LAYOUT_LEFT_ASYMMETRIC,
    RAID5_LAYOUT_RIGHT_SYMMETRIC,
    RAID5_LAYOUT_RIGHT_ASYMMETRIC,
    RAID5_LAYOUT_PARITY_FIRST,
    RAID5_LAYOUT_PARITY_LAST,
    RAID5_LAYOUT_LEFT_SYMMETRIC | RAID6_LAYOUT_Q_LAST,
    RAID5_LAYOUT_LEFT_ASYMMETRIC | RAID6_LAYOUT_Q_LAST,
    RAID5_LAYOUT_RIGHT_SYMMETRIC | RAID6_LAYOUT_Q_LAST,
    RAID5_LAYOUT_RIGHT_ASYMMETRIC | RAID6_LAYOUT_Q_LAST,
    RAID5_LAYOUT_PARITY_FIRST | RAID6_LAYOUT_Q_LAST,
};

/* In each stripe another member is wrong. */
static uint64_t place_of(const struct rig *r, uint64_t stripe, unsigned turn, unsigned *role)
{
    *role = (unsigned)((stripe + turn) % r->disk_count);
    return stripe * RIG_CHUNK_BYTES + stripe % 16 * BLOCK;
}

static void expect_named(struct rig *r, const struct array_mismatches *l, unsigned turn)
{
    const struct raid_geometry *g = &r->array->geometry;

    CU_ASSERT_EQUAL_FATAL(l->count, g->raid5.stripes);
    for (unsigned i = 0; i < l->count; i++) {
        const struct array_mismatch *m = &l->items[i];
        uint64_t offset, run, at;
        unsigned role, copy;

        at = place_of(r, i, turn, &role);
        raid_geometry_unmap(g, role, at, &offset, &copy, &run);
        CU_ASSERT_EQUAL(m->length_bytes, BLOCK);
        CU_ASSERT_EQUAL(m->suspects, 1);
        CU_ASSERT_EQUAL(m->roles[0], (int)role);
        CU_ASSERT_STRING_EQUAL(l->members[role], rig_name(role));
        CU_ASSERT_EQUAL(m->wrong, copy ? ARRAY_WRONG_PARITY : ARRAY_WRONG_DATA);
        CU_ASSERT_EQUAL(m->offset_bytes, copy ? offset + at % RIG_CHUNK_BYTES : offset);
        CU_ASSERT_EQUAL(m->count, copy ? g->raid5.data : 1);
    }
}

static void raid6(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(raid6_layouts); i++) {
        unsigned members = 5 + i % 3;
        struct rig r;

        begin(&r, 6, raid6_layouts[i], members);
        expect_none(&r);
        for (unsigned turn = 0; turn < members; turn++) {
            struct array_mismatches *l;
            for (uint64_t n = 0; n < r.array->geometry.raid5.stripes; n++) {
                unsigned role;
                uint64_t at = place_of(&r, n, turn, &role);
                damage(&r, role, at, (uint8_t)(n + turn));
            }
            l = act(&r, ARRAY_CHECK);
            expect_named(&r, l, turn);
            free(l);
            free(act(&r, ARRAY_REPAIR));
            expect_none(&r);
            rig_check(&r);
        }
        rig_end(&r);
    }
}

static void test_raid6_names_the_member_and_repair_brings_data_back(void)
{
    run_in_rt(raid6);
}

/* Two blocks of a stripe; and one of RAID5, or with a member missing. */
static void not_known(void)
{
    const struct array_mismatch *m;
    struct array_mismatches *l;
    struct rig r;

    begin(&r, 6, RAID5_LAYOUT_LEFT_SYMMETRIC, 6);
    damage(&r, 1, 2 * RIG_CHUNK_BYTES + BLOCK, 3);
    damage(&r, 4, 2 * RIG_CHUNK_BYTES + BLOCK, 9);
    l = act(&r, ARRAY_CHECK);
    m = &l->items[0];
    CU_ASSERT_EQUAL(l->count, 1);
    CU_ASSERT_EQUAL(m->suspects, 0);
    CU_ASSERT_EQUAL(m->wrong, ARRAY_WRONG_UNKNOWN);
    CU_ASSERT_EQUAL(m->offset_bytes, UINT64_C(2) * 4 * RIG_CHUNK_BYTES + BLOCK);
    CU_ASSERT_EQUAL(m->stride_bytes, RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(m->count, 4);
    free(l);
    free(act(&r, ARRAY_REPAIR));
    expect_none(&r);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(0), NULL), 0);
    damage(&r, 3, 0, 3);
    l = act(&r, ARRAY_CHECK);
    CU_ASSERT_EQUAL(l->count, 1);
    CU_ASSERT_EQUAL(l->items[0].suspects, 0);
    free(l);
    rig_end(&r);

    begin(&r, 5, RAID5_LAYOUT_LEFT_SYMMETRIC, 4);
    damage(&r, 0, RIG_CHUNK_BYTES, 3);
    damage(&r, 3, RIG_CHUNK_BYTES + BLOCK, 3);
    l = act(&r, ARRAY_CHECK);
    CU_ASSERT_EQUAL(l->count, 1);
    CU_ASSERT_EQUAL(l->items[0].suspects, 0);
    CU_ASSERT_EQUAL(l->items[0].offset_bytes, 3 * RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(l->items[0].length_bytes, 2 * BLOCK);
    free(l);
    free(act(&r, ARRAY_REPAIR));
    expect_none(&r);
    rig_end(&r);
}

static void test_what_cannot_be_told_is_not_named(void)
{
    run_in_rt(not_known);
}

static void expect_copy(const struct array_mismatches *l, unsigned i, uint64_t offset, int role)
{
    CU_ASSERT_EQUAL(l->items[i].offset_bytes, offset);
    CU_ASSERT_EQUAL(l->items[i].wrong, ARRAY_WRONG_DATA);
    CU_ASSERT_EQUAL(l->items[i].suspects, 1);
    CU_ASSERT_EQUAL(l->items[i].roles[0], role);
}

/* The first copy is wrong, then the last, then two of five, each with something else. */
static void majority(void)
{
    struct array_mismatches *l;
    struct rig r;

    begin(&r, 1, 0, 5);
    damage(&r, 0, 3 * BLOCK, 1);
    damage(&r, 4, 9 * BLOCK, 1);
    damage(&r, 4, 10 * BLOCK, 1);
    damage(&r, 0, 20 * BLOCK, 1);
    damage(&r, 2, 20 * BLOCK, 5);
    l = act(&r, ARRAY_CHECK);
    CU_ASSERT_EQUAL(l->count, 4);
    expect_copy(l, 0, 3 * BLOCK, 0);
    expect_copy(l, 1, 9 * BLOCK, 4);
    CU_ASSERT_EQUAL(l->items[1].length_bytes, 2 * BLOCK);
    expect_copy(l, 2, 20 * BLOCK, 0);
    expect_copy(l, 3, 20 * BLOCK, 2);
    free(l);
    free(act(&r, ARRAY_REPAIR));
    expect_none(&r);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_majority_of_copies_tells(void)
{
    run_in_rt(majority);
}

static void two_copies(void)
{
    struct array_mismatches *l;
    struct rig r;

    begin(&r, 10, RAID10_LAYOUT_NEAR(2), 4);
    damage(&r, 3, RIG_CHUNK_BYTES, 1);
    l = act(&r, ARRAY_CHECK);
    CU_ASSERT_EQUAL(l->count, 1);
    CU_ASSERT_EQUAL(l->items[0].offset_bytes, 3 * RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(l->items[0].wrong, ARRAY_WRONG_UNKNOWN);
    CU_ASSERT_EQUAL(l->items[0].suspects, 2);
    CU_ASSERT_EQUAL(l->items[0].roles[0], 2);
    CU_ASSERT_EQUAL(l->items[0].roles[1], 3);
    free(l);
    rig_end(&r);
}

static void test_of_two_copies_both_are_named(void)
{
    run_in_rt(two_copies);
}

/* A block that cannot be read gets what the majority says, and no vote. */
static void unreadable(void)
{
    struct array_mismatches *l;
    struct rig r;

    begin(&r, 1, 0, 4);
    damage(&r, 0, 3 * BLOCK, 1);
    rig_break(&r, 2, BLOCK_READ, DATA_BYTES, 4 * BLOCK, 1);
    l = act(&r, ARRAY_CHECK);
    CU_ASSERT_EQUAL(l->count, 1);
    expect_copy(l, 0, 3 * BLOCK, 0);
    free(l);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(0), NULL), 0);
    expect_none(&r);
    rig_end(&r);

    begin(&r, 6, RAID5_LAYOUT_LEFT_SYMMETRIC, 5);
    rig_break(&r, 2, BLOCK_READ, DATA_BYTES, 4 * BLOCK, 1);
    expect_none(&r);
    CU_ASSERT_EQUAL(atomic_load(&r.array->roles[2]->errors_corrected), 1);
    rig_end(&r);
}

static void test_what_cannot_be_read_is_corrected_and_no_mismatch(void)
{
    run_in_rt(unreadable);
}

CU_TestInfo mismatch_tests[] = {
    {"neighbours are one", test_neighbours_are_one},
    {"a full list says so", test_a_full_list_says_so},
    {"RAID6 names the member, and repair brings data back",
        test_raid6_names_the_member_and_repair_brings_data_back},
    {"what cannot be told is not named", test_what_cannot_be_told_is_not_named},
    {"a majority of copies tells", test_a_majority_of_copies_tells},
    {"of two copies both are named", test_of_two_copies_both_are_named},
    {"what cannot be read is corrected, and no mismatch",
        test_what_cannot_be_read_is_corrected_and_no_mismatch},
    CU_TEST_INFO_NULL,
};
