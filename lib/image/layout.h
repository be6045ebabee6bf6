/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new layout of an image, made beside the old one: L2 tables, L1, refcount blocks and table and
 * the snapshot table are written to new places, and one sector of the header switches to them.
 * Whatever a power cut leaves is the one or the other, whole. What was taken for it and is not used
 * shows as leaks of an image in use; what the old layout used is given up after the switch.
 *
 * Under q->admin (snapshots and the like, one at a time) and, from layout_take on, `control`.
 * Guests go on: what they change after their table was written is dirty, as ever.
 *
 * Happy path: layout_begin, layout_take, (the caller changes refcounts and writes tables,)
 * layout_switch, layout_end.
 */
#ifndef ASHLAR_IMAGE_LAYOUT_H
#define ASHLAR_IMAGE_LAYOUT_H

#include "image/image.h"
#include "image/snapshot_table.h"

struct layout {
    struct qcow2 *q;
    struct qcow2_header h; /* as it will be */
    uint64_t *spare;       /* clusters taken, one by one, for tables and blocks */
    size_t spares, spares_used;
    uint64_t tables; /* of them, for tables */
    uint64_t *l1;    /* h.l1_entries words; NULL: L1 stays where it is */
    uint64_t l1_cluster, l1_clusters;
    uint64_t reftable_cluster;
    const struct qcow2_snapshot *snapshots; /* h.snapshot_count; NULL with keep_snapshots */
    bool keep_snapshots;
    uint64_t snapshots_cluster, snapshots_clusters;
    struct freed old; /* given up after the switch */
};

/* All L2 tables come into memory, and stay until the other. -EIO, -ENOMEM. */
int tables_gather(struct qcow2 *q);
void tables_scatter(struct qcow2 *q);

void layout_begin(struct layout *l, struct qcow2 *q);
/* Clusters that it will take; under `control`. */
uint64_t layout_clusters(const struct layout *l, uint64_t tables);
/* The same of one that keeps what there is, before it begins: takes `control` for a moment. */
uint64_t layout_estimate(struct qcow2 *q, uint64_t tables);
/* Takes them: places for so many tables, for all refcount blocks, and for what h says of L1 and
 * snapshots. -ENOSPC, -ENOMEM. */
int layout_take(struct layout *l, uint64_t tables);
/* A place for a table or block. Never fails: as many as were taken. */
uint64_t layout_place(struct layout *l);
/*
 * Writes the table of an L1 entry to a new place, as `fix` makes the copy that is written (under
 * its shard's lock); where from is the caller's to give up (0: it stays, as fix returned false:
 * then it is written only if it never was).
 */
typedef bool layout_fix(struct qcow2 *q, uint8_t *table);
int layout_move_table(struct layout *l, unsigned index, layout_fix *fix, uint64_t *from);
/* What nothing refers to after the switch. -ENOMEM. */
int layout_give_up(struct layout *l, uint64_t offset, uint64_t bytes);
/* Writes the rest, and switches. On failure memory and disk differ: the image is broken until it is
 * opened again. */
int layout_switch(struct layout *l);
/* Gives back what is left of it; after a switch, gives up the old. */
void layout_end(struct layout *l, bool switched);

#endif
