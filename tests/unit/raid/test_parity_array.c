/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RAID5 and RAID6 at work: what is written is read, also without members; parity fits what has been
 * written; members recover. */
#include "rig.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/parity.h"

#define DATA_BYTES (1u << 20)
#define DISK_BYTES (2u << 20)
#define OPS        150u

struct shape {
    int level;
    uint32_t layout;
    unsigned members;
};

static const struct shape shapes[] = {
    {5, RAID5_LAYOUT_LEFT_SYMMETRIC, 3},
    {5, RAID5_LAYOUT_LEFT_ASYMMETRIC, 4},
    {5, RAID5_LAYOUT_RIGHT_SYMMETRIC, 5},
    {5, RAID5_LAYOUT_RIGHT_ASYMMETRIC, 3},
    {5, RAID5_LAYOUT_PARITY_FIRST, 4},
    {5, RAID5_LAYOUT_PARITY_LAST, 3},
    {5, RAID5_LAYOUT_LEFT_SYMMETRIC, 2},
    {6, RAID5_LAYOUT_LEFT_SYMMETRIC, 4},
    {6, RAID5_LAYOUT_LEFT_ASYMMETRIC, 5},
    {6, RAID5_LAYOUT_RIGHT_SYMMETRIC, 6},
    {6, RAID5_LAYOUT_RIGHT_ASYMMETRIC, 5},
    {6, RAID5_LAYOUT_PARITY_FIRST, 4},
    {6, RAID5_LAYOUT_PARITY_LAST, 6},
};

/* Stripes whose parity does not fit, of those that the bitmap calls in sync; all members are there.
 */
static unsigned count_unfit(struct rig *r)
{
    const struct raid_geometry *g = &r->array->geometry;
    const void *blocks[RIG_DISKS_MAX];
    char *memory = malloc(g->raid_disks * g->chunk_bytes);
    unsigned unfit = 0;

    for (uint64_t n = 0; n < g->raid5.stripes; n++) {
        struct raid_stripe stripe = raid_geometry_stripe(g, n);

        if (bitmap_log_unsynced(r->array, n * g->chunk_bytes, g->chunk_bytes))
            continue;
        for (unsigned block = 0; block < g->raid_disks; block++) {
            struct member *m = r->array->roles[raid_stripe_role(g, &stripe, block)];
            unsigned at = block < g->raid5.data ? raid_stripe_exponent(g, &stripe, block) : block;
            char *buf = memory + at * g->chunk_bytes;

            CU_ASSERT_EQUAL(blockdev_read(m->dev, buf, m->data_offset_bytes + n * g->chunk_bytes,
                                g->chunk_bytes),
                0);
            blocks[at] = buf;
        }
        unfit += parity_check(blocks, g->raid5.data, g->parity, g->chunk_bytes) != PARITY_FITS;
    }
    free(memory);
    return unfit;
}

static void begin(struct rig *r, const struct shape *s, unsigned spares)
{
    rig_init(r, s->members + spares);
    for (unsigned i = 0; i < r->disk_count; i++)
        rig_resize_disk(r, i, DISK_BYTES);
    rig_scribble(r);
    rig_create(r, s->level, s->layout, s->members, spares);
    array_start(r->array);
}

/* What has never been written may change when members do. */
static void write_all(struct rig *r)
{
    for (uint64_t at = 0; at < r->model_bytes; at += RIG_CHUNK_BYTES)
        rig_write(r, at, MIN((uint64_t)RIG_CHUNK_BYTES, r->model_bytes - at), 0);
}

