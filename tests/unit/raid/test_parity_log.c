/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log against the write hole: what a crash leaves of it, and what it makes of that. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "raid/parity_log.h"
#include "rt/sync.h"

#define PIECE_BYTES 512u
#define LOG_START   (64u << 10) /* on a rig's disk; two halves up to the data */
#define DATA_START  (1u << 20)

struct writer {
    struct rig *r;
    uint64_t offset;
    unsigned times;
    struct co_event done;
};

static void run_writer(void *arg)
{
    struct writer *w = arg;
    static char zeros[PIECE_BYTES];

    while (w->times-- > 0)
        CU_ASSERT_EQUAL(blockdev_write(w->r->dev, zeros, w->offset, sizeof zeros, 0), 0);
    co_event_set(&w->done);
}

/* Writes zeros there, again and again; what the model has there is zero, too. */
static void start_writer(struct writer *w, struct rig *r, uint64_t offset, unsigned times)
{
    *w = (struct writer){.r = r, .offset = offset, .times = times};
    co_event_init(&w->done);
    memset(r->model + offset, 0, PIECE_BYTES);
    CU_ASSERT_EQUAL(co_start("writer", run_writer, w), 0);
}

static void hold_write(struct rig *r, unsigned disk, uint64_t offset)
{
    fault_add(r->disks[disk].fault,
        &(struct fault_rule){
            .kind = BLOCK_WRITE, .offset = offset, .length = PIECE_BYTES, .hold = true});
}

static void begin(struct rig *r, int level, uint32_t layout, unsigned members)
{
    rig_init(r, members);
    rig_create(r, level, layout, members, 0);
    array_start(r->array);
    for (uint64_t at = 0; at < r->model_bytes; at += RIG_CHUNK_BYTES)
        rig_write(r, at, RIG_CHUNK_BYTES, 0);
    rig_settle(r);
    CU_ASSERT_EQUAL(array_sync(r->array, ARRAY_RESYNC, NULL), 0);
    rig_settle(r);
    CU_ASSERT_EQUAL(rig_unsynced(r), 0);
}

/* The log comes round to where the first record is: that is cleared, so that a torn write over it
 * and some of the next leaves none of them. While it is under way, a whole stripe there still needs
 * one. */
static void come_round(void)
{
    static struct fault_record records[1024];
    unsigned first = 0, count;
    struct writer w;
    struct rig r;

    begin(&r, 5, RAID5_LAYOUT_PARITY_LAST, 3);
    rig_write(&r, 0, PIECE_BYTES, 0);
    hold_write(&r, 2, LOG_START);
    fault_log_clear(r.disks[2].fault);
    start_writer(&w, &r, 4 * RIG_CHUNK_BYTES, 1000);
    fault_wait_held(r.disks[2].fault, 1);
    CU_ASSERT(parity_log_has_record(r.array, 0));
    w.times = 0;
    fault_clear(r.disks[2].fault);
    fault_release(r.disks[2].fault);
    co_event_wait(&w.done);
    count = fault_log(r.disks[2].fault, records, ARRAY_LEN(records));
    while (first < MIN(count, (unsigned)ARRAY_LEN(records)) &&
           (records[first].kind != BLOCK_WRITE || records[first].offset != LOG_START))
        first++;
    CU_ASSERT(first < MIN(count, (unsigned)ARRAY_LEN(records)));
    CU_ASSERT_EQUAL(records[first].length, 4096); /* no record is as short */
    CU_ASSERT(records[first].flags & BLOCK_FUA);
    CU_ASSERT_FALSE(parity_log_has_record(r.array, 0));
    rig_check(&r);
    rig_end(&r);
}

static void test_records_count_until_the_next_one_is_there(void)
{
    run_in_rt(come_round);
}

