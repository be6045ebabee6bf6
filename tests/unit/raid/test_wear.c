/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members with many read errors: who is over the budget is replaced, or fails, or stays. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"

#define DISK_BYTES (2u << 20)
#define BUDGET     3u

struct shape {
    int level;
    uint32_t layout;
    unsigned members, lose; /* so many of the first ones can be lost */
};

static const struct shape shapes[] = {
    {1, 0, 3, 2},
    {10, RAID10_LAYOUT_NEAR(2), 4, 1},
    {5, RAID5_LAYOUT_LEFT_SYMMETRIC, 3, 1},
    {6, RAID5_LAYOUT_LEFT_SYMMETRIC, 5, 2},
};

static void begin(struct rig *r, const struct shape *s, unsigned spares)
{
    rig_init(r, s->members + spares + 1);
    for (unsigned i = 0; i < r->disk_count; i++)
        rig_resize_disk(r, i, DISK_BYTES);
    rig_create(r, s->level, s->layout, s->members, spares);
    array_start(r->array);
    for (uint64_t at = 0; at < r->model_bytes; at += RIG_CHUNK_BYTES)
        rig_write(r, at, MIN((uint64_t)RIG_CHUNK_BYTES, r->model_bytes - at), 0);
    rig_settle(r);
    array_set_max_read_errors(r->array, BUDGET);
}

/* So often it cannot be read somewhere, and is corrected. */
static void spoil(struct rig *r, unsigned disk, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        rig_break(r, disk, BLOCK_READ, 0, 0, 1);
        CU_ASSERT_EQUAL(array_sync(r->array, ARRAY_REPAIR, NULL), 0);
        rig_settle(r);
    }
}

static struct array_member_status look(struct rig *r, unsigned disk)
{
    struct array_status *s = array_status(r->array);
    struct array_member_status found = {.state = MEMBER_MISSING};

    CU_ASSERT_EQUAL(s->max_read_errors, BUDGET);
    for (unsigned i = 0; i < s->member_count; i++)
        if (!strcmp(s->members[i].name, rig_name(disk)))
            found = s->members[i];
    free(s);
    return found;
}

static void replaced(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        const struct shape *s = &shapes[n];
        struct rig r;

        begin(&r, s, 1);
        spoil(&r, 1, BUDGET);
        CU_ASSERT_EQUAL(look(&r, 1).errors_recent, BUDGET);
        CU_ASSERT_EQUAL(look(&r, 1).errors_corrected, BUDGET);
        CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_IN_SYNC);
        CU_ASSERT_EQUAL(rig_state(&r, s->members), MEMBER_SPARE);
        spoil(&r, 1, 1);
        CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_FAULTY);
        CU_ASSERT_EQUAL(rig_state(&r, s->members), MEMBER_IN_SYNC);
        CU_ASSERT_EQUAL(rig_array_state(&r) == ARRAY_DEGRADED, false);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_a_worn_member_is_replaced_by_a_spare(void)
{
    run_in_rt(replaced);
}

/* It serves until the spare has taken over. */
static void serving(void)
{
    struct rig r;

    begin(&r, &shapes[0], 1);
    spoil(&r, 1, BUDGET);
    fault_add(r.disks[3].fault,
        &(struct fault_rule){
            .kind = BLOCK_WRITE, .offset = 1 << 20, .length = 1 << 20, .hold = true});
    rig_break(&r, 1, BLOCK_READ, 0, 0, 1);
    CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_REPAIR, NULL), 0);
    fault_wait_held(r.disks[3].fault, 1);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 3), MEMBER_REPLACING);
    fault_clear(r.disks[3].fault);
    fault_release(r.disks[3].fault);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_FAULTY);
    rig_end(&r);
}

static void test_it_serves_until_then(void)
{
    run_in_rt(serving);
}

static void fails(void)
{
    for (unsigned n = 0; n < ARRAY_LEN(shapes); n++) {
        struct rig r;

        begin(&r, &shapes[n], 0);
        for (unsigned i = 0; i < shapes[n].lose; i++) {
            spoil(&r, i, BUDGET + 1);
            CU_ASSERT_EQUAL(rig_state(&r, i), MEMBER_FAULTY);
            CU_ASSERT_EQUAL(rig_array_state(&r), ARRAY_DEGRADED);
        }
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_without_a_spare_it_fails(void)
{
    run_in_rt(fails);
}

/* The last that holds some data; a spare that comes is for who is missing first. */
static void stays(void)
{
    static const struct shape mirror = {1, 0, 2, 1};
    bool readded;
    struct rig r;

    begin(&r, &mirror, 0);
    spoil(&r, 0, BUDGET);
    CU_ASSERT_EQUAL(array_fail(r.array, "d1", NULL), 0);
    array_set_max_read_errors(r.array, 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_IN_SYNC);
    array_set_max_read_errors(r.array, BUDGET - 1);
    rig_settle(&r);
    rig_check(&r);
    rig_work(&r, 20);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, 2), false, &readded, NULL), 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_FAULTY);
    rig_check(&r);
    rig_end(&r);
}