static void work(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct rig r;

        begin(&r, &shapes[i], 0);
        rig_work(&r, OPS);
        rig_check(&r);
        rig_settle(&r);
        CU_ASSERT_EQUAL(count_unfit(&r), 0);
        rig_check(&r);
        rig_stop(&r);
        CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_what_is_written_is_read_and_parity_fits(void)
{
    run_in_rt(work);
}

static void sync_all(struct rig *r)
{
    CU_ASSERT_EQUAL(array_sync(r->array, ARRAY_RESYNC, NULL), 0);
    rig_settle(r);
    CU_ASSERT_EQUAL(rig_unsynced(r), 0);
}

static void without(const struct shape *s, unsigned first, unsigned second)
{
    struct rig r;

    begin(&r, s, 0);
    write_all(&r);
    rig_work(&r, OPS / 3);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(first), NULL), 0);
    rig_check(&r);
    rig_work(&r, OPS / 3);
    if (s->level == 6) {
        CU_ASSERT_EQUAL(array_fail(r.array, rig_name(second), NULL), 0);
        rig_check(&r);
        rig_work(&r, OPS / 3);
    }
    rig_check(&r);
    CU_ASSERT_EQUAL(array_fail(r.array,
                        rig_name((second + 1) % s->members == first ? (second + 2) % s->members
                                                                    : (second + 1) % s->members),
                        NULL),
        -EBUSY);
    rig_end(&r);
}

static void degraded(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
        for (unsigned first = 0; first < shapes[i].members; first++)
            without(
                &shapes[i], first, (first + 1 + i % (shapes[i].members - 1)) % shapes[i].members);
}

static void test_missing_members_are_worked_out(void)
{
    run_in_rt(degraded);
}

static void recover(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        unsigned lost = i % shapes[i].members;
        struct rig r;

        begin(&r, &shapes[i], 1);
        write_all(&r);
        rig_work(&r, OPS / 2);
        CU_ASSERT_EQUAL(array_fail(r.array, rig_name(lost), NULL), 0);
        rig_work(&r, OPS / 2);
        CU_ASSERT(rig_wait(&r, rig_is_whole));
        rig_settle(&r);
        rig_check(&r);
        CU_ASSERT_EQUAL(count_unfit(&r), 0);
        /* The new one is read. */
        CU_ASSERT_EQUAL(array_fail(r.array, rig_name((lost + 1) % shapes[i].members), NULL), 0);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_a_spare_recovers(void)
{
    run_in_rt(recover);
}

static void replace(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i += 3) {
        struct rig r;

        begin(&r, &shapes[i], 1);
        write_all(&r);
        rig_work(&r, OPS / 2);
        CU_ASSERT_EQUAL(array_replace(r.array, rig_name(0), NULL, NULL), 0);
        rig_work(&r, OPS / 2);
        CU_ASSERT(rig_wait(&r, rig_is_idle));
        rig_settle(&r);
        CU_ASSERT_EQUAL(rig_state(&r, shapes[i].members), MEMBER_IN_SYNC);
        rig_check(&r);
        CU_ASSERT_EQUAL(count_unfit(&r), 0);
        rig_end(&r);
    }
}

static void test_a_member_is_replaced(void)
{
    run_in_rt(replace);
}

static void correct(void)
{
    struct rig r;
    struct array_status *status;

    begin(&r, &shapes[0], 0);
    write_all(&r);
    /* Once for the guest, once when all of the stripe is read. */
    rig_break(&r, 0, BLOCK_READ, DATA_BYTES, 4096, 2);
    rig_check(&r);
    status = array_status(r.array);
    CU_ASSERT_EQUAL(status->members[0].state, MEMBER_IN_SYNC);
    CU_ASSERT_EQUAL(status->members[0].errors_corrected, 1);
    free(status);
    rig_end(&r);
}

static void test_a_bad_block_is_corrected(void)
{
    run_in_rt(correct);
}

/* Where another way to work parity out does not need the block, it stays what it is. */
static void write_beside(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct raid_stripe stripe;
        struct rig r;

        if (shapes[i].members == 2)
            continue;
        begin(&r, &shapes[i], 0);
        write_all(&r);
        rig_settle(&r);
        stripe = raid_geometry_stripe(&r.array->geometry, 0);
        rig_break(
            &r, raid_stripe_role(&r.array->geometry, &stripe, 1), BLOCK_READ, DATA_BYTES, 4096, 1);
        rig_write(&r, 512, 512, 0);
        rig_check(&r);
        CU_ASSERT_EQUAL(count_unfit(&r), 0);
        rig_end(&r);
    }
}

