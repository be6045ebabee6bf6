/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "golden.h"
#include "raid/bitmap.h"

extern CU_TestInfo bitmap_tests[];

static const char *const arrays[] = {"raid1-2-crash-bitmap", "raid1-3-bitmap",
    "raid10-n2-64k-4-degraded2", "raid10-n2-64k-4-synced-bitmap", "raid5-64k-4-crash-bitmap",
    "raid5-64k-4-degraded-bitmap", "raid5-64k-4-synced-bitmap", "raid6-64k-6-synced-bitmap"};

static const uint8_t *at_bitmap(const struct golden *g, unsigned member)
{
    return g->members[member].head + GOLDEN_BITMAP_BYTES;
}

static void same_as_manifest(const struct golden *g, unsigned i)
{
    const json_t *want = json_object_get(g->members[i].json, "bitmap");
    const uint8_t *map = at_bitmap(g, i) + MD_BITMAP_HEADER_BYTES;
    uint8_t again[MD_BITMAP_HEADER_BYTES];
    struct md_bitmap_header h;

    CU_ASSERT_EQUAL_FATAL(md_bitmap_decode(&h, at_bitmap(g, i), NULL), 0);
    CU_ASSERT_EQUAL(h.events, (uint64_t)golden_number(want, "events"));
    CU_ASSERT_EQUAL(h.events_cleared, (uint64_t)golden_number(want, "events_cleared"));
    CU_ASSERT_EQUAL(h.sync_size, (uint64_t)golden_number(want, "sync_size"));
    CU_ASSERT_EQUAL(h.state, (uint64_t)golden_number(want, "state"));
    CU_ASSERT_EQUAL(h.chunk_bytes, (uint64_t)golden_number(want, "chunk"));
    CU_ASSERT_EQUAL(h.daemon_sleep, (uint64_t)golden_number(want, "daemon_sleep"));
    CU_ASSERT_EQUAL(h.write_behind, (uint64_t)golden_number(want, "write_behind"));
    uint64_t bits = md_bitmap_bits(h.sync_size * MD_SECTOR_BYTES, h.chunk_bytes);
    CU_ASSERT_EQUAL(bits, (uint64_t)golden_number(want, "bits"));
    CU_ASSERT_EQUAL(md_bitmap_count(map, bits), (uint64_t)golden_number(want, "dirty_bits"));
    md_bitmap_encode(&h, again);
    CU_ASSERT_EQUAL(memcmp(again, at_bitmap(g, i), sizeof again), 0);
}

static void test_golden(void)
{
    for (unsigned k = 0; k < ARRAY_LEN(arrays); k++) {
        struct golden *g = golden_load(arrays[k]);
        struct golden_candidates *c = golden_decode(g);
        for (unsigned i = 0; i < g->count; i++) {
            const struct md_bitmap_header *h = &c->bitmaps[i];
            same_as_manifest(g, i);
            CU_ASSERT_EQUAL(
                md_bitmap_check(h, &c->superblocks[i], h->sync_size * MD_SECTOR_BYTES, NULL), 0);
            CU_ASSERT(md_bitmap_current(h, c->superblocks[i].events));
        }
        free(c);
        golden_free(g);
    }
}

static struct md_bitmap_header sound(void)
{
    return (struct md_bitmap_header){.uuid = "0123456789abcde",
        .events = 7,
        .events_cleared = 5,
        .sync_size = 2048,
        .chunk_bytes = 64 << 20,
        .daemon_sleep = 5};
}

static void refused(const uint8_t *p, int rc, const char *text)
{
    struct md_bitmap_header h = {.events = 77};
    struct error err = {0};

    CU_ASSERT_EQUAL(md_bitmap_decode(&h, p, &err), rc);
    CU_ASSERT_EQUAL(h.events, 77);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, text));
}

static void test_refuse(void)
{
    static const struct {
        unsigned offset;
        uint32_t value;
        int rc;
        const char *text;
    } bad[] = {
        {0, 0, -ENODATA, "no bitmap"},
        {4, 3, -EOPNOTSUPP, "version 3 (host-endian)"},
        {4, 5, -EOPNOTSUPP, "version 5 (clustered)"},
        {4, 6, -EOPNOTSUPP, "version 6 (lockless)"},
        {4, 7, -EOPNOTSUPP, "version 7 is not supported"},
        {40, 0, -EBADMSG, "size 0"},
        {44, UINT32_MAX, -EBADMSG, "makes no sense"},
        {52, 0, -EBADMSG, "chunk size 0"},
        {52, 256, -EBADMSG, "chunk size 256"},
        {52, 5000, -EBADMSG, "chunk size 5000"},
        {56, 0, -EBADMSG, "daemon sleep 0"},
        {56, UINT32_MAX, -EBADMSG, "daemon sleep"},
        {60, 16384, -EBADMSG, "write behind 16384"},
    };
    struct md_bitmap_header h = sound();
    uint8_t p[MD_BITMAP_HEADER_BYTES];

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        md_bitmap_encode(&h, p);
        put_le32(p + bad[i].offset, bad[i].value);
        refused(p, bad[i].rc, bad[i].text);
    }
}

static void misfit(const struct md_bitmap_header *h, const struct md_superblock *sb,
    uint64_t sync_bytes, const char *text)
{
    struct error err = {0};

    CU_ASSERT_EQUAL(md_bitmap_check(h, sb, sync_bytes, &err), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, text));
}

