/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A metadata area: a header sector and a ring in which each new copy of the text goes behind the
 * last one. Pure. Little-endian. Source: LVM2 lib/format_text/{layout.h,format-text.c}.
 */
#ifndef ASHLAR_LVM_MDA_H
#define ASHLAR_LVM_MDA_H

#include <stdint.h>

#include "base/error.h"

#define LVM_MDA_HEADER_BYTES 512u
#define LVM_MDA_ALIGN_BYTES  512u
#define LVM_MDA_MIN_BYTES    4096u
#define LVM_RAW_LOCN_IGNORED 1u /* the area is not in use */

/* Where a copy of the text is; offset 0: none. */
struct lvm_raw_locn {
    uint64_t offset; /* from the start of the area */
    uint64_t size;   /* with one NUL */
    uint32_t crc;
    uint32_t flags;
};

struct lvm_mda_header {
    uint64_t start_bytes; /* of the area on the device */
    uint64_t size_bytes;
    struct lvm_raw_locn committed, precommitted;
};

/* buf: the LVM_MDA_HEADER_BYTES at start_bytes; the area is there and as large as the label says.
 * -EBADMSG: damaged or absurd; -EOPNOTSUPP: of another version. */
int lvm_mda_decode(struct lvm_mda_header *h, const void *buf, uint64_t start_bytes,
    uint64_t size_bytes, struct error *err);
/* Fills LVM_MDA_HEADER_BYTES, checksum included. */
void lvm_mda_encode(const struct lvm_mda_header *h, void *buf);

/* Longest text with its NUL, so that there is always room for the next beside the last. */
uint64_t lvm_mda_text_max(uint64_t size_bytes);
/* Where the next copy of `length` bytes goes, clear of the committed one. -ENOSPC. */
int lvm_mda_place(const struct lvm_mda_header *h, uint64_t length, uint64_t *offset);

/* The one or two pieces that a copy lies in: it wraps from the end of the area to the header's end.
 * Offsets from the start of the area. */
struct lvm_mda_piece {
    uint64_t offset, length;
};
unsigned lvm_mda_pieces(
    uint64_t size_bytes, uint64_t offset, uint64_t length, struct lvm_mda_piece pieces[2]);

#endif
