/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/entry.h"

#include <string.h>

#include "base/arith.h"
#include "unit.h"

extern CU_TestInfo entry_tests[];

#define IMAGE_BYTES (UINT64_C(1) << 40)
#define CLUSTER     (UINT64_C(1) << 16)

static struct qcow2_geometry geometry(unsigned cluster_bits, bool extended)
{
    struct qcow2_header h = {.cluster_bits = cluster_bits,
        .refcount_order = 4,
        .incompatible = extended ? QCOW2_EXTENDED_L2 : 0};
    struct qcow2_geometry g;

    qcow2_geometry_init(&g, &h);
    return g;
}

static void expect_fault(const char *fault, const char *part)
{
    if (part)
        CU_ASSERT(fault && strstr(fault, part));
    if (!part)
        CU_ASSERT_PTR_NULL(fault);
}

static void test_l1_faults(void)
{
    static const struct {
        uint64_t word;
        const char *part;
    } cases[] = {{0, NULL}, {CLUSTER, NULL}, {QCOW2_COPIED | CLUSTER, NULL},
        {IMAGE_BYTES - CLUSTER, NULL}, {IMAGE_BYTES, "beyond"},
        {QCOW2_OFFSET_MASK, "not a cluster"}, {CLUSTER | 1, "reserved"},
        {CLUSTER | 0x100, "reserved"}, {CLUSTER | UINT64_C(1) << 62, "reserved"},
        {CLUSTER | UINT64_C(1) << 56, "reserved"}, {CLUSTER + 512, "not a cluster"},
        {QCOW2_COPIED, "without a table"}};
    struct qcow2_geometry g = geometry(16, false);

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        expect_fault(qcow2_l1_entry_fault(&g, cases[i].word, IMAGE_BYTES), cases[i].part);
    /* A table is there wholly. */
    expect_fault(qcow2_l1_entry_fault(&g, CLUSTER, 2 * CLUSTER - 1), "beyond");
    expect_fault(qcow2_l1_entry_fault(&g, CLUSTER, 512), "beyond");
}

static void test_l2_faults(void)
{
    static const struct {
        struct qcow2_entry e;
        unsigned version;
        bool extended;
        const char *part;
    } cases[] = {{{0, 0}, 3, false, NULL}, {{QCOW2_ZERO, 0}, 3, false, NULL},
        {{QCOW2_ZERO | CLUSTER, 0}, 3, false, NULL}, {{QCOW2_COPIED | CLUSTER, 0}, 2, false, NULL},
        {{QCOW2_ZERO, 0}, 2, false, "version 2"}, {{CLUSTER | 2, 0}, 3, false, "reserved"},
        {{CLUSTER | UINT64_C(1) << 61, 0}, 3, false, "reserved"},
        {{QCOW2_COPIED, 0}, 3, false, "without a cluster"},
        {{CLUSTER + 512, 0}, 3, false, "not a cluster"}, {{IMAGE_BYTES, 0}, 3, false, "beyond"},
        {{CLUSTER, 1}, 3, true, NULL}, {{0, UINT64_C(1) << 32}, 3, true, NULL},
        {{CLUSTER, UINT64_C(0xffff0000) << 32 | 0xffff}, 3, true, NULL},
        {{CLUSTER | QCOW2_ZERO, 1}, 3, true, "reserved"},
        {{CLUSTER, UINT64_C(1) << 40 | 1 << 8}, 3, true, "both"},
        {{0, 1}, 3, true, "without a cluster"}, {{QCOW2_COMPRESSED | CLUSTER, 0}, 3, false, NULL},
        {{QCOW2_COMPRESSED | QCOW2_COPIED | CLUSTER, 0}, 3, false, "COPIED"},
        {{QCOW2_COMPRESSED | CLUSTER, 1}, 3, true, "subclusters"},
        {{QCOW2_COMPRESSED, 0}, 3, false, "not inside"},
        {{QCOW2_COMPRESSED | IMAGE_BYTES, 0}, 3, false, "not inside"}};

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcow2_geometry g = geometry(16, cases[i].extended);

        expect_fault(
            qcow2_l2_entry_fault(&g, cases[i].version, cases[i].e, IMAGE_BYTES), cases[i].part);
    }
}

/* A data cluster need not be there wholly, a compressed one's bytes have to. */
static void test_end(void)
{
    struct qcow2_geometry g = geometry(16, false);
    struct qcow2_entry packed = {qcow2_packed_word(&g, 3 * CLUSTER + 100, 1000), 0};

    expect_fault(
        qcow2_l2_entry_fault(&g, 3, (struct qcow2_entry){CLUSTER, 0}, CLUSTER + 512), NULL);
    expect_fault(qcow2_l2_entry_fault(&g, 3, (struct qcow2_entry){CLUSTER, 0}, CLUSTER), "beyond");
    expect_fault(qcow2_l2_entry_fault(&g, 3, packed, 3 * CLUSTER + 1536), NULL);
    expect_fault(qcow2_l2_entry_fault(&g, 3, packed, 3 * CLUSTER + 1535), "not inside");
}