/* In rows that have never been synced: what is written is there also without its member. */
static void write_beside_unsynced(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct raid_geometry *g;
        struct raid_stripe stripe;
        char back[512];
        struct rig r;

        if (shapes[i].members == 2)
            continue;
        begin(&r, &shapes[i], 0);
        array_sync_pause(r.array, true);
        g = &r.array->geometry;
        stripe = raid_geometry_stripe(g, 0);
        rig_break(&r, raid_stripe_role(g, &stripe, 1), BLOCK_READ, DATA_BYTES, 4096, 1);
        rig_write(&r, 512, 512, 0);
        CU_ASSERT_EQUAL(array_fail(r.array, rig_name(raid_stripe_role(g, &stripe, 0)), NULL), 0);
        CU_ASSERT_EQUAL(blockdev_read(r.dev, back, 512, sizeof back), 0);
        CU_ASSERT_EQUAL(memcmp(back, r.model + 512, sizeof back), 0);
        rig_end(&r);
    }
}

static void test_a_bad_block_beside_what_was_never_synced_is_made_to_fit(void)
{
    run_in_rt(write_beside_unsynced);
}

static void test_a_bad_block_beside_what_is_written_keeps_its_data(void)
{
    run_in_rt(write_beside);
}

/* The write that it failed in has left parity that does not fit: what is missing cannot be told. */
static void fail(void)
{
    const struct raid_geometry *g;
    struct raid_stripe stripe;
    char back[512];
    struct rig r;

    begin(&r, &shapes[1], 0);
    write_all(&r);
    g = &r.array->geometry;
    stripe = raid_geometry_stripe(g, 0);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(raid_stripe_role(g, &stripe, 1)), NULL), 0);
    rig_break(&r, raid_stripe_role(g, &stripe, 0), BLOCK_WRITE, 0, 0, 0);
    memset(back, 1, sizeof back);
    CU_ASSERT_EQUAL(blockdev_write(r.dev, back, 512, sizeof back, 0), -EIO);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, back, RIG_CHUNK_BYTES + 512, sizeof back), -EIO);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, back, 2 * RIG_CHUNK_BYTES, sizeof back), 0);
    CU_ASSERT_EQUAL(memcmp(back, r.model + 2 * RIG_CHUNK_BYTES, sizeof back), 0);
    rig_end(&r);
}

static void test_a_failed_array_does_not_tell_what_is_missing(void)
{
    run_in_rt(fail);
}

static unsigned count_flushes(struct rig *r, unsigned disk)
{
    static struct fault_record records[1024];
    unsigned count = fault_log(r->disks[disk].fault, records, ARRAY_LEN(records)), flushes = 0;

    for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_LEN(records)); i++)
        flushes += records[i].kind == BLOCK_FLUSH;
    return flushes;
}

/* Parity speaks of the neighbours, too, which may stand in their members' caches: after a power cut
 * it would not fit them, and data that was durable be lost with its member. */
static void durable(void)
{
    uint64_t row = shapes[1].members * RIG_CHUNK_BYTES - RIG_CHUNK_BYTES;
    struct raid_stripe stripe;
    unsigned neighbour;
    struct rig r;

    begin(&r, &shapes[1], 0);
    write_all(&r);
    CU_ASSERT_EQUAL(blockdev_flush(r.dev), 0);
    stripe = raid_geometry_stripe(&r.array->geometry, 0);
    neighbour = raid_stripe_role(&r.array->geometry, &stripe, 1);
    fault_log_clear(r.disks[neighbour].fault);
    rig_write(&r, RIG_CHUNK_BYTES, 4096, 0); /* is in the log */
    rig_write(&r, 0, 4096, BLOCK_FUA);
    CU_ASSERT_EQUAL(count_flushes(&r, neighbour), 0);
    rig_write(&r, row, row, 0);
    rig_write(&r, row, 4096, 0);
    rig_write(&r, 0, 4096, BLOCK_FUA);
    CU_ASSERT_EQUAL(count_flushes(&r, neighbour), 0);
    rig_write(&r, row, 4096, BLOCK_FUA);
    CU_ASSERT_EQUAL(count_flushes(&r, neighbour), 1);
    rig_write(&r, row, 4096, BLOCK_FUA);
    CU_ASSERT_EQUAL(count_flushes(&r, neighbour), 1);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(r.dev, 2 * row, row, 0), 0);
    memset(r.model + 2 * row, 0, row);
    rig_write(&r, 2 * row, 4096, BLOCK_FUA);
    CU_ASSERT_EQUAL(count_flushes(&r, neighbour), 2);
    rig_check(&r);
    rig_end(&r);
}

