/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checker of qcow2 images: it accepts what QEMU has written and reads from it what QEMU reads;
 * it names each kind of damage; and whatever stands in an image, it comes to an end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "check_qcow2.h"
#include "unit.h"

#define IMAGE_MAX (4u << 20)
#define COPIED    (UINT64_C(1) << 63)

struct image {
    uint8_t bytes[IMAGE_MAX];
    uint64_t size_bytes;
};

static struct image image, raw, base;
static struct check_qcow2 c;

/* False: there is none. Its end is filled up to a cluster, as QEMU reads it. */
static bool load(struct image *to, const char *name, const char *kind)
{
    char path[512];
    gzFile f;
    int bytes;

    snprintf(path, sizeof path, "%s/%s%s.gz", QCOW2_DATA, name, kind);
    f = gzopen(path, "rb");
    if (!f)
        return false;
    memset(to->bytes, 0, sizeof to->bytes);
    bytes = gzread(f, to->bytes, sizeof to->bytes);
    gzclose(f);
    CU_ASSERT_FATAL(bytes > 0);
    to->size_bytes = round_up((uint64_t)bytes, (uint64_t)65536);
    return true;
}

static bool look(void)
{
    struct check_disk file = check_image("image", image.bytes, image.size_bytes);

    check_qcow2_free(&c);
    return check_qcow2(&c, &file);
}

static void expect_silence(const char *name)
{
    CU_ASSERT_EQUAL(c.problems.count, 0);
    if (c.problems.count)
        printf("%s: %s", name, c.problems.text);
}

/* --- images of QEMU --- */

static void expect_content(const char *name, unsigned disk, const struct check_disk *backing)
{
    static uint8_t buf[IMAGE_MAX];
    uint64_t size = c.disks[disk].size_bytes, piece;

    for (uint64_t at = 0; at < size; at += piece) { /* pieces of any length */
        piece = MIN(size - at, 512 * (1 + at / 512 % 37));
        CU_ASSERT_FATAL(check_qcow2_read(&c, disk, backing, buf + at, at, piece));
    }
    CU_ASSERT(!memcmp(buf, raw.bytes, size));
    if (memcmp(buf, raw.bytes, size) != 0)
        printf("%s, disk %u: other contents\n", name, disk);
}

static void test_images(void)
{
    static const struct {
        const char *name;
        unsigned snapshots;
    } images[] = {{"default", 0}, {"small", 2}, {"extended", 2}, {"old", 2}, {"narrow", 2},
        {"bit", 0}, {"zlib", 0}, {"zstd", 0}, {"base", 0}};
    char kind[80];

    for (unsigned i = 0; i < ARRAY_LEN(images); i++) {
        const char *name = images[i].name;

        CU_ASSERT_FATAL(load(&image, name, ".qcow2"));
        CU_ASSERT(look());
        expect_silence(name);
        CU_ASSERT_EQUAL(c.leaks, 0);
        CU_ASSERT_EQUAL_FATAL(c.disk_count, 1 + images[i].snapshots);
        for (unsigned disk = 0; disk < c.disk_count; disk++) {
            snprintf(kind, sizeof kind, "%s%s.raw", disk ? "." : "", c.disks[disk].name);
            CU_ASSERT_FATAL(load(&raw, name, kind));
            expect_content(name, disk, NULL);
        }
    }
}

static void test_overlay(void)
{
    struct check_disk backing = check_image("base", base.bytes, 1 << 20);

    CU_ASSERT_FATAL(load(&image, "overlay", ".qcow2"));
    CU_ASSERT_FATAL(load(&raw, "overlay", ".raw") && load(&base, "base", ".raw"));
    CU_ASSERT(look());
    expect_silence("overlay");
    CU_ASSERT_EQUAL(c.bitmap_count, 2);
    expect_content("overlay", 0, &backing);
}

/* --- damage --- */

static void expect_said(const char *what)
{
    CU_ASSERT(!look());
    CU_ASSERT(strstr(c.problems.text, what) != NULL);
    if (!strstr(c.problems.text, what))
        printf("\"%s\" is not in \"%s\"\n", what, c.problems.text);
}

static uint64_t word(uint64_t at)
{
    return get_be64(image.bytes + at);
}

