/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The power is cut at every moment of a short life of an image. What is found then is checked,
 * opened, compared with what guests wrote, and closed: no corruption, leaks only where the image
 * says that it is in use, what was flushed is there, and what was not is old or new.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "base/bytes.h"
#include "image/check.h"
#include "image/qcow2.h"
#include "medium.h"

extern CU_TestInfo image_crash_tests[];

#define SECTOR   512u
#define GUESTS   3
#define ROUNDS   16
#define MOST     24u /* sectors of a request */
#define VERSIONS 24  /* of a sector */

/* What a request made of a sector. Value 0: zeros. */
struct version {
    unsigned value, begin, end; /* moments of the medium */
    bool maybe;                 /* or it is as it was: discarded */
};

struct history {
    unsigned count;
    struct version versions[VERSIONS];
};

struct format {
    const char *name;
    unsigned cluster_bits, refcount_order;
    uint64_t disk_bytes;
    uint64_t ahead_bytes;
    bool standard, backed, small_table;
};

struct scene {
    const struct format *format;
    struct medium *file;
    struct blockdev *backing;
    struct qcow2 *q;
    struct history *sectors;
    struct wait_group group;
    unsigned flush_begins[GUESTS * ROUNDS], flush_ends[GUESTS * ROUNDS], flushes;
    unsigned values, failures;
    uint64_t random;
};

#define BACKING_VALUE 0xbacca

static void fill(uint8_t *to, unsigned value, uint64_t sector)
{
    memset(to, 0, SECTOR);
    for (unsigned i = 0; value && i < SECTOR; i += 8)
        put_be64(to + i, (uint64_t)value << 32 | sector);
}

static bool has(const uint8_t *bytes, unsigned value, uint64_t sector)
{
    uint8_t wanted[SECTOR];

    fill(wanted, value, sector);
    return !memcmp(bytes, wanted, SECTOR);
}

static struct version *add_version(struct scene *s, uint64_t sector)
{
    struct history *h = &s->sectors[sector];

    if (h->count == VERSIONS) {
        s->failures++;
        return &h->versions[VERSIONS - 1];
    }
    return &h->versions[h->count++];
}

static void begin_versions(
    struct scene *s, uint64_t first, uint64_t count, unsigned value, bool maybe)
{
    for (uint64_t i = first; i < first + count; i++)
        *add_version(s, i) =
            (struct version){.value = value, .begin = s->file->now, .maybe = maybe};
}

static void end_versions(struct scene *s, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++)
        s->sectors[i].versions[s->sectors[i].count - 1].end = s->file->now;
}

static int write_some(struct scene *s, uint64_t first, uint64_t count)
{
    unsigned value = ++s->values;
    uint8_t *buf = malloc(count * SECTOR);
    int rc;

    for (uint64_t i = 0; i < count; i++)
        fill(buf + i * SECTOR, value, first + i);
    begin_versions(s, first, count, value, false);
    rc = blockdev_write(
        qcow2_blockdev(s->q), buf, first * SECTOR, count * SECTOR, value % 5 ? 0 : BLOCK_FUA);
    end_versions(s, first, count);
    free(buf);
    return rc;
}

static int zero_some(struct scene *s, uint64_t first, uint64_t count, bool discard)
{
    struct blockdev *d = qcow2_blockdev(s->q);
    unsigned flags = first & 1 ? BLOCK_MAY_UNMAP : 0;
    int rc;

    begin_versions(s, first, count, 0, discard);
    rc = discard ? blockdev_discard(d, first * SECTOR, count * SECTOR)
                 : blockdev_write_zeroes(d, first * SECTOR, count * SECTOR, flags);
    end_versions(s, first, count);
    return rc;
}

static int flush(struct scene *s)
{
    unsigned begin = s->file->now;
    int rc = blockdev_flush(qcow2_blockdev(s->q));

    s->flush_begins[s->flushes] = begin;
    s->flush_ends[s->flushes++] = s->file->now;
    return rc;
}

struct guest {
    struct scene *s;
    uint64_t first, end; /* sectors */
};

static int do_something(struct scene *s, uint64_t first, uint64_t count)
{
    switch (random_below(&s->random, 9)) {
    case 0:
    case 1:
        return zero_some(s, first, count, true);
    case 2:
        return zero_some(s, first, count, false);
    case 3:
    case 4:
        return flush(s);
    default:
        return write_some(s, first, count);
    }
}