static void test_durable_data_has_durable_neighbours(void)
{
    run_in_rt(durable);
}

/* What it had durably may stand on what others have in their caches. */
static void flushed_first(void)
{
    static struct fault_record records[64];
    unsigned count, flushed = UINT_MAX, recorded = UINT_MAX;
    struct rig r;

    begin(&r, &shapes[0], 0);
    write_all(&r);
    fault_log_clear(r.disks[1].fault);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(0), NULL), 0);
    count = fault_log(r.disks[1].fault, records, ARRAY_LEN(records));
    for (unsigned i = MIN(count, (unsigned)ARRAY_LEN(records)); i-- > 0;)
        if (records[i].kind == BLOCK_FLUSH)
            flushed = i;
        else if (records[i].kind == BLOCK_WRITE && records[i].offset == MD_SUPERBLOCK_OFFSET_BYTES)
            recorded = i;
    CU_ASSERT_NOT_EQUAL(recorded, UINT_MAX);
    CU_ASSERT(flushed < recorded);
    rig_end(&r);
}

static void test_the_others_are_flushed_before_a_failure_is_recorded(void)
{
    run_in_rt(flushed_first);
}

/* In a region that nothing used when its member began to be replaced. What is written stands on the
 * rest of the stripe, too, which is not going to be copied. */
static void replaced_unused(void)
{
    const uint64_t stripe = 49; /* block 0 on d2, 1 on d0 */
    char old[512], new[512];
    struct member *from, *to;
    struct rig r;

    rig_init(&r, 4);
    rig_scribble(&r);
    rig_create(&r, 5, RAID5_LAYOUT_LEFT_SYMMETRIC, 3, 1);
    array_start(r.array);
    array_sync_pause(r.array, true);
    CU_ASSERT_EQUAL(array_replace(r.array, rig_name(0), NULL, NULL), 0);
    rig_write(&r, stripe * 2 * RIG_CHUNK_BYTES, sizeof old, 0);
    from = r.array->roles[0];
    to = r.array->replacements[0];
    CU_ASSERT_PTR_NOT_NULL(to);
    CU_ASSERT_EQUAL(blockdev_read(from->dev, old,
                        from->data_offset_bytes + stripe * RIG_CHUNK_BYTES, sizeof old),
        0);
    CU_ASSERT_EQUAL(
        blockdev_read(to->dev, new, to->data_offset_bytes + stripe * RIG_CHUNK_BYTES, sizeof new),
        0);
    CU_ASSERT_EQUAL(memcmp(old, new, sizeof old), 0);
    rig_check(&r);
    rig_end(&r);
}

static void test_a_replacement_gets_what_new_data_stands_on(void)
{
    run_in_rt(replaced_unused);
}

static void scribble(struct rig *r, unsigned disk, uint64_t offset)
{
    char buf[4096];

    memset(buf, 0x5a, sizeof buf);
    CU_ASSERT_EQUAL(blockdev_write(r->disks[disk].memory, buf, offset, sizeof buf, 0), 0);
}

static uint64_t count_mismatches(struct rig *r)
{
    struct array_status *status;
    uint64_t bytes;

    CU_ASSERT_EQUAL(array_sync(r->array, ARRAY_CHECK, NULL), 0);
    rig_settle(r);
    status = array_status(r->array);
    bytes = status->sync.mismatch_bytes;
    free(status);
    return bytes;
}

