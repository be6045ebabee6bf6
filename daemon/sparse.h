/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse volumes: how volumes.c makes, resizes and removes them. The caller holds the catalog's
 * `change`; nothing is exported or cloned that must not be. */
#ifndef ASHLAR_DAEMON_SPARSE_H
#define ASHLAR_DAEMON_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct catalog_image;
struct catalog_vg;
struct daemon;
struct lv;
struct qcow2_plan;
struct volume_plan;

/*
 * An LV with a formatted image, open. Until the image is durable the LV bears IMAGE_TAG_NEW, so
 * that what a crash leaves is removed when the group is opened the next time. -EINVAL, -EFBIG,
 * -EBUSY (it would be a clone of what somebody may write), and what lvm/vg.h says.
 */
int sparse_create(struct daemon *d, struct catalog_vg *v, const struct volume_plan *plan,
    struct lv **lv, struct error *err);
/* A durable image in an LV that was made for it; then IMAGE_TAG_NEW goes. */
int sparse_format(struct lv *lv, struct qcow2_plan *plan, struct error *err);
int sparse_resize(struct catalog_image *i, uint64_t size_bytes, bool dry, struct error *err);
/* Frees the entry on success, but for a dry run. */
int sparse_remove(struct catalog_image *i, bool dry, struct error *err);

#endif