static void play(void *arg)
{
    struct guest *g = arg;
    struct scene *s = g->s;

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t count = 1 + random_below(&s->random, random_below(&s->random, 3) ? 8 : MOST);
        uint64_t span = g->end - g->first - count;
        uint64_t first = g->first + random_below(&s->random, (unsigned)span + 1);

        if (!random_below(&s->random, 3)) /* near to each other, so that much is changed again */
            first = g->first;
        s->failures += do_something(s, first, count) != 0;
        if (!random_below(&s->random, 2))
            co_yield ();
    }
    wait_group_done(&s->group);
}

static int grow(void *arg, uint64_t size_bytes)
{
    struct scene *s = arg;

    co_yield ();
    medium_grow(s->file, round_up(size_bytes, 4096));
    return 0;
}

static const struct qcow2_file_ops file_ops = {.grow = grow};

static int open_image(struct scene *s, struct blockdev *file, struct qcow2 **q)
{
    struct qcow2_options options = {.backing = s->backing,
        .map_bytes_max = 1,
        .ahead_bytes = s->format->ahead_bytes,
        .file_ops = file == &s->file->dev ? &file_ops : NULL,
        .file_arg = s,
        .discard = true};
    struct error err = {0};
    int rc = qcow2_open(q, file, "image", &options, &err);

    if (rc)
        printf("%s: open: %s\n", s->format->name, err.text);
    return rc;
}

static void let_play(struct scene *s)
{
    uint64_t sectors = s->format->disk_bytes / SECTOR;
    struct guest guests[GUESTS];

    wait_group_init(&s->group);
    wait_group_add(&s->group, GUESTS);
    for (unsigned i = 0; i < GUESTS; i++) {
        guests[i] = (struct guest){s, i * sectors / GUESTS, (i + 1) * sectors / GUESTS};
        co_start("guest", play, &guests[i]);
    }
    wait_group_wait(&s->group);
}

/* When the last flush began that was acknowledged by then. */
static unsigned flushed(const struct scene *s, unsigned moment)
{
    unsigned begun = 0;

    for (unsigned i = 0; i < s->flushes; i++)
        if (s->flush_ends[i] <= moment)
            begun = MAX(begun, s->flush_begins[i]);
    return begun;
}

/* From the newest back to the last that is surely there. */
static bool may_be(const struct scene *s, uint64_t sector, const uint8_t *bytes, unsigned moment,
    unsigned flushed_at)
{
    const struct history *h = &s->sectors[sector];

    for (unsigned i = h->count; i-- > 0;) {
        const struct version *v = &h->versions[i];

        if (v->begin > moment)
            continue;
        if (has(bytes, v->value, sector))
            return true;
        if (v->end && v->end <= flushed_at && !v->maybe)
            return false;
    }
    return has(bytes, s->backing ? BACKING_VALUE : 0, sector);
}

static unsigned compare(struct scene *s, struct qcow2 *q, unsigned moment)
{
    uint64_t bytes = s->format->disk_bytes;
    unsigned flushed_at = flushed(s, moment), wrong = 0;
    uint8_t *all = malloc(bytes);
    int rc = blockdev_read(qcow2_blockdev(q), all, 0, bytes);

    for (uint64_t i = 0; !rc && i < bytes / SECTOR; i++)
        wrong += !may_be(s, i, all + i * SECTOR, moment, flushed_at);
    free(all);
    return wrong + (rc != 0);
}

/* Faults; leaks too where `whole`, or where it does not say that it is in use. */
static unsigned check(const struct scene *s, struct blockdev *file, bool whole, unsigned moment)
{
    struct check_result *r = calloc(1, sizeof *r);
    struct error err = {0};
    uint8_t incompatible[8];
    int rc = qcow2_check(file, 0, NULL, NULL, r, &err);
    unsigned faults = rc != 0;

    blockdev_read_bytes(file, incompatible, 72, 8);
    whole |= !(get_be64(incompatible) & QCOW2_DIRTY);
    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        if (i != CHECK_LEAK || whole)
            faults += (unsigned)r->found[i];
    for (unsigned i = 0; faults && i < MIN(r->finding_count, 3u); i++)
        printf("%s, moment %u: %s\n", s->format->name, moment, r->findings[i].text);
    free(r);
    return faults;
}

/* It goes on from what was left. */
static unsigned live_again(struct scene *s, struct blockdev *file, unsigned moment)
{
    uint8_t buf[SECTOR];
    struct qcow2 *q;
    unsigned wrong;

    if (open_image(s, file, &q))
        return 1;
    wrong = compare(s, q, moment);
    fill(buf, 1, 0);
    wrong += blockdev_write(qcow2_blockdev(q), buf, 0, SECTOR, 0) != 0;
    wrong += qcow2_close(q) != 0;
    return wrong + check(s, file, true, moment);
}

