/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The md write-intent bitmap, version 4: a header of 256 bytes, then one bit for each chunk of what
 * a resync goes over (least significant first; set: the copies may differ). Pure, no allocation.
 *
 * Rules, which whoever writes it must keep: a bit is durable on all members before the data it
 * stands for; the bitmap's events are written before the superblocks'. So a bitmap with fewer
 * events than the superblock has missed something, and only a full resync will do.
 *
 * Source: Linux drivers/md/md-bitmap.c, md-bitmap.h (bitmap_super_t); mdadm super1.c.
 */
#ifndef ASHLAR_RAID_BITMAP_H
#define ASHLAR_RAID_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "raid/superblock.h"

#define MD_BITMAP_HEADER_BYTES    256u
#define MD_BITMAP_ALIGN_BYTES     4096u /* the whole bitmap is rounded up to this */
#define MD_BITMAP_CHUNK_MIN_BYTES 4096u
#define MD_BITMAP_DAEMON_SLEEP    5u /* seconds after which the kernel clears a bit */

#define MD_BITMAP_STALE       (1u << 1) /* state: to be taken as all bits set */
#define MD_BITMAP_WRITE_ERROR (1u << 2)

struct md_bitmap_header {
    uint8_t uuid[16]; /* the array's set_uuid */
    uint64_t events;
    uint64_t events_cleared; /* the array's events when bits were last cleared */
    uint64_t sync_size;      /* sectors: what the bits cover (raid_geometry.sync_bytes) */
    uint32_t state;          /* MD_BITMAP_STALE, MD_BITMAP_WRITE_ERROR */
    uint32_t chunk_bytes;    /* what a bit stands for; a power of two */
    uint32_t daemon_sleep;   /* seconds */
    uint32_t write_behind;
    uint32_t sectors_reserved; /* 0: as many as there are before the data */
};

/* -ENODATA: no magic; -EOPNOTSUPP: another version (5 is clustered), by name; -EBADMSG: fields that
 * make no sense. */
int md_bitmap_decode(struct md_bitmap_header *h, const void *buf, struct error *err);
/* Fills MD_BITMAP_HEADER_BYTES. */
void md_bitmap_encode(const struct md_bitmap_header *h, void *buf);

/* That it belongs to this array (uuid), covers sync_bytes of it and ends before the member's data
 * and bad-block log: -EBADMSG. */
int md_bitmap_check(const struct md_bitmap_header *h, const struct md_superblock *sb,
    uint64_t sync_bytes, struct error *err);
/* It has missed nothing up to the array's events: what is not set is in sync. */
bool md_bitmap_current(const struct md_bitmap_header *h, uint64_t array_events);
/* A member that was left behind at member_events differs from the array only where bits are set. */
bool md_bitmap_covers(const struct md_bitmap_header *h, uint64_t member_events);

/* One past the last bit in use. */
uint64_t md_bitmap_bits(uint64_t sync_bytes, uint64_t chunk_bytes);
/* Bytes on disk, header included, rounded up. */
uint64_t md_bitmap_bytes(uint64_t bits);
/* The chunk size mdadm chooses when the bitmap may take space_bytes (at least a sector): the
 * smallest that fits, at least 64 MiB. At most 1 GiB, since the field on disk is small: beyond
 * about a PiB the bitmap takes more space. */
uint64_t md_bitmap_default_chunk_bytes(uint64_t sync_bytes, uint64_t space_bytes);

/*
 * The bits: `map` is what follows the header. Those from `bits` on to the end of the last block
 * are unused; mdadm writes them as 1 and so does fill; nobody reads them.
 */
void md_bitmap_fill(void *map, uint64_t bits, bool set);
bool md_bitmap_test(const void *map, uint64_t bit);
void md_bitmap_set(void *map, uint64_t bit);
void md_bitmap_clear(void *map, uint64_t bit);
/* The first set bit from `from` on; `bits` when there is none. */
uint64_t md_bitmap_next(const void *map, uint64_t from, uint64_t bits);
uint64_t md_bitmap_count(const void *map, uint64_t bits);

#endif
