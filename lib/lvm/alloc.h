/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which physical extents are free, and giving them to volumes. Pure. Lists of ranges are sorted by
 * PV and place, do not touch each other, and live in the arena of the metadata they are made from.
 */
#ifndef ASHLAR_LVM_ALLOC_H
#define ASHLAR_LVM_ALLOC_H

#include "lvm/metadata.h"

struct pe_range {
    unsigned pv; /* index into vg_metadata.pvs */
    uint32_t start, count;
};

struct pe_ranges {
    unsigned count;
    struct pe_range *items;
};

/* What segments of known types use; what nobody uses (of PVs that LVM2 would not allocate from,
 * too). -ENOMEM. */
int pe_ranges_used(const struct vg_metadata *m, struct pe_ranges *used);
int pe_ranges_free(const struct vg_metadata *m, struct pe_ranges *free);
/* What is in `a` and not in `b`. -ENOMEM. */
int pe_ranges_subtract(struct arena *arena, const struct pe_ranges *a, const struct pe_ranges *b,
    struct pe_ranges *difference);
/* Of one PV. */
uint32_t pe_ranges_count(const struct pe_ranges *r, unsigned pv);

/*
 * Lengthens a volume by linear extents: right behind its last segment as far as that goes, then in
 * the first free range that holds the rest, else in the largest ones. -ENOSPC tells what is free,
 * -EFBIG more extents than a volume may have, -ENOMEM; then m is garbage (it is a clone).
 */
int lv_allocate(struct vg_metadata *m, struct vg_lv *lv, uint32_t extents, struct error *err);

/* How many extents a volume cut to `extents` (not more than it has) keeps: striped segments end at
 * whole stripes. */
uint32_t lv_cut_extents(const struct vg_lv *lv, uint32_t extents);
/* Cuts it to what lv_cut_extents says. */
void lv_cut(struct vg_lv *lv, uint32_t extents);

#endif
