/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zeroing and discarding RAID5 and RAID6: without writing where whole stripes go, and right
 * everywhere. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"

#define DISK_BYTES (4u << 20)
#define STRIPES    4u /* zeroed as a whole */

static const struct shape {
    int level;
    unsigned members;
} shapes[] = {{5, 4}, {6, 5}};

static uint64_t row_bytes(const struct rig *r)
{
    return r->array->geometry.raid5.data * r->array->geometry.chunk_bytes;
}

static void begin(struct rig *r, const struct shape *s)
{
    rig_init(r, s->members);
    for (unsigned i = 0; i < r->disk_count; i++)
        rig_resize_disk(r, i, DISK_BYTES);
    rig_scribble(r);
    rig_create(r, s->level, RAID5_LAYOUT_LEFT_SYMMETRIC, s->members, 0);
    array_start(r->array);
    for (uint64_t at = 0; at < r->model_bytes; at += row_bytes(r))
        rig_write(r, at, MIN(row_bytes(r), r->model_bytes - at), 0);
    rig_settle(r);
}

static uint64_t count_ops(struct rig *r, enum block_kind kind)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < r->disk_count; i++) {
        struct blockdev_stats stats;
        blockdev_stats(r->disks[i].fault, &stats);
        count += stats.ops[kind];
    }
    return count;
}

/* Takes what P and Q say of the rest as much to task as what is read. */
static void check_all(struct rig *r)
{
    struct array_status *status;

    rig_check(r);
    rig_settle(r);
    CU_ASSERT_EQUAL(array_sync(r->array, ARRAY_CHECK, NULL), 0);
    rig_settle(r);
    status = array_status(r->array);
    CU_ASSERT_EQUAL(status->sync.mismatch_bytes, 0);
    free(status);
}

static void zero(struct rig *r, uint64_t offset, uint64_t length, unsigned flags)
{
    CU_ASSERT_EQUAL(blockdev_write_zeroes(r->dev, offset, length, flags), 0);
    memset(r->model + offset, 0, length);
}

static void whole(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        uint64_t writes, zeroes;
        struct rig r;

        begin(&r, &shapes[i]);
        writes = count_ops(&r, BLOCK_WRITE);
        zeroes = count_ops(&r, BLOCK_WRITE_ZEROES);
        array_sync_pause(r.array, true);
        zero(&r, 2 * row_bytes(&r), STRIPES * row_bytes(&r), BLOCK_FAST);
        CU_ASSERT_EQUAL(count_ops(&r, BLOCK_WRITE_ZEROES) - zeroes, shapes[i].members);
        /* superblocks and the bitmap */
        CU_ASSERT(count_ops(&r, BLOCK_WRITE) - writes <= 3 * shapes[i].members);
        array_sync_pause(r.array, false);
        check_all(&r);
        rig_end(&r);
    }
}

static void parts(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct rig r;

        begin(&r, &shapes[i]);
        CU_ASSERT_EQUAL(blockdev_write_zeroes(r.dev, 512, row_bytes(&r), BLOCK_FAST), -EOPNOTSUPP);
        rig_check(&r);
        zero(&r, 512, row_bytes(&r), 0);
        zero(&r, 3 * row_bytes(&r) - 4096, STRIPES * row_bytes(&r) + 12288, BLOCK_MAY_UNMAP);
        zero(&r, 4096, r.model_bytes - 8192, BLOCK_FAST | BLOCK_FUA);
        check_all(&r);
        rig_end(&r);
    }
}

/* Stripes that have just been written in parts would come back with the next assembly. */
static void logged(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct rig r;

        begin(&r, &shapes[i]);
        for (unsigned stripe = 1; stripe < 12; stripe += 3)
            rig_write(&r, stripe * row_bytes(&r) + 512, 1024, 0);
        zero(&r, 0, 10 * row_bytes(&r), 0);
        rig_crash(&r);
        CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
        rig_check(&r);
        array_start(r.array);
        check_all(&r);
        rig_end(&r);
    }
}

static void degraded(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct rig r;

        begin(&r, &shapes[i]);
        CU_ASSERT_EQUAL(array_fail(r.array, rig_name(1), NULL), 0);
        CU_ASSERT_EQUAL(
            blockdev_write_zeroes(r.dev, 0, STRIPES * row_bytes(&r), BLOCK_FAST), -EOPNOTSUPP);
        zero(&r, row_bytes(&r), STRIPES * row_bytes(&r) + 4096, 0);
        CU_ASSERT_EQUAL(blockdev_discard(r.dev, 0, r.model_bytes), 0); /* nothing is done */
        rig_check(&r);
        rig_end(&r);
    }
}

static void discard(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        uint64_t row;
        struct rig r;

        begin(&r, &shapes[i]);
        row = row_bytes(&r);
        CU_ASSERT_EQUAL(blockdev_discard(r.dev, 512, (STRIPES + 1) * row), 0);
        memset(r.model + row, 0, STRIPES * row);
        CU_ASSERT_EQUAL(blockdev_discard(r.dev, 6 * row + 512, row), 0);
        check_all(&r);
        rig_end(&r);
    }
}

/* A member fails half-way: it is out, and the rest is zeros all the same. */
static void member_fails(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct rig r;

        begin(&r, &shapes[i]);
        rig_break(&r, 2, BLOCK_WRITE_ZEROES, 0, 0, 0);
        zero(&r, 0, STRIPES * row_bytes(&r), 0);
        CU_ASSERT_EQUAL(rig_state(&r, 2), MEMBER_FAULTY);
        rig_check(&r);
        rig_end(&r);
    }
}

static void extents(void)
{
    struct block_extent e;
    struct rig r;

    begin(&r, &shapes[0]);
    CU_ASSERT_EQUAL(blockdev_extents(r.dev, 512, r.model_bytes - 512, &e), 0);
    CU_ASSERT_EQUAL(e.length, RIG_CHUNK_BYTES - 512);
    CU_ASSERT_EQUAL(e.flags, 0);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(0), NULL), 0);
    CU_ASSERT_EQUAL(blockdev_extents(r.dev, 512, r.model_bytes - 512, &e), 0);
    CU_ASSERT_EQUAL(e.length, RIG_CHUNK_BYTES - 512);
    rig_end(&r);
}

#define IN_RT(fn)                                                                                  \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
IN_RT(whole)
IN_RT(parts)
IN_RT(logged)
IN_RT(degraded)
IN_RT(discard)
IN_RT(member_fails)
IN_RT(extents)

CU_TestInfo parity_zero_tests[] = {
    {"whole stripes are zeroed by their members", test_whole},
    {"parts of stripes are written", test_parts},
    {"the log does not undo it", test_logged},
    {"while a member lacks all is written", test_degraded},
    {"a discard takes whole stripes", test_discard},
    {"a member that fails is out", test_member_fails},
    {"extents end at chunks", test_extents},
    CU_TEST_INFO_NULL,
};
