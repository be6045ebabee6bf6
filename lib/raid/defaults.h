/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What mdadm 4.2 chooses for `mdadm --create --metadata=1.2 --bitmap=internal`: data offset, bitmap
 * and bad-block log places, size, roles. Pure. Sizes in sectors, as in the superblock.
 *
 * Source: mdadm super1.c (validate_geometry1, init_super1, write_init_super1,
 * add_internal_bitmap1), Create.c.
 */
#ifndef ASHLAR_RAID_DEFAULTS_H
#define ASHLAR_RAID_DEFAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "raid/bitmap.h"
#include "raid/superblock.h"

#define MD_DEFAULT_CHUNK_BYTES (512u << 10)

struct md_create_params {
    int level;       /* 0, 1, 5, 6, 10 */
    uint32_t layout; /* as raid_layout_parse gives it */
    unsigned raid_disks;
    uint64_t chunk_bytes;         /* 0: MD_DEFAULT_CHUNK_BYTES; not looked at for RAID1 */
    uint64_t member_bytes;        /* used of each member; 0: all that fits; 0 for RAID0 */
    const uint64_t *device_bytes; /* raw size of each: the roles in order (0: missing), spares */
    const char *const *names;     /* of each, for error texts; NULL: "device 0", ... */
    unsigned device_count;        /* raid_disks and spares */
    bool assume_clean;
};

/*
 * The superblock and (unless RAID0, then zeroed) bitmap header of the new array. The caller adds
 * set_uuid (both), name, times; and for each member md_create_member, device_uuid.
 * -EINVAL, -EOPNOTSUPP: not a possible array; -ENOSPC: device too small; the text says which and
 * what it would need.
 */
int md_create_template(struct md_superblock *sb, struct md_bitmap_header *bitmap,
    const struct md_create_params *params, struct error *err);

/* Makes *sb that of device `dev_number` of that raw size (index in device_bytes, or one that joins
 * later): its data is all from data_offset on. */
void md_create_member(struct md_superblock *sb, uint32_t dev_number, uint64_t device_bytes);

/* "HOST:NAME" when that has at most 31 bytes and the name no colon, else NAME (at most
 * MD_NAME_BYTES). homehost may be NULL. */
void md_create_name(struct md_superblock *sb, const char *homehost, const char *name);

/* Sectors before the data, on a device of so many sectors; chunk 0: RAID1. */
uint64_t md_default_data_offset(uint64_t device_sectors, uint64_t chunk_sectors);
/* Sectors set aside for a bitmap when `sectors` of each device are used. */
uint64_t md_default_bitmap_space(uint64_t sectors);

#endif
