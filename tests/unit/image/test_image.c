/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole images on memory: guests' requests of all kinds, several at a time, against a copy of the
 * disk in memory; closed, checked, and opened again. Each coroutine has a part of the disk of its
 * own, so that what it reads is known; parts end anywhere.
 */
#include "image/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "block/fault.h"
#include "block/member.h"
#include "image/check.h"
#include "image/entry.h"
#include "image/flatten.h"

#define FILE_BYTES (48u << 20)
#define DISK_BYTES (8u << 20)
#define GUESTS     6
#define ROUNDS     120
#define MOST       (200u << 10)

struct scene {
    struct qcow2_plan plan;
    struct blockdev *file, *backing;
    struct qcow2 *q;
    uint8_t *model;
    struct wait_group group;
    unsigned failures;
    uint64_t seed;
    bool flatten; /* while the guests are at work */
};

struct guest {
    struct scene *s;
    uint64_t from, to;
    uint64_t random;
};

static void note(struct scene *s, bool good)
{
    s->failures += !good;
}

static void write_some(struct guest *g, uint64_t offset, uint64_t length, uint8_t *buf)
{
    struct scene *s = g->s;
    unsigned flags = random_below(&g->random, 4) ? 0 : BLOCK_FUA;

    memset(buf, (int)random_below(&g->random, 255) + 1, length);
    note(s, !blockdev_write(qcow2_blockdev(s->q), buf, offset, length, flags));
    memcpy(s->model + offset, buf, length);
}

static void zero_some(struct guest *g, uint64_t offset, uint64_t length)
{
    struct scene *s = g->s;
    unsigned flags = random_below(&g->random, 2) ? BLOCK_MAY_UNMAP : 0;

    note(s, !blockdev_write_zeroes(qcow2_blockdev(s->q), offset, length, flags));
    memset(s->model + offset, 0, length);
}

/* What is discarded reads as it did, or as zeros. */
static void discard_some(struct guest *g, uint64_t offset, uint64_t length, uint8_t *buf)
{
    struct scene *s = g->s;

    note(s, !blockdev_discard(qcow2_blockdev(s->q), offset, length));
    note(s, !blockdev_read(qcow2_blockdev(s->q), buf, offset, length));
    for (uint64_t i = 0; i < length; i++)
        note(s, !buf[i] || buf[i] == s->model[offset + i]);
    memcpy(s->model + offset, buf, length);
}

static void read_some(struct guest *g, uint64_t offset, uint64_t length, uint8_t *buf)
{
    struct scene *s = g->s;

    note(s, !blockdev_read(qcow2_blockdev(s->q), buf, offset, length));
    note(s, !memcmp(buf, s->model + offset, length));
}

static void play(void *arg)
{
    struct guest *g = arg;
    uint8_t *buf = malloc(MOST);

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t most = MIN(g->to - g->from, random_below(&g->random, 3) ? 16u << 10 : MOST);
        uint64_t length = (1 + random_below(&g->random, (unsigned)most / 512)) * 512;
        uint64_t sectors = (g->to - g->from - length) / 512;
        uint64_t offset =
            g->from + (sectors ? random_below(&g->random, (unsigned)sectors) * 512 : 0);

        switch (random_below(&g->random, 10)) {
        case 0:
            discard_some(g, offset, length, buf);
            break;
        case 1:
            zero_some(g, offset, length);
            break;
        case 2:
            note(g->s, !blockdev_flush(qcow2_blockdev(g->s->q)));
            break;
        case 3:
        case 4:
            read_some(g, offset, length, buf);
            break;
        default:
            write_some(g, offset, length, buf);
        }
        if (!random_below(&g->random, 3))
            co_yield ();
    }
    free(buf);
    wait_group_done(&g->s->group);
}

static bool go_on(void *arg, uint64_t done, uint64_t total)
{
    co_yield ();
    return true;
}

/* Once it is flattened, what the backing has does not matter. */
static void flatten(void *arg)
{
    struct scene *s = arg;
    struct error err = {0};
    int rc = qcow2_flatten(s->q, go_on, NULL, &err);

    note(s, !rc);
    if (rc)
        printf("flatten: %s\n", err.text);
    note(s, !blockdev_write_zeroes(s->backing, 0, s->backing->size_bytes, 0));
    wait_group_done(&s->group);
}

static void let_play(struct scene *s)
{
    struct guest guests[GUESTS];
    uint64_t share = round_down(DISK_BYTES / GUESTS, 512);

    wait_group_init(&s->group);
    wait_group_add(&s->group, GUESTS);
    for (unsigned i = 0; i < GUESTS; i++) {
        guests[i] = (struct guest){.s = s,
            .from = i * share,
            .to = i == GUESTS - 1 ? DISK_BYTES : (i + 1) * share,
            .random = s->seed * 100 + i + 1};
        co_start("guest", play, &guests[i]);
    }
    if (s->flatten) {
        wait_group_add(&s->group, 1);
        co_start("flatten", flatten, s);
    }
    wait_group_wait(&s->group);
}

