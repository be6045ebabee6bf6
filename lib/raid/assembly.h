/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assembly: given the superblocks of candidates, decide which of them make up the array, in which
 * role, and what has to be done before they agree. Pure: looks at decoded metadata only.
 *
 * The freshest superblock (most events, of a member that had a role) rules: it says which device
 * number has which role. A candidate is in when its events are at most one behind and the freshest
 * gives it a role; what an outdated superblock says of itself does not count.
 */
#ifndef ASHLAR_RAID_ASSEMBLY_H
#define ASHLAR_RAID_ASSEMBLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "raid/bitmap.h"
#include "raid/geometry.h"
#include "raid/superblock.h"

#define RAID_CANDIDATES_MAX (2 * RAID_DISKS_MAX)

struct raid_candidate {
    const char *name; /* for error texts */
    const struct md_superblock *sb;
    const struct md_bitmap_header *bitmap; /* NULL: none, or one that was refused */
    uint64_t device_bytes;
};

enum raid_use {
    RAID_USE_IN_SYNC,
    RAID_USE_RECOVERING, /* has a role, holds its data up to recovery_offset_bytes */
    RAID_USE_REPLACING,  /* the same, beside the member that it is going to replace */
    RAID_USE_SPARE,
    RAID_USE_FAULTY, /* the array has marked it so */
    RAID_USE_STALE   /* the array has run without it */
};

struct raid_assembly_member {
    enum raid_use use;
    int role;                       /* -1: none. FAULTY and STALE: what it once was */
    uint64_t recovery_offset_bytes; /* member bytes known to be right (RECOVERING, REPLACING) */
    bool recover_by_bitmap;         /* beyond that it differs only where bits are set */
    bool may_readd; /* FAULTY and STALE: the bitmap covers all it has missed, nobody has its role */
};

/* Some 20 KiB: better on the heap than on a coroutine's stack. */
struct raid_assembly {
    unsigned freshest;                /* index of the candidate whose superblock rules */
    int bitmap_from;                  /* candidate whose bitmap is current; -1: none is */
    int members[RAID_DISKS_MAX];      /* by role: candidate IN_SYNC or RECOVERING, -1: missing */
    int replacements[RAID_DISKS_MAX]; /* by role: candidate REPLACING, -1: none */
    unsigned missing;                 /* roles without a member IN_SYNC */
    bool unsure;     /* parity may not fit, and data is missing: only a log can tell what it was */
    unsigned absent; /* members that had a role last time and are not here */
    bool dirty;      /* copies may differ: resync by bitmap, or without one all
                        from resync_from_bytes on (in geometry's sync_bytes) */
    uint64_t resync_from_bytes; /* UINT64_MAX: clean */
    bool forced;                /* stale members were taken for in sync */
    struct raid_assembly_member candidates[RAID_CANDIDATES_MAX]; /* as given */
};

/*
 * Decides, and makes the geometry (to be destroyed by the caller). `force`: when too few are fresh,
 * take the freshest of the stale for the roles that lack. On failure *g is untouched, and *a holds
 * what could be found out.
 *
 * -EEXIST: a candidate belongs to another array, or two claim one place; -EBADMSG: superblocks of
 * one age contradict each other (also: each holds the other for failed), or a member is smaller
 * than its superblock says; -EOPNOTSUPP: see md_superblock_supported and raid_geometry_init;
 * -ENXIO: not enough members (text says which roles lack); -EINVAL: no candidates or too many.
 */
int raid_assembly_decide(struct raid_assembly *a, struct raid_geometry *g,
    const struct raid_candidate *candidates, unsigned count, bool force, struct error *err);

const char *raid_use_name(enum raid_use use);

#endif