static void test_kinds(void)
{
    struct qcow2_geometry g = geometry(16, false), x = geometry(16, true);
    struct qcow2_entry mixed = {CLUSTER, UINT64_C(2) << 32 | 1};

    CU_ASSERT_EQUAL(qcow2_entry_kind(&g, (struct qcow2_entry){0, 0}, 0), QCOW2_BACKED);
    CU_ASSERT_EQUAL(qcow2_entry_kind(&g, (struct qcow2_entry){CLUSTER, 0}, 0), QCOW2_DATA);
    CU_ASSERT_EQUAL(
        qcow2_entry_kind(&g, (struct qcow2_entry){CLUSTER | QCOW2_ZERO, 0}, 0), QCOW2_READS_ZERO);
    CU_ASSERT_EQUAL(
        qcow2_entry_kind(&g, (struct qcow2_entry){QCOW2_COMPRESSED | 1, 0}, 0), QCOW2_PACKED);
    CU_ASSERT_EQUAL(qcow2_entry_kind(&x, mixed, 0), QCOW2_DATA);
    CU_ASSERT_EQUAL(qcow2_entry_kind(&x, mixed, 1), QCOW2_READS_ZERO);
    CU_ASSERT_EQUAL(qcow2_entry_kind(&x, mixed, 2), QCOW2_BACKED);
}

/* Against counting one by one. */
static void test_runs(void)
{
    static const uint64_t bitmaps[] = {0, 0xffffffff, UINT64_C(0xffffffff) << 32, 1, 0x80000000,
        UINT64_C(0x00ff00f0) << 32 | 0xff00000f, UINT64_C(0x55555555) << 32 | 0xaaaaaaaa};
    struct qcow2_geometry x = geometry(16, true);

    for (unsigned i = 0; i < ARRAY_LEN(bitmaps); i++)
        for (unsigned from = 0; from < QCOW2_SUBCLUSTERS; from++) {
            struct qcow2_entry e = {CLUSTER, bitmaps[i]};
            unsigned to = from + 1;

            while (to < QCOW2_SUBCLUSTERS &&
                   qcow2_entry_kind(&x, e, to) == qcow2_entry_kind(&x, e, from))
                to++;
            CU_ASSERT_EQUAL(qcow2_entry_run(&x, e, from), to - from);
        }
}

static void test_packed(void)
{
    static const struct {
        uint64_t offset, length;
    } places[] = {{512, 1}, {1023, 1}, {1023, 2}, {70000, 60000}, {(UINT64_C(1) << 37) - 512, 512}};

    for (unsigned bits = QCOW2_CLUSTER_BITS_MIN; bits <= QCOW2_CLUSTER_BITS_MAX; bits++)
        for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
            struct qcow2_geometry g = geometry(bits, false);
            uint64_t offset, length;

            if (places[i].length > UINT64_C(1) << bits)
                continue;
            qcow2_entry_packed(&g,
                (struct qcow2_entry){qcow2_packed_word(&g, places[i].offset, places[i].length), 0},
                &offset, &length);
            CU_ASSERT_EQUAL(offset, places[i].offset);
            CU_ASSERT(length >= places[i].length && length < places[i].length + 512);
            CU_ASSERT_EQUAL((offset + length) % 512, 0);
        }
}

static void test_tables(void)
{
    struct qcow2_geometry g = geometry(16, false), x = geometry(16, true);
    struct qcow2_entry e = {QCOW2_COPIED | CLUSTER, 0x1234}, back;
    uint8_t table[64] = {0};

    qcow2_entry_put(&x, table, 2, e);
    CU_ASSERT_EQUAL(get_be64(table + 32), e.word);
    CU_ASSERT_EQUAL(get_be64(table + 40), e.bitmap);
    back = qcow2_entry_get(&x, table, 2);
    CU_ASSERT(back.word == e.word && back.bitmap == e.bitmap);
    back = qcow2_entry_get(&g, table, 4);
    CU_ASSERT(back.word == e.word && back.bitmap == 0);
    CU_ASSERT_EQUAL(qcow2_entry_offset(e), CLUSTER);
    CU_ASSERT_EQUAL(qcow2_entry_offset((struct qcow2_entry){QCOW2_COMPRESSED | CLUSTER, 0}), 0);
}

CU_TestInfo entry_tests[] = {{"L1 entries that cannot be", test_l1_faults},
    {"L2 entries that cannot be", test_l2_faults}, {"at the end of the image", test_end},
    {"what a guest reads", test_kinds}, {"runs of subclusters", test_runs},
    {"places of compressed clusters", test_packed}, {"in tables", test_tables}, CU_TEST_INFO_NULL};
