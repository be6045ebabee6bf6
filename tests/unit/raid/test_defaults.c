/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "golden.h"
#include "raid/defaults.h"
#include "raid/layout.h"

extern CU_TestInfo defaults_tests[];

#define DEVICES_MAX 6
#define MIB         (1ull << 20)
#define GIB         (1ull << 30)
#define TIB         (1ull << 40)

/* Superblock and bitmap header as mdadm and the kernel left them on that device of a new array. */
static void read_created(
    const char *name, unsigned device, struct md_superblock *sb, struct md_bitmap_header *bitmap)
{
    uint8_t buf[2 * MD_SUPERBLOCK_BYTES];
    char path[512];

    snprintf(path, sizeof path, "%s/created/%s.%u", GOLDEN_DIR, name, device);
    FILE *f = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fread(buf, 1, sizeof buf, f), sizeof buf);
    fclose(f);
    CU_ASSERT_EQUAL_FATAL(md_superblock_decode(sb, buf, NULL), 0);
    memset(bitmap, 0, sizeof *bitmap);
    if (sb->feature_map & MD_FEATURE_BITMAP_OFFSET)
        CU_ASSERT_EQUAL(md_bitmap_decode(bitmap, buf + MD_SUPERBLOCK_BYTES, NULL), 0);
}

#define SAME(field) CU_ASSERT_EQUAL(ours->field, theirs->field)

static void same_superblock(const struct md_superblock *ours, const struct md_superblock *theirs)
{
    SAME(feature_map);
    SAME(level);
    SAME(layout);
    SAME(size);
    SAME(chunk);
    SAME(raid_disks);
    SAME(bitmap_offset);
    SAME(data_offset);
    SAME(data_size);
    SAME(super_offset);
    SAME(dev_number);
    SAME(bblog_shift);
    SAME(bblog_size);
    SAME(bblog_offset);
    SAME(resync_offset);
    SAME(max_dev);
    CU_ASSERT_STRING_EQUAL(ours->name, theirs->name);
    CU_ASSERT_EQUAL(memcmp(ours->dev_roles, theirs->dev_roles, sizeof ours->dev_roles), 0);
}

static void same_bitmap(const struct md_bitmap_header *ours, const struct md_bitmap_header *theirs)
{
    SAME(chunk_bytes);
    SAME(daemon_sleep);
    SAME(write_behind);
    SAME(sync_size);
}

static void same_array(
    const char *name, const char *full_name, const struct md_create_params *params)
{
    struct md_superblock sb, theirs;
    struct md_bitmap_header bitmap, their_bitmap;
    struct error err = {0};
    int rc = md_create_template(&sb, &bitmap, params, &err);

    CU_ASSERT_STRING_EQUAL(err.text, "");
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    md_create_name(&sb, "kp", full_name);
    for (unsigned i = 0; i < params->device_count; i++) {
        if (!params->device_bytes[i])
            continue;
        read_created(name, i, &theirs, &their_bitmap);
        md_create_member(&sb, i, params->device_bytes[i]);
        same_superblock(&sb, &theirs);
        same_bitmap(&bitmap, &their_bitmap);
    }
}

static void try_created(const json_t *c)
{
    uint64_t device_bytes[DEVICES_MAX];
    const json_t *devices = json_object_get(c, "device_bytes");
    const char *name = json_string_value(json_object_get(c, "name"));
    struct md_create_params params = {
        .level = (int)golden_number(c, "level"),
        .raid_disks = (unsigned)golden_number(c, "raid_disks"),
        .chunk_bytes = (uint64_t)golden_number(c, "chunk_kib") << 10,
        .member_bytes = (uint64_t)golden_number(c, "size_kib") << 10,
        .device_bytes = device_bytes,
        .device_count = (unsigned)json_array_size(devices),
        .assume_clean = true,
    };

    for (unsigned i = 0; i < params.device_count; i++)
        device_bytes[i] = (uint64_t)json_integer_value(json_array_get(devices, i));
    CU_ASSERT_EQUAL_FATAL(
        raid_layout_parse(
            params.level, json_string_value(json_object_get(c, "layout")), &params.layout, NULL),
        0);
    same_array(name, name, &params);
}

