/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images that were full and are nearly empty: they become short, and read as before. */
#include "image/compact.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "block/member.h"
#include "image/check.h"

#define FILE_BYTES (64u << 20)
#define DISK_BYTES (16u << 20)
#define PIECE      (32u << 10)
#define PIECES     (DISK_BYTES / PIECE)

struct scene {
    struct blockdev *file;
    struct qcow2 *q;
    uint8_t now[PIECES]; /* what each is filled with */
    uint64_t random;
    uint64_t cut_bytes; /* what the file was to be cut to; 0: never */
    unsigned told;
    bool stop, cancel;
    struct wait_group group;
};

static int cut_file(void *arg, uint64_t size_bytes)
{
    struct scene *s = arg;

    s->cut_bytes = size_bytes;
    return 0;
}

static void open_image(struct scene *s)
{
    static const struct qcow2_file_ops ops = {.shrink = cut_file};
    struct qcow2_options options = {.ahead_bytes = 1 << 20, .file_ops = &ops, .file_arg = s};
    struct error err = {0};

    CU_ASSERT_EQUAL(qcow2_open(&s->q, s->file, "image", &options, &err), 0);
}

static void drop(struct scene *s, unsigned piece, unsigned count)
{
    CU_ASSERT_EQUAL(
        blockdev_discard(qcow2_blockdev(s->q), (uint64_t)piece * PIECE, (uint64_t)count * PIECE),
        0);
    memset(s->now + piece, 0, count);
}

static void put(struct scene *s, unsigned piece, uint8_t with)
{
    uint8_t *buf = malloc(PIECE);

    memset(buf, with, PIECE);
    CU_ASSERT_EQUAL(
        blockdev_write(qcow2_blockdev(s->q), buf, (uint64_t)piece * PIECE, PIECE, 0), 0);
    s->now[piece] = with;
    free(buf);
}

static void compare(struct scene *s)
{
    uint8_t *buf = malloc(PIECE);
    unsigned wrong = 0;

    for (unsigned i = 0; i < PIECES; i++) {
        CU_ASSERT_EQUAL(blockdev_read(qcow2_blockdev(s->q), buf, (uint64_t)i * PIECE, PIECE), 0);
        for (unsigned k = 0; k < PIECE; k++)
            wrong += buf[k] != s->now[i];
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(buf);
}

static void close_and_check(struct scene *s)
{
    struct check_result *r = calloc(1, sizeof *r);
    struct error err = {0};

    CU_ASSERT_EQUAL(qcow2_close(s->q), 0);
    CU_ASSERT_EQUAL(qcow2_check(s->file, 0, NULL, NULL, r, &err), 0);
    CU_ASSERT_TRUE(check_is_clean(r));
    CU_ASSERT_EQUAL(r->found[CHECK_LEAK], 0);
    for (unsigned i = 0; i < MIN(r->finding_count, 3u); i++)
        printf("%s\n", r->findings[i].text);
    if (s->cut_bytes)
        CU_ASSERT_TRUE(r->image_end_bytes <= s->cut_bytes);
    free(r);
}

static void make(struct scene *s, struct qcow2_plan plan)
{
    struct error err = {0};

    s->random = plan.cluster_bits;
    plan.size_bytes = DISK_BYTES;
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s->file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s->file, &plan, &err), 0);
    open_image(s);
    for (unsigned i = 0; i < PIECES; i++)
        put(s, (i * 37) % PIECES, (uint8_t)(i % 255 + 1));
    for (unsigned i = 0; i < PIECES; i += 4) /* whole clusters go, however large */
        if (i / 4 % 8)
            drop(s, i, 4);
    CU_ASSERT_EQUAL(blockdev_flush(qcow2_blockdev(s->q)), 0);
}

static bool tell(void *arg, uint64_t moved_bytes, uint64_t most_bytes)
{
    struct scene *s = arg;

    CU_ASSERT_TRUE(moved_bytes <= most_bytes);
    s->told++;
    return !s->cancel;
}

static void one(struct qcow2_plan plan)
{
    struct scene *s = calloc(1, sizeof *s);
    struct error err = {0};

    make(s, plan);
    CU_ASSERT_EQUAL(qcow2_compact(s->q, tell, s, &err), 0);
    CU_ASSERT_TRUE(s->told > 0);
    CU_ASSERT_TRUE(s->cut_bytes && s->cut_bytes < DISK_BYTES / 2);
    compare(s);
    for (unsigned i = 0; i < PIECES; i += 3)
        put(s, i, (uint8_t)(i % 200 + 1));
    compare(s);
    s->cut_bytes = 0; /* it has grown again */
    close_and_check(s);
    open_image(s);
    compare(s);
    close_and_check(s);
    blockdev_close(s->file);
    free(s);
}

static void formats(void)
{
    one((struct qcow2_plan){.cluster_bits = 9, .standard_l2 = true});
    one((struct qcow2_plan){.cluster_bits = 12, .standard_l2 = true, .refcount_order = 6});
    one((struct qcow2_plan){.cluster_bits = 16, .standard_l2 = true});
    one((struct qcow2_plan){.cluster_bits = 17});
}

static void test_formats(void)
{
    run_in_rt(formats);
}

static void write_on(void *arg)
{
    struct scene *s = arg;

    while (!s->stop) {
        if (random_below(&s->random, 4))
            put(s, random_below(&s->random, PIECES), (uint8_t)random_below(&s->random, 256));
        else
            drop(s, random_below(&s->random, PIECES), 1);
        co_yield ();
    }
    wait_group_done(&s->group);
}

/* Snapshots keep what is theirs, and guests write on. */
static void live(void)
{
    struct scene *s = calloc(1, sizeof *s);
    uint8_t *then = malloc(PIECES);
    struct error err = {0};

    make(s, (struct qcow2_plan){.cluster_bits = 14, .standard_l2 = true});
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "then", &err), 0);
    memcpy(then, s->now, PIECES);
    for (unsigned i = 0; i < PIECES; i++)
        put(s, i, (uint8_t)(i % 99 + 1));
    wait_group_init(&s->group);
    wait_group_add(&s->group, 1);
    co_start("guest", write_on, s);
    CU_ASSERT_EQUAL(qcow2_compact(s->q, tell, s, &err), 0);
    s->stop = true;
    wait_group_wait(&s->group);
    compare(s);
    CU_ASSERT_EQUAL(qcow2_snapshot_revert(s->q, "then", &err), 0);
    memcpy(s->now, then, PIECES);
    compare(s);
    s->cut_bytes = 0;
    close_and_check(s);
    blockdev_close(s->file);
    free(then);
    free(s);
}

static void test_live(void)
{
    run_in_rt(live);
}

static void stopped(void)
{
    struct scene *s = calloc(1, sizeof *s);
    struct error err = {0};

    make(s, (struct qcow2_plan){.cluster_bits = 12, .standard_l2 = true});
    s->cancel = true;
    CU_ASSERT_EQUAL(qcow2_compact(s->q, tell, s, &err), -ECANCELED);
    CU_ASSERT_EQUAL(s->cut_bytes, 0);
    compare(s);
    close_and_check(s);
    blockdev_close(s->file);
    free(s);
}

static void test_stopped(void)
{
    run_in_rt(stopped);
}

CU_TestInfo compact_tests[] = {{"to what is in use, in many formats", test_formats},
    {"under writes, and with a snapshot", test_live}, {"stopped on the way", test_stopped},
    CU_TEST_INFO_NULL};
