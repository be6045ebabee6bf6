/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "golden.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "lvm/crc.h"
#include "lvm/mda.h"

extern CU_TestInfo mda_tests[];

#define START 4096u
#define SIZE  1044480u

static void test_golden(void)
{
    unsigned texts = 0, ignored = 0;

    for (unsigned i = 0; i < golden_count; i++)
        for (unsigned k = 0; k < goldens[i].pvs; k++) {
            char *head = golden_head(&goldens[i], k), buf[LVM_MDA_HEADER_BYTES];
            struct lvm_mda_header h;
            size_t length;
            struct error err = {0};

            if (lvm_mda_decode(&h, head + START, START, SIZE, &err)) {
                CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no header"));
                free(head);
                continue;
            }
            lvm_mda_encode(&h, buf);
            CU_ASSERT_EQUAL(memcmp(buf, head + START, sizeof buf), 0);
            ignored += h.committed.flags & LVM_RAW_LOCN_IGNORED;
            char *text = golden_text(head, &length);
            CU_ASSERT_EQUAL(lvm_crc(LVM_CRC_INITIAL, text, length), h.committed.crc);
            texts++;
            free(text);
            free(head);
        }
    CU_ASSERT_EQUAL(texts, 20);
    CU_ASSERT_EQUAL(ignored, 1);
}

static struct lvm_mda_header sample(void)
{
    return (struct lvm_mda_header){START, SIZE, {512, 1000, 0x12345678, 0}, {2048, 900, 5, 0}};
}

static void seal(char *buf)
{
    put_le32(buf, lvm_crc(LVM_CRC_INITIAL, buf + 4, LVM_MDA_HEADER_BYTES - 4));
}

static void refused(const char *buf, uint64_t size, int code, const char *part)
{
    struct lvm_mda_header h = {.start_bytes = 77};
    struct error err = {0};

    CU_ASSERT_EQUAL(lvm_mda_decode(&h, buf, START, size, &err), -code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
    CU_ASSERT_EQUAL(h.start_bytes, 77);
}

static void test_refuse(void)
{
    struct lvm_mda_header h = sample();
    char good[LVM_MDA_HEADER_BYTES], bad[LVM_MDA_HEADER_BYTES];

    lvm_mda_encode(&h, good);
#define WITH(change, code, part)                                                                   \
    memcpy(bad, good, sizeof bad);                                                                 \
    change;                                                                                        \
    seal(bad);                                                                                     \
    refused(bad, SIZE, code, part)
    WITH(bad[7] = 'X', EBADMSG, "no header");
    WITH(put_le32(bad + 20, 2), EOPNOTSUPP, "version 2");
    WITH(put_le64(bad + 24, 8192), EBADMSG, "contradicts");
    WITH(put_le64(bad + 32, SIZE / 2), EBADMSG, "contradicts");
    WITH(put_le64(bad + 40, 100), EBADMSG, "outside");
    WITH(put_le64(bad + 40, 513), EBADMSG, "outside");
    WITH(put_le64(bad + 40, SIZE), EBADMSG, "outside");
    WITH(put_le64(bad + 48, 0), EBADMSG, "outside");
    WITH(put_le64(bad + 48, SIZE - 511), EBADMSG, "outside");
    WITH(put_le64(bad + 72, UINT64_MAX), EBADMSG, "outside");
#undef WITH
    memcpy(bad, good, sizeof bad);
    bad[300] ^= 1;
    refused(bad, SIZE, EBADMSG, "checksum");
    h.size_bytes = 2048;
    h.committed = h.precommitted = (struct lvm_raw_locn){0};
    lvm_mda_encode(&h, bad);
    refused(bad, 2048, EBADMSG, "contradicts");
}

static void test_sweep(void)
{
    struct lvm_mda_header h = sample(), out;
    char good[LVM_MDA_HEADER_BYTES], *bad = malloc(LVM_MDA_HEADER_BYTES);

    lvm_mda_encode(&h, good);
    CU_ASSERT_EQUAL(lvm_mda_decode(&out, good, START, SIZE, NULL), 0);
    CU_ASSERT_EQUAL(memcmp(&h, &out, sizeof h), 0);
    for (unsigned bit = 0; bit < LVM_MDA_HEADER_BYTES * 8; bit++) {
        memcpy(bad, good, LVM_MDA_HEADER_BYTES);
        bad[bit / 8] ^= (char)(1 << bit % 8);
        CU_ASSERT(lvm_mda_decode(&out, bad, START, SIZE, NULL) < 0);
        seal(bad);
        if (lvm_mda_decode(&out, bad, START, SIZE, NULL) == 0)
            CU_ASSERT(!out.committed.offset || out.committed.offset < SIZE);
    }
    for (unsigned keep = 0; keep < 88; keep++) {
        memset(bad, 0, LVM_MDA_HEADER_BYTES);
        memcpy(bad, good, keep);
        if (memcmp(bad, good, LVM_MDA_HEADER_BYTES) != 0)
            CU_ASSERT(lvm_mda_decode(&out, bad, START, SIZE, NULL) < 0);
    }
    free(bad);
}

/* The place of the next text, by hand. */
static void test_place(void)
{
    struct lvm_mda_header h = {START, 8192, {0}, {0}};
    uint64_t offset = 77;

    CU_ASSERT_EQUAL(lvm_mda_text_max(8192), 3328);
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 3329, &offset), -ENOSPC);
    CU_ASSERT_EQUAL(offset, 77);
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 3328, &offset), 0);
    CU_ASSERT_EQUAL(offset, 512);
    h.committed = (struct lvm_raw_locn){512, 1025, 0, 0};
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 100, &offset), 0);
    CU_ASSERT_EQUAL(offset, 2048);
    h.committed = (struct lvm_raw_locn){6656, 1536, 0, 0}; /* to the very end */
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 100, &offset), 0);
    CU_ASSERT_EQUAL(offset, 512);
    h.committed = (struct lvm_raw_locn){6656, 1000, 0, 0}; /* one sector is left */
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 100, &offset), 0);
    CU_ASSERT_EQUAL(offset, 7680);
    h.committed = (struct lvm_raw_locn){7680, 1000, 0, 0}; /* wraps */
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 3328, &offset), 0);
    CU_ASSERT_EQUAL(offset, 1024);
    h.committed = (struct lvm_raw_locn){512, 7000, 0, 0}; /* longer than we write */
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 600, &offset), -ENOSPC);
    CU_ASSERT_EQUAL(lvm_mda_place(&h, 512, &offset), 0);
    CU_ASSERT_EQUAL(offset, 7680);
}