/* Behind the first new record an old one follows, of a stripe that was written without it. */
static void back_again(void)
{
    bool readded = false;
    struct rig r;

    begin(&r, 5, RAID5_LAYOUT_PARITY_LAST, 3);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    array_start(r.array);
    rig_write(&r, 2 * RIG_CHUNK_BYTES, PIECE_BYTES, 0); /* the log's first record */
    rig_write(&r, 0, PIECE_BYTES, 0);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(2), NULL), 0);
    CU_ASSERT_EQUAL(array_remove(r.array, rig_name(2), NULL), 0);
    rig_write(&r, 0, PIECE_BYTES, BLOCK_FUA);
    CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, 2), false, &readded, NULL), 0);
    CU_ASSERT(readded);
    CU_ASSERT(rig_wait(&r, rig_is_whole));
    rig_write(&r, 2 * RIG_CHUNK_BYTES, PIECE_BYTES, 0);
    rig_crash(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_what_a_member_had_in_its_log_is_void_when_it_comes_back(void)
{
    run_in_rt(back_again);
}

/* Of the first stripe parity has been written, and a block of data not yet. */
static void crash_in_first_stripe(struct rig *r, int level, unsigned members)
{
    struct writer w;

    begin(r, level, level == 5 ? RAID5_LAYOUT_LEFT_ASYMMETRIC : RAID5_LAYOUT_PARITY_LAST, members);
    hold_write(r, 0, DATA_START);
    start_writer(&w, r, 0, 1);
    fault_wait_held(r->disks[0].fault, 1);
    rig_crash_holding(r, 0);
    co_event_wait(&w.done);
}

static int assemble_with_unreadable_log(struct rig *r, unsigned mask, unsigned disk)
{
    struct blockdev *devs[RIG_DISKS_MAX];
    unsigned count = 0;
    int rc;

    for (unsigned i = 0; i < r->disk_count; i++)
        if (mask & 1u << i)
            devs[count++] = rig_open(r, i);
    rig_break(r, disk, BLOCK_READ, LOG_START, DATA_START - LOG_START, 0);
    rc = array_assemble(&r->array, devs, count, ARRAY_DEGRADED_OK, NULL);
    if (!rc)
        r->dev = array_blockdev(r->array);
    for (unsigned i = 0; rc && i < count; i++)
        blockdev_close(devs[i]);
    return rc;
}

/* Parity is on the last member here: the one whose log is lost may go, too. */
static void log_of_another(void)
{
    struct rig r;

    crash_in_first_stripe(&r, 5, 3);
    CU_ASSERT_EQUAL(assemble_with_unreadable_log(&r, RIG_ALL(&r), 1), 0);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(1), NULL), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_log_that_cannot_be_read_does_not_hide_the_others(void)
{
    run_in_rt(log_of_another);
}

static void other_parity(void)
{
    struct rig r;

    for (unsigned missing = 0; missing < 2; missing++) {
        crash_in_first_stripe(&r, 6, 4);
        CU_ASSERT_EQUAL(assemble_with_unreadable_log(&r, RIG_ALL(&r) & ~(1u << missing), 3), 0);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_either_log_of_a_stripe_of_raid6_suffices(void)
{
    run_in_rt(other_parity);
}

static void too_few(void)
{
    struct rig r;

    crash_in_first_stripe(&r, 5, 3);
    CU_ASSERT_EQUAL(assemble_with_unreadable_log(&r, 5, 2), -EUCLEAN);
    CU_ASSERT_EQUAL(assemble_with_unreadable_log(&r, 7, 2), 0);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, r.model, 0, PIECE_BYTES), 0); /* old or new */
    rig_check(&r);
    rig_end(&r);
    crash_in_first_stripe(&r, 6, 4);
    CU_ASSERT_EQUAL(assemble_with_unreadable_log(&r, 12, 3), -EUCLEAN);
    CU_ASSERT_EQUAL(assemble_with_unreadable_log(&r, 14, 3), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_it_is_refused_when_neither_log_nor_member_is_left(void)
{
    run_in_rt(too_few);
}

CU_TestInfo parity_log_tests[] = {
    {"records count until the next one is there", test_records_count_until_the_next_one_is_there},
    {"what a member had in its log is void when it comes back",
        test_what_a_member_had_in_its_log_is_void_when_it_comes_back},
    {"a log that cannot be read does not hide the others",
        test_a_log_that_cannot_be_read_does_not_hide_the_others},
    {"either log of a stripe of raid6 suffices", test_either_log_of_a_stripe_of_raid6_suffices},
    {"it is refused when neither log nor member is left",
        test_it_is_refused_when_neither_log_nor_member_is_left},
    CU_TEST_INFO_NULL,
};
