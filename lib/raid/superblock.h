/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The md superblock, version 1.2: 256 bytes and a table of roles, 4 KiB from the start of each
 * member. Pure: from bytes to fields and back, on any thread, no allocation.
 *
 * Reading goes in two steps, so that what we refuse can still be shown: md_superblock_decode says
 * whether the bytes are a sound superblock, md_superblock_supported whether we can run the array.
 *
 * Source: Linux drivers/md/md.c (super_1_load, super_1_validate, super_1_sync) and
 * linux/raid/md_p.h, which also gives the constants: MD_FEATURE_*, MD_DISK_ROLE_*.
 */
#ifndef ASHLAR_RAID_SUPERBLOCK_H
#define ASHLAR_RAID_SUPERBLOCK_H

#include <endian.h>
#include <linux/raid/md_p.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define MD_SECTOR_BYTES            512u
#define MD_SUPERBLOCK_OFFSET_BYTES 4096u /* where version 1.2 has it on the member */
#define MD_SUPERBLOCK_OFFSET       8u    /* the same in sectors */
#define MD_SUPERBLOCK_BYTES        4096u /* what to read and write there */
#define MD_MAX_DEV                 1920u /* roles that fit into 4 KiB; the kernel's limit */
#define MD_NAME_BYTES              32u
#define MD_MAX_SECTOR              UINT64_MAX /* resync_offset of a clean array */

/* In host byte order; offsets and sizes in sectors of 512 bytes, as on disk. */
struct md_superblock {
    uint32_t feature_map; /* MD_FEATURE_* */
    uint8_t set_uuid[16];
    char name[MD_NAME_BYTES + 1]; /* "host:name" or "name" */
    uint64_t ctime;               /* low 40 bits: seconds; the rest microseconds */
    int32_t level;
    uint32_t layout;
    uint64_t size; /* used of each member; 0 for RAID0 */
    uint32_t chunk;
    uint32_t raid_disks;
    int32_t bitmap_offset; /* from the superblock; with a PPL bit: its offset and size */
    uint32_t new_level;    /* this and the next five: of a reshape, kept as they are */
    uint64_t reshape_position;
    uint32_t delta_disks;
    uint32_t new_layout;
    uint32_t new_chunk;
    int32_t new_offset;
    uint64_t data_offset;
    uint64_t data_size; /* of this member, from data_offset */
    uint64_t super_offset;
    uint64_t recovery_offset; /* counts only with MD_FEATURE_RECOVERY_OFFSET */
    uint32_t dev_number;      /* of this member: its index in dev_roles */
    uint32_t cnt_corrected_read;
    uint8_t device_uuid[16];
    uint8_t devflags;
    uint8_t bblog_shift;
    uint16_t bblog_size;
    int32_t bblog_offset; /* from the superblock */
    uint64_t utime;       /* as ctime */
    uint64_t events;
    uint64_t resync_offset;         /* MD_MAX_SECTOR: clean */
    uint32_t max_dev;               /* entries of dev_roles on disk */
    uint16_t dev_roles[MD_MAX_DEV]; /* MD_DISK_ROLE_SPARE from max_dev on */
};

/*
 * buf: the MD_SUPERBLOCK_BYTES at MD_SUPERBLOCK_OFFSET_BYTES. *sb is filled when the bytes are a
 * sound superblock, of whatever level and features. -ENODATA: there is none (no magic); -EBADMSG:
 * damaged (checksum, pads that are not zero, fields that contradict each other or the format);
 * -EOPNOTSUPP: another major version, another place (1.0, 1.1) or unknown feature bits.
 */
int md_superblock_decode(struct md_superblock *sb, const void *buf, struct error *err);

/*
 * Whether we run such an array: -EOPNOTSUPP names what we do not do (a level, a reshape, a journal,
 * a PPL, a cluster, recorded bad blocks).
 */
int md_superblock_supported(const struct md_superblock *sb, struct error *err);

/*
 * Fills MD_SUPERBLOCK_BYTES at buf, checksum included; what follows the roles is zero. Everything
 * decoded is written back, so decode and encode leave the superblock as it was.
 */
void md_superblock_encode(const struct md_superblock *sb, void *buf);

/* Bytes in use on disk: the header and max_dev roles. */
uint32_t md_superblock_bytes(const struct md_superblock *sb);

/* MD_DISK_ROLE_SPARE for a number outside the table. */
uint16_t md_superblock_role(const struct md_superblock *sb, uint32_t dev_number);
/* Grows the table by whole sectors when dev_number (below MD_MAX_DEV) is outside it. */
void md_superblock_set_role(struct md_superblock *sb, uint32_t dev_number, uint16_t role);
/* The name without "host:". Points into sb. */
const char *md_superblock_short_name(const struct md_superblock *sb);

static inline bool md_role_is_active(uint16_t role)
{
    return role < MD_DISK_ROLE_MAX;
}

/*
 * Where the other metadata versions keep theirs on a member of that size, to refuse them by name
 * when there is no 1.2: read MD_SUPERBLOCK_BYTES (fewer at the end of the member, then zeros) at
 * each and ask md_foreign_found. On a member too small for one, its offset_bytes is 0.
 */
#define MD_FOREIGN_PLACES 3
struct md_foreign_place {
    const char *version; /* "0.90", "1.0", "1.1" */
    uint64_t offset_bytes;
};
void md_foreign_places(uint64_t member_bytes, struct md_foreign_place places[MD_FOREIGN_PLACES]);
bool md_foreign_found(const struct md_foreign_place *place, const void *buf);

#endif
