/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The qcow2 header with its extensions: pure codec. Format: docs/interop/qcow2.txt of QEMU.
 *
 * Big-endian, at byte 0, in the first cluster with the extensions and the backing name:
 * magic 0, version 4, backing offset 8 and length 16, cluster_bits 20, size 24, encryption 32, L1
 * entries 36 and offset 40, refcount table offset 48 and clusters 56, snapshots 60 and their offset
 * 64; from version 3 on incompatible 72, compatible 80, autoclear 88, refcount_order 96, header
 * length 100, compression 104.
 */
#ifndef ASHLAR_IMAGE_HEADER_H
#define ASHLAR_IMAGE_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define QCOW2_CLUSTER_BITS_MIN   9
#define QCOW2_CLUSTER_BITS_MAX   21
#define QCOW2_L1_MAX_BYTES       (32u << 20) /* QEMU's caps */
#define QCOW2_REFTABLE_MAX_BYTES (8u << 20)
#define QCOW2_SNAPSHOTS_MAX      65536
#define QCOW2_BACKING_NAME_MAX   1023
#define QCOW2_BITMAPS_MAX_BYTES  (64u << 20) /* of their directory */
#define QCOW2_SUBCLUSTERS        32          /* of a cluster, with extended L2 entries */

/* Incompatible features. */
#define QCOW2_DIRTY       (UINT64_C(1) << 0) /* refcounts may be too high or too low */
#define QCOW2_CORRUPT     (UINT64_C(1) << 1) /* not to be written */
#define QCOW2_DATA_FILE   (UINT64_C(1) << 2)
#define QCOW2_COMPRESSION (UINT64_C(1) << 3) /* the field at 104 is not 0 */
#define QCOW2_EXTENDED_L2 (UINT64_C(1) << 4)
/* Compatible. */
#define QCOW2_LAZY_REFCOUNTS (UINT64_C(1) << 0)
/* Autoclear: whoever writes the image and does not know a bit clears it. */
#define QCOW2_BITMAPS_VALID (UINT64_C(1) << 0)
#define QCOW2_DATA_FILE_RAW (UINT64_C(1) << 1)

enum qcow2_compression { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };

/* An extension that we do not know: kept as it stands. */
struct qcow2_extension {
    uint32_t type, length;
    uint8_t *bytes;
};

struct qcow2_bitmaps_extension { /* type 0x23852875 */
    uint32_t count;
    uint64_t directory_bytes, directory_offset;
};

struct qcow2_header {
    unsigned version; /* 2 or 3 */
    unsigned cluster_bits;
    uint64_t size_bytes; /* of the guest's disk; any number */
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
    uint64_t snapshots_offset;
    uint32_t snapshot_count;
    uint64_t incompatible, compatible, autoclear; /* 0 with version 2 */
    unsigned refcount_order; /* 0..6: bits of a refcount = 1 << order; 4 with version 2 */
    enum qcow2_compression compression;
    char *backing_name;   /* NULL: none; as it stands in the image, never opened by us */
    char *backing_format; /* NULL: none */
    bool has_bitmaps;     /* only where QCOW2_BITMAPS_VALID says that they are consistent */
    struct qcow2_bitmaps_extension bitmaps;
    uint32_t unknown_bytes; /* fields of the header beyond what we know, kept */
    uint8_t *unknown;
    unsigned extension_count; /* unknown ones, in their order; the table of feature names is not
                                 kept but written anew */
    struct qcow2_extension *extensions;
};

/* What follows from it. */
struct qcow2_geometry {
    unsigned version;
    enum qcow2_compression compression;
    unsigned cluster_bits;
    bool extended;                /* 16-byte L2 entries with subclusters */
    unsigned subcluster_bits;     /* cluster_bits without them */
    unsigned l2_entry_bits;       /* 3 or 4: log2 of an L2 entry's bytes */
    unsigned l2_bits;             /* log2 of an L2 table's entries; a table is one cluster */
    unsigned refcount_order;      /* log2 of a refcount's bits */
    unsigned refcount_block_bits; /* log2 of a block's refcounts; a block is one cluster */
};

/*
 * bytes: the start of the image, `length` of it (at least min(file size, the cluster));
 * image_bytes: the file's size, against which offsets are checked. Refused: -ENOEXEC (no qcow2
 * magic), -EOPNOTSUPP (encryption, external data file, an incompatible feature that we do not know:
 * by name, from the image's own table of names where it has one), -EBADMSG (anything that
 * contradicts itself or the caps above: the reason tells). *h is the caller's to free; untouched on
 * failure.
 */
int qcow2_header_read(struct qcow2_header *h, const uint8_t *bytes, size_t length,
    uint64_t image_bytes, struct error *err);
/* Fills `length` bytes, at most a cluster; -ENOSPC: it takes more with its extensions and the
 * backing name. The table of feature names is written where there is room. Autoclear features that
 * we do not know are left out, as whoever writes the image shall. */
int qcow2_header_write(
    const struct qcow2_header *h, uint8_t *bytes, size_t length, struct error *err);
/* Into the header as it stands in the image, of which `sector` is the first 512 bytes: size, places
 * of tables, features; a backing name may go, but neither come nor change. What else there is
 * stays: the bitmaps extension too, which means nothing without its feature. So one sector makes
 * the change. -EBADMSG: it is not the header of such an image. */
int qcow2_header_update(const struct qcow2_header *h, uint8_t *sector);
void qcow2_header_free(struct qcow2_header *h);

void qcow2_geometry_init(struct qcow2_geometry *g, const struct qcow2_header *h);
/* L1 entries that a disk of so many bytes needs. */
uint64_t qcow2_l1_entries(const struct qcow2_geometry *g, uint64_t size_bytes);

#endif
