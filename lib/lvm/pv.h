/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One physical volume as a group holds it: its device, label and metadata areas, and reading and
 * writing those. Internal to lvm/. Calls wait; whoever changes one PV excludes others.
 */
#ifndef ASHLAR_LVM_PV_H
#define ASHLAR_LVM_PV_H

#include <stdbool.h>

#include "block/blockdev.h"
#include "lvm/label.h"
#include "lvm/mda.h"

/* Where LVM2 puts things by default. */
#define PV_DATA_ALIGN_BYTES (1u << 20)
#define PV_MDA_OFFSET_BYTES 4096u
#define PV_MDA_SIZE_BYTES   (PV_DATA_ALIGN_BYTES - PV_MDA_OFFSET_BYTES)

struct pv_mda {
    struct lvm_area area;
    struct lvm_mda_header header;
    bool damaged; /* the header on disk is no good; `header` is that of an empty area */
    bool ignored;
};

struct pv {
    struct blockdev *dev; /* NULL: missing; then nothing else counts */
    struct lvm_label label;
    struct pv_mda mdas[LVM_AREAS_MAX]; /* label.metadata_area_count */
    bool stale;                        /* a copy could not be written */
};

/* -ENODATA: no label; -EBADMSG; -EIO... A damaged metadata area is no error. */
int pv_read(struct pv *pv, struct blockdev *dev, struct error *err);
/* Fills in what a new PV looks like on dev (not yet on disk). -ENOSPC: too small for an extent. */
int pv_prepare(struct pv *pv, struct blockdev *dev, uint64_t extent_bytes, struct error *err);
/* Erases what stood before the data area, then writes an empty metadata area and the label,
 * durably.
 */
int pv_format(struct pv *pv);
/* Makes it no PV: durably. */
int pv_wipe_label(struct pv *pv);
uint64_t pv_data_offset_bytes(const struct pv *pv);

/* The committed copy (offset not 0): malloc'd, checked against its CRC. -EBADMSG, -EIO, -ENOMEM. */
int pv_read_text(const struct pv *pv, const struct pv_mda *mda, char **text, struct error *err);
int pv_write_text(const struct pv *pv, const struct pv_mda *mda, const struct lvm_raw_locn *locn,
    const char *text);
int pv_write_header(const struct pv *pv, const struct pv_mda *mda);

#endif
