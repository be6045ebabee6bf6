/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list behind array_mismatches: what the last check or repair of an array has found, neighbours
 * merged. Pure memory, of the worker that the action runs on. Seen only inside raid/.
 */
#ifndef ASHLAR_RAID_MISMATCH_H
#define ASHLAR_RAID_MISMATCH_H

#include "raid/array.h"

/* Empty; freed by free. NULL: out of memory. */
struct array_mismatches *mismatches_new(unsigned raid_disks);
/* A new action begins. The caller fills in the members. */
void mismatches_clear(struct array_mismatches *l, uint64_t sync_id, enum array_action action);
/* A stretch that is not in the list yet; what there is no room for sets `more`. */
void mismatches_add(struct array_mismatches *l, const struct array_mismatch *m);
/* Sorted by offset; freed by the caller. NULL: out of memory. */
struct array_mismatches *mismatches_copy(const struct array_mismatches *l);

#endif
