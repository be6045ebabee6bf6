/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order in which an image goes to its file, rule by rule: operations are recorded, and held
 * where somebody must wait for them, or must not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/member.h"
#include "image/entry.h"
#include "rig.h"

extern CU_TestInfo image_order_tests[];

#define CLUSTER UINT64_C(4096)
#define DISK    (UINT64_C(4) << 20)
#define RECORDS 256

static const struct qcow2_plan plan = {.cluster_bits = 12, .standard_l2 = true, .size_bytes = DISK};

struct log {
    struct fault_record records[RECORDS];
    unsigned count;
};

static struct log log_of(struct rig *r)
{
    struct log l;

    l.count = fault_log(r->file, l.records, RECORDS);
    CU_ASSERT(l.count <= RECORDS);
    fault_log_clear(r->file);
    return l;
}

static unsigned count(const struct log *l, enum block_kind kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < l->count; i++)
        n += l->records[i].kind == kind;
    return n;
}

/* The first of the kind that touches the range; as many as there are: none does. */
static unsigned first(const struct log *l, enum block_kind kind, uint64_t offset, uint64_t length)
{
    for (unsigned i = 0; i < l->count; i++) {
        const struct fault_record *e = &l->records[i];

        if (e->kind == kind && (kind == BLOCK_FLUSH ||
                                   (e->offset < offset + length && offset < e->offset + e->length)))
            return i;
    }
    return l->count;
}

static void begin(struct rig *r, uint64_t file_bytes, bool discard)
{
    rig_make(r, &plan, file_bytes);
    r->options.discard = discard;
    r->options.space_wait_ns = UINT64_C(60000000000);
    CU_ASSERT_EQUAL(rig_open(r), 0);
}

static void end(struct rig *r)
{
    CU_ASSERT_EQUAL(rig_close(r), 0);
    rig_expect_whole(r);
    rig_end(r);
}

static int hold(struct rig *r, enum block_kind kind, uint64_t offset, uint64_t length)
{
    return fault_add(r->file,
        &(struct fault_rule){.kind = kind, .offset = offset, .length = length, .hold = true});
}

static void let_go(struct rig *r)
{
    fault_clear(r->file);
    fault_release(r->file);
}

/* In use is what it says before anything is taken. */
static void marked(void)
{
    struct rig r;
    struct log l;

    begin(&r, DISK, false);
    CU_ASSERT_EQUAL(rig_write(&r, 0, CLUSTER, 1), 0);
    l = log_of(&r);
    unsigned mark = first(&l, BLOCK_WRITE, 0, CLUSTER);
    CU_ASSERT_EQUAL(first(&l, BLOCK_FLUSH, 0, 0), mark + 1);
    CU_ASSERT(first(&l, BLOCK_WRITE, CLUSTER, DISK) > mark + 1);
    CU_ASSERT(rig_file_word(&r, 72) & QCOW2_DIRTY);
    end(&r);
}

