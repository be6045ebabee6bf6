/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "golden.h"
#include "raid/superblock.h"

extern CU_TestInfo superblock_tests[];

/* Of levels that we do not run, but whose superblocks are sound. */
static const struct {
    const char *name, *refused;
} not_ours[] = {
    {"linear-3-uneven", "level linear"},
    {"raid4-64k-4", "level raid4"},
    {"raid5-64k-3-journal", "a journal device"},
    {"raid5-64k-4-reshape-unfinished", "a reshape that is not finished"},
};

static const uint8_t *at_superblock(const struct golden *g, unsigned member)
{
    return g->members[member].head + MD_SUPERBLOCK_OFFSET_BYTES;
}

static void same_uuid(const uint8_t uuid[16], const json_t *want)
{
    char text[33];

    for (unsigned i = 0; i < 16; i++)
        sprintf(text + 2 * i, "%02x", uuid[i]);
    CU_ASSERT_STRING_EQUAL(text, json_string_value(want));
}

static void same_role(uint16_t role, const json_t *want)
{
    const char *text = json_string_value(want);

    if (!text)
        CU_ASSERT_EQUAL(role, json_number_value(want))
    else if (!strcmp(text, "spare"))
        CU_ASSERT_EQUAL(role, MD_DISK_ROLE_SPARE)
    else if (!strcmp(text, "journal"))
        CU_ASSERT_EQUAL(role, MD_DISK_ROLE_JOURNAL)
    else
        CU_FAIL("a role that the test does not know");
}

#define SAME(field, key)                                                                           \
    CU_ASSERT_EQUAL((double)sb->field, json_number_value(json_object_get(want, key)))

static void same_fields(const struct md_superblock *sb, const json_t *want)
{
    const json_t *roles = json_object_get(want, "dev_roles");

    same_uuid(sb->set_uuid, json_object_get(want, "set_uuid"));
    same_uuid(sb->device_uuid, json_object_get(want, "device_uuid"));
    SAME(feature_map, "feature_map");
    SAME(level, "level");
    SAME(layout, "layout");
    SAME(size, "size_sectors");
    SAME(chunk, "chunk_sectors");
    SAME(raid_disks, "raid_disks");
    SAME(bitmap_offset, "bitmap_offset_or_ppl");
    SAME(new_level, "new_level");
    SAME(reshape_position, "reshape_position");
    SAME(delta_disks, "delta_disks");
    SAME(new_layout, "new_layout");
    SAME(new_chunk, "new_chunk");
    SAME(new_offset, "new_offset");
    SAME(data_offset, "data_offset");
    SAME(data_size, "data_size");
    SAME(super_offset, "super_offset");
    SAME(recovery_offset, "recovery_offset");
    SAME(dev_number, "dev_number");
    SAME(devflags, "devflags");
    SAME(bblog_shift, "bblog_shift");
    SAME(bblog_size, "bblog_size");
    SAME(bblog_offset, "bblog_offset");
    SAME(utime, "utime");
    SAME(events, "events");
    SAME(resync_offset, "resync_offset");
    SAME(max_dev, "max_dev");
    for (unsigned i = 0; i < json_array_size(roles); i++)
        same_role(md_superblock_role(sb, i), json_array_get(roles, i));
}

/* Decoded as the manifest says, and written back as it was. */
static void sound(const struct golden *g, unsigned i)
{
    const json_t *want = json_object_get(g->members[i].json, "sb");
    uint8_t again[MD_SUPERBLOCK_BYTES];
    struct md_superblock sb;
    struct error err = {0};

    CU_ASSERT_EQUAL_FATAL(md_superblock_decode(&sb, at_superblock(g, i), &err), 0);
    same_fields(&sb, want);
    CU_ASSERT_STRING_EQUAL(sb.name, json_string_value(json_object_get(want, "name")));
    md_superblock_encode(&sb, again);
    CU_ASSERT_EQUAL(memcmp(again, at_superblock(g, i), md_superblock_bytes(&sb)), 0);
}

