/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/snapshot_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../block/scratch.h"
#include "base/arith.h"
#include "base/bytes.h"

extern CU_TestInfo snapshot_table_tests[];

#define DISK_BYTES (UINT64_C(7) << 30)

static char ids[][8] = {"1", "2", "17"}, names[][20] = {"first", "", "a third snapshot"};
static uint8_t unknown[] = {1, 2, 3, 4, 5};

static void make(struct qcow2_snapshot list[3])
{
    for (unsigned i = 0; i < 3; i++)
        list[i] = (struct qcow2_snapshot){.id = ids[i],
            .name = names[i],
            .l1_offset = (i + 1) * UINT64_C(0x10000),
            .l1_entries = i + 2,
            .seconds = 1700000000 + i,
            .nanoseconds = 999999999,
            .vm_clock_ns = 12345 * i,
            .vm_state_bytes = UINT64_C(3) << (30 * i),
            .size_bytes = DISK_BYTES >> i,
            .icount = UINT64_MAX - i};
    list[1].unknown = unknown;
    list[1].unknown_bytes = sizeof unknown;
}

static void expect_same(const struct qcow2_snapshot *a, const struct qcow2_snapshot *b)
{
    CU_ASSERT_STRING_EQUAL(a->id, b->id);
    CU_ASSERT_STRING_EQUAL(a->name, b->name);
    CU_ASSERT_EQUAL(a->l1_offset, b->l1_offset);
    CU_ASSERT_EQUAL(a->l1_entries, b->l1_entries);
    CU_ASSERT_EQUAL(a->seconds, b->seconds);
    CU_ASSERT_EQUAL(a->nanoseconds, b->nanoseconds);
    CU_ASSERT_EQUAL(a->vm_clock_ns, b->vm_clock_ns);
    CU_ASSERT_EQUAL(a->vm_state_bytes, b->vm_state_bytes);
    CU_ASSERT_EQUAL(a->size_bytes, b->size_bytes);
    CU_ASSERT_EQUAL(a->icount, b->icount);
    CU_ASSERT_EQUAL(a->unknown_bytes, b->unknown_bytes);
    CU_ASSERT(!a->unknown_bytes || !memcmp(a->unknown, b->unknown, a->unknown_bytes));
}

static void test_round_trip(void)
{
    struct qcow2_snapshot list[3], *back = NULL;
    size_t used = 0, length;
    uint8_t bytes[512];

    make(list);
    length = qcow2_snapshots_bytes(list, 3);
    memset(bytes, 0xaa, sizeof bytes);
    qcow2_snapshots_write(list, 3, bytes);
    CU_ASSERT_EQUAL(bytes[length], 0xaa);
    CU_ASSERT_EQUAL(qcow2_snapshots_read(&back, 3, bytes, length, 1, &used, NULL), 0);
    CU_ASSERT_EQUAL(used, length);
    for (unsigned i = 0; back && i < 3; i++)
        expect_same(&list[i], &back[i]);
    qcow2_snapshots_free(back, 3);
    CU_ASSERT_EQUAL(qcow2_snapshots_bytes(list, 0), 0);
    CU_ASSERT_EQUAL(qcow2_snapshots_read(&back, 0, bytes, 0, 1, &used, NULL), 0);
    CU_ASSERT_EQUAL(used, 0);
    qcow2_snapshots_free(back, 0);
}

/* Old entries tell less: by the bytes of extra data. */
static void test_extra(void)
{
    for (uint32_t extra = 0; extra <= 24; extra += 8) {
        struct qcow2_snapshot *back = NULL;
        uint8_t bytes[40 + 24 + 2] = {0};
        size_t used;

        put_be16(bytes + 12, 1);
        put_be16(bytes + 14, 1);
        put_be32(bytes + 32, 1000);
        put_be32(bytes + 36, extra);
        put_be64(bytes + 40, 2000);
        put_be64(bytes + 48, 3000);
        put_be64(bytes + 56, 4000);
        memcpy(bytes + 40 + extra, "in", 2);
        CU_ASSERT_EQUAL(
            qcow2_snapshots_read(&back, 1, bytes, 42 + extra, DISK_BYTES, &used, NULL), 0);
        if (!back)
            continue;
        CU_ASSERT_EQUAL(back->vm_state_bytes, extra >= 8 ? 2000 : 1000);
        CU_ASSERT_EQUAL(back->size_bytes, extra >= 16 ? 3000 : DISK_BYTES);
        CU_ASSERT_EQUAL(back->icount, extra >= 24 ? 4000 : UINT64_MAX);
        CU_ASSERT(!strcmp(back->id, "i") && !strcmp(back->name, "n"));
        qcow2_snapshots_free(back, 1);
    }
}