static void data_before_map(void)
{
    uint64_t data, l1, l2;
    struct task flush;
    struct rig r;
    struct log l;

    begin(&r, DISK, false);
    l1 = rig_l1_offset(&r);
    CU_ASSERT_EQUAL(rig_write(&r, 0, CLUSTER, 1), 0);
    data = rig_place(&r, CLUSTER);
    hold(&r, BLOCK_FLUSH, 0, 0);
    task_start(&flush, &r, BLOCK_FLUSH, 0, 0, 0);
    fault_wait_held(r.file, 1);
    l = log_of(&r);
    CU_ASSERT(first(&l, BLOCK_WRITE, data, CLUSTER) < l.count);
    CU_ASSERT_EQUAL(first(&l, BLOCK_WRITE, l1, CLUSTER), l.count);
    let_go(&r);
    CU_ASSERT_EQUAL(task_end(&flush), 0);
    l = log_of(&r);
    CU_ASSERT(first(&l, BLOCK_WRITE, l1, CLUSTER) > first(&l, BLOCK_FLUSH, 0, 0));

    l2 = rig_file_word(&r, l1) & QCOW2_OFFSET_MASK;
    CU_ASSERT_EQUAL(rig_write(&r, 5 * CLUSTER, CLUSTER, 2), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    l = log_of(&r);
    CU_ASSERT(first(&l, BLOCK_WRITE, l2, CLUSTER) < l.count);
    CU_ASSERT(first(&l, BLOCK_WRITE, l2, CLUSTER) > first(&l, BLOCK_FLUSH, 0, 0));
    CU_ASSERT(first(&l, BLOCK_FLUSH, 0, 0) > 0);
    end(&r);
}

static void quiet_between_flushes(void)
{
    struct rig r;
    struct log l;

    begin(&r, DISK, true);
    CU_ASSERT_EQUAL(rig_write(&r, 0, CLUSTER, 1), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    log_of(&r);
    for (unsigned i = 1; i < 200; i++)
        CU_ASSERT_EQUAL(rig_write(&r, i * CLUSTER, CLUSTER, 1), 0);
    CU_ASSERT_EQUAL(blockdev_discard(r.disk, 0, 50 * CLUSTER), 0);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(r.disk, 300 * CLUSTER, 50 * CLUSTER, 0), 0);
    l = log_of(&r);
    CU_ASSERT_EQUAL(count(&l, BLOCK_WRITE), 199);
    CU_ASSERT_EQUAL(count(&l, BLOCK_FLUSH) + count(&l, BLOCK_DISCARD), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    l = log_of(&r);
    CU_ASSERT_EQUAL(count(&l, BLOCK_FLUSH), 2);
    CU_ASSERT_EQUAL(rig_write(&r, 100 * CLUSTER, CLUSTER, 3), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    l = log_of(&r);
    CU_ASSERT_EQUAL(count(&l, BLOCK_WRITE), 1);
    CU_ASSERT_EQUAL(count(&l, BLOCK_FLUSH), 2);
    end(&r);
}

/* Until there is no cluster left; how many it had. */
static uint64_t fill_up(struct rig *r)
{
    uint64_t n = 0;

    rig_close(r);
    r->options.space_wait_ns = 1;
    CU_ASSERT_EQUAL(rig_open(r), 0);
    while (n < DISK / CLUSTER && !rig_write(r, n * CLUSTER, CLUSTER, 1))
        n++;
    CU_ASSERT(n && n < DISK / CLUSTER);
    CU_ASSERT_EQUAL(rig_close(r), 0);
    r->options.space_wait_ns = UINT64_C(60000000000);
    CU_ASSERT_EQUAL(rig_open(r), 0);
    return n;
}

/* Where the guest's cluster stands in the file. */
static uint64_t host_of(struct rig *r, uint64_t cluster)
{
    uint64_t l2 = rig_file_word(r, rig_l1_offset(r)) & QCOW2_OFFSET_MASK;

    return rig_file_word(r, l2 + 8 * cluster) & QCOW2_OFFSET_MASK;
}

static void map_before_reuse(void)
{
    uint64_t host, l2, n;
    struct task write;
    struct rig r;
    struct log l;

    begin(&r, 64 * CLUSTER, true);
    n = fill_up(&r);
    host = host_of(&r, 3);
    l2 = rig_file_word(&r, rig_l1_offset(&r)) & QCOW2_OFFSET_MASK;
    log_of(&r);
    CU_ASSERT_EQUAL(blockdev_discard(r.disk, 3 * CLUSTER, CLUSTER), 0);
    task_start(&write, &r, BLOCK_WRITE, n * CLUSTER, CLUSTER, 9);
    CU_ASSERT_EQUAL(task_end(&write), 0);
    l = log_of(&r);
    unsigned map = first(&l, BLOCK_WRITE, l2, CLUSTER);
    unsigned discard = first(&l, BLOCK_DISCARD, host, CLUSTER);
    unsigned reuse = first(&l, BLOCK_WRITE, host, CLUSTER);
    CU_ASSERT(map < discard && discard < reuse && reuse < l.count);
    CU_ASSERT(map < l.count && l.records[MIN(map + 1, l.count - 1)].kind == BLOCK_FLUSH);
    CU_ASSERT(rig_reads(&r, n * CLUSTER, CLUSTER, 9));
    CU_ASSERT(rig_reads(&r, 3 * CLUSTER, CLUSTER, 0));
    end(&r);
}

/* A cluster is free, but for one thing that is under way. */
static void reuse_waits(enum block_kind for_what)
{
    struct task read, write;
    uint64_t host, n;
    struct rig r;
    struct log l;

    begin(&r, 64 * CLUSTER, true);
    n = fill_up(&r);
    host = host_of(&r, 3);
    hold(&r, for_what, host, CLUSTER);
    if (for_what == BLOCK_READ) {
        task_start(&read, &r, BLOCK_READ, 3 * CLUSTER, CLUSTER, 0);
        fault_wait_held(r.file, 1);
    }
    CU_ASSERT_EQUAL(blockdev_discard(r.disk, 3 * CLUSTER, CLUSTER), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    if (for_what == BLOCK_DISCARD)
        fault_wait_held(r.file, 1);
    log_of(&r);
    task_start(&write, &r, BLOCK_WRITE, n * CLUSTER, CLUSTER, 9);
    CU_ASSERT_FALSE(task_has_ended(&write));
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    CU_ASSERT(rig_reads(&r, 4 * CLUSTER, CLUSTER, 1));
    l = log_of(&r);
    CU_ASSERT_EQUAL(first(&l, BLOCK_WRITE, host, CLUSTER), l.count);
    let_go(&r);
    CU_ASSERT_EQUAL(task_end(&write), 0);
    CU_ASSERT(rig_reads(&r, n * CLUSTER, CLUSTER, 9));
    if (for_what == BLOCK_READ) {
        co_event_wait(&read.end);
        CU_ASSERT(task_has_read(&read, 1));
        CU_ASSERT_EQUAL(task_end(&read), 0);
    }
    end(&r);
}

static void reuse_after_discard(void)
{
    reuse_waits(BLOCK_DISCARD);
}

static void reuse_after_readers(void)
{
    reuse_waits(BLOCK_READ);
}

/* Somebody has taken the last but one cluster for data; the table has to come from what is left. */
static void no_half_tables(void)
{
    uint64_t span = CLUSTER / 8 * CLUSTER, n;
    struct rig r;

    rig_make(&r, &(struct qcow2_plan){.cluster_bits = 12, .standard_l2 = true, .size_bytes = DISK},
        64 * CLUSTER);
    r.options.space_wait_ns = 1;
    CU_ASSERT_EQUAL(rig_open(&r), 0);
    for (n = 0; !rig_write(&r, n * CLUSTER, CLUSTER, 1); n++)
        ;
    CU_ASSERT_EQUAL(blockdev_discard(r.disk, 0, CLUSTER), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    CU_ASSERT_EQUAL(rig_write(&r, span, CLUSTER, 2), -ENOSPC);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    CU_ASSERT_EQUAL(rig_file_word(&r, rig_l1_offset(&r) + 8), 0);
    CU_ASSERT_EQUAL(rig_faults(&r), 0);
    CU_ASSERT_EQUAL(rig_write(&r, 0, CLUSTER, 3), 0);
    CU_ASSERT(rig_reads(&r, span, CLUSTER, 0));
    end(&r);
}

/* Whatever a writer, or a flush, waits for below. */
static void reads_go_on(void)
{
    struct task write, flush, reads[2], rewrite;
    struct rig r;

    begin(&r, DISK, false);
    CU_ASSERT_EQUAL(rig_write(&r, 0, 2 * CLUSTER, 1), 0);
    hold(&r, BLOCK_WRITE, 0, 0);
    task_start(&write, &r, BLOCK_WRITE, 2 * CLUSTER, CLUSTER / 2, 2);
    fault_wait_held(r.file, 1);
    task_start(&reads[0], &r, BLOCK_READ, 0, CLUSTER, 0);
    task_start(&reads[1], &r, BLOCK_READ, 2 * CLUSTER, CLUSTER, 0);
    for (unsigned i = 0; i < 2; i++) {
        CU_ASSERT(task_has_ended(&reads[i]));
        CU_ASSERT(task_has_read(&reads[i], i ? 0 : 1));
    }
    let_go(&r);
    CU_ASSERT_EQUAL(task_end(&write) + task_end(&reads[0]) + task_end(&reads[1]), 0);

    hold(&r, BLOCK_FLUSH, 0, 0);
    task_start(&flush, &r, BLOCK_FLUSH, 0, 0, 0);
    fault_wait_held(r.file, 1);
    task_start(&reads[0], &r, BLOCK_READ, 0, CLUSTER, 0);
    task_start(&rewrite, &r, BLOCK_WRITE, CLUSTER, CLUSTER, 3);
    task_start(&write, &r, BLOCK_WRITE, 7 * CLUSTER, CLUSTER, 4);
    CU_ASSERT(task_has_ended(&reads[0]));
    CU_ASSERT(task_has_ended(&rewrite));
    CU_ASSERT(task_has_ended(&write));
    CU_ASSERT_FALSE(task_has_ended(&flush));
    let_go(&r);
    CU_ASSERT_EQUAL(
        task_end(&flush) + task_end(&write) + task_end(&reads[0]) + task_end(&rewrite), 0);
    end(&r);
}

/* The name in the image is not opened: what the caller gives is read. */
static void backing_by_volume(void)
{
    struct qcow2_plan named = plan;
    struct blockdev *backing = NULL;
    uint8_t *bytes = malloc(DISK);
    struct rig r;

    memset(bytes, 7, DISK);
    named.backing_name = "/proc/self/exe";
    named.backing_format = "qcow2";
    rig_make(&r, &named, DISK);
    CU_ASSERT_EQUAL(rig_open(&r), -EINVAL);
    CU_ASSERT_EQUAL(member_memory("backing", DISK / 2, 512, &backing), 0);
    CU_ASSERT_EQUAL(blockdev_write(backing, bytes, 0, DISK / 2, 0), 0);
    r.options.backing = backing;
    CU_ASSERT_EQUAL(rig_open(&r), 0);
    CU_ASSERT(rig_reads(&r, 0, DISK / 2, 7));
    CU_ASSERT(rig_reads(&r, DISK / 2, DISK / 2, 0));
    end(&r);
    blockdev_close(backing);
    free(bytes);
}

#define RULE(name)                                                                                 \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        run_in_rt(name);                                                                           \
    }
/* A write is under way when its cluster is zeroed, keeping its place; it must not land on what is
 * written there afterwards. */
static void writes_before_a_zeroing(void)
{
    struct task before, after;
    struct rig r;

    begin(&r, 64 * CLUSTER, false);
    CU_ASSERT_EQUAL(rig_write(&r, 3 * CLUSTER, CLUSTER, 1), 0);
    CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
    hold(&r, BLOCK_WRITE, host_of(&r, 3), CLUSTER);
    task_start(&before, &r, BLOCK_WRITE, 3 * CLUSTER, CLUSTER, 2);
    fault_wait_held(r.file, 1);
    fault_clear(r.file);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(r.disk, 3 * CLUSTER, CLUSTER, 0), 0);
    CU_ASSERT(rig_reads(&r, 3 * CLUSTER, CLUSTER, 0));
    task_start(&after, &r, BLOCK_WRITE, 3 * CLUSTER, CLUSTER, 3);
    CU_ASSERT_FALSE(task_has_ended(&after));
    fault_release(r.file);
    CU_ASSERT_EQUAL(task_end(&before), 0);
    CU_ASSERT_EQUAL(task_end(&after), 0);
    CU_ASSERT(rig_reads(&r, 3 * CLUSTER, CLUSTER, 3));
    end(&r);
}

RULE(marked)
RULE(data_before_map)
RULE(quiet_between_flushes)
RULE(map_before_reuse)
RULE(reuse_after_discard)
RULE(reuse_after_readers)
RULE(no_half_tables)
RULE(reads_go_on)
RULE(backing_by_volume)
RULE(writes_before_a_zeroing)

CU_TestInfo image_order_tests[] = {
    {"in use is durable before anything is taken", test_marked},
    {"data before map", test_data_before_map},
    {"nothing of the map between flushes, two flushes at most", test_quiet_between_flushes},
    {"map before reuse", test_map_before_reuse},
    {"reuse waits for the discard", test_reuse_after_discard},
    {"reuse waits for readers", test_reuse_after_readers},
    {"space for metadata is accounted before a mapping is published", test_no_half_tables},
    {"reads wait for no writer", test_reads_go_on},
    {"backing by volume only", test_backing_by_volume},
    {"writes of before a zeroing do not land after it", test_writes_before_a_zeroing},
    CU_TEST_INFO_NULL,
};
