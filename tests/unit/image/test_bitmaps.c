/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/bitmaps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../block/scratch.h"
#include "base/arith.h"
#include "base/bytes.h"
#include "image/entry.h"

extern CU_TestInfo bitmaps_tests[];

#define IMAGE_BYTES   (1u << 20)
#define CLUSTER_BYTES 65536u

static struct qcow2_geometry geometry(void)
{
    struct qcow2_header h = {.cluster_bits = 16, .refcount_order = 4};
    struct qcow2_geometry g;

    qcow2_geometry_init(&g, &h);
    return g;
}

static size_t put_entry(uint8_t *entry, const char *name, uint32_t extra_bytes)
{
    memset(entry, 0, 24);
    put_be64(entry, 3 * CLUSTER_BYTES);
    put_be32(entry + 8, 2);
    put_be32(entry + 12, QCOW2_BITMAP_AUTO);
    entry[16] = 1;
    entry[17] = 16;
    put_be16(entry + 18, (uint16_t)strlen(name));
    put_be32(entry + 20, extra_bytes);
    memset(entry + 24, 0x55, extra_bytes);
    memcpy(entry + 24 + extra_bytes, name, strlen(name));
    return round_up(24 + extra_bytes + strlen(name), 8);
}

static int read_it(
    struct qcow2_bitmap **list, const uint8_t *bytes, size_t length, struct error *err)
{
    struct qcow2_geometry g = geometry();

    return qcow2_bitmaps_read(list, 2, bytes, length, &g, IMAGE_BYTES, err);
}

static void test_read(void)
{
    uint8_t bytes[256] = {0};
    struct qcow2_bitmap *list = NULL;
    size_t length = put_entry(bytes, "one", 0);

    length += put_entry(bytes + length, "the second", 5);
    CU_ASSERT_EQUAL(read_it(&list, bytes, length, NULL), 0);
    if (!list)
        return;
    CU_ASSERT(!strcmp(list[0].name, "one") && !strcmp(list[1].name, "the second"));
    CU_ASSERT_EQUAL(list[1].table_offset, 3 * CLUSTER_BYTES);
    CU_ASSERT_EQUAL(list[1].table_entries, 2);
    CU_ASSERT_EQUAL(list[1].flags, QCOW2_BITMAP_AUTO);
    CU_ASSERT_EQUAL(list[1].granularity_bits, 16);
    qcow2_bitmaps_free(list, 2);
}

static void refused(const uint8_t *bytes, size_t length, const char *part)
{
    struct qcow2_bitmap *list = NULL;
    struct error err = {0};

    CU_ASSERT_EQUAL(read_it(&list, bytes, length, &err), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
    CU_ASSERT_PTR_NULL(list);
}

static void test_refused(void)
{
    uint8_t good[256] = {0}, bad[256];
    size_t first = put_entry(good, "one", 0), length = first + put_entry(good + first, "two", 8);
    uint8_t *two = bad + first;

#define WITH(change, part)                                                                         \
    memcpy(bad, good, sizeof bad);                                                                 \
    change;                                                                                        \
    refused(bad, length, part)
    WITH(put_be64(two, 0), "entry 1: the table is not at a cluster");
    WITH(put_be64(bad, 512), "entry 0: the table is not at a cluster");
    WITH(put_be64(two, IMAGE_BYTES), "not inside");
    WITH(put_be64(two, UINT64_MAX << 16), "not inside");
    WITH(put_be32(two + 8, 0), "empty or larger");
    WITH(put_be32(two + 8, (8 << 20) + 1), "empty or larger");
    WITH(put_be32(two + 12, 8), "reserved flags");
    WITH(two[16] = 2, "type");
    WITH(two[17] = 64, "granularity");
    WITH(put_be16(two + 18, 0), "name");
    WITH(put_be16(two + 18, UINT16_MAX), "beyond the end");
    WITH(put_be32(two + 20, UINT32_MAX), "beyond the end");
    WITH(put_be32(bad + 20, (uint32_t)length), "beyond the end");
#undef WITH
    refused(good, length + 8, "longer than");
}

static void test_truncated(void)
{
    uint8_t bytes[256] = {0};
    size_t first = put_entry(bytes, "one", 0), length = first + put_entry(bytes + first, "two", 8);

    for (size_t keep = 0; keep < length; keep++) {
        uint8_t *cut = malloc(keep + !keep);

        memcpy(cut, bytes, keep);
        refused(cut, keep, "beyond the end");
        free(cut);
    }
}

static void test_entries(void)
{
    struct qcow2_geometry g = geometry();
    static const struct {
        uint64_t word;
        const char *part;
    } cases[] = {{0, NULL}, {1, NULL}, {CLUSTER_BYTES, NULL}, {CLUSTER_BYTES | 1, "reserved"},
        {2, "reserved"}, {UINT64_C(1) << 63, "reserved"},
        {UINT64_C(1) << 56 | CLUSTER_BYTES, "reserved"}, {512, "not a cluster"},
        {IMAGE_BYTES, "beyond"}};

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const char *fault = qcow2_bitmap_entry_fault(&g, cases[i].word, IMAGE_BYTES);

        CU_ASSERT(cases[i].part ? fault && strstr(fault, cases[i].part) : !fault);
    }
}

