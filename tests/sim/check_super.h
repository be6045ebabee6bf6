/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One member's md superblock 1.2 and write-intent bitmap, by themselves: part of check_md. */
#ifndef ASHLAR_TESTS_SIM_CHECK_SUPER_H
#define ASHLAR_TESTS_SIM_CHECK_SUPER_H

#include "check.h"

#define CHECK_SUPER_BYTES 4096u

enum {
    CHECK_FEATURE_BITMAP = 1,
    CHECK_FEATURE_RECOVERY_OFFSET = 2,
    CHECK_FEATURE_RESHAPE = 4,
    CHECK_FEATURE_BAD_BLOCKS = 8,
    CHECK_FEATURE_REPLACEMENT = 16,
    CHECK_FEATURE_RECOVERY_BITMAP = 128,
    CHECK_FEATURE_JOURNAL = 512,
    CHECK_FEATURE_PPL = 1024,
    CHECK_FEATURE_PPLS = 2048,
    CHECK_FEATURE_RAID0_LAYOUT = 4096
};
enum { CHECK_ROLE_SPARE = 0xffff, CHECK_ROLE_FAULTY = 0xfffe, CHECK_ROLE_JOURNAL = 0xfffd };

/* Sizes and offsets in sectors, as on disk. */
struct check_super {
    uint8_t bytes[CHECK_SUPER_BYTES];
    const uint8_t *set_uuid, *device_uuid; /* 16 bytes each, in bytes */
    uint32_t feature_map, layout, chunk, raid_disks, number, max_dev;
    int32_t level;
    int64_t bitmap_start, bad_blocks_start; /* on the disk */
    uint64_t size, data_offset, data_size, recovery_offset, events, resync_offset;
    uint32_t bad_blocks_size;
};

struct check_bitmap {
    uint64_t events, events_cleared, bits, sectors; /* sectors: it takes, with its header */
    uint32_t chunk_bytes;
};

/* True: one that the kernel takes. Otherwise damage is empty (there is none), or says what is
 * wrong with it. */
bool check_super_read(struct check_super *s, const struct check_disk *d, char damage[128]);
/* All else that has to be right about it. bitmap: NULL, none. */
void check_super_strict(const struct check_super *s, const struct check_bitmap *bitmap,
    const struct check_disk *d, struct check_problems *p);
/* Of a device number; spare outside the table. */
uint16_t check_super_role(const struct check_super *s, uint32_t number);
static inline bool check_role_is_active(uint16_t role)
{
    return role < 0xff00;
}

/* The bitmap that the superblock names: false, with a problem said, when the kernel would refuse
 * it. covered_bytes: what its bits have to stand for (0: not known). */
bool check_bitmap_read(struct check_bitmap *b, const struct check_super *s,
    const struct check_disk *d, uint64_t covered_bytes, struct check_problems *p);

#endif
