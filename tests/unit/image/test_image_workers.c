/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests on several workers, with next to no memory for tables, a file that grows, flushes and
 * discards. First each has sectors of its own, strips between those of others: what it reads is
 * known, and the memory below has no locks, so that a cluster that is given to two shows as a race.
 * Then they write over one another, on a disk where sectors are atomic: what is read tells where it
 * belongs.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "base/bytes.h"
#include "block/member.h"
#include "image/check.h"
#include "image/qcow2.h"

extern CU_TestInfo image_workers_tests[];

#define SECTOR     512u
#define DISK       (1u << 20)
#define SECTORS    (DISK / SECTOR)
#define FILE_MAX   (8u << 20)
#define WORKERS    4
#define GUESTS     12
#define ROUNDS     250
#define STRIP      3u /* sectors */
#define MOST_BYTES (40 * SECTOR)

/* Memory in which a sector is read or written at once. */
struct atomic_disk {
    struct blockdev dev;
    uint8_t *bytes;
    struct spinlock locks[64];
};

static struct atomic_disk *atomic_disk_of(struct blockdev *d)
{
    return container_of(d, struct atomic_disk, dev);
}

static void copy_sector(struct atomic_disk *a, uint64_t offset, void *to, const void *from)
{
    struct spinlock *lock = &a->locks[offset / SECTOR % 64];

    spin_lock(lock);
    memcpy(to, from, SECTOR);
    spin_unlock(lock);
}

static int read_atomic(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct atomic_disk *a = atomic_disk_of(d);
    uint8_t sector[SECTOR];

    for (uint64_t at = 0; at < length; at += SECTOR) {
        copy_sector(a, offset + at, sector, a->bytes + offset + at);
        iov_copy_to(iov, iov_count, at, sector, SECTOR);
    }
    co_yield ();
    return 0;
}

static int write_atomic(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    struct atomic_disk *a = atomic_disk_of(d);
    uint8_t sector[SECTOR];

    co_yield ();
    for (uint64_t at = 0; at < length; at += SECTOR) {
        iov_copy_from(sector, iov, iov_count, at, SECTOR);
        copy_sector(a, offset + at, a->bytes + offset + at, sector);
    }
    return 0;
}

static int discard_atomic(struct blockdev *d, uint64_t offset, uint64_t length)
{
    static const uint8_t zeros[SECTOR];

    for (uint64_t at = 0; at < length; at += SECTOR)
        copy_sector(atomic_disk_of(d), offset + at, atomic_disk_of(d)->bytes + offset + at, zeros);
    co_yield ();
    return 0;
}

static void close_atomic(struct blockdev *d)
{
    free(atomic_disk_of(d)->bytes);
    blockdev_fini(d);
    free(atomic_disk_of(d));
}

static const struct blockdev_ops atomic_ops = {
    .read = read_atomic, .write = write_atomic, .discard = discard_atomic, .close = close_atomic};

static struct blockdev *atomic_disk(uint64_t bytes)
{
    struct atomic_disk *a = calloc(1, sizeof *a);

    a->bytes = calloc(1, bytes);
    CU_ASSERT_EQUAL(blockdev_init(&a->dev, &atomic_ops, "atomic", bytes), 0);
    a->dev.capabilities = BLOCK_CAN_DISCARD;
    return &a->dev;
}

struct scene {
    struct blockdev *file;
    struct qcow2 *q;
    struct wait_group group;
    atomic_uint failures;
};

struct guest {
    struct scene *s;
    unsigned number;
    uint64_t random;
    unsigned values[SECTORS]; /* of its own sectors */
};

static void note(struct guest *g, bool good)
{
    if (!good)
        atomic_fetch_add(&g->s->failures, 1);
}

/* Value 0: zeros. */
static void fill(uint8_t *to, unsigned value, uint64_t sector)
{
    memset(to, 0, SECTOR);
    for (unsigned i = 0; value && i < SECTOR; i += 8)
        put_be64(to + i, (uint64_t)value << 32 | sector);
}

static bool is_whole(const uint8_t *bytes, uint64_t sector, unsigned *value)
{
    uint8_t wanted[SECTOR];

    *value = (unsigned)(get_be64(bytes) >> 32);
    fill(wanted, *value, sector);
    return !memcmp(bytes, wanted, SECTOR);
}

static void write_sectors(struct guest *g, uint64_t first, uint64_t count, uint8_t *buf)
{
    unsigned value = 1 + random_below(&g->random, 1u << 30);
    unsigned flags = random_below(&g->random, 8) ? 0 : BLOCK_FUA;

    for (uint64_t i = 0; i < count; i++)
        fill(buf + i * SECTOR, g->values[first + i] = value, first + i);
    note(g, !blockdev_write(qcow2_blockdev(g->s->q), buf, first * SECTOR, count * SECTOR, flags));
}

static void zero_sectors(struct guest *g, uint64_t first, uint64_t count)
{
    unsigned flags = random_below(&g->random, 2) ? BLOCK_MAY_UNMAP : 0;

    memset(g->values + first, 0, count * sizeof *g->values);
    note(g, !blockdev_write_zeroes(qcow2_blockdev(g->s->q), first * SECTOR, count * SECTOR, flags));
}

static void read_sectors(struct guest *g, uint64_t first, uint64_t count, uint8_t *buf, bool own)
{
    unsigned value;

    note(g, !blockdev_read(qcow2_blockdev(g->s->q), buf, first * SECTOR, count * SECTOR));
    for (uint64_t i = 0; i < count; i++) {
        note(g, is_whole(buf + i * SECTOR, first + i, &value));
        note(g, !own || value == g->values[first + i]);
    }
}

