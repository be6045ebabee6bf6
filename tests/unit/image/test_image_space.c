/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running out of space: the owner of the file gives some, gives nothing for a while, gives later.
 * Who needs space waits, not without bounds, all others go on; the state is told once each way; and
 * the map is whole at any time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/entry.h"
#include "rig.h"

extern CU_TestInfo image_space_tests[];

#define CLUSTER  UINT64_C(4096)
#define SPAN     (CLUSTER / 8 * CLUSTER) /* of a table */
#define DISK     (4 * SPAN)
#define FILE_MAX (DISK + (1u << 20))
#define LONG_NS  UINT64_C(60000000000)

struct scene {
    struct rig rig;
    uint64_t limit; /* of the file */
    unsigned refused, began, ended;
    bool starving;
};

static int grow(void *arg, uint64_t size_bytes)
{
    struct scene *s = arg;

    co_yield ();
    s->refused += size_bytes > s->limit;
    if (size_bytes > s->limit)
        return -ENOSPC;
    s->rig.file->size_bytes = round_up(size_bytes, CLUSTER);
    return 0;
}

static void starving(void *arg, bool yes)
{
    struct scene *s = arg;

    CU_ASSERT_NOT_EQUAL(s->starving, yes);
    s->starving = yes;
    s->began += yes;
    s->ended += !yes;
}

static const struct qcow2_file_ops file_ops = {.grow = grow, .starving = starving};

static void begin(struct scene *s, uint64_t limit, uint64_t wait_ns)
{
    const struct qcow2_plan plan = {.cluster_bits = 12, .standard_l2 = true, .size_bytes = DISK};
    struct error err = {0};
    uint64_t bytes = 0;

    *s = (struct scene){.limit = limit};
    rig_make(&s->rig, &plan, FILE_MAX);
    CU_ASSERT_EQUAL(qcow2_plan_bytes(&plan, &bytes, &err), 0);
    s->rig.file->size_bytes = bytes;
    s->rig.options.file_ops = &file_ops;
    s->rig.options.file_arg = s;
    s->rig.options.ahead_bytes = CLUSTER;
    s->rig.options.space_wait_ns = wait_ns;
    CU_ASSERT_EQUAL(rig_open(&s->rig), 0);
}

static void end(struct scene *s)
{
    CU_ASSERT_EQUAL(rig_close(&s->rig), 0);
    CU_ASSERT_FALSE(s->starving);
    rig_expect_whole(&s->rig);
    rig_end(&s->rig);
}

/* More room, and it is told. */
static void give(struct scene *s, uint64_t bytes)
{
    s->limit += bytes;
    qcow2_space_changed(s->rig.q);
}

/* Writes clusters until one has to wait, which goes on as *task. How many were written. */
static uint64_t fill_up(struct scene *s, struct task *task)
{
    for (uint64_t n = 0;; n++) {
        task_start(task, &s->rig, BLOCK_WRITE, n * CLUSTER, CLUSTER, 1);
        if (!task_has_ended(task))
            return n;
        CU_ASSERT_EQUAL(task_end(task), 0);
    }
}

static bool is_starving(struct scene *s)
{
    struct qcow2_status status;

    qcow2_status(s->rig.q, &status);
    CU_ASSERT_EQUAL(status.starving, s->starving);
    return status.starving;
}

/* All but the file's metadata and a little can be written, without anybody waiting for it. */
static void grows(void)
{
    struct scene s;

    begin(&s, FILE_MAX, 1);
    for (uint64_t n = 0; n < 1000; n++)
        CU_ASSERT_EQUAL(rig_write(&s.rig, n * CLUSTER, CLUSTER, 1), 0);
    CU_ASSERT_EQUAL(s.refused + s.began, 0);
    CU_ASSERT(s.rig.file->size_bytes >= 1000 * CLUSTER);
    CU_ASSERT(s.rig.file->size_bytes <= 1200 * CLUSTER);
    end(&s);
}

static void gives_later(void)
{
    struct task tasks[3];
    struct scene s;
    uint64_t n;

    begin(&s, 400 * CLUSTER, LONG_NS);
    n = fill_up(&s, &tasks[0]);
    CU_ASSERT(n > 350 && n < 400);
    CU_ASSERT(is_starving(&s));
    task_start(&tasks[1], &s.rig, BLOCK_WRITE, 2 * SPAN - CLUSTER, 2 * CLUSTER, 2);
    task_start(&tasks[2], &s.rig, BLOCK_WRITE_ZEROES, 3 * SPAN, CLUSTER, 0);
    CU_ASSERT_FALSE(task_has_ended(&tasks[1]));
    give(&s, CLUSTER); /* too little to be worth it */
    CU_ASSERT_FALSE(task_has_ended(&tasks[0]));
    give(&s, 100 * CLUSTER);
    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(task_end(&tasks[i]), 0);
    CU_ASSERT_EQUAL(s.began, 1);
    CU_ASSERT(rig_reads(&s.rig, 0, (n + 1) * CLUSTER, 1));
    CU_ASSERT(rig_reads(&s.rig, 2 * SPAN - CLUSTER, 2 * CLUSTER, 2));
    CU_ASSERT_EQUAL(blockdev_flush(s.rig.disk), 0);
    CU_ASSERT_FALSE(is_starving(&s));
    CU_ASSERT_EQUAL(s.ended, 1);
    end(&s);
}