static void test_check(void)
{
    struct md_bitmap_header h = sound();
    struct md_superblock sb = {.data_offset = 2048, .bitmap_offset = 8};

    memcpy(sb.set_uuid, h.uuid, sizeof sb.set_uuid);
    CU_ASSERT_EQUAL(md_bitmap_check(&h, &sb, 2048 * 512, NULL), 0);
    CU_ASSERT_EQUAL(md_bitmap_check(&h, &sb, 2000 * 512, NULL), 0);
    misfit(&h, &sb, 2049 * 512, "covers 2048 sectors, the array needs 2049");
    h.chunk_bytes = 512;
    h.sync_size = UINT32_MAX;
    misfit(&h, &sb, 1ull << 40, "does not fit before the data");
    /* 2032 sectors: the most there is before the data; 32 before the bad-block log */
    CU_ASSERT_EQUAL(md_bitmap_check(&h, &sb, (2032 * 512 - 256) * 8ull * 512, NULL), 0);
    sb.bblog_size = 8;
    sb.bblog_offset = 40;
    CU_ASSERT_EQUAL(md_bitmap_check(&h, &sb, (32 * 512 - 256) * 8ull * 512, NULL), 0);
    misfit(&h, &sb, (32 * 512 - 255) * 8ull * 512, "does not fit");
    sb.set_uuid[0] ^= 1;
    misfit(&h, &sb, 512, "belongs to another array");
}

static void test_events(void)
{
    struct md_bitmap_header h = sound();

    CU_ASSERT(md_bitmap_current(&h, 7));
    CU_ASSERT(md_bitmap_current(&h, 6));
    CU_ASSERT_FALSE(md_bitmap_current(&h, 8));
    CU_ASSERT(md_bitmap_covers(&h, 5));
    CU_ASSERT_FALSE(md_bitmap_covers(&h, 4));
    h.state = MD_BITMAP_STALE;
    CU_ASSERT_FALSE(md_bitmap_current(&h, 7));
    h.state = MD_BITMAP_WRITE_ERROR;
    CU_ASSERT_FALSE(md_bitmap_current(&h, 7));
}

static void test_sizes(void)
{
    CU_ASSERT_EQUAL(md_bitmap_bits(0, 4096), 0);
    CU_ASSERT_EQUAL(md_bitmap_bits(4096, 4096), 1);
    CU_ASSERT_EQUAL(md_bitmap_bits(4097, 4096), 2);
    CU_ASSERT_EQUAL(md_bitmap_bytes(1), 4096);
    CU_ASSERT_EQUAL(md_bitmap_bytes((4096 - 256) * 8), 4096);
    CU_ASSERT_EQUAL(md_bitmap_bytes((4096 - 256) * 8 + 1), 8192);
    /* as mdadm 4.2 chose on devices of these sizes */
    CU_ASSERT_EQUAL(md_bitmap_default_chunk_bytes(1ull << 30, 4096), 64 << 20);
    CU_ASSERT_EQUAL(md_bitmap_default_chunk_bytes(10ull << 40, 128 << 10), 64 << 20);
    CU_ASSERT_EQUAL(md_bitmap_default_chunk_bytes(100ull << 40, 128 << 10), 128 << 20);
    CU_ASSERT_EQUAL(md_bitmap_default_chunk_bytes(5000ull << 40, 128 << 10), 1 << 30);
}

/* Every operation at every place of a small map, against an array of bools. */
static void test_bits(void)
{
    enum { BITS = 77 };
    uint8_t map[MD_BITMAP_ALIGN_BYTES - MD_BITMAP_HEADER_BYTES];
    bool naive[BITS] = {false};

    md_bitmap_fill(map, BITS, false);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned bit = i * 31 % BITS, next, count = 0;
        naive[bit] = i % 3 != 0;
        if (naive[bit])
            md_bitmap_set(map, bit);
        else
            md_bitmap_clear(map, bit);
        for (unsigned k = 0; k < BITS; k++) {
            CU_ASSERT_EQUAL(md_bitmap_test(map, k), naive[k]);
            count += naive[k];
        }
        CU_ASSERT_EQUAL(md_bitmap_count(map, BITS), count);
        for (next = bit; next < BITS && !naive[next]; next++)
            ;
        CU_ASSERT_EQUAL(md_bitmap_next(map, bit, BITS), next);
    }
    CU_ASSERT_EQUAL(md_bitmap_next(map, BITS, BITS), BITS);
}

static void test_fill(void)
{
    uint8_t map[2 * MD_BITMAP_ALIGN_BYTES - MD_BITMAP_HEADER_BYTES];

    for (uint64_t bits = 1; bits <= (sizeof map) * 8; bits += 97) {
        uint64_t end = (md_bitmap_bytes(bits) - MD_BITMAP_HEADER_BYTES) * 8;
        memset(map, 0x5a, sizeof map);
        md_bitmap_fill(map, bits, false);
        CU_ASSERT_EQUAL(md_bitmap_count(map, bits), 0);
        CU_ASSERT_EQUAL(md_bitmap_count(map, end), end - bits);
        md_bitmap_fill(map, bits, true);
        CU_ASSERT_EQUAL(md_bitmap_count(map, end), end);
        CU_ASSERT(end == sizeof map * 8 || map[end / 8] == 0x5a);
    }
}

CU_TestInfo bitmap_tests[] = {
    {"what Linux wrote is read field by field and written back as it was", test_golden},
    {"other versions and absurd fields are refused by name", test_refuse},
    {"one that is not the array's, or too large, is refused", test_check},
    {"events tell what a bitmap has missed", test_events},
    {"sizes", test_sizes},
    {"bits", test_bits},
    {"unused bits are ones", test_fill},
    CU_TEST_INFO_NULL,
};
