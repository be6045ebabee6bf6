/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of internal snapshots: pure codec. Format: docs/interop/qcow2.txt.
 *
 * Entries stand at multiples of 8 bytes: L1 offset 0, L1 entries 8, id length 12, name length 14,
 * seconds 16, nanoseconds 20, VM clock 24, VM state bytes 32 (0 where the extra data tells, if they
 * do not fit), extra data length 36; then extra data (VM state bytes 0, disk size 8, icount 16),
 * id, name.
 */
#ifndef ASHLAR_IMAGE_SNAPSHOT_TABLE_H
#define ASHLAR_IMAGE_SNAPSHOT_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/header.h"

#define QCOW2_SNAPSHOT_TABLE_MAX_BYTES (64u << 20)

struct qcow2_snapshot {
    char *id, *name; /* id: a number in text; unique */
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint32_t seconds, nanoseconds; /* since 1970 */
    uint64_t vm_clock_ns;
    uint64_t vm_state_bytes;
    uint64_t size_bytes;    /* of the disk then; the image's where the entry does not tell */
    uint64_t icount;        /* UINT64_MAX: not told */
    uint32_t unknown_bytes; /* extra data beyond what we know, kept */
    uint8_t *unknown;
};

/* `count` entries from bytes; *list has count of them, the caller's to free. disk_bytes: for
 * entries without a size. -EBADMSG with the reason (also when the table is longer than `length` or
 * its cap), -ENOMEM; then *list is untouched. *used: bytes that the table takes. */
int qcow2_snapshots_read(struct qcow2_snapshot **list, unsigned count, const uint8_t *bytes,
    size_t length, uint64_t disk_bytes, size_t *used, struct error *err);
/* Why its L1 table cannot be where it says, as a literal; NULL: it can. */
const char *qcow2_snapshot_fault(
    const struct qcow2_geometry *g, const struct qcow2_snapshot *s, uint64_t image_bytes);
/* Bytes that qcow2_snapshots_write will write. */
size_t qcow2_snapshots_bytes(const struct qcow2_snapshot *list, unsigned count);
void qcow2_snapshots_write(const struct qcow2_snapshot *list, unsigned count, uint8_t *bytes);
/* NULL: nothing. */
void qcow2_snapshots_free(struct qcow2_snapshot *list, unsigned count);

#endif
