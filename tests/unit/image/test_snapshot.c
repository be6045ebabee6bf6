/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Internal snapshots and resizes while guests write: what was there when a snapshot was made is
 * there when one goes back to it, whatever was made and deleted in between; and a check finds
 * nothing after each step.
 */
#include "image/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "block/member.h"
#include "image/check.h"
#include "image/flatten.h"

#define FILE_BYTES (64u << 20)
#define DISK_BYTES (4u << 20)
#define UNIT       1024 /* what a guest writes at once, and tells apart */
#define UNITS      (DISK_BYTES / UNIT)
#define SNAPSHOTS  3

struct scene {
    struct blockdev *file;
    struct qcow2 *q;
    uint64_t random;
    bool stop;
    struct wait_group group;
    uint32_t now[UNITS];             /* the number written last, 0: zeros */
    uint32_t then[SNAPSHOTS][UNITS]; /* at least this had been written ... */
    uint32_t most[SNAPSHOTS];        /* ... and nothing later than this */
    uint32_t last;
};

static void fill(uint32_t *buf, uint32_t number)
{
    for (unsigned i = 0; i < UNIT / 4; i++)
        buf[i] = number;
}

static void write_units(struct scene *s, unsigned count)
{
    uint32_t buf[UNIT / 4];

    for (unsigned i = 0; i < count && !s->stop; i++) {
        unsigned unit = random_below(&s->random, UNITS);

        fill(buf, ++s->last);
        CU_ASSERT_EQUAL(
            blockdev_write(qcow2_blockdev(s->q), buf, (uint64_t)unit * UNIT, UNIT, 0), 0);
        s->now[unit] = buf[0];
    }
}

static void write_on(void *arg)
{
    struct scene *s = arg;

    while (!s->stop) {
        write_units(s, 3);
        co_yield ();
    }
    wait_group_done(&s->group);
}

static void open_image(struct scene *s)
{
    struct qcow2_options options = {.map_bytes_max = 1, .ahead_bytes = 1 << 20};
    struct error err = {0};

    if (qcow2_open(&s->q, s->file, "image", &options, &err)) {
        CU_FAIL("open");
        printf("%s\n", err.text);
    }
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
    free(r);
}

static void make(struct scene *s, unsigned k)
{
    struct error err = {0};
    char name[8];

    snprintf(name, sizeof name, "s%u", k);
    memcpy(s->then[k], s->now, sizeof s->now);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, name, &err), 0);
    s->most[k] = s->last;
}

static void delete (struct scene *s, unsigned k)
{
    struct error err = {0};
    char name[8];

    snprintf(name, sizeof name, "s%u", k);
    CU_ASSERT_EQUAL(qcow2_snapshot_delete(s->q, name, &err), 0);
}

/* Every unit is whole, and as it was when the snapshot was made, or as it became while that went
 * on. */
static void compare_of(
    struct scene *s, struct qcow2 *q, const uint32_t *least, uint32_t most, uint32_t *now)
{
    uint32_t *all = malloc(DISK_BYTES);
    unsigned wrong = 0;

    CU_ASSERT_EQUAL(blockdev_read(qcow2_blockdev(q), all, 0, DISK_BYTES), 0);
    for (unsigned u = 0; u < UNITS; u++) {
        uint32_t number = all[u * (UNIT / 4)];

        for (unsigned i = 0; i < UNIT / 4; i++)
            wrong += all[u * (UNIT / 4) + i] != number;
        wrong += number < least[u] || number > most;
        now[u] = number;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(all);
}

static void compare(struct scene *s, const uint32_t *least, uint32_t most)
{
    compare_of(s, s->q, least, most, s->now);
}

/* From the file, which has it open for writing, too. Twice, as guests go on. */
static void read_beside(struct scene *s, unsigned k)
{
    struct qcow2_options options = {.read_only = true};
    uint32_t *first = calloc(UNITS, 4), *second = calloc(UNITS, 4);
    struct error err = {0};
    struct qcow2 *q = NULL;
    char name[8];

    snprintf(name, sizeof name, "s%u", k);
    options.snapshot = name;
    CU_ASSERT_EQUAL(qcow2_open(&q, s->file, name, &options, &err), 0);
    compare_of(s, q, s->then[k], s->most[k], first);
    co_sleep_ns(2000000);
    compare_of(s, q, s->then[k], s->most[k], second);
    CU_ASSERT_EQUAL(memcmp(first, second, UNITS * 4), 0);
    qcow2_close(q);
    options.snapshot = "none";
    CU_ASSERT_EQUAL(qcow2_open(&q, s->file, name, &options, &err), -ENOENT);
    free(first);
    free(second);
}

static void revert(struct scene *s, unsigned k)
{
    struct error err = {0};
    char name[8];

    snprintf(name, sizeof name, "s%u", k);
    CU_ASSERT_EQUAL(qcow2_snapshot_revert(s->q, name, &err), 0);
    compare(s, s->then[k], s->most[k]);
}

static void begin_writing(struct scene *s)
{
    s->stop = false;
    wait_group_init(&s->group);
    wait_group_add(&s->group, 1);
    co_start("guest", write_on, s);
}

static void end_writing(struct scene *s)
{
    s->stop = true;
    wait_group_wait(&s->group);
}

/* Three snapshots under writes, one deleted, back to the others. */
static void live(struct scene *s)
{
    open_image(s);
    write_units(s, 500);
    begin_writing(s);
    make(s, 0);
    co_sleep_ns(3000000);
    make(s, 1);
    co_sleep_ns(3000000);
    make(s, 2);
    read_beside(s, 1);
    delete (s, 1);
    read_beside(s, 0);
    read_beside(s, 2);
    co_sleep_ns(2000000);
    end_writing(s);
    compare(s, s->now, s->last);
    close_and_check(s);

    open_image(s);
    CU_ASSERT_EQUAL(qcow2_snapshots(s->q, NULL, 0), 2);
    revert(s, 0);
    write_units(s, 300);
    revert(s, 2);
    write_units(s, 100);
    close_and_check(s);

    open_image(s);
    begin_writing(s);
    delete (s, 0);
    end_writing(s);
    revert(s, 2);
    delete (s, 2);
    compare(s, s->then[2], s->most[2]);
    write_units(s, 200);
    compare(s, s->now, s->last);
    close_and_check(s);
}

static void with_plan(struct qcow2_plan plan)
{
    struct scene *s = calloc(1, sizeof *s);
    struct error err = {0};

    s->random = plan.cluster_bits;
    plan.size_bytes = DISK_BYTES;
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s->file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s->file, &plan, &err), 0);
    live(s);
    blockdev_close(s->file);
    free(s);
}

