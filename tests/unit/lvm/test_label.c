/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "golden.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "lvm/crc.h"
#include "lvm/label.h"

extern CU_TestInfo label_tests[];

/* Decoded and encoded again, LVM2's sectors are what they were. */
static void test_golden(void)
{
    for (unsigned i = 0; i < golden_count; i++)
        for (unsigned k = 0; k < goldens[i].pvs; k++) {
            char *head = golden_head(&goldens[i], k), sector[LVM_LABEL_BYTES];
            struct lvm_label label;

            CU_ASSERT_EQUAL(lvm_label_find(&label, head, NULL), 0);
            CU_ASSERT_EQUAL(label.sector, LVM_LABEL_SECTOR);
            CU_ASSERT_EQUAL(label.data_area_count, 1);
            CU_ASSERT_EQUAL(label.data_areas[0].offset_bytes, 1 << 20);
            CU_ASSERT_EQUAL(label.extension_version, 2);
            CU_ASSERT_EQUAL(label.extension_flags, LVM_LABEL_IN_USE);
            lvm_label_encode(&label, sector);
            CU_ASSERT_EQUAL(memcmp(sector, head + LVM_LABEL_BYTES, sizeof sector), 0);
            free(head);
        }
}

static struct lvm_label sample(void)
{
    return (struct lvm_label){
        .sector = LVM_LABEL_SECTOR,
        .id = "abcdef-0123-4567-89AB-CDEF-ghij-klmnop",
        .device_size_bytes = 64 << 20,
        .data_area_count = 1,
        .data_areas = {{1 << 20, 0}},
        .metadata_area_count = 2,
        .metadata_areas = {{4096, 1044480}, {63 << 20, 1 << 20}},
        .extension_version = 2,
        .extension_flags = LVM_LABEL_IN_USE,
        .bootloader_area_count = 1,
        .bootloader_areas = {{512 << 10, 4096}},
    };
}

/* Not memcmp of the structs: what lies between fields is anybody's. */
static void round_trip(const struct lvm_label *in)
{
    char sector[LVM_LABEL_BYTES], again[LVM_LABEL_BYTES];
    struct lvm_label out;

    lvm_label_encode(in, sector);
    CU_ASSERT_EQUAL(lvm_label_decode(&out, sector, LVM_LABEL_SECTOR, NULL), 0);
    CU_ASSERT_STRING_EQUAL(out.id, in->id);
    CU_ASSERT_EQUAL(out.device_size_bytes, in->device_size_bytes);
    CU_ASSERT_EQUAL(out.metadata_area_count, in->metadata_area_count);
    CU_ASSERT_EQUAL(out.metadata_areas[1].offset_bytes, in->metadata_areas[1].offset_bytes);
    CU_ASSERT_EQUAL(out.extension_flags, in->extension_flags);
    CU_ASSERT_EQUAL(out.bootloader_area_count, in->bootloader_area_count);
    lvm_label_encode(&out, again);
    CU_ASSERT_EQUAL(memcmp(sector, again, sizeof sector), 0);
}

static void test_round_trip(void)
{
    struct lvm_label label = sample();

    round_trip(&label);
    label.extension_version = label.extension_flags = label.bootloader_area_count = 0;
    memset(label.bootloader_areas, 0, sizeof label.bootloader_areas);
    round_trip(&label);
}

/* Any of the first four sectors may hold it; a damaged one does not hide a good one. */
static void test_find(void)
{
    struct lvm_label label = sample(), found;
    char first[LVM_LABEL_SCAN_BYTES] = {0};
    struct error err = {0};

    CU_ASSERT_EQUAL(lvm_label_find(&found, first, &err), -ENODATA);
    CU_ASSERT_STRING_EQUAL(err.text, "there is no LVM2 label");
    for (label.sector = 0; label.sector < LVM_LABEL_SCAN_SECTORS; label.sector++) {
        memset(first, 0, sizeof first);
        lvm_label_encode(&label, first + label.sector * LVM_LABEL_BYTES);
        CU_ASSERT_EQUAL(lvm_label_find(&found, first, NULL), 0);
        CU_ASSERT_EQUAL(found.sector, label.sector);
    }
    label.sector = 0;
    lvm_label_encode(&label, first);
    first[100] ^= 1;
    CU_ASSERT_EQUAL(lvm_label_find(&found, first, NULL), 0);
    CU_ASSERT_EQUAL(found.sector, 3);
    memset(first + LVM_LABEL_BYTES, 0, sizeof first - LVM_LABEL_BYTES);
    CU_ASSERT_EQUAL(lvm_label_find(&found, first, &err), -EBADMSG);
}

static void seal(char *sector)
{
    put_le32(sector + 16, lvm_crc(LVM_CRC_INITIAL, sector + 20, LVM_LABEL_BYTES - 20));
}