static void check_what_is_used(void)
{
    struct rig r;

    begin(&r, &shapes[7], 0);
    sync_all(&r);
    scribble(&r, 2, DATA_BYTES + 8192);
    CU_ASSERT_EQUAL(count_mismatches(&r), 0);
    rig_write(&r, 0, 512, 0);
    CU_ASSERT_EQUAL(count_mismatches(&r), 4096);
    rig_end(&r);
}

static void test_check_leaves_out_what_holds_nothing(void)
{
    run_in_rt(check_what_is_used);
}

static void check(void)
{
    struct rig r;

    begin(&r, &shapes[7], 0);
    write_all(&r);
    sync_all(&r);
    scribble(&r, 2, DATA_BYTES + 8192);
    CU_ASSERT(count_mismatches(&r) >= 4096);
    CU_ASSERT_EQUAL(count_unfit(&r), 1);
    CU_ASSERT_EQUAL(array_sync(r.array, ARRAY_REPAIR, NULL), 0);
    rig_settle(&r);
    CU_ASSERT_EQUAL(count_unfit(&r), 0);
    rig_end(&r);
}

static void test_check_finds_and_repair_mends(void)
{
    run_in_rt(check);
}

/* Each member is missing once. */
static void dirty(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        unsigned missing = i % shapes[i].members;
        struct rig r;

        begin(&r, &shapes[i], 0);
        write_all(&r);
        rig_work(&r, 40);
        rig_crash(&r);
        CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r) & ~(1u << missing), ARRAY_DEGRADED_OK), 0);
        rig_check(&r);
        array_start(r.array);
        rig_work(&r, 40);
        rig_check(&r);
        rig_end(&r);
    }
}

static void test_dirty_and_degraded_starts_by_the_log(void)
{
    run_in_rt(dirty);
}

/* As the kernel leaves it: no microseconds in the superblocks. */
static void forget_tag(struct rig *r, unsigned disk)
{
    char buf[MD_SUPERBLOCK_BYTES];
    struct md_superblock sb;

    CU_ASSERT_EQUAL(
        blockdev_read(r->disks[disk].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf), 0);
    CU_ASSERT_EQUAL(md_superblock_decode(&sb, buf, NULL), 0);
    CU_ASSERT_NOT_EQUAL(sb.utime >> 40, 0);
    sb.utime &= (UINT64_C(1) << 40) - 1;
    md_superblock_encode(&sb, buf);
    CU_ASSERT_EQUAL(
        blockdev_write(r->disks[disk].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf, 0), 0);
}

static void without_log(void)
{
    struct rig r;

    begin(&r, &shapes[0], 0);
    rig_work(&r, 20);
    rig_crash(&r);
    for (unsigned i = 0; i < r.disk_count; i++)
        forget_tag(&r, i);
    CU_ASSERT_EQUAL(rig_assemble(&r, 3, ARRAY_DEGRADED_OK), -EUCLEAN);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    rig_check(&r);
    array_start(r.array);
    rig_settle(&r);
    CU_ASSERT_EQUAL(count_unfit(&r), 0);
    rig_end(&r);
}

static void test_dirty_and_degraded_is_refused_after_somebody_else(void)
{
    run_in_rt(without_log);
}

/* Rows that have never been synced: one is written while a member lacks, then another goes. */
static void never_synced(void)
{
    struct shape s = {6, RAID5_LAYOUT_LEFT_SYMMETRIC, 6};
    char buf[4096], back[4096];
    struct rig r;

    begin(&r, &s, 0);
    array_sync_pause(r.array, true);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(2), NULL), 0);
    memset(buf, 0x77, sizeof buf);
    CU_ASSERT_EQUAL(blockdev_write(r.dev, buf, 0, sizeof buf, 0), 0);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(1), NULL), 0);
    CU_ASSERT_EQUAL(blockdev_read(r.dev, back, 0, sizeof back), 0);
    CU_ASSERT(!memcmp(buf, back, sizeof buf));
    rig_end(&r);
}

static void test_a_row_once_written_fits_although_a_member_lacks(void)
{
    run_in_rt(never_synced);
}

