/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/header.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../block/scratch.h"
#include "base/arith.h"
#include "base/bytes.h"

extern CU_TestInfo header_tests[];
#define IMAGE_BYTES   (UINT64_C(1) << 30)
#define CLUSTER_BYTES 65536u
#define BITMAPS_TYPE  0x23852875u

static struct qcow2_header sample(void)
{
    return (struct qcow2_header){.version = 3,
        .cluster_bits = 16,
        .size_bytes = UINT64_C(5) << 30,
        .l1_offset = 3 * CLUSTER_BYTES,
        .l1_entries = 10,
        .reftable_offset = CLUSTER_BYTES,
        .reftable_clusters = 2,
        .snapshots_offset = 5 * CLUSTER_BYTES,
        .snapshot_count = 2,
        .incompatible = QCOW2_DIRTY,
        .compatible = QCOW2_LAZY_REFCOUNTS | UINT64_C(1) << 63,
        .refcount_order = 4};
}

static int read_it(struct qcow2_header *h, const uint8_t *bytes, struct error *err)
{
    return qcow2_header_read(h, bytes, CLUSTER_BYTES, IMAGE_BYTES, err);
}

static void expect_same(const struct qcow2_header *a, const struct qcow2_header *b)
{
    CU_ASSERT_EQUAL(a->version, b->version);
    CU_ASSERT_EQUAL(a->cluster_bits, b->cluster_bits);
    CU_ASSERT_EQUAL(a->size_bytes, b->size_bytes);
    CU_ASSERT_EQUAL(a->l1_offset, b->l1_offset);
    CU_ASSERT_EQUAL(a->l1_entries, b->l1_entries);
    CU_ASSERT_EQUAL(a->reftable_offset, b->reftable_offset);
    CU_ASSERT_EQUAL(a->reftable_clusters, b->reftable_clusters);
    CU_ASSERT_EQUAL(a->snapshots_offset, b->snapshots_offset);
    CU_ASSERT_EQUAL(a->snapshot_count, b->snapshot_count);
    CU_ASSERT_EQUAL(a->incompatible, b->incompatible);
    CU_ASSERT_EQUAL(a->compatible, b->compatible);
    CU_ASSERT_EQUAL(a->autoclear, b->autoclear);
    CU_ASSERT_EQUAL(a->refcount_order, b->refcount_order);
    CU_ASSERT_EQUAL(a->compression, b->compression);
    CU_ASSERT_EQUAL(a->has_bitmaps, b->has_bitmaps);
    CU_ASSERT_EQUAL(a->extension_count, b->extension_count);
}

static void test_round_trip(void)
{
    uint8_t bytes[CLUSTER_BYTES], again[CLUSTER_BYTES], unknown[] = "abcdefg", field[8] = "future";
    struct qcow2_extension extensions[] = {{0x12345678, sizeof unknown, unknown}, {7, 0, NULL}};
    struct qcow2_header h = sample(), back;

    h.backing_name = "a base";
    h.backing_format = "raw";
    h.incompatible |= QCOW2_COMPRESSION | QCOW2_EXTENDED_L2;
    h.l1_entries = 40;
    h.compression = QCOW2_ZSTD;
    h.has_bitmaps = true;
    h.autoclear = QCOW2_BITMAPS_VALID;
    h.bitmaps = (struct qcow2_bitmaps_extension){3, 100, 9 * CLUSTER_BYTES};
    h.extensions = extensions;
    h.extension_count = 2;
    h.unknown = field;
    h.unknown_bytes = sizeof field;
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, sizeof bytes, NULL), 0);
    CU_ASSERT_EQUAL(read_it(&back, bytes, NULL), 0);
    expect_same(&h, &back);
    CU_ASSERT_STRING_EQUAL(back.backing_name, "a base");
    CU_ASSERT_STRING_EQUAL(back.backing_format, "raw");
    CU_ASSERT_EQUAL(back.bitmaps.count, 3);
    CU_ASSERT_EQUAL(back.bitmaps.directory_bytes, 100);
    CU_ASSERT_EQUAL(back.bitmaps.directory_offset, 9 * CLUSTER_BYTES);
    CU_ASSERT_EQUAL(back.extensions[0].type, 0x12345678);
    CU_ASSERT_EQUAL(back.extensions[0].length, sizeof unknown);
    CU_ASSERT_EQUAL(memcmp(back.extensions[0].bytes, unknown, sizeof unknown), 0);
    CU_ASSERT_EQUAL(back.extensions[1].type, 7);
    CU_ASSERT(back.unknown_bytes == sizeof field && !memcmp(back.unknown, field, sizeof field));
    CU_ASSERT_EQUAL(qcow2_header_write(&back, again, sizeof again, NULL), 0);
    CU_ASSERT_EQUAL(memcmp(bytes, again, sizeof bytes), 0);
    qcow2_header_free(&back);
}

