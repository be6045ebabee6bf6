/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log against the write hole: what a crash leaves of it, and what it makes of that. */
#include "rig.h"

#include <string.h>

#include "rt/sync.h"

#define PIECE_BYTES 512u
#define LOG_START   (64u << 10) /* on a rig's disk; two halves up to the data */

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

/* The log comes round to where the first record is; the write over that is still under way. */
static void come_round(void)
{
    struct writer w;
    struct rig r;

    begin(&r, 5, RAID5_LAYOUT_PARITY_LAST, 3);
    rig_write(&r, 0, PIECE_BYTES, 0);
    hold_write(&r, 2, LOG_START);
    start_writer(&w, &r, 4 * RIG_CHUNK_BYTES, 1000);
    fault_wait_held(r.disks[2].fault, 1);
    rig_write(&r, 0, 2 * RIG_CHUNK_BYTES, BLOCK_FUA);
    w.times = 0;
    rig_crash_holding(&r, 2);
    co_event_wait(&w.done);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_records_count_until_the_next_one_is_there(void)
{
    run_in_rt(come_round);
}

CU_TestInfo parity_log_tests[] = {
    {"records count until the next one is there", test_records_count_until_the_next_one_is_there},
    CU_TEST_INFO_NULL,
};
