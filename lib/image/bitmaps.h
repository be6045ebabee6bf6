/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directory of persistent (dirty tracking) bitmaps and their tables: pure codec, as far as it
 * takes to tell which clusters they use. Format: docs/interop/qcow2.txt.
 *
 * The header's bitmaps extension says where the directory is. Its entries stand at multiples of 8
 * bytes: table offset 0, table entries 8, flags 12, type 16, granularity bits 17, name length 18,
 * extra data length 20; then extra data and name. Entries of a bitmap's table: bits 9..55 the
 * offset of a cluster of bits; 0: all its bits are zeros, or, with bit 0, ones.
 */
#ifndef ASHLAR_IMAGE_BITMAPS_H
#define ASHLAR_IMAGE_BITMAPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/header.h"

#define QCOW2_BITMAP_NAME_MAX        1023 /* QEMU's caps */
#define QCOW2_BITMAP_TABLE_MAX_BYTES (64u << 20)

#define QCOW2_BITMAP_IN_USE (UINT32_C(1) << 0) /* not saved correctly */
#define QCOW2_BITMAP_AUTO   (UINT32_C(1) << 1) /* whoever writes has to keep it up to date */

struct qcow2_bitmap {
    char *name;
    uint64_t table_offset;
    uint32_t table_entries; /* of 8 bytes */
    uint32_t flags;
    unsigned granularity_bits;
};

/* `count` entries, which fill `length` bytes; *list has count of them, the caller's to free.
 * image_bytes: the file's, in which the tables lie. -EBADMSG with the reason, -ENOMEM; then *list
 * is untouched. */
int qcow2_bitmaps_read(struct qcow2_bitmap **list, unsigned count, const uint8_t *bytes,
    size_t length, const struct qcow2_geometry *g, uint64_t image_bytes, struct error *err);
/* NULL: nothing. */
void qcow2_bitmaps_free(struct qcow2_bitmap *list, unsigned count);

/* Why an entry of a bitmap's table cannot be, as a literal; NULL: it can. Its cluster:
 * word & QCOW2_OFFSET_MASK, 0: none. */
const char *qcow2_bitmap_entry_fault(
    const struct qcow2_geometry *g, uint64_t word, uint64_t image_bytes);

#endif
