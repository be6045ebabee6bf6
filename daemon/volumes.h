/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done with volumes, on the catalog: what a group alone cannot know (exports, what a file
 * system uses). The caller holds the catalog's `change`. `dry` calls check the same and change
 * nothing. */
#ifndef ASHLAR_DAEMON_VOLUMES_H
#define ASHLAR_DAEMON_VOLUMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "lvm/vg.h"

struct daemon;

/* Reads as zeros. */
int volumes_create(struct daemon *d, struct vg *vg, const char *name, uint64_t size_bytes, bool dry,
    struct error *err);
/* Also while it is exported. A shrink below what a file system there uses is refused with the safe
 * size (-EBUSY) unless force. */
int volumes_resize(struct daemon *d, struct vg *vg, struct lv *lv, uint64_t size_bytes, bool force,
    bool dry, struct error *err);
/* These two are refused while it is exported. */
int volumes_remove(struct daemon *d, struct vg *vg, struct lv *lv, bool dry, struct error *err);
int volumes_rename(
    struct daemon *d, struct vg *vg, struct lv *lv, const char *name, bool dry, struct error *err);

#endif
