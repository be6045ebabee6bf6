/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image of a sparse volume replaced as a whole by one with another content, compressed. The new
 * one is written beside the old, in the same LV, and counts when its header does: whenever that
 * fails, or the daemon ends, the old one is there.
 */
#ifndef ASHLAR_DAEMON_IMAGE_REWRITE_H
#define ASHLAR_DAEMON_IMAGE_REWRITE_H

#include "base/error.h"
#include "image/save.h"

struct catalog_image;

/* These under the catalog's `change`. -EINVAL: a clone, or one with snapshots. */
int image_refuse_rewrite(const struct catalog_image *i, struct error *err);
/* Nobody uses the image: closes it and takes its LV. *plan: of what is to be written. */
int image_rewrite_begin(struct catalog_image *i, enum qcow2_compression compression,
    struct qcow2_plan *plan, struct error *err);
/* Nothing has been written: opens it again. */
void image_rewrite_abandon(struct catalog_image *i);

/* In the job. Of `save` are given: to.image, from, digest and progress. */
int image_rewrite(struct catalog_image *i, struct save_plan *save, struct error *err);
/* Takes `change`; opens the image, the new or the old one, which is then in use, exclusively. */
int image_rewrite_end(struct catalog_image *i, struct blockdev **dev, struct error *err);

#endif