static void test_ours(void)
{
    for (const char *const *name = golden_ours; *name; name++) {
        struct golden *g = golden_load(*name);
        for (unsigned i = 0; i < g->count; i++) {
            struct md_superblock sb;
            sound(g, i);
            md_superblock_decode(&sb, at_superblock(g, i), NULL);
            CU_ASSERT_EQUAL(md_superblock_supported(&sb, NULL), 0);
            /* a long name lost its end when the array was made */
            const char *short_name = md_superblock_short_name(&sb);
            CU_ASSERT_EQUAL(strncmp(short_name, *name, strlen(short_name)), 0);
        }
        golden_free(g);
    }
}

static void refused_by_name(const struct golden *g, unsigned member, const char *text)
{
    struct md_superblock sb;
    struct error err = {0};

    CU_ASSERT_EQUAL_FATAL(md_superblock_decode(&sb, at_superblock(g, member), NULL), 0);
    CU_ASSERT_EQUAL(md_superblock_supported(&sb, &err), -EOPNOTSUPP);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, text));
}

static void test_not_ours(void)
{
    for (unsigned k = 0; k < ARRAY_LEN(not_ours); k++) {
        struct golden *g = golden_load(not_ours[k].name);
        for (unsigned i = 0; i < g->count; i++) {
            struct md_superblock sb;
            CU_ASSERT_EQUAL(md_superblock_decode(&sb, at_superblock(g, i), NULL), 0);
            same_fields(&sb, json_object_get(g->members[i].json, "sb"));
            refused_by_name(g, i, not_ours[k].refused);
        }
        golden_free(g);
    }
}

static void test_bad_blocks(void)
{
    struct golden *g = golden_load("raid1-2-badblocks");
    struct md_superblock sb;

    sound(g, 0);
    CU_ASSERT_EQUAL(md_superblock_decode(&sb, at_superblock(g, 0), NULL), 0);
    CU_ASSERT_EQUAL(md_superblock_supported(&sb, NULL), 0);
    sound(g, 1);
    refused_by_name(g, 1, "recorded bad blocks");
    golden_free(g);
}

/* Independent of the codec: the sum as linux/raid/md_p.h describes it. */
static void fix_checksum(uint8_t *p)
{
    uint32_t bytes = 256 + 2 * get_le32(p + 220);
    uint64_t sum = 0;

    put_le32(p + 216, 0);
    for (uint32_t i = 0; i < bytes / 4; i++)
        sum += get_le32(p + 4 * i);
    if (bytes % 4)
        sum += get_le16(p + bytes - 2);
    put_le32(p + 216, (uint32_t)sum + (uint32_t)(sum >> 32));
}

static void refused(const uint8_t *p, int rc, const char *text)
{
    struct md_superblock sb, before;
    struct error err = {0};

    memset(&sb, 0x55, sizeof sb);
    before = sb;
    CU_ASSERT_EQUAL(md_superblock_decode(&sb, p, &err), rc);
    CU_ASSERT_EQUAL(err.code, -rc);
    if (!strstr(err.text, text)) {
        printf("\nwanted '%s', got '%s'\n", text, err.text);
        CU_FAIL("refused for another reason");
    }
    CU_ASSERT_EQUAL(memcmp(&sb, &before, sizeof sb), 0);
}