static void open_image(struct scene *s)
{
    struct qcow2_options options = {
        .backing = s->backing, .map_bytes_max = 1, .ahead_bytes = 1 << 20, .discard = s->seed & 1};
    struct error err = {0};
    int rc = qcow2_open(&s->q, s->file, "image", &options, &err);

    CU_ASSERT_EQUAL(rc, 0);
    if (rc)
        printf("open: %s\n", err.text);
}

static void compare(struct scene *s)
{
    uint8_t *all = malloc(DISK_BYTES);

    CU_ASSERT_EQUAL(blockdev_read(qcow2_blockdev(s->q), all, 0, DISK_BYTES), 0);
    CU_ASSERT_EQUAL(memcmp(all, s->model, DISK_BYTES), 0);
    free(all);
}

static void check(struct scene *s)
{
    struct check_result *r = calloc(1, sizeof *r);
    struct error err = {0};

    CU_ASSERT_EQUAL(qcow2_check(s->file, 0, NULL, NULL, r, &err), 0);
    CU_ASSERT_TRUE(check_is_clean(r));
    CU_ASSERT_EQUAL(r->found[CHECK_LEAK], 0);
    for (unsigned i = 0; i < MIN(r->finding_count, 5u); i++)
        printf("seed %llu, clusters of %u bits: %s\n", (unsigned long long)s->seed,
            s->plan.cluster_bits, r->findings[i].text);
    free(r);
}

static void make_backing(struct scene *s)
{
    CU_ASSERT_EQUAL(member_memory("backing", DISK_BYTES - (1 << 20), 512, &s->backing), 0);
    for (uint64_t i = 0; i < s->backing->size_bytes; i += 512)
        memset(s->model + i, (int)(i / 512 % 251) + 1, 512);
    CU_ASSERT_EQUAL(blockdev_write(s->backing, s->model, 0, s->backing->size_bytes, 0), 0);
}

static void play_with(struct qcow2_plan plan, uint64_t seed, bool backed)
{
    struct scene s = {.plan = plan, .seed = seed, .model = calloc(1, DISK_BYTES)};
    struct error err = {0};

    s.plan.size_bytes = DISK_BYTES;
    if (backed)
        make_backing(&s);
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s.file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s.file, &s.plan, &err), 0);
    for (unsigned round = 0; round < 2; round++) {
        open_image(&s);
        if (!s.q)
            break;
        let_play(&s);
        CU_ASSERT_EQUAL(s.failures, 0);
        compare(&s);
        CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
        check(&s);
    }
    blockdev_close(s.file);
    if (s.backing)
        blockdev_close(s.backing);
    free(s.model);
}

static void flattened(struct qcow2_plan plan, uint64_t seed)
{
    struct scene s = {.plan = plan, .seed = seed, .model = calloc(1, DISK_BYTES), .flatten = true};
    struct error err = {0};

    s.plan.size_bytes = DISK_BYTES;
    s.plan.backing_name = "backing";
    make_backing(&s);
    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s.file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s.file, &s.plan, &err), 0);
    open_image(&s);
    let_play(&s);
    CU_ASSERT_EQUAL(s.failures, 0);
    CU_ASSERT_PTR_NULL(qcow2_header(s.q)->backing_name);
    CU_ASSERT_EQUAL(qcow2_flatten(s.q, go_on, NULL, &err), -ENXIO);
    compare(&s);
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    check(&s);
    blockdev_close(s.backing);
    s.backing = NULL;
    open_image(&s);
    CU_ASSERT_PTR_NULL(qcow2_header(s.q)->backing_name);
    compare(&s);
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    blockdev_close(s.file);
    free(s.model);
}

static void all_flattened(void)
{
    for (unsigned bits = 9; bits <= 21; bits += 2)
        for (unsigned standard = bits < 14; standard < 2; standard++)
            flattened((struct qcow2_plan){.cluster_bits = bits, .standard_l2 = standard}, bits);
}

static void all_formats(void)
{
    uint64_t seed = 0;

    for (unsigned bits = 9; bits <= 21; bits++)
        for (unsigned kind = 0; kind < 4; kind++)
            if (bits >= 14 || kind & 1)
                play_with((struct qcow2_plan){.cluster_bits = bits,
                              .standard_l2 = kind & 1,
                              .refcount_order = 1 + (bits + kind) % 6},
                    ++seed, kind & 2);
}

static void test_all_formats(void)
{
    run_in_rt(all_formats);
}

static void test_all_flattened(void)
{
    run_in_rt(all_flattened);
}

/* What it is like while it is in use: as after a kill. */
static struct blockdev *killed(void)
{
    struct qcow2_plan plan = {.size_bytes = DISK_BYTES};
    struct scene s = {.plan = plan};
    struct blockdev *copy;
    uint8_t *bytes = calloc(1, FILE_BYTES);
    struct error err = {0};

    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s.file), 0);
    CU_ASSERT_EQUAL(member_memory("copy", FILE_BYTES, 512, &copy), 0);
    CU_ASSERT_EQUAL(qcow2_format(s.file, &s.plan, &err), 0);
    open_image(&s);
    CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(s.q), bytes, 0, 1 << 20, 0), 0);
    CU_ASSERT_EQUAL(blockdev_flush(qcow2_blockdev(s.q)), 0);
    CU_ASSERT_EQUAL(blockdev_read(s.file, bytes, 0, FILE_BYTES), 0);
    CU_ASSERT_EQUAL(blockdev_write(copy, bytes, 0, FILE_BYTES, 0), 0);
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    blockdev_close(s.file);
    free(bytes);
    return copy;
}

