/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Geometry: where an array keeps which of its bytes, exactly as the Linux md driver places them.
 * Pure arithmetic over an immutable struct, so any thread may use it.
 *
 * All offsets and sizes are bytes: array offsets from the array's start, member offsets from the
 * member's data_offset. A *role* is a member's place, 0 to raid_disks - 1. A *copy* is one of the
 * places that hold the same bytes; copy 0 is the one md reads while the copies may differ. A
 * *stripe* of RAID5 and RAID6 is the chunks at one place on all members: data and parity.
 *
 * Each level is a small table of functions (geometry_level.h): init, map, unmap, member_bytes.
 * Everything else is built on these and knows no level.
 *
 * Source: Linux drivers/md/raid0.c (create_strip_zones, map_sector), raid10.c (__raid10_find_phys,
 * raid10_find_virt, raid10_size, setup_geo), raid5.c (raid5_compute_sector, raid6_d0,
 * raid6_idx_to_slot).
 */
#ifndef ASHLAR_RAID_GEOMETRY_H
#define ASHLAR_RAID_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "raid/layout.h"

#define RAID_DISKS_MAX  384u
#define RAID_COPIES_MAX 32u
#define RAID6_DISKS_MAX 255u /* Linux computes no Q over more */

/* What raid_geometry_unmap calls parity. */
#define RAID_COPY_P RAID_COPIES_MAX
#define RAID_COPY_Q (RAID_COPIES_MAX + 1)

/* What an array is made of, as its superblock says. */
struct raid_shape {
    int level;
    uint32_t layout;            /* md's code */
    unsigned raid_disks;        /* 1 to RAID_DISKS_MAX */
    uint64_t chunk_bytes;       /* not for RAID1 */
    uint64_t member_bytes;      /* used of each member (superblock size); not for RAID0 */
    const uint64_t *data_bytes; /* RAID0: data_size of each role; else not looked at */
};

struct raid_level;
struct raid0_zone;

struct raid_geometry {
    const struct raid_level *ops;
    int level;
    uint32_t layout;
    unsigned raid_disks;
    unsigned copies;         /* of every byte: raid_disks for RAID1, 1 for RAID0, 5 and 6 */
    unsigned parity;         /* blocks in each stripe: 1 for RAID5, 2 for RAID6, else 0 */
    uint64_t size_bytes;     /* of the array */
    uint64_t chunk_bytes;    /* 0 for RAID1 */
    uint64_t boundary_bytes; /* a map's run never crosses a multiple of it; 0: no boundary */
    uint64_t member_bytes;   /* the longest member's part in use */
    uint64_t sync_bytes;     /* what a resync goes over and a write-intent bitmap covers: member
                                offsets for RAID1, 5 and 6, array offsets for RAID10, 0 for RAID0 */
    union {
        struct {
            unsigned count;
            struct raid0_zone *zones; /* owned: the only allocation */
        } raid0;
        struct {
            unsigned near, far; /* copies of each kind; copies = near * far */
            unsigned row_step;  /* rows from one base row to the next: far when offset, else 1 */
            unsigned set_size;  /* far copies go round within sets of so many roles; the last
                                   set takes what is left over */
            uint64_t far_rows;  /* rows from one far copy to the next: 1 when offset */
            uint64_t chunks;    /* of the array */
        } raid10;
        struct {
            unsigned data;     /* blocks in each stripe: raid_disks - parity */
            unsigned rotating; /* P goes round the first so many roles */
            uint64_t stripes;
        } raid5; /* and RAID6 */
    };
};

struct raid_location {
    unsigned role;
    uint64_t offset_bytes; /* in the member's data */
};

/* -EINVAL unless it is a power of two from 4 KiB to 1 GiB, which all levels but RAID0 ask for. */
int raid_chunk_check(uint64_t chunk_bytes, struct error *err);

/*
 * -EINVAL for a shape that makes no sense (chunk, layout, too few members, nothing left of them),
 * -EOPNOTSUPP for one that we do not do (level, more than RAID_COPIES_MAX copies, layouts whose
 * copies overlap in Linux), -EFBIG when sizes overflow, -ENOMEM. A geometry that succeeded is to be
 * destroyed.
 */
int raid_geometry_init(struct raid_geometry *g, const struct raid_shape *shape, struct error *err);
void raid_geometry_destroy(struct raid_geometry *g);

/*
 * The copies of the byte at offset (below size_bytes), in order, into room for
 * g->copies (at most RAID_COPIES_MAX); how many is returned. *run_bytes: so many bytes from there
 * lie in one piece in each copy.
 */
unsigned raid_geometry_map(const struct raid_geometry *g, uint64_t offset_bytes,
    struct raid_location *copies, uint64_t *run_bytes);

/*
 * The inverse: what does the member in `role` hold at member offset (below its part in use)? True:
 * the array byte at *offset_bytes, as copy number *copy; or, when *copy is RAID_COPY_P or
 * RAID_COPY_Q, parity of the stripe whose data begin there. False: nothing (a tail that no chunk
 * reaches). *run_bytes either way: so far holds the same answer, in one piece.
 */
bool raid_geometry_unmap(const struct raid_geometry *g, unsigned role, uint64_t member_offset_bytes,
    uint64_t *offset_bytes, unsigned *copy, uint64_t *run_bytes);

/* One past the last byte of that member that is in use (a recovery goes so far). */
uint64_t raid_geometry_member_bytes(const struct raid_geometry *g, unsigned role);

/* The range, of what sync_bytes counts, that one bit of a write-intent bitmap stands for; bytes is
 * 0 past the end. For RAID5 and RAID6 those are member offsets: whole or parts of stripes. */
void raid_geometry_bitmap_range(const struct raid_geometry *g, uint64_t bit,
    uint64_t bitmap_chunk_bytes, uint64_t *offset_bytes, uint64_t *bytes);

/* Whether a member may be missing at all. */
static inline bool raid_geometry_redundant(const struct raid_geometry *g)
{
    return g->copies > 1 || g->parity;
}

/* Whether every byte has a copy on a role that is present, or can be computed from those. */
bool raid_geometry_complete(const struct raid_geometry *g, const bool *present);

/*
 * The stripes of RAID5 and RAID6. Stripe number s is the chunk at s * chunk_bytes of each member.
 * Its blocks are numbered: the data from 0 to raid5.data - 1 in the order of the array's bytes,
 * then P, then (RAID6) Q.
 */
struct raid_stripe {
    uint64_t number;
    unsigned p, q; /* their roles; RAID5: q is raid_disks, which is no role */
};

/* Where an array byte is in its stripe. */
struct raid_place {
    uint64_t stripe;
    unsigned block;        /* below raid5.data */
    uint64_t offset_bytes; /* in the block */
};

struct raid_place raid_geometry_place(const struct raid_geometry *g, uint64_t offset_bytes);

/* number: below raid5.stripes. */
struct raid_stripe raid_geometry_stripe(const struct raid_geometry *g, uint64_t number);

/* The role that holds that block, and the block that a role holds. */
unsigned raid_stripe_role(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned block);
unsigned raid_stripe_block(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned role);

/* The power of g that Q has that data block with: its place in Q order (raid/parity.h). That
 * is `block` itself in left- and right-symmetric, parity-first, parity-last and for RAID5, but not
 * in left- and right-asymmetric or left- and right-symmetric-6. */
unsigned raid_stripe_exponent(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned block);
/* The data block that has that exponent. */
unsigned raid_stripe_block_of_exponent(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned exponent);

#endif