/* Changes a number of so many bytes, and puts it back. */
static void expect_damage(uint64_t at, unsigned bytes, uint64_t value, const char *what)
{
    uint8_t kept[8];

    memcpy(kept, image.bytes + at, bytes);
    for (unsigned i = 0; i < bytes; i++)
        image.bytes[at + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    expect_said(what);
    memcpy(image.bytes + at, kept, bytes);
}

static void test_header(void)
{
    CU_ASSERT_FATAL(load(&image, "small", ".qcow2"));
    CU_ASSERT(look());
    expect_damage(0, 4, 0x514649fa, "magic");
    expect_damage(4, 4, 4, "version");
    expect_damage(20, 4, 8, "cluster size");
    expect_damage(32, 4, 1, "encryption");
    expect_damage(79, 1, 2, "marked corrupt");
    expect_damage(79, 1, 4, "external data file");
    expect_damage(79, 1, 8, "compression");
    expect_damage(79, 1, 16, "extended L2");
    expect_damage(79, 1, 32, "unknown features");
    expect_damage(96, 4, 7, "refcount order");
    expect_damage(100, 4, 108, "header: 108 bytes");
    expect_damage(104, 1, 1, "compression 1");
    expect_damage(8, 8, 100, "backing name");
    expect_damage(36, 4, 1, "too few");
    expect_damage(36, 4, 0xffffffff, "too large");
    expect_damage(40, 8, image.size_bytes, "L1 table beyond the end");
    expect_damage(48, 8, word(48) + 8, "refcount table is not aligned");
    expect_damage(60, 4, 3, "snapshot : no id");
    expect_damage(64, 8, image.size_bytes, "snapshot table cannot be read");
    expect_damage(64, 8, word(48), "is the refcount table, and the snapshot table");
    CU_ASSERT(look());
    CU_ASSERT_FATAL(load(&image, "default", ".qcow2"));
    expect_damage(116, 4, 0xfffffff0, "is cut");
}

/* The first table that COPIED says is the active disk's own. */
static uint64_t own_l1_entry(void)
{
    uint64_t at = word(40);

    while (!(word(at) & COPIED))
        at += 8;
    return at;
}

static uint64_t own_l2_entry(uint64_t step)
{
    uint64_t at = word(own_l1_entry()) & CHECK_QCOW2_OFFSET;

    while (!(word(at) & COPIED) || !(word(at + step) & COPIED))
        at += step;
    return at;
}

static void test_tables(void)
{
    uint64_t l1, l2, shared;

    CU_ASSERT_FATAL(load(&image, "small", ".qcow2"));
    l1 = own_l1_entry();
    l2 = own_l2_entry(8);
    expect_damage(l1, 8, word(l1) & ~COPIED, "L2 table at");
    expect_damage(l1, 8, word(l1) | 2, "L1 entry");
    expect_damage(l1, 8, word(l1) | UINT64_C(1) << 60, "L1 entry");
    expect_damage(l1, 8, COPIED | image.size_bytes, "L2 table beyond the end");
    expect_damage(l1, 8, COPIED | word(40), "is an L1 table, and an L2 table");
    expect_damage(l1, 8, 0, "leak");
    expect_damage(l2, 8, word(l2) & ~COPIED, "has COPIED not set");
    expect_damage(l2, 8, word(l2) | 4, "entry");
    expect_damage(l2, 8, word(l2) | UINT64_C(1) << 57, "entry");
    expect_damage(l2, 8, COPIED | image.size_bytes, "data beyond the end");
    expect_damage(l2, 8, word(l2 + 8), "data of another place");
    expect_damage(l2, 8, word(l1), "an L2 table, and data");
    expect_damage(l2, 8, COPIED, "allocated nowhere");
    expect_damage(l2, 8, 0, "leak");
    shared = word(40);
    while (!word(shared) || word(shared) & COPIED)
        shared += 8;
    expect_damage(shared, 8, word(shared) | COPIED, "L2 table at");
    CU_ASSERT_FATAL(load(&image, "default", ".qcow2"));
    l2 = own_l2_entry(8);
    expect_damage(l2, 8, word(l2) | 0x200, "data is not aligned");
    CU_ASSERT_FATAL(load(&image, "bit", ".qcow2"));
    image.bytes[7] = 2;
    expect_said("entry");
}

static void test_subclusters(void)
{
    uint64_t l2;

    CU_ASSERT_FATAL(load(&image, "extended", ".qcow2"));
    l2 = own_l2_entry(16);
    expect_damage(l2, 8, word(l2) | 1, "entry");
    expect_damage(l2 + 8, 8, word(l2 + 8) | (uint32_t)word(l2 + 8) * (UINT64_C(1) << 32), "bitmap");
    expect_damage(l2, 8, 0, "allocated nowhere");
    expect_damage(l2, 8, UINT64_C(1) << 62 | word(l2), "compressed with a bitmap");
    CU_ASSERT(look());
}

static void test_refcounts(void)
{
    uint64_t block, data;

    CU_ASSERT_FATAL(load(&image, "default", ".qcow2"));
    block = word(word(48));
    data = (word(own_l2_entry(8)) & CHECK_QCOW2_OFFSET) >> 16;
    expect_damage(block + 2 * data, 2, 0, "refcount 0 of 1");
    expect_damage(block + 2 * data, 2, 2, "has refcount 2, 1 references");
    expect_damage(block + 2 * 1000, 2, 1, "beyond the end");
    expect_damage(block, 2, 0, "the header at 0");
    expect_damage(word(48), 8, block | 8, "not aligned");
    expect_damage(word(48) + 8, 8, block, "is a refcount block, and a refcount block");
    image.bytes[79] |= 1; /* dirty */
    put_be16(image.bytes + block + 2 * (word(48) >> 16), 2);
    CU_ASSERT(look());
    CU_ASSERT_EQUAL(c.leaks, 1);
    CU_ASSERT_FATAL(load(&image, "dirty", ".qcow2"));
    expect_said("refcount 0 of 1 references");
    CU_ASSERT(c.dirty && c.lazy);
}

static void test_snapshots(void)
{
    uint64_t table;

    CU_ASSERT_FATAL(load(&image, "narrow", ".qcow2"));
    table = word(64);
    CU_ASSERT(look());
    expect_damage(table, 8, word(40), "an L1 table, and an L1 table");
    expect_damage(table + 8, 4, 1, "one: 1 L1 entries are too few");
    expect_damage(table + 12, 2, 0, "no id");
    expect_damage(table + 14, 2, 0xffff, "is cut");
    expect_damage(table + 36, 4, 8, "no size");
    expect_damage(table + 40 + 24, 1, '2', "the id of another one");
}

static void test_bitmaps(void)
{
    uint64_t directory;

    CU_ASSERT_FATAL(load(&image, "overlay", ".qcow2"));
    CU_ASSERT(look());
    directory = c.bitmaps_offset;
    expect_damage(directory, 8, word(40), "is bitmaps, and an L1 table");
    expect_damage(directory + 20, 4, 4096, "bitmap 0 is cut");
    expect_damage(word(directory), 8, 3, "bitmap: entry");
    expect_damage(88, 8, 0, "leak");
}

static void test_compressed(void)
{
    uint64_t l2, entry;

    CU_ASSERT_FATAL(load(&image, "zlib", ".qcow2"));
    l2 = word(word(40)) & CHECK_QCOW2_OFFSET;
    entry = word(l2);
    CU_ASSERT(entry >> 62 & 1);
    expect_damage(l2, 8, entry | COPIED, "has COPIED set");
    expect_damage(l2, 8, (UINT64_C(1) << 62) | image.size_bytes, "beyond the end");
    expect_damage(l2, 8, (UINT64_C(1) << 62) | word(40), "an L1 table, and compressed data");
    CU_ASSERT(look());
    memset(image.bytes + (entry & 0xffffff), 0xff, 16);
    CU_ASSERT(look());
    CU_ASSERT(!check_qcow2_read(&c, 0, NULL, raw.bytes, 0, 4096));
}

/* Every byte of the metadata, in turn, holds something else. */
static void test_any(void)
{
    static const char *const names[] = {"narrow", "extended", "overlay", "zstd"};
    static uint8_t buf[CHECK_SECTOR_BYTES];

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        CU_ASSERT_FATAL(load(&image, names[i], ".qcow2"));
        for (uint64_t at = 0; at < MIN(image.size_bytes, UINT64_C(98304)); at++) {
            uint8_t kept = image.bytes[at];

            if (!kept && at % 19)
                continue;
            image.bytes[at] ^= (uint8_t)(1 + at * 0x9e3779b1u % 255);
            look();
            if (c.disks && c.table && c.disks->size_bytes >= sizeof buf)
                check_qcow2_read(&c, 0, NULL, buf, 0, sizeof buf);
            image.bytes[at] = kept;
        }
        CU_ASSERT(look());
    }
    check_qcow2_free(&c);
}

static CU_TestInfo tests[] = {
    {"images of QEMU", test_images},
    {"backing and bitmaps", test_overlay},
    {"header", test_header},
    {"L1 and L2 tables", test_tables},
    {"subclusters", test_subclusters},
    {"refcounts", test_refcounts},
    {"snapshots", test_snapshots},
    {"bitmaps", test_bitmaps},
    {"compressed clusters", test_compressed},
    {"anything", test_any},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {{.pName = "check-qcow2", .pTests = tests}, CU_SUITE_INFO_NULL};

    return unit_main(argc, argv, suites);
}
