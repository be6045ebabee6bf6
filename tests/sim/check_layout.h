/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where md keeps the bytes of an array: formulas of our own, after Linux drivers/md/raid0.c
 * (create_strip_zones, map_sector), raid10.c (__raid10_find_phys, raid10_size) and raid5.c
 * (raid5_compute_sector, set_syndrome_sources). Bytes throughout; member offsets count from the
 * member's data.
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_LAYOUT_H
#define ASHLAR_TESTS_SIM_CHECK_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#define CHECK_ROLES_MAX 16u

/* RAID0: a stretch over the members that are longer than the one before. */
struct check_zone {
    uint64_t start, end; /* of the array */
    uint64_t member_start;
    unsigned count, roles[CHECK_ROLES_MAX];
};

struct check_layout {
    int level;
    uint32_t code;
    unsigned disks, near, far;
    unsigned parity;        /* blocks of it in each stripe; 0: copies */
    bool offset;            /* RAID10: far copies in the next row, not far below */
    bool original;          /* RAID0: later zones count chunks from the array's start */
    uint64_t chunk_bytes;   /* 0: RAID1 */
    uint64_t rows;          /* in chunks; RAID10: of each far copy */
    uint64_t size_bytes;    /* of the array; 0: not done here */
    uint64_t covered_bytes; /* what a bitmap's bits stand for; 0: none */
    unsigned zone_count;
    struct check_zone zones[CHECK_ROLES_MAX];
};

struct check_place {
    unsigned role;
    uint64_t offset_bytes;
};

/* A row of chunks of RAID5 or RAID6, at number * chunk_bytes of each member. */
struct check_stripe {
    unsigned p, q;                    /* roles; q of RAID5: disks */
    unsigned data[CHECK_ROLES_MAX];   /* roles, in the order of the array's bytes */
    unsigned powers[CHECK_ROLES_MAX]; /* by role: of 2, by which it counts in Q */
};

/* `code` as in the superblock. component_bytes: used of each member (but RAID0); data_bytes: of
 * each role (RAID0). False: not done here, or impossible. */
bool check_layout_init(struct check_layout *l, int level, uint32_t code, unsigned disks,
    uint64_t chunk_bytes, uint64_t component_bytes, const uint64_t *data_bytes);

/* The copies of the byte at offset, in md's order; how many. Of RAID5 and RAID6 the data, without
 * what parity makes of it. *run_bytes: so far they go on, in one piece each. */
unsigned check_layout_map(const struct check_layout *l, uint64_t offset,
    struct check_place places[CHECK_ROLES_MAX], uint64_t *run_bytes);

/* Of RAID5 and RAID6. */
struct check_stripe check_layout_stripe(const struct check_layout *l, uint64_t number);

/* Where a bitmap's bits have the array's byte at offset. */
uint64_t check_layout_covered(const struct check_layout *l, uint64_t offset);

/* Whether the roles present are enough for everything. */
bool check_layout_complete(const struct check_layout *l, const bool *present);

#endif