/* They read as they did, or as zeros. */
static void discard_sectors(struct guest *g, uint64_t first, uint64_t count, uint8_t *buf)
{
    struct blockdev *d = qcow2_blockdev(g->s->q);
    unsigned value;

    note(g, !blockdev_discard(d, first * SECTOR, count * SECTOR));
    note(g, !blockdev_read(d, buf, first * SECTOR, count * SECTOR));
    for (uint64_t i = 0; i < count; i++) {
        if (is_whole(buf + i * SECTOR, first + i, &value) && !value)
            g->values[first + i] = 0;
    }
    read_sectors(g, first, count, buf, false);
}

static void do_something(struct guest *g, uint64_t first, uint64_t count, uint8_t *buf, bool own)
{
    switch (random_below(&g->random, 12)) {
    case 0:
        note(g, !blockdev_flush(qcow2_blockdev(g->s->q)));
        break;
    case 1:
    case 2:
        discard_sectors(g, first, count, buf);
        break;
    case 3:
        zero_sectors(g, first, count);
        break;
    case 4:
    case 5:
    case 6:
        read_sectors(g, first, count, buf, own);
        break;
    default:
        write_sectors(g, first, count, buf);
    }
    if (!random_below(&g->random, 3))
        co_yield ();
}

static void play_in_strips(void *arg)
{
    struct guest *g = arg;
    uint8_t *buf = malloc(STRIP * SECTOR);

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t strip = random_below(&g->random, SECTORS / STRIP / GUESTS) * GUESTS + g->number;
        uint64_t from = random_below(&g->random, STRIP);

        do_something(
            g, strip * STRIP + from, 1 + random_below(&g->random, STRIP - from), buf, true);
    }
    for (uint64_t strip = g->number; strip < SECTORS / STRIP; strip += GUESTS)
        read_sectors(g, strip * STRIP, STRIP, buf, true);
    free(buf);
    wait_group_done(&g->s->group);
}

static void play_anywhere(void *arg)
{
    struct guest *g = arg;
    uint8_t *buf = malloc(MOST_BYTES);

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t count = 1 + random_below(&g->random, MOST_BYTES / SECTOR);
        uint64_t span = random_below(&g->random, 2) ? 128 : SECTORS; /* most meet */

        count = MIN(count, span);
        do_something(g, random_below(&g->random, (unsigned)(span - count) + 1), count, buf, false);
    }
    free(buf);
    wait_group_done(&g->s->group);
}

static int grow(void *arg, uint64_t size_bytes)
{
    struct scene *s = arg;

    if (size_bytes > FILE_MAX)
        return -ENOSPC;
    s->file->size_bytes = round_up(size_bytes, 4096);
    return 0;
}

static const struct qcow2_file_ops file_ops = {.grow = grow};

static void check(struct scene *s)
{
    struct check_result *r = calloc(1, sizeof *r);
    struct error err = {0};

    CU_ASSERT_EQUAL(qcow2_check(s->file, 0, NULL, NULL, r, &err), 0);
    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        CU_ASSERT_EQUAL(r->found[i], 0);
    for (unsigned i = 0; i < MIN(r->finding_count, 5u); i++)
        printf("%s\n", r->findings[i].text);
    free(r);
}

static void let_play(struct scene *s, struct crew *crew, co_entry *play)
{
    struct guest *guests = calloc(GUESTS, sizeof *guests);

    wait_group_init(&s->group);
    wait_group_add(&s->group, GUESTS);
    for (unsigned i = 0; i < GUESTS; i++) {
        guests[i].s = s;
        guests[i].number = i;
        guests[i].random = 1000 + i;
        CU_ASSERT_EQUAL(worker_start(crew->workers[i % crew->count], "guest", play, &guests[i]), 0);
    }
    wait_group_wait(&s->group);
    free(guests);
}

static void play_with(const struct qcow2_plan *plan, struct blockdev *file, co_entry *play)
{
    struct qcow2_options options = {
        .map_bytes_max = 1, .ahead_bytes = 64 << 10, .file_ops = &file_ops, .discard = true};
    struct scene s = {.file = file};
    struct error err = {0};
    struct crew crew;
    uint64_t bytes = 0;

    CU_ASSERT_EQUAL(qcow2_plan_bytes(plan, &bytes, &err), 0);
    file->size_bytes = round_up(bytes, 4096);
    CU_ASSERT_EQUAL(qcow2_format(file, plan, &err), 0);
    options.file_arg = &s;
    CU_ASSERT_EQUAL(qcow2_open(&s.q, file, "image", &options, &err), 0);
    crew_start(&crew, WORKERS);
    let_play(&s, &crew, play);
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    crew_end(&crew);
    CU_ASSERT_EQUAL(s.failures, 0);
    check(&s);
    blockdev_close(file);
}

static const struct qcow2_plan plans[] = {
    {.cluster_bits = 9, .standard_l2 = true, .size_bytes = DISK},
    {.cluster_bits = 12, .standard_l2 = true, .size_bytes = DISK},
    {.cluster_bits = 14, .size_bytes = DISK},
    {.cluster_bits = 16, .standard_l2 = true, .size_bytes = DISK},
};

static void strips(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(plans); i++) {
        struct blockdev *file = NULL;

        CU_ASSERT_EQUAL(member_memory("file", FILE_MAX, SECTOR, &file), 0);
        play_with(&plans[i], file, play_in_strips);
    }
}

static void anywhere(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(plans); i++)
        play_with(&plans[i], atomic_disk(FILE_MAX), play_anywhere);
}

static void test_strips(void)
{
    run_in_rt(strips);
}

static void test_anywhere(void)
{
    run_in_rt(anywhere);
}

CU_TestInfo image_workers_tests[] = {{"guests side by side", test_strips},
    {"guests over one another", test_anywhere}, CU_TEST_INFO_NULL};