static void test_what_the_array_cannot_do_without_stays(void)
{
    run_in_rt(stays);
}

static void lowered(void)
{
    struct rig r;

    begin(&r, &shapes[2], 1);
    spoil(&r, 2, BUDGET);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_IN_SYNC);
    array_set_max_read_errors(r.array, BUDGET - 1);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(rig_state(&r, 3), MEMBER_IN_SYNC);
    rig_end(&r);
}

static void test_the_budget_may_be_lowered(void)
{
    run_in_rt(lowered);
}

/* Two are worn, and there is one spare: the other one stays as long as the first is replaced. */
static void one_after_the_other(void)
{
    struct rig r;

    begin(&r, &shapes[2], 1);
    spoil(&r, 0, BUDGET);
    spoil(&r, 1, BUDGET);
    array_sync_pause(r.array, true);
    array_set_max_read_errors(r.array, BUDGET - 1);
    while (!r.array->sync.target_count)
        co_sleep_ns(1000000);
    co_sleep_ns(50000000);
    CU_ASSERT_EQUAL(rig_state(&r, 3), MEMBER_REPLACING);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_IN_SYNC);
    array_sync_pause(r.array, false);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 3), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 0), MEMBER_FAULTY);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_FAULTY);
    rig_check(&r);
    rig_end(&r);
}

static void test_none_fails_while_another_is_replaced(void)
{
    run_in_rt(one_after_the_other);
}

static void forgiven(void)
{
    struct rig r;

    begin(&r, &shapes[0], 1);
    spoil(&r, 1, BUDGET);
    array_sync_pause(r.array, true);
    array_set_max_read_errors(r.array, BUDGET - 1);
    while (!r.array->sync.target_count)
        co_sleep_ns(1000000);
    array_sync_cancel(r.array);
    array_sync_pause(r.array, false);
    array_set_max_read_errors(r.array, BUDGET);
    rig_settle(&r);
    CU_ASSERT_EQUAL(rig_state(&r, 1), MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(rig_state(&r, 3), MEMBER_SPARE);
    CU_ASSERT_EQUAL(look(&r, 1).errors_recent, 0);
    CU_ASSERT_EQUAL(look(&r, 1).errors_corrected, BUDGET);
    rig_end(&r);
}

static void test_cancelling_the_replacement_forgives(void)
{
    run_in_rt(forgiven);
}

/* A block that cannot be read when a part of its stripe is written. */
static void written(void)
{
    for (unsigned n = 2; n < ARRAY_LEN(shapes); n++) {
        struct raid_stripe stripe;
        unsigned role;
        struct rig r;

        begin(&r, &shapes[n], 0);
        stripe = raid_geometry_stripe(&r.array->geometry, 0);
        role = raid_stripe_role(&r.array->geometry, &stripe, stripe.p == 0 ? 0 : 1);
        rig_break(&r, role, BLOCK_READ, 0, 0, 1);
        for (unsigned block = 0; block < r.array->geometry.raid5.data; block++)
            rig_write(&r, block * RIG_CHUNK_BYTES, 512, 0);
        CU_ASSERT_EQUAL(look(&r, role).errors, 1);
        CU_ASSERT_EQUAL(look(&r, role).errors_corrected, 1);
        CU_ASSERT_EQUAL(look(&r, role).errors_recent, 1);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_what_a_write_corrects_counts(void)
{
    run_in_rt(written);
}

CU_TestInfo wear_tests[] = {
    {"a worn member is replaced by a spare", test_a_worn_member_is_replaced_by_a_spare},
    {"it serves until then", test_it_serves_until_then},
    {"without a spare it fails", test_without_a_spare_it_fails},
    {"what the array cannot do without stays", test_what_the_array_cannot_do_without_stays},
    {"the budget may be lowered", test_the_budget_may_be_lowered},
    {"none fails while another is replaced", test_none_fails_while_another_is_replaced},
    {"cancelling the replacement forgives", test_cancelling_the_replacement_forgives},
    {"what a write corrects counts", test_what_a_write_corrects_counts},
    CU_TEST_INFO_NULL,
};
