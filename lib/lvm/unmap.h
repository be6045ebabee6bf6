/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inverse of map.h: what stands at a place of a PV. Pure. By the metadata alone, a search
 * through all volumes: for reports, not for I/O.
 */
#ifndef ASHLAR_LVM_UNMAP_H
#define ASHLAR_LVM_UNMAP_H

#include <stdint.h>

#include "lvm/metadata.h"
#include "lvm/vg.h"

struct pv_piece {
    enum vg_use use;
    const struct vg_lv *lv; /* VG_USE_VOLUME */
    uint64_t offset_bytes;  /* in it */
    uint64_t length_bytes;  /* so far goes the answer, in one piece; at least 1 */
};

/* What PV number `pv` of m has at offset_bytes of its device; of at most length_bytes (not 0). */
void pv_unmap(const struct vg_metadata *m, unsigned pv, uint64_t offset_bytes,
    uint64_t length_bytes, struct pv_piece *piece);

#endif