static bool cut_at(struct scene *s, unsigned moment)
{
    enum medium_loss loss = (enum medium_loss)random_below(&s->random, 4);
    struct blockdev *left = medium_cut(s->file, moment, loss);
    unsigned wrong = check(s, left, false, moment);

    wrong += wrong ? 0 : live_again(s, left, moment);
    if (wrong)
        printf("%s: cut at %u: %u faults\n", s->format->name, moment, wrong);
    blockdev_close(left);
    return !wrong;
}

static void make_backing(struct scene *s)
{
    uint64_t bytes = s->format->disk_bytes;
    uint8_t *all = malloc(bytes);

    for (uint64_t i = 0; i < bytes / SECTOR; i++)
        fill(all + i * SECTOR, BACKING_VALUE, i);
    s->backing = &medium_create(bytes, bytes, s->random)->dev;
    CU_ASSERT_EQUAL(blockdev_write(s->backing, all, 0, bytes, 0), 0);
    free(all);
}

/* The format's table of refcounts is large enough for the disk: the disk is made larger
 * afterwards. */
static void enlarge(struct scene *s)
{
    uint8_t size[8], entries[4];

    put_be64(size, s->format->disk_bytes);
    put_be32(entries, (uint32_t)div_round_up(s->format->disk_bytes, UINT64_C(64) << 9));
    CU_ASSERT_EQUAL(blockdev_write_bytes(&s->file->dev, size, 24, 8, 0), 0);
    CU_ASSERT_EQUAL(blockdev_write_bytes(&s->file->dev, entries, 36, 4, 0), 0);
}

static void make_image(struct scene *s)
{
    const struct format *f = s->format;
    struct qcow2_plan plan = {.cluster_bits = f->cluster_bits,
        .standard_l2 = f->standard,
        .refcount_order = f->refcount_order,
        .size_bytes = f->small_table ? 64 << 10 : f->disk_bytes,
        .backing_name = f->backed ? "backing" : NULL};
    struct error err = {0};
    uint64_t bytes = 0;

    CU_ASSERT_EQUAL(qcow2_plan_bytes(&plan, &bytes, &err), 0);
    s->file = medium_create(round_up(bytes, 4096), 4 * f->disk_bytes + (1 << 20), s->random);
    CU_ASSERT_EQUAL(qcow2_format(&s->file->dev, &plan, &err), 0);
    if (f->small_table)
        enlarge(s);
    if (f->backed)
        make_backing(s);
    medium_record(s->file);
}

static void cut_everywhere(const struct format *f, uint64_t seed)
{
    struct scene s = {.format = f, .random = seed * 7919};

    s.sectors = calloc(f->disk_bytes / SECTOR, sizeof *s.sectors);
    make_image(&s);
    CU_ASSERT_EQUAL(open_image(&s, &s.file->dev, &s.q), 0);
    let_play(&s);
    CU_ASSERT_EQUAL(s.failures, 0);
    CU_ASSERT_EQUAL(compare(&s, s.q, s.file->now), 0);
    CU_ASSERT_EQUAL(qcow2_close(s.q), 0);
    CU_ASSERT_EQUAL(check(&s, &s.file->dev, true, s.file->now), 0);
    unsigned wrong = 0;
    for (unsigned moment = 0; moment <= s.file->now && wrong < 3; moment++)
        wrong += !cut_at(&s, moment);
    if (wrong)
        printf("%s: seed %llu\n", f->name, (unsigned long long)seed);
    CU_ASSERT_EQUAL(wrong, 0);
    blockdev_close(&s.file->dev);
    if (s.backing)
        blockdev_close(s.backing);
    free(s.sectors);
}

static const struct format formats[] = {
    {"clusters of 512 bytes", 9, 6, 256 << 10, 16 << 10, true, false, false},
    {"clusters of 512 bytes, a table that moves", 9, 6, 2 << 20, 4 << 20, true, false, true},
    {"clusters of 1024 bytes", 10, 1, 256 << 10, 1, true, false, false},
    {"clusters of 4096 bytes", 12, 4, 256 << 10, 32 << 10, true, true, false},
    {"subclusters of 512 bytes", 14, 4, 512 << 10, 64 << 10, false, false, false},
    {"subclusters over a backing", 14, 3, 512 << 10, 1, false, true, false},
};

static void everywhere(void)
{
    const char *seed = getenv("CRASH_SEED");

    for (unsigned i = 0; i < ARRAY_LEN(formats); i++)
        cut_everywhere(&formats[i], seed ? strtoull(seed, NULL, 0) : i + 1);
}

static void test_everywhere(void)
{
    run_in_rt(everywhere);
}

CU_TestInfo image_crash_tests[] = {
    {"the power is cut at every moment", test_everywhere}, CU_TEST_INFO_NULL};