static void refused(const char *sector, int code, const char *part)
{
    struct lvm_label label = {.sector = 77};
    struct error err = {0};

    CU_ASSERT_EQUAL(lvm_label_decode(&label, sector, LVM_LABEL_SECTOR, &err), -code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
    CU_ASSERT_EQUAL(label.sector, 77);
}

static void test_refuse(void)
{
    struct lvm_label label = sample();
    char good[LVM_LABEL_BYTES], bad[LVM_LABEL_BYTES];

    lvm_label_encode(&label, good);
#define WITH(change, code, part)                                                                   \
    memcpy(bad, good, sizeof bad);                                                                 \
    change;                                                                                        \
    seal(bad);                                                                                     \
    refused(bad, code, part)
    WITH(bad[0] = 'X', ENODATA, "no LVM2 label");
    WITH(put_le64(bad + 8, 2), EBADMSG, "another sector");
    WITH(memcpy(bad + 24, "LVM1 001", 8), EOPNOTSUPP, "LVM2 001");
    WITH(put_le32(bad + 20, 8), EBADMSG, "misplaced");
    WITH(put_le32(bad + 20, 505), EBADMSG, "misplaced");
    WITH(bad[40] = ' ', EBADMSG, "make no sense");
    WITH(put_le64(bad + 72, 1000), EBADMSG, "make no sense");
    WITH(put_le64(bad + 112, UINT64_MAX), EBADMSG, "make no sense");
    WITH(put_le64(bad + 64, 4096), EBADMSG, "make no sense");
    WITH(memset(bad + 72, 1, 440), EBADMSG, "make no sense");
#undef WITH
    memcpy(bad, good, sizeof bad);
    bad[200] ^= 4;
    refused(bad, EBADMSG, "checksum");
}

/* Whatever a sector holds, even under a right checksum, nothing is read or written beyond it. */
static void test_sweep(void)
{
    struct lvm_label label = sample(), out;
    char good[LVM_LABEL_BYTES], *bad = malloc(LVM_LABEL_BYTES);

    lvm_label_encode(&label, good);
    for (unsigned bit = 0; bit < LVM_LABEL_BYTES * 8; bit++) {
        memcpy(bad, good, LVM_LABEL_BYTES);
        bad[bit / 8] ^= (char)(1 << bit % 8);
        CU_ASSERT(lvm_label_decode(&out, bad, LVM_LABEL_SECTOR, NULL) < 0);
        seal(bad);
        lvm_label_decode(&out, bad, LVM_LABEL_SECTOR, NULL);
    }
    for (unsigned keep = 0; keep < LVM_LABEL_BYTES; keep++) {
        memset(bad, 0xff, LVM_LABEL_BYTES);
        memcpy(bad, good, keep);
        CU_ASSERT(lvm_label_decode(&out, bad, LVM_LABEL_SECTOR, NULL) < 0);
        seal(bad);
        lvm_label_decode(&out, bad, LVM_LABEL_SECTOR, NULL);
    }
    free(bad);
}

static void test_uuid(void)
{
    uint8_t random[LVM_UUID_CHARS];
    char text[LVM_UUID_TEXT_CHARS + 1], label[LVM_UUID_CHARS],
        back[LVM_UUID_TEXT_CHARS + 1] = "old";

    for (unsigned i = 0; i < sizeof random; i++)
        random[i] = (uint8_t)(i * 9);
    lvm_uuid_make(text, random);
    CU_ASSERT(lvm_uuid_valid(text));
    lvm_uuid_to_label(label, text);
    CU_ASSERT(lvm_uuid_from_label(back, label));
    CU_ASSERT_STRING_EQUAL(text, back);
    label[31] = '-';
    CU_ASSERT(!lvm_uuid_from_label(back, label));
    CU_ASSERT_STRING_EQUAL(text, back);
    CU_ASSERT(!lvm_uuid_valid(""));
    CU_ASSERT(!lvm_uuid_valid("abcdef-0123-4567-89AB-CDEF-ghij-klmnop "));
    CU_ASSERT(!lvm_uuid_valid("abcdef-0123-4567-89AB-CDEF-ghij-klmno"));
    CU_ASSERT(!lvm_uuid_valid("abcdef00123-4567-89AB-CDEF-ghij-klmnop"));
}

CU_TestInfo label_tests[] = {
    {"LVM2's labels", test_golden},
    {"what is written is read", test_round_trip},
    {"the first four sectors are looked at", test_find},
    {"what makes no sense is refused", test_refuse},
    {"every flipped bit and truncation", test_sweep},
    {"identifiers", test_uuid},
    CU_TEST_INFO_NULL,
};