static void test_pieces(void)
{
    struct lvm_mda_piece p[2];

    CU_ASSERT_EQUAL(lvm_mda_pieces(8192, 7680, 512, p), 1);
    CU_ASSERT(p[0].offset == 7680 && p[0].length == 512);
    CU_ASSERT_EQUAL(lvm_mda_pieces(8192, 7680, 1000, p), 2);
    CU_ASSERT(p[0].offset == 7680 && p[0].length == 512);
    CU_ASSERT(p[1].offset == 512 && p[1].length == 488);
}

/* Many texts of any size in a row: each stays clear of the header and of the one before, byte by
 * byte. */
static void test_ring(void)
{
    static const uint64_t sizes[] = {4096, 8192, 9000, 20480};
    unsigned random = 1;

    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        struct lvm_mda_header h = {START, sizes[i], {0}, {0}};

        for (unsigned n = 0; n < 3000; n++) {
            struct lvm_mda_piece now[2], before[2];
            unsigned before_count =
                h.committed.offset
                    ? lvm_mda_pieces(sizes[i], h.committed.offset, h.committed.size, before)
                    : 0;
            uint64_t offset, length;

            random = random * 1103515245 + 12345;
            length = 1 + (random >> 8) % lvm_mda_text_max(sizes[i]);
            CU_ASSERT_EQUAL(lvm_mda_place(&h, length, &offset), 0);
            unsigned count = lvm_mda_pieces(sizes[i], offset, length, now);
            for (unsigned a = 0; a < count; a++) {
                CU_ASSERT(now[a].offset >= LVM_MDA_HEADER_BYTES);
                CU_ASSERT(now[a].offset + now[a].length <= sizes[i]);
                for (unsigned b = 0; b < before_count; b++)
                    CU_ASSERT(now[a].offset + now[a].length <= before[b].offset ||
                              before[b].offset + before[b].length <= now[a].offset);
            }
            h.committed = (struct lvm_raw_locn){offset, length, 0, 0};
        }
    }
}

CU_TestInfo mda_tests[] = {
    {"LVM2's areas", test_golden},
    {"what makes no sense is refused", test_refuse},
    {"every flipped bit and truncation", test_sweep},
    {"where the next text goes", test_place},
    {"the pieces of a text", test_pieces},
    {"texts never meet", test_ring},
    CU_TEST_INFO_NULL,
};
