/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether metadata contradicts itself: what every reader of it may rely on afterwards. Pure. */
#ifndef ASHLAR_LVM_METADATA_CHECK_H
#define ASHLAR_LVM_METADATA_CHECK_H

#include "lvm/metadata.h"

/*
 * -EBADMSG with the reason: names or identifiers that are not unique or not valid, segments with
 * gaps or empty, stripes outside their PV or on extents that another stripe has. Temporary memory
 * comes from m's arena (-ENOMEM).
 */
int vg_metadata_check(const struct vg_metadata *m, struct error *err);

#endif