static void test_flipped_bits(void)
{
    struct golden *g = golden_load("raid10-n2-64k-4-synced-bitmap");
    uint8_t p[MD_SUPERBLOCK_BYTES];
    struct md_superblock sb;

    memcpy(p, at_superblock(g, 0), sizeof p);
    CU_ASSERT_EQUAL(md_superblock_decode(&sb, p, NULL), 0);
    for (unsigned bit = 0; bit < 8 * md_superblock_bytes(&sb); bit++) {
        struct md_superblock got;
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CU_ASSERT_NOT_EQUAL(md_superblock_decode(&got, p, NULL), 0);
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    golden_free(g);
}

static void test_truncated(void)
{
    struct golden *g = golden_load("raid1-3-bitmap");
    uint8_t p[MD_SUPERBLOCK_BYTES];

    memcpy(p, at_superblock(g, 0), sizeof p);
    for (unsigned bytes = 511; bytes > 4; bytes--) {
        struct md_superblock got;
        p[bytes] = 0;
        CU_ASSERT_NOT_EQUAL(md_superblock_decode(&got, p, NULL), 0);
    }
    memset(p, 0, sizeof p);
    refused(p, -ENODATA, "no md superblock");
    golden_free(g);
}

/* Each with a right checksum, so that only the field itself can give it away. */
static const struct {
    unsigned offset, bits;
    uint64_t value;
    int rc;
    const char *text;
} absurd[] = {
    {0, 32, 0x12345678, -ENODATA, "no md superblock"},
    {4, 32, 0, -EOPNOTSUPP, "version 0"},
    {4, 32, 2, -EOPNOTSUPP, "version 2"},
    {8, 32, 0x2000, -EOPNOTSUPP, "unknown feature bits 0x2000"},
    {8, 32, 0x80000001, -EOPNOTSUPP, "unknown feature bits 0x80000000"},
    {8, 32, MD_FEATURE_BITMAP_OFFSET | MD_FEATURE_PPL, -EBADMSG, "PPL together with"},
    {8, 32, MD_FEATURE_JOURNAL | MD_FEATURE_MULTIPLE_PPLS, -EBADMSG, "PPL together with"},
    {8, 32, MD_FEATURE_RAID0_LAYOUT, -EBADMSG, "RAID0 layout on level 10"},
    {12, 32, 1, -EBADMSG, "pad0"},
    {80, 64, 0, -EBADMSG, "size 0 makes no sense"},
    {80, 64, UINT64_MAX, -EBADMSG, "size 18446744073709551615 makes no sense"},
    {80, 64, 30721, -EBADMSG, "more than the data size"},
    {88, 32, 0, -EBADMSG, "chunk size is zero"},
    {88, 32, 130, -EBADMSG, "not a power of two"},
    {92, 32, 0, -EBADMSG, "0 raid disks"},
    {92, 32, 3, -EBADMSG, "device 3 has role 3 of 3"},
    {92, 32, 129, -EBADMSG, "129 raid disks with room for 128"},
    {96, 32, 0, -EBADMSG, "bitmap offset 0"},
    {96, 32, UINT32_MAX, -EBADMSG, "bitmap offset -1"},
    {96, 32, 2040, -EBADMSG, "bitmap offset 2040"},
    {128, 64, 8, -EBADMSG, "data offset 8 is inside the superblock"},
    {128, 64, UINT64_MAX - 30000, -EBADMSG, "overflow"},
    {136, 64, 9, -EBADMSG, "data size 9 is too small"},
    {136, 64, UINT64_MAX / 512, -EBADMSG, "overflow"},
    {144, 64, 0, -EOPNOTSUPP, "version 1.1"},
    {144, 64, 32752, -EOPNOTSUPP, "version 1.0"},
    {160, 32, 128, -EBADMSG, "device number 128"},
    {220, 32, 1921, -EBADMSG, "max_dev 1921"},
    {220, 32, UINT32_MAX, -EBADMSG, "max_dev 4294967295"},
    {224, 8, 1, -EBADMSG, "pad3"},
    {255, 8, 1, -EBADMSG, "pad3"},
    {256, 16, 4, -EBADMSG, "device 0 has role 4 of 4"},
    {256 + 8, 32, 0x00030003, -EBADMSG, "device 5 has role 3 of 4, as two others have"},
    {256 + 254, 16, 0xff00, -EBADMSG, "device 127 has role 65280"},
};

static void put(uint8_t *p, unsigned bits, uint64_t value)
{
    value = htole64(value);
    memcpy(p, &value, bits / 8);
}

static void test_absurd(void)
{
    struct golden *g = golden_load("raid10-n2-64k-4-synced-bitmap");

    for (unsigned i = 0; i < ARRAY_LEN(absurd); i++) {
        uint8_t p[MD_SUPERBLOCK_BYTES];
        memcpy(p, at_superblock(g, 0), sizeof p);
        put(p + absurd[i].offset, absurd[i].bits, absurd[i].value);
        if (get_le32(p + 220) <= MD_MAX_DEV)
            fix_checksum(p);
        refused(p, absurd[i].rc, absurd[i].text);
    }
    golden_free(g);
}

static void test_recovery_offset(void)
{
    struct golden *g = golden_load("raid1-2-synced");
    uint8_t p[MD_SUPERBLOCK_BYTES];
    struct md_superblock sb;

    memcpy(p, at_superblock(g, 0), sizeof p);
    put_le32(p + 8, MD_FEATURE_RECOVERY_OFFSET);
    put_le64(p + 152, 30720);
    fix_checksum(p);
    CU_ASSERT_EQUAL(md_superblock_decode(&sb, p, NULL), 0);
    put_le64(p + 152, 30721);
    fix_checksum(p);
    refused(p, -EBADMSG, "recovery offset 30721 is beyond the data");
    golden_free(g);
}

static void test_refused_features(void)
{
    static const struct {
        uint32_t bits;
        const char *text;
    } cases[] = {
        {MD_FEATURE_PPL, "a partial parity log"},
        {MD_FEATURE_MULTIPLE_PPLS, "a partial parity log"},
        {MD_FEATURE_CLUSTERED, "a clustered bitmap"},
        {MD_FEATURE_JOURNAL, "a journal device"},
        {MD_FEATURE_NEW_OFFSET, "a reshape"},
        {MD_FEATURE_RESHAPE_ACTIVE, "a reshape"},
        {MD_FEATURE_BAD_BLOCKS, "recorded bad blocks"},
    };

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct md_superblock sb = {.level = 1, .feature_map = cases[i].bits};
        struct error err = {0};
        CU_ASSERT_EQUAL(md_superblock_supported(&sb, &err), -EOPNOTSUPP);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].text));
    }
}

