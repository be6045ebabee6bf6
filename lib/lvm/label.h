/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The label that makes a device a PV: one sector of the first four, with the PV's identifier, size
 * and where its data and metadata areas are. Pure. Little-endian. Source: LVM2 lib/label/label.h,
 * lib/format_text/layout.h.
 */
#ifndef ASHLAR_LVM_LABEL_H
#define ASHLAR_LVM_LABEL_H

#include <stdint.h>

#include "base/error.h"
#include "lvm/uuid.h"

#define LVM_LABEL_BYTES        512u
#define LVM_LABEL_SCAN_SECTORS 4u
#define LVM_LABEL_SCAN_BYTES   (LVM_LABEL_BYTES * LVM_LABEL_SCAN_SECTORS)
#define LVM_LABEL_SECTOR       1u /* where new ones go */
#define LVM_AREAS_MAX          4u
#define LVM_LABEL_IN_USE       1u /* extension flag: the PV is of a group */

struct lvm_area {
    uint64_t offset_bytes;
    uint64_t size_bytes; /* data: 0 is to the end of the device */
};

struct lvm_label {
    uint64_t sector; /* where it stands */
    char id[LVM_UUID_TEXT_CHARS + 1];
    uint64_t device_size_bytes;
    unsigned data_area_count;
    struct lvm_area data_areas[LVM_AREAS_MAX];
    unsigned metadata_area_count;
    struct lvm_area metadata_areas[LVM_AREAS_MAX];
    uint32_t extension_version; /* 0: none, then neither what follows */
    uint32_t extension_flags;
    unsigned bootloader_area_count;
    struct lvm_area bootloader_areas[LVM_AREAS_MAX];
};

/* `sector`: its LVM_LABEL_BYTES, read at that sector of the device. -ENODATA: no label; -EBADMSG:
 * damaged; -EOPNOTSUPP: of another kind. */
int lvm_label_decode(
    struct lvm_label *label, const void *sector, uint64_t sector_number, struct error *err);
/* The first good one in the first LVM_LABEL_SCAN_BYTES of a device; without one, what is wrong with
 * the first bad one, or -ENODATA. */
int lvm_label_find(struct lvm_label *label, const void *first_bytes, struct error *err);
/* Fills LVM_LABEL_BYTES, checksum included. */
void lvm_label_encode(const struct lvm_label *label, void *sector);

#endif