/* A map that stands in the disk's cache only may be lost with the power: refcounts that were put
 * right by it would then be too low for the map before. */
static void repaired_by_what_is_durable(void)
{
    struct fault_record records[64] = {0};
    struct scene s = {.file = NULL};
    unsigned i = 0, count;

    CU_ASSERT_EQUAL(fault_create(killed(), &s.file), 0);
    open_image(&s);
    count = fault_log(s.file, records, ARRAY_LEN(records));
    while (i < MIN(count, ARRAY_LEN(records)) && records[i].kind == BLOCK_READ)
        i++;
    CU_ASSERT_FATAL(i < MIN(count, ARRAY_LEN(records)));
    CU_ASSERT_EQUAL(records[i].kind, BLOCK_FLUSH);
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    blockdev_close(s.file);
}

static void test_repaired_by_what_is_durable(void)
{
    run_in_rt(repaired_by_what_is_durable);
}

static bool touches(const struct fault_record *r, uint64_t offset)
{
    return r->kind == BLOCK_WRITE && r->offset <= offset && offset < r->offset + r->length;
}

/* After a commit that failed when it had written L1: the new table counts as one in use. */
static void failed_and_committed_again(void)
{
    struct qcow2_plan plan = {.size_bytes = DISK_BYTES, .cluster_bits = 16};
    struct fault_rule rule = {.kind = BLOCK_FLUSH, .skip = 1, .times = 1, .error = -EIO};
    struct fault_record records[64];
    struct scene s = {.plan = plan};
    struct blockdev *file;
    uint8_t *buf = calloc(1, 65536), entry[8];
    struct error err = {0};
    uint64_t table;
    unsigned flush = 0;

    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &file), 0);
    CU_ASSERT_EQUAL(fault_create(file, &s.file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s.file, &s.plan, &err), 0);
    open_image(&s);
    CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(s.q), buf, 0, 65536, 0), 0);
    CU_ASSERT(fault_add(s.file, &rule) > 0);
    CU_ASSERT_EQUAL(blockdev_flush(qcow2_blockdev(s.q)), -EIO);
    CU_ASSERT_EQUAL(
        blockdev_read_bytes(s.file, entry, qcow2_header(s.q)->l1_offset, sizeof entry), 0);
    table = get_be64(entry) & QCOW2_OFFSET_MASK;
    CU_ASSERT_NOT_EQUAL_FATAL(table, 0);
    CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(s.q), buf, 65536, 65536, 0), 0);
    fault_log_clear(s.file);
    CU_ASSERT_EQUAL(blockdev_flush(qcow2_blockdev(s.q)), 0);
    CU_ASSERT_FATAL(fault_log(s.file, records, ARRAY_LEN(records)) <= ARRAY_LEN(records));
    while (records[flush].kind != BLOCK_FLUSH)
        CU_ASSERT(!touches(&records[flush++], table));
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    check(&s);
    blockdev_close(s.file);
    free(buf);
}

static void test_failed_and_committed_again(void)
{
    run_in_rt(failed_and_committed_again);
}

/* A guest that never flushes, all over a disk of many tables. */
static void never_flushed(void)
{
    struct qcow2_plan plan = {.size_bytes = DISK_BYTES, .cluster_bits = 9, .standard_l2 = true};
    struct scene s = {.plan = plan};
    struct qcow2_status status;
    struct error err = {0};
    uint8_t buf[512] = {1};

    CU_ASSERT_EQUAL(member_memory("file", FILE_BYTES, 512, &s.file), 0);
    CU_ASSERT_EQUAL(qcow2_format(s.file, &plan, &err), 0);
    open_image(&s);
    qcow2_status(s.q, &status);
    uint64_t before = status.map_bytes;
    for (uint64_t at = 0; at < DISK_BYTES; at += 32768) /* a table each */
        CU_ASSERT_EQUAL(blockdev_write(qcow2_blockdev(s.q), buf, at, 512, 0), 0);
    qcow2_status(s.q, &status);
    CU_ASSERT_TRUE(status.map_bytes < before + DISK_BYTES / 32768 / 2 * 512);
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    check(&s);
    blockdev_close(s.file);
}

static void test_never_flushed(void)
{
    run_in_rt(never_flushed);
}

CU_TestInfo image_tests[] = {{"guests on images of all formats", test_all_formats},
    {"flattened under guests", test_all_flattened},
    {"repaired by what is durable", test_repaired_by_what_is_durable},
    {"failed and committed again", test_failed_and_committed_again},
    {"never flushed", test_never_flushed}, CU_TEST_INFO_NULL};
