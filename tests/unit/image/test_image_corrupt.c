/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images in which something cannot be: they are refused, or what it concerns fails, the image says
 * so on the disk, and no write harms what is whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "image/entry.h"
#include "rig.h"

extern CU_TestInfo image_corrupt_tests[];

#define CLUSTER UINT64_C(4096)
#define SPAN    (CLUSTER / 8 * CLUSTER) /* of a table */
#define DISK    (4 * SPAN)
#define FILE    (4u << 20)
#define WRITTEN 8u /* clusters, at the beginning of each of two tables */

struct scene {
    struct rig rig;
    uint64_t l1, l2[2], reftable, refblock;
};

/* Clusters 0 and on are 1, those of the second table 2. Closed. */
static void begin(struct scene *s)
{
    const struct qcow2_plan plan = {.cluster_bits = 12, .standard_l2 = true, .size_bytes = DISK};
    struct rig *r = &s->rig;

    rig_make(r, &plan, FILE);
    CU_ASSERT_EQUAL(rig_open(r), 0);
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(rig_write(r, i * SPAN, WRITTEN * CLUSTER, (int)i + 1), 0);
    CU_ASSERT_EQUAL(rig_close(r), 0);
    s->l1 = rig_l1_offset(r);
    for (unsigned i = 0; i < 2; i++)
        s->l2[i] = rig_file_word(r, s->l1 + 8 * i) & QCOW2_OFFSET_MASK;
    s->reftable = rig_file_word(r, 48);
    s->refblock = rig_file_word(r, s->reftable);
}

static uint64_t host_of(struct scene *s, uint64_t cluster)
{
    return rig_file_word(&s->rig, s->l2[0] + 8 * cluster) & QCOW2_OFFSET_MASK;
}

static void put_refcount(struct scene *s, uint64_t host, unsigned refcount)
{
    uint8_t bytes[2];

    put_be16(bytes, (uint16_t)refcount);
    CU_ASSERT_EQUAL(
        blockdev_write_bytes(s->rig.file, bytes, s->refblock + host / CLUSTER * 2, 2, 0), 0);
}

static uint8_t *copy_file(struct scene *s)
{
    uint8_t *bytes = malloc(FILE);

    CU_ASSERT_EQUAL(blockdev_read(s->rig.file, bytes, 0, FILE), 0);
    return bytes;
}

static bool says_corrupt(struct scene *s)
{
    return rig_file_word(&s->rig, 72) & QCOW2_CORRUPT;
}

/* It has been found: nothing is written any more, now or later; what can be read is. */
static void expect_corrupt(struct scene *s)
{
    struct qcow2_status status;

    qcow2_status(s->rig.q, &status);
    CU_ASSERT(status.corrupt);
    CU_ASSERT_EQUAL(rig_write(&s->rig, SPAN, CLUSTER, 9), -EIO);
    CU_ASSERT_EQUAL(rig_write(&s->rig, SPAN + 20 * CLUSTER, CLUSTER, 9), -EIO);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(s->rig.disk, SPAN, CLUSTER, 0), -EIO);
    CU_ASSERT_EQUAL(blockdev_discard(s->rig.disk, SPAN, CLUSTER), -EIO);
    CU_ASSERT(rig_reads(&s->rig, SPAN, CLUSTER, 2));
    rig_close(&s->rig);
    CU_ASSERT(says_corrupt(s));
    CU_ASSERT_EQUAL(rig_open(&s->rig), -EUCLEAN);
    s->rig.options.read_only = true;
    CU_ASSERT_EQUAL(rig_open(&s->rig), 0);
    CU_ASSERT(rig_reads(&s->rig, SPAN, CLUSTER, 2));
    CU_ASSERT_EQUAL(rig_write(&s->rig, SPAN, CLUSTER, 9), -EROFS);
    CU_ASSERT_EQUAL(rig_close(&s->rig), 0);
}

static void end(struct scene *s)
{
    rig_end(&s->rig);
}

static void entry_beyond(void)
{
    struct scene s;

    for (unsigned how = 0; how < 2; how++) {
        begin(&s);
        rig_put_file_word(&s.rig, s.l2[0] + 8 * 3, (FILE + CLUSTER) | (how ? QCOW2_COPIED : 0));
        CU_ASSERT_EQUAL(rig_open(&s.rig), 0);
        CU_ASSERT_EQUAL(rig_write(&s.rig, 3 * CLUSTER, CLUSTER, 9), -EIO);
        CU_ASSERT_FALSE(rig_reads(&s.rig, 3 * CLUSTER, CLUSTER, 0));
        CU_ASSERT(rig_reads(&s.rig, 4 * CLUSTER, CLUSTER, 1));
        expect_corrupt(&s);
        end(&s);
    }
}

/* Nothing but the header's first sector may have changed. */
static void expect_unchanged(struct scene *s, const uint8_t *before)
{
    uint8_t *after = copy_file(s);

    CU_ASSERT_EQUAL(memcmp(before + 512, after + 512, FILE - 512), 0);
    free(after);
}

