/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A strict look at the md metadata (1.2) of one array: is each superblock and bitmap as the kernel
 * wants it, do they make an array, who is in it and as what. The rules are those of Linux 6.12
 * (md.c: super_1_load, super_1_validate, md_analyze_sbs; md-bitmap.c: md_bitmap_read_sb,
 * md_bitmap_load) and mdadm's Assemble.c, where it is stricter.
 *
 * Give it the disks that were there when the array last ran: of two that have each run without the
 * other, nobody could tell which is right, and that is a problem. RAID 0, 1, 5, 6 and 10; of other
 * levels only the superblocks are checked.
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_MD_H
#define ASHLAR_TESTS_SIM_CHECK_MD_H

#include "check.h"
#include "check_layout.h"

#define CHECK_MD_DISKS_MAX CHECK_ROLES_MAX
#define CHECK_MD_CLEAN     UINT64_MAX

/* Ordered: up to REPLACING it takes part in the array. */
enum check_md_state {
    CHECK_MD_IN_SYNC,
    CHECK_MD_RECOVERING, /* holds its data up to recovery_offset_bytes */
    CHECK_MD_REPLACING,  /* the same, beside the member that it is going to replace */
    CHECK_MD_SPARE,
    CHECK_MD_FAULTY,  /* the array has marked it so */
    CHECK_MD_STALE,   /* the array has run without it */
    CHECK_MD_FOREIGN, /* of another array */
    CHECK_MD_DAMAGED, /* something like a superblock, which is not valid: `damage` says why */
    CHECK_MD_NONE     /* no superblock */
};
extern const char *const check_md_state_names[]; /* "in-sync", "recovering" ... */

struct check_md_member {
    struct check_disk disk;
    enum check_md_state state;
    char damage[128];
    int role; /* -1: none; of those faulty or stale: what it once was */
    uint32_t number, feature_map;
    bool dirty, replacement; /* its superblock says so */
    uint64_t events, data_offset_bytes, data_bytes;
    uint64_t recovery_offset_bytes; /* member bytes known to be right, beyond data_offset_bytes */
    bool recovers_by_bitmap;        /* beyond that it differs only where bits are set */
    bool may_readd;                 /* faulty or stale: it differs only where bits are set */
    bool has_bitmap;                /* a valid one */
    uint64_t bitmap_offset_bytes;   /* of its header, on the disk */
    uint64_t bitmap_events, bitmap_events_cleared, bitmap_bits;
};

struct check_md {
    uint8_t uuid[16];
    int level;
    uint32_t layout_code;
    unsigned raid_disks;
    struct check_layout layout; /* size_bytes 0: of a level or layout that is not done here */
    uint64_t events;
    uint64_t resync_from_bytes; /* CHECK_MD_CLEAN, or marked regions from there on may differ */
    bool dirty;                 /* it is not clean */
    bool starts;                /* the kernel would start it: there is a copy of everything */
    bool has_bitmap;            /* one that misses nothing */
    uint64_t bitmap_chunk_bytes, bitmap_covers_bytes;
    unsigned disk_count;
    int freshest;                         /* whose superblock rules; -1: there is no array */
    int members[CHECK_MD_DISKS_MAX];      /* by role: the disk IN_SYNC or RECOVERING, or -1 */
    int replacements[CHECK_MD_DISKS_MAX]; /* by role: the disk REPLACING, or -1 */
    struct check_md_member disks[CHECK_MD_DISKS_MAX]; /* as given */
    struct check_problems problems;
};

/*
 * uuid: the array's; NULL: that of the first disk that has one (then others' are foreign). Damaged
 * and missing superblocks are no problems by themselves: which disks must have one, the caller
 * knows. Everything wrong with valid ones is, and so is an array that does not start. Returns
 * whether there was no problem.
 */
bool check_md(
    struct check_md *c, const struct check_disk *disks, unsigned count, const uint8_t *uuid);

/* The arrays on these disks, by the superblocks that are valid; how many. */
unsigned check_md_find(const struct check_disk *disks, unsigned count, uint8_t (*uuids)[16]);

/* Whether the copies there may differ by the bitmaps: it is set in each one that the kernel might
 * use, and there is no other to be told by. True everywhere without a bitmap. The offset is as the
 * bitmap counts (check_layout_covered). */
bool check_md_marked(const struct check_md *c, uint64_t offset);

/* Of the bitmap of a member that has one; true also when that cannot be read. */
bool check_md_bit(const struct check_md_member *m, uint64_t bit);

#endif