/* A bounded wait: the write fails, and what was there is there. */
static void gives_nothing(void)
{
    struct scene s;
    uint64_t n = 0;

    begin(&s, 300 * CLUSTER, 1000000);
    while (!rig_write(&s.rig, n * CLUSTER, CLUSTER, 1))
        n++;
    CU_ASSERT(n > 250 && n < 300);
    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(rig_write(&s.rig, (n + i) * CLUSTER, CLUSTER, 2), -ENOSPC);
    CU_ASSERT_EQUAL(rig_write(&s.rig, (n - 3) * CLUSTER, 6 * CLUSTER, 3), -ENOSPC);
    CU_ASSERT_EQUAL(rig_write(&s.rig, 3 * SPAN, CLUSTER, 2), -ENOSPC);
    CU_ASSERT_EQUAL(blockdev_flush(s.rig.disk), 0);
    CU_ASSERT_EQUAL(rig_faults(&s.rig), 0);
    CU_ASSERT(rig_reads(&s.rig, 0, (n - 3) * CLUSTER, 1));
    CU_ASSERT(rig_reads(&s.rig, (n - 3) * CLUSTER, 3 * CLUSTER, 3));
    CU_ASSERT(rig_reads(&s.rig, n * CLUSTER, DISK - n * CLUSTER, 0));
    CU_ASSERT_EQUAL(rig_write(&s.rig, 0, CLUSTER, 4), 0);
    end(&s);
}

/* Reads, rewrites, flushes, discards and zeros of what has its place. */
static void others_go_on(void)
{
    struct task waits, other;
    struct scene s;
    uint64_t n;
    static const struct {
        enum block_kind kind;
        unsigned cluster;
    } others[] = {{BLOCK_READ, 0}, {BLOCK_WRITE, 1}, {BLOCK_FLUSH, 0}, {BLOCK_WRITE_ZEROES, 2}};

    begin(&s, 400 * CLUSTER, LONG_NS);
    n = fill_up(&s, &waits);
    for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
        task_start(&other, &s.rig, others[i].kind, others[i].cluster * CLUSTER, CLUSTER, 5);
        CU_ASSERT(task_has_ended(&other));
        CU_ASSERT_EQUAL(task_end(&other), 0);
    }
    CU_ASSERT_FALSE(task_has_ended(&waits));
    CU_ASSERT_EQUAL(blockdev_discard(s.rig.disk, 10 * CLUSTER, 4 * CLUSTER), 0);
    CU_ASSERT_FALSE(task_has_ended(&waits)); /* not before the freeing is durable */
    CU_ASSERT_EQUAL(blockdev_flush(s.rig.disk), 0);
    CU_ASSERT(task_has_ended(&waits));
    CU_ASSERT_EQUAL(task_end(&waits), 0);
    CU_ASSERT(rig_reads(&s.rig, n * CLUSTER, CLUSTER, 1));
    CU_ASSERT(rig_reads(&s.rig, 10 * CLUSTER, 4 * CLUSTER, 0));
    CU_ASSERT(rig_reads(&s.rig, CLUSTER, CLUSTER, 5));
    end(&s);
}

/* What is freed and not flushed when a write begins to wait: it sees to it itself. */
static void waiter_commits(void)
{
    struct task waits;
    struct scene s;
    uint64_t n;

    begin(&s, 400 * CLUSTER, LONG_NS);
    n = fill_up(&s, &waits);
    give(&s, 16 * CLUSTER);
    CU_ASSERT_EQUAL(task_end(&waits), 0);
    CU_ASSERT_EQUAL(blockdev_discard(s.rig.disk, 0, n * CLUSTER), 0);
    for (uint64_t i = 0; i < n; i++)
        CU_ASSERT_EQUAL(rig_write(&s.rig, (n + 1 + i) * CLUSTER, CLUSTER, 6), 0);
    CU_ASSERT(rig_reads(&s.rig, (n + 1) * CLUSTER, n * CLUSTER, 6));
    end(&s);
}

/* It is closed while the owner has nothing to give. */
static void closed_while_short(void)
{
    struct task waits;
    struct scene s;

    begin(&s, 400 * CLUSTER, 50000000);
    fill_up(&s, &waits);
    CU_ASSERT_EQUAL(task_end(&waits), -ENOSPC);
    end(&s);
    CU_ASSERT_EQUAL(s.began, s.ended);
}

#define RULE(name)                                                                                 \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        run_in_rt(name);                                                                           \
    }
RULE(grows)
RULE(gives_later)
RULE(gives_nothing)
RULE(others_go_on)
RULE(waiter_commits)
RULE(closed_while_short)

CU_TestInfo image_space_tests[] = {
    {"the file grows ahead of need", test_grows},
    {"writes wait, and go on", test_gives_later},
    {"writes do not wait for ever", test_gives_nothing},
    {"all others go on, and free space for who waits", test_others_go_on},
    {"who waits sees to what was freed", test_waiter_commits},
    {"closed without room", test_closed_while_short},
    CU_TEST_INFO_NULL,
};