/* The first request is a write, which must not go there. */
static void write_is_refused(struct scene *s, uint64_t offset, uint64_t length)
{
    uint8_t *before = copy_file(s);

    CU_ASSERT_EQUAL(rig_open(&s->rig), 0);
    CU_ASSERT_EQUAL(rig_write(&s->rig, offset, length, 9), -EIO);
    expect_unchanged(s, before);
    expect_corrupt(s);
    expect_unchanged(s, before);
    free(before);
}

/* COPIED, and somebody else has it too. */
static void data_of_two(void)
{
    struct scene s;

    begin(&s);
    put_refcount(&s, host_of(&s, 3), 2);
    write_is_refused(&s, 3 * CLUSTER, CLUSTER);
    end(&s);
    begin(&s);
    put_refcount(&s, host_of(&s, 3), 0);
    write_is_refused(&s, 20 * CLUSTER, CLUSTER);
    end(&s);
}

/* A guest's cluster that is the image's own. */
static void data_in_metadata(void)
{
    struct scene s;

    begin(&s);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t host[] = {s.l1, s.l2[1], s.reftable, s.refblock};

        s.rig.options.read_only = false;
        rig_put_file_word(&s.rig, 72, 0);
        rig_put_file_word(&s.rig, s.l2[0] + 8 * 3, host[i] | QCOW2_COPIED);
        write_is_refused(&s, 3 * CLUSTER, CLUSTER);
    }
    end(&s);
}

/* Found when it is opened: the image can only be read. */
static void open_is_refused(struct scene *s)
{
    uint8_t *before = copy_file(s);

    s->rig.options.read_only = false;
    CU_ASSERT_EQUAL(rig_open(&s->rig), -EUCLEAN);
    expect_unchanged(s, before);
    CU_ASSERT(says_corrupt(s));
    s->rig.options.read_only = true;
    CU_ASSERT_EQUAL(rig_open(&s->rig), 0);
    CU_ASSERT(rig_reads(&s->rig, SPAN, CLUSTER, 2));
    CU_ASSERT_EQUAL(rig_close(&s->rig), 0);
    rig_put_file_word(&s->rig, 72, 0);
    free(before);
}

static void table_of_two(void)
{
    struct scene s;

    begin(&s);
    put_refcount(&s, s.l2[0], 2);
    open_is_refused(&s);
    end(&s);
}

/* Tables that are one another, or that somebody may take. */
static void metadata_overlaps(void)
{
    struct scene s;

    begin(&s);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t host[] = {s.l2[1], s.l1, s.reftable, s.refblock};

        rig_put_file_word(&s.rig, s.l1, host[i] | QCOW2_COPIED);
        open_is_refused(&s);
    }
    rig_put_file_word(&s.rig, s.l1, s.l2[0] | QCOW2_COPIED);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t host[] = {s.l2[0], s.l1, s.reftable, s.refblock};

        put_refcount(&s, host[i], 0);
        open_is_refused(&s);
        put_refcount(&s, host[i], 1);
    }
    s.rig.options.read_only = false;
    CU_ASSERT_EQUAL(rig_open(&s.rig), 0);
    CU_ASSERT_EQUAL(rig_close(&s.rig), 0);
    rig_expect_whole(&s.rig);
    end(&s);
}

static void reftable_garbage(void)
{
    static const uint64_t words[] = {1, CLUSTER + 512, FILE, UINT64_MAX};
    struct scene s;

    begin(&s);
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        uint8_t *before;

        rig_put_file_word(&s.rig, s.reftable, words[i]);
        before = copy_file(&s);
        CU_ASSERT_EQUAL(rig_open(&s.rig), -EBADMSG);
        expect_unchanged(&s, before);
        free(before);
    }
    rig_put_file_word(&s.rig, s.reftable, 0);
    open_is_refused(&s);
    end(&s);
}

/* Words of L1 that name no table, or none that can be. */
static void l1_garbage(void)
{
    static const uint64_t words[] = {
        QCOW2_COPIED, 1, QCOW2_COPIED | 0x200, FILE | QCOW2_COPIED, UINT64_C(1) << 62};
    struct scene s;

    begin(&s);
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        s.rig.options.read_only = true;
        rig_put_file_word(&s.rig, s.l1, words[i]);
        CU_ASSERT_EQUAL(rig_open(&s.rig), 0);
        CU_ASSERT_FALSE(rig_reads(&s.rig, 0, CLUSTER, 1));
        CU_ASSERT(rig_reads(&s.rig, SPAN, CLUSTER, 2));
        CU_ASSERT_EQUAL(rig_close(&s.rig), 0);
        open_is_refused(&s);
    }
    end(&s);
}

#define RULE(name)                                                                                 \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        run_in_rt(name);                                                                           \
    }
RULE(entry_beyond)
RULE(data_of_two)
RULE(table_of_two)
RULE(data_in_metadata)
RULE(metadata_overlaps)
RULE(reftable_garbage)
RULE(l1_garbage)

CU_TestInfo image_corrupt_tests[] = {
    {"an entry beyond the file", test_entry_beyond},
    {"data that two have", test_data_of_two},
    {"a table that two have", test_table_of_two},
    {"data in the image's own clusters", test_data_in_metadata},
    {"tables that overlap, or are free", test_metadata_overlaps},
    {"garbage in the refcount table", test_reftable_garbage},
    {"garbage in L1", test_l1_garbage},
    CU_TEST_INFO_NULL,
};