static size_t slurp(const char *path, uint8_t *bytes, size_t room)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(bytes, 1, room, f) : 0;

    if (f)
        fclose(f);
    return n;
}

static void expect_tables(const uint8_t *image, size_t length, const struct qcow2_geometry *g,
    const struct qcow2_bitmap *b)
{
    for (uint32_t i = 0; i < b->table_entries; i++)
        CU_ASSERT_PTR_NULL(qcow2_bitmap_entry_fault(
            g, get_be64(image + b->table_offset + UINT64_C(8) * i), length));
}

static void test_qemu(void)
{
    static uint8_t image[4 << 20];
    const char *path = scratch_path("bitmaps.qcow2");
    struct qcow2_bitmap *list = NULL;
    struct qcow2_geometry g;
    struct qcow2_header h;
    size_t length;

    if (!scratch_has("qemu-img"))
        return;
    CU_ASSERT(scratch_run("qemu-img create -f qcow2 %s 10M && qemu-img bitmap --add %s b0 && "
                          "qemu-img bitmap --add -g 4k --disable %s 'longer name' && "
                          "qemu-io -c 'write 1M 1M' %s",
        path, path, path, path));
    length = slurp(path, image, sizeof image);
    if (qcow2_header_read(&h, image, length, length, NULL)) {
        CU_FAIL("QEMU's image is refused");
        return;
    }
    CU_ASSERT(h.has_bitmaps && h.bitmaps.count == 2);
    qcow2_geometry_init(&g, &h);
    CU_ASSERT_EQUAL(qcow2_bitmaps_read(&list, h.bitmaps.count, image + h.bitmaps.directory_offset,
                        h.bitmaps.directory_bytes, &g, length, NULL),
        0);
    if (list) {
        CU_ASSERT(!strcmp(list[0].name, "b0") && list[0].flags == QCOW2_BITMAP_AUTO);
        CU_ASSERT(!strcmp(list[1].name, "longer name") && list[1].flags == 0);
        CU_ASSERT(list[0].granularity_bits == 16 && list[1].granularity_bits == 12);
        expect_tables(image, length, &g, &list[0]);
        expect_tables(image, length, &g, &list[1]);
        CU_ASSERT(get_be64(image + list[0].table_offset) & QCOW2_OFFSET_MASK);
        qcow2_bitmaps_free(list, 2);
    }
    qcow2_header_free(&h);
}

CU_TestInfo bitmaps_tests[] = {{"a directory", test_read}, {"entries that cannot be", test_refused},
    {"every truncation", test_truncated}, {"entries of tables", test_entries},
    {"QEMU's bitmaps", test_qemu}, CU_TEST_INFO_NULL};