static void test_created(void)
{
    json_t *cases = json_load_file(GOLDEN_DIR "/created/created.json", 0, NULL);

    CU_ASSERT_EQUAL_FATAL(json_array_size(cases), 29);
    for (unsigned i = 0; i < json_array_size(cases); i++)
        try_created(json_array_get(cases, i));
    json_decref(cases);
}

static void test_not_clean(void)
{
    const uint64_t device_bytes[] = {GIB, GIB, GIB};
    struct md_create_params params = {
        .level = 1, .raid_disks = 3, .device_bytes = device_bytes, .device_count = 3};
    struct md_superblock sb;
    struct md_bitmap_header bitmap;

    CU_ASSERT_EQUAL(md_create_template(&sb, &bitmap, &params, NULL), 0);
    CU_ASSERT_EQUAL(sb.resync_offset, 0);
    CU_ASSERT_EQUAL(sb.events, 0);
    params.level = 0;
    params.layout = RAID0_LAYOUT_ORIGINAL;
    CU_ASSERT_EQUAL(md_create_template(&sb, &bitmap, &params, NULL), 0);
    CU_ASSERT_EQUAL(sb.resync_offset, MD_MAX_SECTOR);
    CU_ASSERT_EQUAL(bitmap.chunk_bytes, 0);
}

/* What is written for a new array is read again without complaint, whatever the sizes. */
static void test_round_trip(void)
{
    for (uint64_t bytes = 4 * MIB; bytes < 5000 * TIB; bytes = bytes * 3 / 2 + 12345) {
        const uint64_t device_bytes[] = {bytes, bytes + 999, bytes, bytes + MIB};
        struct md_create_params params = {.level = 10,
            .layout = RAID10_LAYOUT_FAR(2),
            .raid_disks = 3,
            .device_bytes = device_bytes,
            .device_count = 4};
        struct md_superblock sb, read;
        struct md_bitmap_header bitmap, read_bitmap;
        uint8_t buf[MD_SUPERBLOCK_BYTES];

        CU_ASSERT_EQUAL_FATAL(md_create_template(&sb, &bitmap, &params, NULL), 0);
        for (unsigned i = 0; i < params.device_count; i++) {
            md_create_member(&sb, i, device_bytes[i]);
            CU_ASSERT((sb.data_offset + sb.data_size) * MD_SECTOR_BYTES <= device_bytes[i]);
            md_superblock_encode(&sb, buf);
            CU_ASSERT_EQUAL(md_superblock_decode(&read, buf, NULL), 0);
            CU_ASSERT_EQUAL(md_superblock_supported(&read, NULL), 0);
        }
        CU_ASSERT_EQUAL(md_bitmap_check(&bitmap, &sb, bitmap.sync_size * MD_SECTOR_BYTES, NULL), 0);
        md_bitmap_encode(&bitmap, buf);
        CU_ASSERT_EQUAL(md_bitmap_decode(&read_bitmap, buf, NULL), 0);
    }
}

static void test_data_offset(void)
{
    CU_ASSERT_EQUAL(md_default_data_offset(32768, 128), 2048);
    CU_ASSERT_EQUAL(md_default_data_offset(32768, 1024), 4096);
    CU_ASSERT_EQUAL(md_default_data_offset(2 * GIB, 1024), 264192);
}

static void test_name(void)
{
    struct md_superblock sb;

    md_create_name(&sb, "host", "data");
    CU_ASSERT_STRING_EQUAL(sb.name, "host:data");
    CU_ASSERT_STRING_EQUAL(md_superblock_short_name(&sb), "data");
    md_create_name(&sb, NULL, "data");
    CU_ASSERT_STRING_EQUAL(sb.name, "data");
    md_create_name(&sb, "host", "other:data");
    CU_ASSERT_STRING_EQUAL(sb.name, "other:data");
    md_create_name(&sb, "host", "abcdefghijklmnopqrstuvwxyz");
    CU_ASSERT_STRING_EQUAL(sb.name, "host:abcdefghijklmnopqrstuvwxyz");
    md_create_name(&sb, "host", "abcdefghijklmnopqrstuvwxyz0");
    CU_ASSERT_STRING_EQUAL(sb.name, "abcdefghijklmnopqrstuvwxyz0");
    md_create_name(&sb, "host", "abcdefghijklmnopqrstuvwxyz012345");
    CU_ASSERT_STRING_EQUAL(sb.name, "abcdefghijklmnopqrstuvwxyz012345");
}

