/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image goes down into its backing while guests write: what they read stays the same, and in the
 * end the backing has all of it. */
#include "image/sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "block/member.h"
#include "image/check.h"

#define FILE_BYTES (32u << 20)
#define DISK_BYTES (6u << 20)
#define MOST       (40u << 10)

struct scene {
    struct blockdev *file, *backing;
    struct qcow2 *q;
    uint8_t *model;
    uint64_t random;
    unsigned steps, wrong;
    unsigned cancel_at; /* 0: never */
    bool stop;
    struct wait_group group;
};

static void open_image(struct scene *s, bool read_only)
{
    struct qcow2_options options = {
        .backing = s->backing, .ahead_bytes = 1 << 20, .read_only = read_only};
    struct error err = {0};

    CU_ASSERT_EQUAL(qcow2_open(&s->q, s->file, "image", &options, &err), 0);
}

static void change(struct scene *s)
{
    struct blockdev *d = qcow2_blockdev(s->q);
    uint64_t length = (1 + random_below(&s->random, MOST / 512)) * 512;
    uint64_t offset = random_below(&s->random, (unsigned)(DISK_BYTES - length) / 512) * 512;
    uint8_t *buf = malloc(length);
    unsigned kind = random_below(&s->random, 8);

    memset(buf, kind ? (int)random_below(&s->random, 255) + 1 : 0, length);
    if (kind)
        s->wrong += blockdev_write(d, buf, offset, length, kind == 1 ? BLOCK_FUA : 0) != 0;
    else
        s->wrong += blockdev_write_zeroes(d, offset, length, BLOCK_MAY_UNMAP) != 0;
    memcpy(s->model + offset, buf, length);
    if (kind == 2)
        s->wrong += blockdev_flush(d) != 0;
    free(buf);
}

static void write_on(void *arg)
{
    struct scene *s = arg;

    while (!s->stop) {
        change(s);
        co_yield ();
    }
    wait_group_done(&s->group);
}

static void compare(struct scene *s, struct blockdev *d)
{
    uint8_t *all = malloc(DISK_BYTES);

    CU_ASSERT_EQUAL(blockdev_read(d, all, 0, DISK_BYTES), 0);
    CU_ASSERT_EQUAL(memcmp(all, s->model, DISK_BYTES), 0);
    free(all);
}

static void close_and_check(struct scene *s)
{
    struct check_result *r = calloc(1, sizeof *r);
    struct error err = {0};

    CU_ASSERT_EQUAL(qcow2_close(s->q), 0);
    CU_ASSERT_EQUAL(qcow2_check(s->file, 0, NULL, NULL, r, &err), 0);
    CU_ASSERT_TRUE(check_is_clean(r));
    CU_ASSERT_EQUAL(r->found[CHECK_LEAK], 0);
    free(r);
}

static bool tell(void *arg, uint64_t done, uint64_t total)
{
    struct scene *s = arg;

    CU_ASSERT_TRUE(done <= total);
    co_yield ();
    return ++s->steps != s->cancel_at;
}

static struct scene *begin(struct qcow2_plan plan)
{
    struct scene *s = calloc(1, sizeof *s);
    struct error err = {0};

    plan.size_bytes = DISK_BYTES;
    plan.backing_name = "below";
    plan.backing_format = "raw";
    s->random = plan.cluster_bits;
    s->model = malloc(DISK_BYTES);
    for (uint64_t i = 0; i < DISK_BYTES; i += 512)
        memset(s->model + i, (int)(i / 512 % 251), 512);
    CU_ASSERT_EQUAL(member_memory("backing", DISK_BYTES, 512, &s->backing), 0);
    CU_ASSERT_EQUAL(blockdev_write(s->backing, s->model, 0, DISK_BYTES, 0), 0);
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s->file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s->file, &plan, &err), 0);
    open_image(s, false);
    for (unsigned i = 0; i < 300; i++)
        change(s);
    return s;
}

static void end(struct scene *s)
{
    blockdev_close(s->file);
    blockdev_close(s->backing);
    CU_ASSERT_EQUAL(s->wrong, 0);
    free(s->model);
    free(s);
}

static void one(struct qcow2_plan plan)
{
    struct scene *s = begin(plan);
    struct error err = {0};

    wait_group_init(&s->group);
    wait_group_add(&s->group, 1);
    co_start("guest", write_on, s);
    s->cancel_at = 2;
    CU_ASSERT_EQUAL(qcow2_sink(s->q, tell, s, &err), -ECANCELED);
    compare(s, qcow2_blockdev(s->q));
    s->cancel_at = 0;
    CU_ASSERT_EQUAL(qcow2_sink(s->q, tell, s, &err), 0);
    s->stop = true;
    wait_group_wait(&s->group);
    compare(s, qcow2_blockdev(s->q));
    compare(s, s->backing);
    close_and_check(s);
    end(s);
}

static void formats(void)
{
    one((struct qcow2_plan){.cluster_bits = 9, .standard_l2 = true});
    one((struct qcow2_plan){.cluster_bits = 14});
    one((struct qcow2_plan){.cluster_bits = 16, .standard_l2 = true});
    one((struct qcow2_plan){.cluster_bits = 17});
}

static void test_formats(void)
{
    run_in_rt(formats);
}

/* Half of it is down when the image is closed: seen through the rest, the disk is the same, and
 * another call ends it. */
static void halfway(void)
{
    struct scene *s = begin((struct qcow2_plan){.cluster_bits = 16});
    struct error err = {0};

    s->cancel_at = 3;
    CU_ASSERT_EQUAL(qcow2_sink(s->q, tell, s, &err), -ECANCELED);
    for (unsigned i = 0; i < 50; i++)
        change(s);
    close_and_check(s);
    open_image(s, false);
    compare(s, qcow2_blockdev(s->q));
    for (unsigned i = 0; i < 50; i++)
        change(s);
    s->cancel_at = 0;
    CU_ASSERT_EQUAL(qcow2_sink(s->q, tell, s, &err), 0);
    compare(s, s->backing);
    close_and_check(s);
    end(s);
}

static void test_halfway(void)
{
    run_in_rt(halfway);
}

static void refusals(void)
{
    struct scene *s = begin((struct qcow2_plan){.cluster_bits = 16});
    struct error err = {0};

    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "s", &err), 0);
    CU_ASSERT_EQUAL(qcow2_sink(s->q, NULL, NULL, &err), -EINVAL);
    close_and_check(s);
    open_image(s, true);
    CU_ASSERT_EQUAL(qcow2_sink(s->q, NULL, NULL, &err), -EROFS);
    close_and_check(s);
    end(s);
}

static void test_refusals(void)
{
    run_in_rt(refusals);
}

CU_TestInfo sink_tests[] = {{"under writes, in many formats", test_formats},
    {"closed half-way", test_halfway}, {"refusals", test_refusals}, CU_TEST_INFO_NULL};
