/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots of raw volumes. From the snapshot on a sparse LV lies over the raw one and takes what
 * guests write: the raw volume stays what it was. Committing moves that down while guests go on,
 * and takes the overlay away. A raw volume has one at a time; it is known by the raw volume's name,
 * and nobody finds its LV (NAME.overlay) as a volume.
 *
 * Whatever the daemon is killed in, an overlay that is there is in use, and so is what guests have
 * flushed: before the exports are switched to it it is empty, before they are switched back it is
 * empty again, and then it shows the raw volume. What was begun is in its tags (images.h): a commit
 * begins anew when the group is opened, a revert is brought to its end.
 *
 * The caller holds the catalog's `change`; `dry` calls check the same and change nothing.
 */
#ifndef ASHLAR_DAEMON_OVERLAY_H
#define ASHLAR_DAEMON_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct catalog_image;
struct catalog_vg;
struct daemon;
struct lv;

/* Of a raw volume, also while it is exported. -EBUSY (it has one, or clones), -EINVAL (the name: it
 * is kept in a tag), and what lvm/vg.h says. */
int overlay_create(struct daemon *d, struct catalog_vg *v, struct lv *raw, const char *snapshot,
    bool dry, struct error *err);
/* What was written since is lost. -EBUSY: the volume is exported, or is being committed. */
int overlay_revert(struct catalog_image *i, bool dry, struct error *err);
/* Starts the job. The snapshot cannot be reverted to any more. */
int overlay_commit(struct catalog_image *i, bool dry, uint64_t *job_id, struct error *err);

const char *overlay_snapshot(const struct catalog_image *i);
bool overlay_is_committing(const struct catalog_image *i);
/* -ENOENT: its snapshot has another name. -EBUSY: the raw volume is no snapshot any more. */
int overlay_refuse_other(const struct catalog_image *i, const char *snapshot, struct error *err);
int overlay_refuse_committing(const struct catalog_image *i, struct error *err);

/* For images.c: before an overlay is opened (nothing for other images); when all are open. */
int overlay_settle(struct catalog_image *i, struct error *err);
void overlays_go_on(struct catalog_vg *v);
/* For the daemon's end: cancels the jobs and waits for their end. */
void overlays_stop(struct daemon *d);

#endif