static const uint64_t small[] = {GIB, 2 * MIB, GIB}, gone[] = {0, 0, 0}, one_gone[] = {GIB, GIB, 0};

static const struct {
    struct md_create_params params;
    int rc;
    const char *text;
} refused[] = {
    {{.level = 1, .raid_disks = 0, .device_bytes = small}, -EINVAL, "1 to 384 members"},
    {{.level = 1, .raid_disks = 4, .device_bytes = small, .device_count = 3}, -EINVAL,
        "1 to 384 members"},
    {{.level = 1, .raid_disks = 2, .device_bytes = small, .device_count = 9999}, -EINVAL,
        "too many spares"},
    {{.level = 0, .layout = 1, .raid_disks = 2, .device_bytes = small, .device_count = 3}, -EINVAL,
        "no use for spares"},
    {{.level = 0,
         .layout = 1,
         .raid_disks = 3,
         .member_bytes = MIB,
         .device_bytes = small,
         .device_count = 3},
        -EINVAL, "always uses all"},
    {{.level = 0, .layout = 1, .raid_disks = 3, .device_bytes = one_gone, .device_count = 3},
        -EINVAL, "cannot be missing"},
    {{.level = 1, .raid_disks = 2, .device_bytes = one_gone, .device_count = 3}, -EINVAL,
        "cannot be missing"},
    {{.level = 1, .raid_disks = 3, .device_bytes = gone, .device_count = 3}, -EINVAL,
        "all members are missing"},
    {{.level = 1, .raid_disks = 3, .device_bytes = small, .device_count = 3}, -ENOSPC,
        "device 1 is too small: 2M of at least 2.1M"},
    {{.level = 1,
         .raid_disks = 2,
         .member_bytes = 2 * GIB,
         .device_bytes = one_gone,
         .device_count = 2},
        -ENOSPC, "device 0 is too small: 1G of at least 2"},
    {{.level = 1,
         .raid_disks = 2,
         .member_bytes = 512,
         .device_bytes = one_gone,
         .device_count = 2},
        -EINVAL, "member size 512"},
    {{.level = 10,
         .layout = 0x102,
         .raid_disks = 2,
         .chunk_bytes = 5000,
         .device_bytes = one_gone,
         .device_count = 2},
        -EINVAL, "chunk size 5000"},
    {{.level = 10,
         .layout = 0x102,
         .raid_disks = 2,
         .chunk_bytes = 1ull << 60,
         .device_bytes = one_gone,
         .device_count = 2},
        -EINVAL, "chunk size 1152921504606846976"},
    {{.level = 10, .layout = 0x103, .raid_disks = 2, .device_bytes = one_gone, .device_count = 2},
        -EINVAL, "3 copies need as many members"},
    {{.level = 4, .raid_disks = 2, .device_bytes = one_gone, .device_count = 2}, -EOPNOTSUPP,
        "raid4 is not supported"},
    {{.level = 5, .layout = 2, .raid_disks = 1, .device_bytes = one_gone, .device_count = 1},
        -EINVAL, "raid5 has at least 2 members, not 1"},
    {{.level = 6, .layout = 2, .raid_disks = 3, .device_bytes = one_gone, .device_count = 3},
        -EINVAL, "raid6 has at least 4 members, not 3"},
};

static void test_refuse(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(refused); i++) {
        struct md_superblock sb = {.events = 77};
        struct md_bitmap_header bitmap = {.events = 77};
        struct error err = {0};
        CU_ASSERT_EQUAL(md_create_template(&sb, &bitmap, &refused[i].params, &err), refused[i].rc);
        CU_ASSERT(sb.events == 77 && bitmap.events == 77);
        if (!strstr(err.text, refused[i].text)) {
            printf("\nwanted '%s', got '%s'\n", refused[i].text, err.text);
            CU_FAIL("refused for another reason");
        }
    }
}

CU_TestInfo defaults_tests[] = {
    {"new arrays are as mdadm makes them", test_created},
    {"an array not known to be clean", test_not_clean},
    {"what is made is read again, whatever the size", test_round_trip},
    {"data offset", test_data_offset},
    {"names", test_name},
    {"impossible arrays are refused by name", test_refuse},
    CU_TEST_INFO_NULL,
};