/* Reads a member at any place of its head or tail; zeros elsewhere. */
static void read_at(const struct golden *g, unsigned member, uint64_t at, uint8_t *buf)
{
    const struct golden_member *m = &g->members[member];
    uint64_t tail = m->bytes - GOLDEN_TAIL_BYTES;

    memset(buf, 0, MD_SUPERBLOCK_BYTES);
    if (at < GOLDEN_HEAD_BYTES) {
        memcpy(buf, m->head + at, MD_SUPERBLOCK_BYTES);
    } else if (at >= tail) {
        FILE *f = golden_file(g, member, "tail");
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        fseek(f, (long)(at - tail), SEEK_SET);
        CU_ASSERT(fread(buf, 1, MD_SUPERBLOCK_BYTES, f) > 0);
        fclose(f);
    }
}

static void test_foreign_versions(void)
{
    static const char *const arrays[][2] = {
        {"raid1-2-meta090", "0.90"}, {"raid1-2-meta10", "1.0"}, {"raid1-2-meta11", "1.1"}};

    for (unsigned k = 0; k < ARRAY_LEN(arrays); k++) {
        struct golden *g = golden_load(arrays[k][0]);
        struct md_foreign_place places[MD_FOREIGN_PLACES];
        uint8_t buf[MD_SUPERBLOCK_BYTES];

        refused(at_superblock(g, 1), -ENODATA, "no md superblock");
        md_foreign_places(g->members[1].bytes, places);
        for (unsigned i = 0; i < MD_FOREIGN_PLACES; i++) {
            read_at(g, 1, places[i].offset_bytes, buf);
            CU_ASSERT_EQUAL(
                md_foreign_found(&places[i], buf), !strcmp(places[i].version, arrays[k][1]));
        }
        golden_free(g);
    }
}

