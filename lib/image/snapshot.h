/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What making, deleting and going back to internal snapshots have in common. Under q->admin. */
#ifndef ASHLAR_IMAGE_SNAPSHOT_H
#define ASHLAR_IMAGE_SNAPSHOT_H

#include "image/layout.h"

/* Its index. -ENOENT. */
int snapshot_find(const struct qcow2 *q, const char *name, struct error *err);
/* For changes of the layout: with the image marked and the map in memory. Tried again when guests
 * were too quick (-EAGAIN, -ENOSPC). */
int with_layout(struct qcow2 *q, const char *what, const char *name,
    int (*change)(struct qcow2 *q, const char *name), struct error *err);
/* The same of a snapshot that is there (-ENOENT), one after the other; not in a read-only image
 * (-EROFS). */
int snapshot_change(struct qcow2 *q, const char *what, const char *name,
    int (*change)(struct qcow2 *q, const char *name), struct error *err);
/* Keeps free what deleting a snapshot takes. Under control, or before anybody is there. */
void snapshots_keep(struct qcow2 *q);
/* L2 tables of the active disk. */
uint64_t tables_count(struct qcow2 *q);

/* Calls `visit` for each L2 table of a snapshot, read and checked; `table` is its own to change.
 * -EIO: something there cannot be. */
typedef int snapshot_visit(void *arg, unsigned index, uint64_t word, uint8_t *table);
int snapshot_walk(
    struct qcow2 *q, const struct qcow2_snapshot *s, snapshot_visit *visit, void *arg);
/* None of its entries may be written where it is any more. */
void table_share(const struct qcow2_geometry *g, uint8_t *table);
/* Clusters of a table's entries. -ENOMEM. */
int table_clusters(const struct qcow2 *q, const uint8_t *table, struct freed *f);
/* Those of the runs that nobody refers to any more are discarded, and may be taken. */
void clusters_reuse(struct qcow2 *q, const struct freed *f);
/* Counts all of them down. -ERANGE: the image is damaged. */
int clusters_count_down_all(struct qcow2 *q, const struct freed *f);

#endif
