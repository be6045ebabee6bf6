/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One metadata commit on the PVs of a group, in LVM2's order:
 *
 *     text beside the last one, on every PV;        flush
 *     headers with the text as precommitted;        flush
 *     headers with it as committed: the commit point;  flush
 *
 * A power cut before the commit point leaves the old text committed everywhere, after it the new
 * one on some: the newest counts, the others are caught up. A PV that fails drops out and is marked
 * stale; the commit stands when one copy of the new text is durable.
 */
#ifndef ASHLAR_LVM_COMMIT_H
#define ASHLAR_LVM_COMMIT_H

#include "lvm/pv.h"

struct commit_target {
    struct pv *pv;
    struct pv_mda *mda;
    struct lvm_raw_locn locn;       /* of the new text */
    struct lvm_mda_header previous; /* to go back to before the commit point */
    int result;                     /* what made it drop out */
};

/*
 * `text` has `size` bytes with its NUL. targets[].pv and .mda are given. -ENOSPC: does not fit into
 * one of the areas, nothing was written. *uncertain on failure: the commit point had been reached,
 * nobody knows what is on disk; else the old text is. Waits.
 */
int metadata_commit(struct commit_target *targets, unsigned count, const char *text, size_t size,
    bool *uncertain, struct error *err);

#endif