static void come_back(void)
{
    bool readded = false;
    struct rig r;

    begin(&r, &shapes[8], 0);
    CU_ASSERT_EQUAL(array_fail(r.array, rig_name(2), NULL), 0);
    CU_ASSERT_EQUAL(array_remove(r.array, rig_name(2), NULL), 0);
    CU_ASSERT_EQUAL(array_add(r.array, rig_open(&r, 2), false, &readded, NULL), 0);
    CU_ASSERT(readded);
    CU_ASSERT(rig_wait(&r, rig_is_whole));
    rig_end(&r);
}

static void test_a_former_member_comes_back_to_what_was_never_synced(void)
{
    run_in_rt(come_back);
}

struct writer {
    struct rig *r;
    unsigned seed;
    struct wait_group *group;
    int result;
};

static void overlapping_writer(void *arg)
{
    struct writer *w = arg;
    uint64_t random = w->seed;
    char buf[32768];

    for (unsigned i = 0; i < 200 && !w->result; i++) {
        uint64_t length = (1 + random_below(&random, 64)) * UINT64_C(512);
        uint64_t offset = random_below(&random, 1200) * UINT64_C(512);

        memset(buf, (int)random, length);
        w->result = blockdev_write(w->r->dev, buf, offset, length, i % 2 ? BLOCK_STABLE : 0);
    }
    wait_group_done(w->group);
}

static void overlap(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i += 4) {
        struct writer writers[16];
        struct wait_group group;
        struct crew crew;
        struct rig r;

        begin(&r, &shapes[i], 0);
        crew_start(&crew, 3);
        wait_group_init(&group);
        wait_group_add(&group, ARRAY_LEN(writers));
        for (unsigned n = 0; n < ARRAY_LEN(writers); n++) {
            writers[n] = (struct writer){&r, n + 1, &group, 0};
            CU_ASSERT_EQUAL(worker_start(crew.workers[n % crew.count], "writer", overlapping_writer,
                                &writers[n]),
                0);
        }
        wait_group_wait(&group);
        for (unsigned n = 0; n < ARRAY_LEN(writers); n++)
            CU_ASSERT_EQUAL(writers[n].result, 0);
        crew_end(&crew);
        rig_settle(&r);
        CU_ASSERT_EQUAL(count_unfit(&r), 0);
        rig_end(&r);
    }
}

static void test_overlapping_writes_leave_parity_that_fits(void)
{
    run_in_rt(overlap);
}

CU_TestInfo parity_array_tests[] = {
    {"what is written is read, and parity fits", test_what_is_written_is_read_and_parity_fits},
    {"missing members are worked out", test_missing_members_are_worked_out},
    {"a spare recovers", test_a_spare_recovers},
    {"a member is replaced", test_a_member_is_replaced},
    {"a bad block is corrected", test_a_bad_block_is_corrected},
    {"a bad block beside what is written keeps its data",
        test_a_bad_block_beside_what_is_written_keeps_its_data},
    {"a bad block beside what was never synced is made to fit",
        test_a_bad_block_beside_what_was_never_synced_is_made_to_fit},
    {"a failed array does not tell what is missing",
        test_a_failed_array_does_not_tell_what_is_missing},
    {"durable data has durable neighbours", test_durable_data_has_durable_neighbours},
    {"a replacement gets what new data stands on", test_a_replacement_gets_what_new_data_stands_on},
    {"the others are flushed before a failure is recorded",
        test_the_others_are_flushed_before_a_failure_is_recorded},
    {"check finds and repair mends", test_check_finds_and_repair_mends},
    {"check leaves out what holds nothing", test_check_leaves_out_what_holds_nothing},
    {"a row once written fits although a member lacks",
        test_a_row_once_written_fits_although_a_member_lacks},
    {"a former member comes back to what was never synced",
        test_a_former_member_comes_back_to_what_was_never_synced},
    {"dirty and degraded starts by the log", test_dirty_and_degraded_starts_by_the_log},
    {"dirty and degraded is refused after somebody else",
        test_dirty_and_degraded_is_refused_after_somebody_else},
    {"overlapping writes leave parity that fits", test_overlapping_writes_leave_parity_that_fits},
    CU_TEST_INFO_NULL,
};
