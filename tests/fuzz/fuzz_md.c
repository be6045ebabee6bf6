/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * md superblock and bitmap header: whatever stands on a member is decoded or refused. The checksum
 * is made right first, as the fuzzer would not find it; a superblock that decodes is encoded to the
 * same bytes, and its geometry is asked for.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "raid/assembly.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

static void try_superblock(uint8_t *buf)
{
    struct md_superblock *sb = malloc(sizeof *sb);
    uint8_t again[MD_SUPERBLOCK_BYTES];
    struct error err = {0};

    if (sb && md_superblock_decode(sb, buf, &err) == 0) {
        struct raid_candidate candidate = {
            .name = "fuzz", .sb = sb, .device_bytes = (sb->data_offset + sb->data_size) * 512};
        struct raid_assembly *a = malloc(sizeof *a);
        struct raid_geometry g;

        md_superblock_encode(sb, again);
        assert(!memcmp(again, buf, md_superblock_bytes(sb)));
        md_superblock_supported(sb, &err);
        if (a && raid_assembly_decide(a, &g, &candidate, 1, true, &err) == 0)
            raid_geometry_destroy(&g);
        free(a);
    }
    free(sb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t buf[MD_SUPERBLOCK_BYTES] = {0};
    struct md_bitmap_header header;
    struct error err = {0};

    memcpy(buf, data, size < sizeof buf ? size : sizeof buf);
    md_bitmap_decode(&header, buf, &err);
    fix_checksum(buf);
    try_superblock(buf);
    return 0;
}