static void test_version_2(void)
{
    uint8_t bytes[CLUSTER_BYTES];
    struct qcow2_header h = sample(), back;

    h.version = 2;
    h.incompatible = h.compatible = 0;
    h.backing_name = "base";
    h.backing_format = "qcow2";
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, sizeof bytes, NULL), 0);
    CU_ASSERT_EQUAL(get_be32(bytes + 72), 0xe2792aca);
    CU_ASSERT_EQUAL(read_it(&back, bytes, NULL), 0);
    expect_same(&h, &back);
    CU_ASSERT_STRING_EQUAL(back.backing_name, "base");
    qcow2_header_free(&back);
    /* What stands where version 3 has its fields means nothing. */
    h.backing_name = h.backing_format = NULL;
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, sizeof bytes, NULL), 0);
    put_be64(bytes + 80, UINT64_MAX);
    CU_ASSERT_EQUAL(read_it(&back, bytes, NULL), 0);
    CU_ASSERT_EQUAL(back.compatible, 0);
    qcow2_header_free(&back);
}

/* Bits that ask to be cleared by whoever does not know them, and bitmaps that are not valid. */
static void test_autoclear(void)
{
    uint8_t bytes[CLUSTER_BYTES];
    struct qcow2_header h = sample(), back;

    h.autoclear = QCOW2_BITMAPS_VALID;
    h.has_bitmaps = true;
    h.bitmaps = (struct qcow2_bitmaps_extension){1, 32, 9 * CLUSTER_BYTES};
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, sizeof bytes, NULL), 0);
    put_be64(bytes + 88, QCOW2_BITMAPS_VALID | 1 << 7);
    CU_ASSERT_EQUAL(read_it(&back, bytes, NULL), 0);
    CU_ASSERT_EQUAL(back.autoclear, QCOW2_BITMAPS_VALID | 1 << 7);
    CU_ASSERT_EQUAL(qcow2_header_write(&back, bytes, sizeof bytes, NULL), 0);
    CU_ASSERT_EQUAL(get_be64(bytes + 88), QCOW2_BITMAPS_VALID);
    qcow2_header_free(&back);
    put_be64(bytes + 88, 0);
    CU_ASSERT_EQUAL(read_it(&back, bytes, NULL), 0);
    CU_ASSERT(!back.has_bitmaps);
    qcow2_header_free(&back);
}

/* What changes in an image's life, and nothing else; what does not belong there is refused. */
static void test_update(void)
{
    uint8_t bytes[CLUSTER_BYTES], before[CLUSTER_BYTES];
    struct qcow2_header h = sample(), back;

    h.backing_name = "base";
    h.backing_format = "raw";
    h.autoclear = QCOW2_BITMAPS_VALID;
    h.has_bitmaps = true;
    h.bitmaps = (struct qcow2_bitmaps_extension){1, 32, 9 * CLUSTER_BYTES};
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, sizeof bytes, NULL), 0);
    put_be32(bytes + 100, 104); /* then extensions begin where we have a field */
    memmove(bytes + 104, bytes + 112, 1024);
    put_be64(bytes + 8, get_be64(bytes + 8) - 8);
    memcpy(before, bytes, sizeof before);
    CU_ASSERT_EQUAL(qcow2_header_update(&h, bytes), 0);
    CU_ASSERT_EQUAL(memcmp(bytes, before, sizeof bytes), 0);
    h.has_bitmaps = false;
    h.snapshot_count = 3;
    h.l1_offset = 16 * CLUSTER_BYTES;
    h.incompatible = 0;
    CU_ASSERT_EQUAL(qcow2_header_update(&h, bytes), 0);
    CU_ASSERT_EQUAL(memcmp(bytes + 96, before + 96, sizeof bytes - 96), 0);
    CU_ASSERT_EQUAL(read_it(&back, bytes, NULL), 0);
    h.autoclear = 0;
    expect_same(&h, &back);
    CU_ASSERT_STRING_EQUAL(back.backing_name, "base");
    qcow2_header_free(&back);
    h.backing_name = NULL;
    CU_ASSERT_EQUAL(qcow2_header_update(&h, bytes), 0);
    CU_ASSERT_EQUAL(read_it(&back, bytes, NULL), 0);
    CU_ASSERT_PTR_NULL(back.backing_name);
    qcow2_header_free(&back);
    h.cluster_bits++;
    CU_ASSERT_EQUAL(qcow2_header_update(&h, bytes), -EBADMSG);
}