static void formats(void)
{
    for (unsigned bits = 9; bits <= 17; bits++) {
        with_plan(
            (struct qcow2_plan){.cluster_bits = bits, .standard_l2 = true, .refcount_order = 3});
        if (bits >= 14)
            with_plan((struct qcow2_plan){.cluster_bits = bits});
    }
}

static void test_formats(void)
{
    run_in_rt(formats);
}

static void names(void)
{
    struct scene *s = calloc(1, sizeof *s);
    struct qcow2_plan plan = {.size_bytes = DISK_BYTES, .cluster_bits = 16, .refcount_order = 1};
    struct error err = {0};
    char long_name[300];

    memset(long_name, 'x', 299);
    long_name[299] = '\0';
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s->file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s->file, &plan, &err), 0);
    open_image(s);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "", &err), -EINVAL);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, long_name, &err), -EINVAL);
    CU_ASSERT_EQUAL(qcow2_snapshot_delete(s->q, "a", &err), -ENOENT);
    CU_ASSERT_EQUAL(qcow2_snapshot_revert(s->q, "a", &err), -ENOENT);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "a", &err), 0);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "a", &err), -EEXIST);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "b", &err), 0);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "c", &err), -EMLINK); /* refcounts of two bits */
    CU_ASSERT_EQUAL(qcow2_snapshot_revert(s->q, "a", &err), 0);
    close_and_check(s);
    blockdev_close(s->file);
    free(s);
}

static void test_names(void)
{
    run_in_rt(names);
}

/* What was cut off reads as zeros when the disk grows again; a snapshot keeps its size. */
static void sizes(void)
{
    struct scene *s = calloc(1, sizeof *s);
    struct qcow2_plan plan = {.size_bytes = DISK_BYTES, .cluster_bits = 9, .standard_l2 = true};
    struct error err = {0};
    uint32_t *buf = malloc(DISK_BYTES);

    s->random = 7;
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s->file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s->file, &plan, &err), 0);
    open_image(s);
    write_units(s, 2000);
    make(s, 0);
    CU_ASSERT_EQUAL(qcow2_resize(s->q, DISK_BYTES / 2 + 512, &err), 0);
    CU_ASSERT_EQUAL(qcow2_blockdev(s->q)->size_bytes, DISK_BYTES / 2 + 512);
    CU_ASSERT_EQUAL(qcow2_resize(s->q, 3 * (uint64_t)DISK_BYTES, &err), 0);
    CU_ASSERT_EQUAL(blockdev_read(qcow2_blockdev(s->q), buf, DISK_BYTES / 2 + 512, DISK_BYTES), 0);
    for (unsigned i = 0; i < DISK_BYTES / 4; i += 64)
        CU_ASSERT_EQUAL(buf[i], 0);
    CU_ASSERT_EQUAL(
        blockdev_write(qcow2_blockdev(s->q), buf, 2 * (uint64_t)DISK_BYTES, 65536, 0), 0);
    CU_ASSERT_EQUAL(qcow2_resize(s->q, 100, &err), -EINVAL);
    CU_ASSERT_EQUAL(qcow2_resize(s->q, UINT64_C(1) << 60, &err), -EFBIG);
    revert(s, 0);
    CU_ASSERT_EQUAL(qcow2_blockdev(s->q)->size_bytes, DISK_BYTES);
    close_and_check(s);
    blockdev_close(s->file);
    free(buf);
    free(s);
}

