/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done with volumes, on the catalog: what a group alone cannot know (exports, images,
 * clones, what a file system uses). The caller holds the catalog's `change`. `dry` calls check the
 * same and change nothing. */
#ifndef ASHLAR_DAEMON_VOLUMES_H
#define ASHLAR_DAEMON_VOLUMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "lvm/vg.h"

struct catalog_vg;
struct daemon;

#define VOLUME_SPARSE_MAX_BYTES (UINT64_C(64) << 40)

struct volume_plan {
    const char *name;
    uint64_t size_bytes; /* raw: rounded up to extents; sparse: to sectors, with `from` 0 for its
                            size */
    bool sparse;
    uint64_t cluster_bytes; /* sparse: a power of two; 0: the default */
    struct lv *from;        /* sparse: what it reads as at first; NULL: zeros */
    const char *snapshot;   /* of that; NULL: as it is */
    bool dry;
};

/* *lv is set unless dry. */
int volumes_create(struct daemon *d, struct catalog_vg *v, const struct volume_plan *plan,
    struct lv **lv, struct error *err);
/* Of the guest's disk, also while it is exported. A shrink below what a file system there uses is
 * refused with the safe size (-EBUSY) unless force. */
int volumes_resize(struct daemon *d, struct catalog_vg *v, struct lv *lv, uint64_t size_bytes,
    bool force, bool dry, struct error *err);
/* These two are refused while it is exported. All three: while clones need it. */
int volumes_remove(
    struct daemon *d, struct catalog_vg *v, struct lv *lv, bool dry, struct error *err);
int volumes_rename(struct daemon *d, struct catalog_vg *v, struct lv *lv, const char *name,
    bool dry, struct error *err);

/* Of the guest's disk; of an image that is not open, its LV's. */
uint64_t volume_size_bytes(struct daemon *d, struct lv *lv);

#endif