static void refused(const uint8_t *bytes, size_t length, unsigned entry)
{
    struct qcow2_snapshot *list = NULL;
    struct error err = {0};
    char part[32];
    size_t used = 77;

    snprintf(part, sizeof part, "entry %u of 3", entry);
    CU_ASSERT_EQUAL(qcow2_snapshots_read(&list, 3, bytes, length, 1, &used, &err), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
    CU_ASSERT(!list && used == 77);
}

static void test_refused(void)
{
    struct qcow2_snapshot list[3];
    uint8_t bytes[512];
    size_t length;

    make(list);
    length = qcow2_snapshots_bytes(list, 3);
    qcow2_snapshots_write(list, 3, bytes);
    put_be32(bytes + 36, 1025);
    refused(bytes, length, 0);
    put_be32(bytes + 36, UINT32_MAX);
    refused(bytes, length, 0);
    qcow2_snapshots_write(list, 3, bytes);
    put_be16(bytes + 12, UINT16_MAX);
    refused(bytes, length, 0);
    qcow2_snapshots_write(list, 3, bytes);
    put_be16(bytes + 72 + 14, UINT16_MAX);
    refused(bytes, length, 1);
}

/* Nothing beyond the end is looked at (sanitizers see to that). */
static void test_truncated(void)
{
    struct qcow2_snapshot list[3], *back;
    uint8_t bytes[512];
    size_t length, used;

    make(list);
    length = qcow2_snapshots_bytes(list, 3);
    qcow2_snapshots_write(list, 3, bytes);
    for (size_t keep = 0; keep < length; keep++) {
        uint8_t *cut = malloc(keep + !keep);

        memcpy(cut, bytes, keep);
        CU_ASSERT_EQUAL(qcow2_snapshots_read(&back, 3, cut, keep, 1, &used, NULL), -EBADMSG);
        free(cut);
    }
}

static void expect_fault(const struct qcow2_snapshot *s, const char *part)
{
    struct qcow2_header h = {.cluster_bits = 16, .refcount_order = 4};
    struct qcow2_geometry g;
    const char *fault;

    qcow2_geometry_init(&g, &h);
    fault = qcow2_snapshot_fault(&g, s, 1 << 20);
    CU_ASSERT(part ? fault && strstr(fault, part) : !fault);
}

static void test_faults(void)
{
    struct qcow2_snapshot s = {.l1_offset = 0xf0000, .l1_entries = 8192};

    expect_fault(&s, NULL);
    s.l1_entries++;
    expect_fault(&s, "inside");
    s.l1_entries = (4 << 20) + 1;
    expect_fault(&s, "32 MiB");
    s = (struct qcow2_snapshot){.l1_offset = 0, .l1_entries = 1};
    expect_fault(&s, "inside");
    s.l1_entries = 0;
    expect_fault(&s, NULL);
    s.l1_offset = 512;
    expect_fault(&s, "not a cluster");
}

static uint8_t *slurp(const char *path, size_t *length)
{
    FILE *f = fopen(path, "re");
    uint8_t *bytes = malloc(4 << 20);

    *length = f ? fread(bytes, 1, 4 << 20, f) : 0;
    if (f)
        fclose(f);
    return bytes;
}

/* QEMU's table is read, and written the same. */
static void test_qemu(void)
{
    const char *path = scratch_path("snapshots.qcow2");
    struct qcow2_snapshot *list = NULL;
    uint8_t *image, *table, again[512];
    size_t length, used = 0;

    if (!scratch_has("qemu-img"))
        return;
    CU_ASSERT(scratch_run("qemu-img create -f qcow2 %s 1G && qemu-img snapshot -c one %s && "
                          "qemu-img resize %s 2G && qemu-img snapshot -c 'number two' %s",
        path, path, path, path));
    image = slurp(path, &length);
    CU_ASSERT_EQUAL(get_be32(image + 60), 2);
    table = image + get_be64(image + 64);
    CU_ASSERT(table < image + length);
    CU_ASSERT_EQUAL(
        qcow2_snapshots_read(&list, 2, table, (size_t)(image + length - table), 1, &used, NULL), 0);
    if (list) {
        CU_ASSERT(!strcmp(list[0].id, "1") && !strcmp(list[0].name, "one"));
        CU_ASSERT(!strcmp(list[1].id, "2") && !strcmp(list[1].name, "number two"));
        CU_ASSERT_EQUAL(list[0].size_bytes, UINT64_C(1) << 30);
        CU_ASSERT_EQUAL(list[1].size_bytes, UINT64_C(2) << 30);
        CU_ASSERT_EQUAL(qcow2_snapshots_bytes(list, 2), used);
        qcow2_snapshots_write(list, 2, again);
        CU_ASSERT_EQUAL(memcmp(again, table, used), 0);
        qcow2_snapshots_free(list, 2);
    }
    free(image);
}

CU_TestInfo snapshot_table_tests[] = {{"what is written is read", test_round_trip},
    {"extra data", test_extra}, {"entries that cannot be", test_refused},
    {"every truncation", test_truncated}, {"L1 tables that cannot be", test_faults},
    {"QEMU's table", test_qemu}, CU_TEST_INFO_NULL};