static void test_sizes(void)
{
    run_in_rt(sizes);
}

/* All of [from, to) are `byte`. */
static void check_bytes(struct qcow2 *q, uint64_t from, uint64_t to, char byte)
{
    char *buf = malloc(to - from), *right = malloc(to - from);

    memset(right, byte, to - from);
    CU_ASSERT_EQUAL(blockdev_read(qcow2_blockdev(q), buf, from, to - from), 0);
    CU_ASSERT(!memcmp(buf, right, to - from));
    free(right);
    free(buf);
}

static bool go_on(void *arg, uint64_t done, uint64_t total)
{
    return true;
}

/* A larger disk shows zeros, not what a larger backing has there, nor what it had when it was
 * copied into the disk's last cluster. */
static void growing_over_backing(unsigned cluster_bits, bool flattened)
{
    struct qcow2_plan plan = {.size_bytes = (1 << 20) + 512,
        .cluster_bits = cluster_bits,
        .backing_name = "base",
        .backing_format = "raw"};
    uint64_t old = plan.size_bytes, size = 3 * (uint64_t)DISK_BYTES;
    struct blockdev *file, *backing;
    struct qcow2_options options = {.ahead_bytes = 1 << 20};
    struct error err = {0};
    struct qcow2 *q;
    char *data = malloc(DISK_BYTES);

    memset(data, 'x', DISK_BYTES);
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &file), 0);
    CU_ASSERT_EQUAL(member_memory("backing", DISK_BYTES, 512, &backing), 0);
    CU_ASSERT_EQUAL(blockdev_write(backing, data, 0, DISK_BYTES, 0), 0);
    CU_ASSERT_EQUAL(qcow2_format(file, &plan, &err), 0);
    options.backing = backing;
    CU_ASSERT_EQUAL(qcow2_open(&q, file, "image", &options, &err), 0);
    if (flattened) {
        CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(q), data, old - 512, 512, 0), 0);
        CU_ASSERT_EQUAL(qcow2_flatten(q, go_on, NULL, &err), 0);
        options.backing = NULL;
    }
    CU_ASSERT_EQUAL(qcow2_resize(q, size, &err), 0);
    for (unsigned times = 0; times < 2; times++) {
        CU_ASSERT_EQUAL(qcow2_blockdev(q)->size_bytes, size);
        check_bytes(q, 0, old, 'x');
        check_bytes(q, old, size, 0);
        CU_ASSERT_EQUAL(qcow2_close(q), 0);
        CU_ASSERT_EQUAL(qcow2_open(&q, file, "image", &options, &err), 0);
    }
    CU_ASSERT_EQUAL(qcow2_close(q), 0);
    blockdev_close(backing);
    blockdev_close(file);
    free(data);
}

static void grow_over_backing(void)
{
    growing_over_backing(9, false); /* L1 gets longer too */
    growing_over_backing(17, false);
    growing_over_backing(17, true);
}

static void test_grow_over_backing(void)
{
    run_in_rt(grow_over_backing);
}

/* Guests have taken all that there is; deleting the snapshot makes room again. */
static void full(void)
{
    struct scene *s = calloc(1, sizeof *s);
    struct qcow2_plan plan = {.size_bytes = DISK_BYTES, .cluster_bits = 12, .standard_l2 = true};
    struct qcow2_options options = {.ahead_bytes = 1 << 20, .space_wait_ns = 1000000};
    struct error err = {0};
    uint8_t *buf = malloc(DISK_BYTES);
    uint64_t at = 0;

    CU_ASSERT_EQUAL(member_memory("file", DISK_BYTES + DISK_BYTES / 2, 512, &s->file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s->file, &plan, &err), 0);
    CU_ASSERT_EQUAL(qcow2_open(&s->q, s->file, "image", &options, &err), 0);
    memset(buf, 1, DISK_BYTES);
    CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(s->q), buf, 0, DISK_BYTES, 0), 0);
    CU_ASSERT_EQUAL(qcow2_snapshot_create(s->q, "s", &err), 0);
    while (at < DISK_BYTES && !blockdev_write(qcow2_blockdev(s->q), buf, at, 4096, 0))
        at += 4096;
    CU_ASSERT_TRUE(at > 0 && at < DISK_BYTES);
    CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(s->q), buf, at, 4096, 0), -ENOSPC);
    CU_ASSERT_EQUAL(qcow2_snapshot_delete(s->q, "s", &err), 0);
    CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(s->q), buf, 0, DISK_BYTES, 0), 0);
    close_and_check(s);
    blockdev_close(s->file);
    free(buf);
    free(s);
}

static void test_full(void)
{
    run_in_rt(full);
}

CU_TestInfo snapshot_tests[] = {{"under writes, in many formats", test_formats},
    {"names, and no room", test_names}, {"sizes", test_sizes},
    {"deleted in a full image", test_full},
    {"a disk larger than it was, and so the backing", test_grow_over_backing}, CU_TEST_INFO_NULL};
