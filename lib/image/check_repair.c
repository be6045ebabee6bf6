/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Repair, in steps of which each is durable before the next begins, so that an image whose repair
 * was cut off is no worse than before, and can be repaired again:
 *
 *  1. Refcounts go up, to what was counted (or are written anew, check_rebuild.c). L2 tables that
 *     overlap something else get a new place, which is counted here already.
 *  2. Entries that cannot be are mended, those that overlap what must stay are given up; L2 tables
 *     are written to their new places; then L1 entries follow them (check_edit.c). Bitmaps that
 *     cannot be are given up.
 *  3. COPIED flags, for the refcounts as they will be.
 *  4. Refcounts go down.
 *
 * A round does 1 and 2, or 3 and 4, by what the scan before it found.
 *
 * With CHECK_REPAIR_LEAKS alone: 3 and 4; 1 too of a dirty image. Refcounts go down only where all
 * references are known, and not behind the back of entries that are damaged: what these referred to
 * may be what somebody wants to save.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "image/check_private.h"
#include "image/header_layout.h"

static bool may_raise(const struct check *c, unsigned flags)
{
    return flags & CHECK_REPAIR_ALL || c->header.incompatible & QCOW2_DIRTY;
}

static bool may_lower(const struct check *c, unsigned flags)
{
    return !c->incomplete && !c->bad_bitmaps &&
           (flags & CHECK_REPAIR_ALL || !(c->found[CHECK_ENTRY] + c->found[CHECK_OVERLAP]));
}

static bool must_move(const struct check *c, const struct check_table *t)
{
    return c->uses[t->offset >> c->g.cluster_bits] & (CHECK_USE_DATA | CHECK_USE_FIXED);
}

static int plan_moves(struct check *c, bool lower)
{
    uint64_t free = 0, whole = c->file_bytes >> c->g.cluster_bits;

    for (size_t i = 0; i < c->table_count; i++) {
        struct check_table *t = &c->tables[i];

        if (!must_move(c, t))
            continue;
        while (free < whole && (c->references[free] || (c->refcounts[free] && !lower)))
            free++;
        if (free == whole) {
            c->result->room_needed_bytes = (c->table_count - i) << c->g.cluster_bits;
            return error_set(
                c->err, ENOSPC, "the image has no room for L2 tables that must be moved");
        }
        t->moved_to = free << c->g.cluster_bits;
        c->references[free] = t->references;
        c->references[t->offset >> c->g.cluster_bits] -= t->references;
    }
    return 0;
}

static uint32_t counted(const struct check *c, uint64_t cluster)
{
    return (uint32_t)MIN((uint64_t)c->references[cluster], c->refcount_max);
}

static uint32_t raised(const struct check *c, uint64_t cluster)
{
    return MAX(c->refcounts[cluster], counted(c, cluster));
}

static uint32_t lowered(const struct check *c, uint64_t cluster)
{
    return MIN(c->refcounts[cluster], c->references[cluster]);
}

typedef uint32_t target(const struct check *c, uint64_t cluster);

static uint32_t *refcounts_wanted(const struct check *c, target *of)
{
    uint32_t *wanted = malloc(c->clusters * sizeof *wanted);

    for (uint64_t i = 0; wanted && i < c->clusters; i++)
        wanted[i] = of(c, i);
    return wanted;
}

static bool blocks_missing(const struct check *c)
{
    for (uint64_t i = 0; i < c->clusters; i++)
        if (raised(c, i) != c->refcounts[i] && !check_has_block(c, i))
            return true;
    return c->rebuild;
}

/* In a new table leaks need not be kept, and there they are room for it. */
static int raise_refcounts(struct check *c, bool lower)
{
    bool missing = blocks_missing(c);
    uint32_t *wanted = refcounts_wanted(c, missing && lower ? counted : raised);
    int rc = -ENOMEM;

    if (wanted)
        rc = missing ? check_rebuild_refcounts(c, wanted) : check_write_refcounts(c, wanted);
    free(wanted);
    return rc;
}

static int give_up_bitmaps(struct check *c)
{
    uint8_t bytes[8];
    int rc;

    put_be64(bytes, c->header.autoclear & ~QCOW2_BITMAPS_VALID);
    rc = blockdev_write_bytes(c->file, bytes, AT_AUTOCLEAR, sizeof bytes, 0);
    if (!rc)
        rc = blockdev_flush(c->file);
    if (!rc) {
        c->header.autoclear &= ~QCOW2_BITMAPS_VALID;
        c->header.has_bitmaps = false;
    }
    return rc;
}

static bool must_mend(const struct check *c, unsigned flags)
{
    return flags & CHECK_REPAIR_ALL &&
           (c->found[CHECK_ENTRY] || c->found[CHECK_OVERLAP] || c->overflow || c->bad_bitmaps);
}

/* Steps 1 and 2. A new table is a round of its own: what overlaps the old one then overlaps
 * nothing. */
static int repair_up(struct check *c, bool mend, bool lower)
{
    int rc = mend ? plan_moves(c, lower) : 0;

    if (!rc)
        rc = raise_refcounts(c, lower);
    if (!rc && mend)
        rc = check_mend_l2s(c);
    if (!rc && mend)
        rc = check_mend_l1s(c);
    if (!rc && mend && c->bad_bitmaps)
        rc = give_up_bitmaps(c);
    return rc;
}

static bool copied_changes(const struct check *c, const uint32_t *wanted)
{
    for (uint64_t i = 0; i < c->clusters; i++)
        if ((wanted[i] == 1) != (c->refcounts[i] == 1) && wanted[i])
            return true;
    return false;
}

/* Steps 3 and 4. */
static int repair_down(struct check *c, bool lower, bool all_flags)
{
    uint32_t *wanted = lower ? refcounts_wanted(c, lowered) : NULL;
    const uint32_t *refcounts = lower ? wanted : c->refcounts;
    int rc = 0;

    if (lower && !wanted)
        return -ENOMEM;
    if ((all_flags && c->found[CHECK_COPIED]) || copied_changes(c, refcounts))
        rc = check_set_copied(c, refcounts, all_flags);
    if (!rc && lower)
        rc = check_write_refcounts(c, wanted);
    free(wanted);
    return rc;
}

int check_repair(struct check *c, unsigned flags, bool only_down)
{
    bool lower = may_lower(c, flags), up = may_raise(c, flags), missing = up && blocks_missing(c);

    if (up && !only_down && (missing || c->found[CHECK_REFCOUNT] || must_mend(c, flags)))
        return repair_up(c, !missing && must_mend(c, flags), lower);
    return repair_down(c, lower, up);
}