static void test_room(void)
{
    uint8_t bytes[CLUSTER_BYTES];
    char name[QCOW2_BACKING_NAME_MAX + 1];
    struct qcow2_header h = sample(), back;
    struct error err = {0};

    memset(name, 'n', sizeof name);
    name[QCOW2_BACKING_NAME_MAX] = '\0';
    h.cluster_bits = 9;
    h.backing_name = name;
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, 512, &err), -ENOSPC);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "does not fit"));
    name[512 - 112 - 8] = '\0'; /* just so, without the names of features */
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, 512, &err), 0);
    h.l1_entries = 163840;
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, 512, &err), 0);
    CU_ASSERT_EQUAL(qcow2_header_read(&back, bytes, 512, IMAGE_BYTES, &err), 0);
    CU_ASSERT_STRING_EQUAL(back.backing_name, name);
    qcow2_header_free(&back);
}

static void refused(const uint8_t *bytes, int code, const char *part)
{
    struct qcow2_header h = {.version = 77};
    struct error err = {0};

    CU_ASSERT_EQUAL(read_it(&h, bytes, &err), -code);
    CU_ASSERT_EQUAL(err.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
    CU_ASSERT_EQUAL(h.version, 77);
    if (!strstr(err.text, part))
        printf("expected \"%s\", got \"%s\"\n", part, err.text);
}

#define WITH(change, code, part)                                                                   \
    memcpy(bad, good, sizeof bad);                                                                 \
    change;                                                                                        \
    refused(bad, code, part)

static void test_fields(void)
{
    uint8_t good[CLUSTER_BYTES], bad[CLUSTER_BYTES];
    struct qcow2_header h = sample();

    CU_ASSERT_EQUAL(qcow2_header_write(&h, good, sizeof good, NULL), 0);
    WITH(bad[3] = 0, ENOEXEC, "not a qcow2");
    WITH(put_be32(bad + 4, 4), EOPNOTSUPP, "version 4");
    WITH(put_be32(bad + 4, 1), EOPNOTSUPP, "version 1");
    WITH(put_be32(bad + 20, 8), EBADMSG, "clusters are");
    WITH(put_be32(bad + 20, 22), EBADMSG, "clusters are");
    WITH(put_be32(bad + 32, 1), EOPNOTSUPP, "AES");
    WITH(put_be32(bad + 32, 2), EOPNOTSUPP, "LUKS");
    WITH(put_be32(bad + 32, 3), EOPNOTSUPP, "unknown method");
    WITH(put_be64(bad + 72, QCOW2_DATA_FILE), EOPNOTSUPP, "external data file");
    WITH(put_be64(bad + 72, QCOW2_COMPRESSION), EBADMSG, "compression type");
    WITH(bad[104] = 1, EBADMSG, "compression type");
    WITH(bad[104] = 2; put_be64(bad + 72, QCOW2_COMPRESSION), EOPNOTSUPP, "compression type, 2");
    WITH(put_be64(bad + 72, QCOW2_EXTENDED_L2); put_be32(bad + 20, 13), EBADMSG, "16 KiB");
    WITH(put_be32(bad + 96, 7), EBADMSG, "64 bits");
    WITH(put_be32(bad + 100, 96), EBADMSG, "length");
    WITH(put_be32(bad + 100, 108), EBADMSG, "length");
    WITH(put_be32(bad + 100, CLUSTER_BYTES + 8), EBADMSG, "length");
    WITH(put_be64(bad + 88, QCOW2_BITMAPS_VALID), EBADMSG, "no bitmaps");
}

static void test_places(void)
{
    uint8_t good[CLUSTER_BYTES], bad[CLUSTER_BYTES];
    struct qcow2_header h = sample();

    CU_ASSERT_EQUAL(qcow2_header_write(&h, good, sizeof good, NULL), 0);
    WITH(put_be64(bad + 24, (UINT64_C(5) << 30) + 1), EBADMSG, "too small");
    WITH(put_be64(bad + 24, UINT64_MAX), EBADMSG, "too small");
    WITH(put_be32(bad + 36, 9), EBADMSG, "too small");
    WITH(put_be32(bad + 36, (4 << 20) + 1), EBADMSG, "32 MiB");
    WITH(put_be64(bad + 40, 0), EBADMSG, "L1");
    WITH(put_be64(bad + 40, 3 * CLUSTER_BYTES + 512), EBADMSG, "L1");
    WITH(put_be64(bad + 40, IMAGE_BYTES), EBADMSG, "L1");
    WITH(put_be64(bad + 40, UINT64_MAX << 16), EBADMSG, "L1");
    WITH(put_be64(bad + 48, 0), EBADMSG, "refcount table");
    WITH(put_be64(bad + 48, 512), EBADMSG, "refcount table");
    WITH(put_be64(bad + 48, IMAGE_BYTES - CLUSTER_BYTES), EBADMSG, "refcount table");
    WITH(put_be32(bad + 56, 0), EBADMSG, "8 MiB");
    WITH(put_be32(bad + 56, 129), EBADMSG, "8 MiB");
    WITH(put_be32(bad + 56, UINT32_MAX), EBADMSG, "8 MiB");
    WITH(put_be32(bad + 60, 65537), EBADMSG, "65536");
    WITH(put_be64(bad + 64, 0), EBADMSG, "snapshot table");
    WITH(put_be64(bad + 64, 1), EBADMSG, "snapshot table");
    WITH(put_be64(bad + 64, IMAGE_BYTES), EBADMSG, "snapshot table");
    WITH(put_be64(bad + 8, 64), EBADMSG, "backing name");
    WITH(put_be64(bad + 8, CLUSTER_BYTES + 1), EBADMSG, "backing name");
    WITH(put_be64(bad + 8, CLUSTER_BYTES); put_be32(bad + 16, 1), EBADMSG, "backing name");
    WITH(put_be64(bad + 8, 1024); put_be32(bad + 16, 1024), EBADMSG, "1023");
}

static void test_extensions(void)
{
    uint8_t good[CLUSTER_BYTES], bad[CLUSTER_BYTES];
    struct qcow2_header h = sample();

    h.autoclear = QCOW2_BITMAPS_VALID;
    h.has_bitmaps = true;
    h.bitmaps = (struct qcow2_bitmaps_extension){1, 32, 9 * CLUSTER_BYTES};
    CU_ASSERT_EQUAL(qcow2_header_write(&h, good, sizeof good, NULL), 0);
    uint8_t *bitmaps = bad + 112 + 8 + 8 * 48;
    CU_ASSERT_EQUAL(get_be32(good + (bitmaps - bad)), BITMAPS_TYPE);
    WITH(put_be32(bitmaps + 4, 16), EBADMSG, "makes no sense");
    WITH(put_be32(bitmaps + 12, 1), EBADMSG, "makes no sense");
    WITH(memcpy(bitmaps + 32, bitmaps, 32), EBADMSG, "makes no sense");
    WITH(put_be32(bitmaps + 8, 0), EBADMSG, "number or size");
    WITH(put_be32(bitmaps + 8, 65536), EBADMSG, "number or size");
    WITH(put_be64(bitmaps + 16, UINT64_MAX), EBADMSG, "number or size");
    WITH(put_be64(bitmaps + 24, 512), EBADMSG, "directory");
    WITH(put_be64(bitmaps + 24, IMAGE_BYTES), EBADMSG, "directory");
    WITH(put_be32(bad + 116, CLUSTER_BYTES), EBADMSG, "beyond its end");
    WITH(put_be32(bad + 116, UINT32_MAX), EBADMSG, "beyond its end");
    WITH(put_be32(bitmaps + 32, 0x0537be77), EBADMSG, "without encryption");
    WITH(put_be32(bitmaps + 32, 0xe2792aca); put_be32(bitmaps + 36, 3);
         memcpy(bitmaps + 40, "raw", 3);
         memcpy(bitmaps + 48, bitmaps + 32, 16), EBADMSG, "stands twice");
}

/* By the name that the image gives it, or by its number. */
static void test_unknown_feature(void)
{
    uint8_t good[CLUSTER_BYTES], bad[CLUSTER_BYTES];
    struct qcow2_header h = sample();

    CU_ASSERT_EQUAL(qcow2_header_write(&h, good, sizeof good, NULL), 0);
    WITH(put_be64(bad + 72, UINT64_C(1) << 33), EOPNOTSUPP, "incompatible bit 33");
    WITH(put_be64(bad + 72, UINT64_C(1) << 33); bad[120] = 0; bad[121] = 33;
         memset(bad + 122, 'x', 46), EOPNOTSUPP,
         "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"");
}
#undef WITH

/* Cut off anywhere it is refused or read without what is missing, and nothing beyond is looked at
 * (sanitizers see to that). */
static void test_truncated(void)
{
    uint8_t bytes[CLUSTER_BYTES];
    struct qcow2_header h = sample(), back;

    h.backing_name = "base";
    h.backing_format = "raw";
    CU_ASSERT_EQUAL(qcow2_header_write(&h, bytes, sizeof bytes, NULL), 0);
    for (size_t keep = 0; keep < 1024; keep++) {
        uint8_t *cut = malloc(keep + !keep);
        struct error err = {0};

        memcpy(cut, bytes, keep);
        if (!qcow2_header_read(&back, cut, keep, IMAGE_BYTES, &err)) {
            CU_ASSERT_STRING_EQUAL(back.backing_name, "base");
            qcow2_header_free(&back);
        } else {
            CU_ASSERT(err.text[0] && keep < get_be64(bytes + 8) + 4);
        }
        free(cut);
    }
}

/* Reads an image of QEMU's. */
static void read_file(const char *path, uint8_t *bytes, struct qcow2_header *h)
{
    struct error err = {0};
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(bytes, 1, CLUSTER_BYTES, f) : 0;
    long size = f && !fseek(f, 0, SEEK_END) ? ftell(f) : 0;

    CU_ASSERT_EQUAL(qcow2_header_read(h, bytes, n, (uint64_t)size, &err), 0);
    if (err.text[0])
        printf("%s: %s\n", path, err.text);
    if (f)
        fclose(f);
}

/* In small clusters QEMU does without the names of features, though there may be room. */
static void compare_qemu(const char *options, const char *size)
{
    uint8_t theirs[CLUSTER_BYTES], ours[CLUSTER_BYTES];
    const char *path = scratch_path("qemu.qcow2");
    struct qcow2_header h = {0}, back = {0};
    size_t cluster;

    CU_ASSERT(scratch_run("qemu-img create -f qcow2 -o %s %s %s", options, path, size));
    read_file(path, theirs, &h);
    cluster = MIN((size_t)1 << h.cluster_bits, sizeof theirs);
    CU_ASSERT_EQUAL(qcow2_header_write(&h, ours, cluster, NULL), 0);
    CU_ASSERT(h.cluster_bits < 16 || !memcmp(ours, theirs, 1024));
    CU_ASSERT_EQUAL(qcow2_header_read(&back, ours, cluster, IMAGE_BYTES, NULL), 0);
    expect_same(&h, &back);
    qcow2_header_free(&h);
    qcow2_header_free(&back);
}

/* What QEMU writes is read, and written the same. */
static void test_qemu(void)
{
    static const char *const options[] = {"compat=1.1", "compat=0.10", "cluster_size=512",
        "cluster_size=2M", "cluster_size=2M,extended_l2=on", "extended_l2=on,lazy_refcounts=on",
        "compression_type=zstd", "refcount_bits=1", "refcount_bits=64",
        "compat=1.1,backing_file=base,backing_fmt=raw",
        "compat=0.10,backing_file=base,backing_fmt=raw",
        "cluster_size=4k,backing_file=base,backing_fmt=raw"};

    if (!scratch_has("qemu-img"))
        return;
    scratch_file("base", 1 << 20);
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        compare_qemu(options[i], "1G");
        compare_qemu(options[i], "0");
    }
}

CU_TestInfo header_tests[] = {{"what is written is read", test_round_trip},
    {"version 2", test_version_2}, {"autoclear features", test_autoclear},
    {"an update in place", test_update}, {"room in the first cluster", test_room},
    {"fields that cannot be", test_fields}, {"tables that cannot be", test_places},
    {"extensions that cannot be", test_extensions},
    {"unknown features by name", test_unknown_feature}, {"every truncation", test_truncated},
    {"QEMU's images", test_qemu}, CU_TEST_INFO_NULL};
