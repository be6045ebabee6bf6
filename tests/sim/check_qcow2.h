/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A qcow2 image as it stands on a disk: whether all of it fits together, and what a guest reads
 * there. Written from QEMU's docs/interop/qcow2.txt, apart from lib/image.
 *
 * Strict: references and refcounts agree (more refcounts than references, leaks, only while the
 * dirty bit is set), COPIED says exactly that the refcount is 1, reserved bits are 0, all is
 * aligned and inside the file, no cluster is two things, or holds two places of one disk. In
 * different snapshots a cluster of data holds the same place, a table the same part.
 *
 *     check_qcow2.c         references of all tables against the refcounts
 *     check_qcow2_header.c  header, extensions, tables of snapshots and bitmaps
 *     check_qcow2_read.c    what a guest reads
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_QCOW2_H
#define ASHLAR_TESTS_SIM_CHECK_QCOW2_H

#include "check.h"

enum check_qcow2_kind {
    CHECK_QCOW2_FREE,
    CHECK_QCOW2_HEADER,
    CHECK_QCOW2_REFTABLE,
    CHECK_QCOW2_REFBLOCK,
    CHECK_QCOW2_L1,
    CHECK_QCOW2_SNAPSHOTS,
    CHECK_QCOW2_BITMAPS,
    CHECK_QCOW2_L2,
    CHECK_QCOW2_DATA,
    CHECK_QCOW2_PACKED /* compressed data */
};

struct check_qcow2_cluster {
    enum check_qcow2_kind kind;
    unsigned pass; /* the last that met it: 1 the active disk, 2 the first snapshot, ... */
    uint64_t references, refcount;
    uint64_t place; /* of L2 tables and data: which one of the disk */
};

/* A disk: the active one or a snapshot's. */
struct check_qcow2_disk {
    uint64_t size_bytes, l1_offset, l1_entries;
    char name[64]; /* cut; "" for the active one */
};

struct check_qcow2 {
    struct check_disk file;
    unsigned version, cluster_bits, refcount_order, compression;
    bool extended, dirty, corrupt, lazy, backed;
    uint64_t cluster_bytes, l2_entries;
    uint64_t reftable_offset, reftable_clusters;
    uint64_t snapshots_offset, bitmaps_offset, bitmaps_bytes, bitmap_count;
    unsigned disk_count;
    struct check_qcow2_disk *disks; /* [0]: the active one, then the snapshots in their order */
    uint64_t cluster_count;         /* of the file, with a last one in part */
    struct check_qcow2_cluster *clusters;
    uint64_t used, leaks; /* clusters with references; with a refcount above them */
    struct check_problems problems;
    uint8_t *table; /* room for a cluster */
};

/* True: no problems. check_qcow2_free in either case. */
bool check_qcow2(struct check_qcow2 *c, const struct check_disk *file);
void check_qcow2_free(struct check_qcow2 *c);

/*
 * What a guest reads from one of the disks, sectors inside it; what the image does not have comes
 * from `backing` (NULL, or beyond its end: zeros). False: there is something that cannot be read,
 * or unpacked. After check_qcow2 without problems.
 */
bool check_qcow2_read(struct check_qcow2 *c, unsigned disk, const struct check_disk *backing,
    void *buf, uint64_t offset, uint64_t length);

/* --- for the parts of it --- */

/* Header and extensions: fills in what is above, with the active disk. False: the rest makes no
 * sense. */
bool check_qcow2_header(struct check_qcow2 *c);
/* The tables: claimed; snapshots become disks. */
void check_qcow2_snapshots(struct check_qcow2 *c);
void check_qcow2_bitmaps(struct check_qcow2 *c);
/* So many clusters from that offset are this: metadata that nothing else refers to. */
bool check_qcow2_claim(
    struct check_qcow2 *c, enum check_qcow2_kind kind, uint64_t offset, uint64_t bytes);
/* Any bytes of the file, as a copy for free(); NULL: not there, or more than any table has. */
uint8_t *check_qcow2_load(const struct check_qcow2 *c, uint64_t offset, uint64_t bytes);
/* One cluster, where it is or in c->table; NULL: it cannot be read. */
const uint8_t *check_qcow2_table(const struct check_qcow2 *c, uint64_t offset);

static inline uint64_t check_be(const void *p, size_t offset, unsigned bytes)
{
    const uint8_t *at = (const uint8_t *)p + offset;
    uint64_t n = 0;

    if (bytes == 8) {
        memcpy(&n, at, sizeof n);
        return be64toh(n);
    }
    while (bytes--)
        n = n << 8 | *at++;
    return n;
}

#define CHECK_QCOW2_OFFSET UINT64_C(0x00fffffffffffe00)

/* Where the bytes of a compressed cluster are. */
static inline void check_qcow2_packed(
    const struct check_qcow2 *c, uint64_t entry, uint64_t *offset, uint64_t *bytes)
{
    unsigned bits = 62 - (c->cluster_bits - 8);

    *offset = entry & ((UINT64_C(1) << bits) - 1);
    *bytes = (((entry & ((UINT64_C(1) << 62) - 1)) >> bits) + 1) * 512 - *offset % 512;
}

#endif