static void test_foreign_places(void)
{
    struct md_foreign_place places[MD_FOREIGN_PLACES];

    md_foreign_places((100u << 20) + 512, places);
    CU_ASSERT_EQUAL(places[0].offset_bytes, (100u << 20) - (64u << 10));
    CU_ASSERT_EQUAL(places[1].offset_bytes, (100u << 20) - (8u << 10));
    CU_ASSERT_EQUAL(places[2].offset_bytes, 0);
    md_foreign_places(4096, places);
    for (unsigned i = 0; i < MD_FOREIGN_PLACES; i++)
        CU_ASSERT_EQUAL(places[i].offset_bytes, 0);
}

static void test_roles(void)
{
    struct md_superblock sb = {.level = 1, .max_dev = 128};

    memset(sb.dev_roles, 0xff, 2 * 128);
    CU_ASSERT_EQUAL(md_superblock_role(&sb, 127), MD_DISK_ROLE_SPARE);
    CU_ASSERT_EQUAL(md_superblock_role(&sb, 128), MD_DISK_ROLE_SPARE);
    md_superblock_set_role(&sb, 5, 3);
    CU_ASSERT_EQUAL(md_superblock_role(&sb, 5), 3);
    CU_ASSERT_EQUAL(sb.max_dev, 128);
    md_superblock_set_role(&sb, 128, 4);
    CU_ASSERT_EQUAL(sb.max_dev, 384);
    CU_ASSERT_EQUAL(md_superblock_bytes(&sb), 1024);
    CU_ASSERT_EQUAL(md_superblock_role(&sb, 128), 4);
    CU_ASSERT_EQUAL(md_superblock_role(&sb, 383), MD_DISK_ROLE_SPARE);
    md_superblock_set_role(&sb, MD_MAX_DEV - 1, 0);
    CU_ASSERT_EQUAL(sb.max_dev, MD_MAX_DEV);
    CU_ASSERT_EQUAL(md_superblock_bytes(&sb), MD_SUPERBLOCK_BYTES);
}

static void test_odd_table(void)
{
    struct md_superblock sb = {.level = 1,
                             .size = 100,
                             .raid_disks = 2,
                             .data_offset = 2048,
                             .data_size = 100,
                             .super_offset = MD_SUPERBLOCK_OFFSET,
                             .max_dev = 3},
                         got;
    uint8_t p[MD_SUPERBLOCK_BYTES], fixed[MD_SUPERBLOCK_BYTES];

    sb.dev_roles[1] = 1;
    sb.dev_roles[2] = MD_DISK_ROLE_FAULTY;
    md_superblock_encode(&sb, p);
    memcpy(fixed, p, sizeof p);
    fix_checksum(fixed);
    CU_ASSERT_EQUAL(memcmp(p, fixed, sizeof p), 0);
    CU_ASSERT_EQUAL(md_superblock_decode(&got, p, NULL), 0);
    CU_ASSERT_EQUAL(md_superblock_role(&got, 2), MD_DISK_ROLE_FAULTY);
    CU_ASSERT_EQUAL(got.dev_roles[3], MD_DISK_ROLE_SPARE);
}

CU_TestInfo superblock_tests[] = {
    {"what Linux wrote is read field by field and written back as it was", test_ours},
    {"what we do not run is read, and refused by name", test_not_ours},
    {"recorded bad blocks are refused by name", test_bad_blocks},
    {"every flipped bit is noticed", test_flipped_bits},
    {"every truncation is noticed", test_truncated},
    {"absurd fields are refused by name", test_absurd},
    {"a recovery offset beyond the data is refused", test_recovery_offset},
    {"features we do not do are refused by name", test_refused_features},
    {"other metadata versions are recognised", test_foreign_versions},
    {"places of other versions", test_foreign_places},
    {"the table of roles grows by whole sectors", test_roles},
    {"an odd number of roles", test_odd_table},
    CU_TEST_INFO_NULL,
};
