/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * md superblock and bitmap: whatever stands on a member is decoded or refused. The input is a
 * superblock, from BITMAP_AT on a bitmap's header, and the bits behind it. The superblock's
 * checksum is made right first, as the fuzzer would not find it.
 *
 * What decodes is encoded to the same bytes, and an array is assembled of several such members,
 * some of them behind; places in it are mapped to the members and back.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "raid/assembly.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BITMAP_AT 1024u
#define BITS_AT   (BITMAP_AT + MD_BITMAP_HEADER_BYTES)
#define MEMBERS   4u

static struct {
    struct md_superblock decoded, sbs[MEMBERS];
    struct raid_candidate candidates[MEMBERS];
    struct raid_assembly assembly;
} fuzz;

static void fix_checksum(uint8_t *buf)
{
    uint64_t sum = 0;
    uint32_t length = 256 + 2 * (get_le32(buf + 220) % (MD_MAX_DEV + 1));

    put_le32(buf + 216, 0);
    for (uint32_t i = 0; i + 4 <= length; i += 4)
        sum += get_le32(buf + i);
    if (length % 4)
        sum += get_le16(buf + length - 2);
    put_le32(buf + 216, (uint32_t)sum + (uint32_t)(sum >> 32));
}

/* A place in the array is where its copies say it is. */
static void try_place(const struct raid_geometry *g, uint64_t offset)
{
    struct raid_location copies[RAID_COPIES_MAX];
    uint64_t run, back;
    unsigned count = raid_geometry_map(g, offset, copies, &run), copy;

    assert(count == g->copies && run > 0 && run <= g->size_bytes - offset);
    for (unsigned i = 0; i < count; i++) {
        assert(copies[i].role < g->raid_disks);
        assert(copies[i].offset_bytes < raid_geometry_member_bytes(g, copies[i].role));
        assert(raid_geometry_unmap(g, copies[i].role, copies[i].offset_bytes, &back, &copy, &run));
        assert(back == offset && copy == i);
    }
}

static void try_bitmap_range(const struct raid_geometry *g, uint64_t chunk_bytes)
{
    uint64_t bits = md_bitmap_bits(g->sync_bytes, chunk_bytes), offset, bytes;

    raid_geometry_bitmap_range(g, bits - 1, chunk_bytes, &offset, &bytes);
    assert(offset <= g->size_bytes && bytes <= g->size_bytes - offset);
}

static void try_assembly(bool force, const struct md_bitmap_header *bitmap)
{
    struct error err = {0};
    struct raid_geometry g;

    if (raid_assembly_decide(&fuzz.assembly, &g, fuzz.candidates, MEMBERS, force, &err)) {
        assert(err.text[0]);
        return;
    }
    try_place(&g, 0);
    try_place(&g, g.size_bytes - 1);
    try_place(&g, fuzz.decoded.events % g.size_bytes);
    if (bitmap && g.sync_bytes && !md_bitmap_check(bitmap, &fuzz.decoded, g.sync_bytes, &err))
        try_bitmap_range(&g, bitmap->chunk_bytes);
    raid_geometry_destroy(&g);
}

/* The members have the superblock under numbers of their own; `behind`: by so many events. */
static void make_members(const struct md_bitmap_header *bitmap, const uint8_t behind[MEMBERS])
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct md_superblock *sb = &fuzz.sbs[i];

        *sb = fuzz.decoded;
        sb->dev_number = (sb->dev_number + i) % MD_MAX_DEV;
        sb->events -= behind[i];
        fuzz.candidates[i] = (struct raid_candidate){.name = "fuzz",
            .sb = sb,
            .bitmap = bitmap,
            .device_bytes = (sb->data_offset + sb->data_size) * MD_SECTOR_BYTES};
    }
}

static void try_superblock(
    uint8_t *buf, const struct md_bitmap_header *bitmap, const uint8_t behind[MEMBERS])
{
    uint8_t again[MD_SUPERBLOCK_BYTES];
    struct error err = {0};

    fix_checksum(buf);
    if (md_superblock_decode(&fuzz.decoded, buf, &err))
        return;
    md_superblock_encode(&fuzz.decoded, again);
    assert(!memcmp(again, buf, md_superblock_bytes(&fuzz.decoded)));
    make_members(bitmap, behind);
    try_assembly(false, bitmap);
    try_assembly(true, bitmap);
}

/* Fields that the header has no room for are not written back. */
static void try_header(const struct md_bitmap_header *h)
{
    uint8_t once[MD_BITMAP_HEADER_BYTES], twice[MD_BITMAP_HEADER_BYTES];
    struct md_bitmap_header again;

    md_bitmap_encode(h, once);
    assert(!md_bitmap_decode(&again, once, NULL));
    md_bitmap_encode(&again, twice);
    assert(!memcmp(once, twice, sizeof once));
}

/* All that are set are found one after the other. */
static void try_bits(const uint8_t *map, uint64_t bits)
{
    uint64_t count = 0;

    for (uint64_t bit = md_bitmap_next(map, 0, bits); bit < bits;
         bit = md_bitmap_next(map, bit + 1, bits), count++)
        assert(md_bitmap_test(map, bit));
    assert(count == md_bitmap_count(map, bits));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t superblock[MD_SUPERBLOCK_BYTES] = {0}, header[MD_BITMAP_HEADER_BYTES] = {0};
    uint8_t behind[MEMBERS] = {0};
    struct md_bitmap_header bitmap;
    struct error err = {0};
    bool found;

    memcpy(superblock, data, MIN(size, (size_t)BITMAP_AT));
    if (size >= BITS_AT) {
        memcpy(header, data + BITMAP_AT, sizeof header);
        memcpy(behind, data + BITS_AT, MIN(size - BITS_AT, sizeof behind));
        try_bits(data + BITS_AT, (size - BITS_AT) * 8);
    }
    found = !md_bitmap_decode(&bitmap, header, &err);
    if (found)
        try_header(&bitmap);
    try_superblock(superblock, found ? &bitmap : NULL, behind);
    return 0;
}
