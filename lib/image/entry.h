/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries of L1 and L2 tables: pure, and small enough to be inlined where a request goes.
 *
 * L1: bits 9..55 the L2 table's offset, 63 COPIED (its refcount is exactly 1).
 * L2: bit 0 reads as zeros (not with extended entries), 9..55 offset, 62 compressed, 63 COPIED.
 * Compressed: with x = 62 - (cluster_bits - 8), the low x bits are the byte offset and the rest, up
 * to bit 61, the number of 512-byte sectors beyond the first. Extended L2 entries have a second
 * word: bit i: subcluster i is allocated; bit 32 + i: it reads as zeros; never both. With a
 * compressed cluster it is 0. A subcluster with neither reads from the backing, also when the entry
 * has an offset.
 */
#ifndef ASHLAR_IMAGE_ENTRY_H
#define ASHLAR_IMAGE_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "image/header.h"

#define QCOW2_OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define QCOW2_COPIED      (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED  (UINT64_C(1) << 62)
#define QCOW2_ZERO        UINT64_C(1) /* standard L2 entries */
#define QCOW2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define QCOW2_L2_RESERVED UINT64_C(0x3f000000000001fe) /* of entries that are not compressed */

struct qcow2_entry {
    uint64_t word;
    uint64_t bitmap; /* 0 with standard entries */
};

/* What a guest reads there. */
enum qcow2_kind {
    QCOW2_BACKED,     /* nothing here: the backing's, or zeros */
    QCOW2_READS_ZERO, /* zeros, whatever the backing has */
    QCOW2_DATA,       /* at the entry's offset */
    QCOW2_PACKED      /* a compressed cluster */
};

static inline struct qcow2_entry qcow2_entry_get(
    const struct qcow2_geometry *g, const uint8_t *table, unsigned index)
{
    const uint8_t *at = table + ((uint64_t)index << g->l2_entry_bits);

    return (struct qcow2_entry){.word = get_be64(at), .bitmap = g->extended ? get_be64(at + 8) : 0};
}

static inline void qcow2_entry_put(
    const struct qcow2_geometry *g, uint8_t *table, unsigned index, struct qcow2_entry e)
{
    uint8_t *at = table + ((uint64_t)index << g->l2_entry_bits);

    put_be64(at, e.word);
    if (g->extended)
        put_be64(at + 8, e.bitmap);
}

/* The cluster that it holds, 0: none (or a compressed one). */
static inline uint64_t qcow2_entry_offset(struct qcow2_entry e)
{
    return e.word & QCOW2_COMPRESSED ? 0 : e.word & QCOW2_OFFSET_MASK;
}

static inline enum qcow2_kind qcow2_entry_kind(
    const struct qcow2_geometry *g, struct qcow2_entry e, unsigned subcluster)
{
    if (e.word & QCOW2_COMPRESSED)
        return QCOW2_PACKED;
    if (g->extended)
        return e.bitmap >> subcluster & 1          ? QCOW2_DATA
               : e.bitmap >> (32 + subcluster) & 1 ? QCOW2_READS_ZERO
                                                   : QCOW2_BACKED;
    if (e.word & QCOW2_ZERO)
        return QCOW2_READS_ZERO;
    return e.word & QCOW2_OFFSET_MASK ? QCOW2_DATA : QCOW2_BACKED;
}

/* How many subclusters from `subcluster` on are of its kind; at least 1. Subclusters: 32 a cluster,
 * or 1. */
static inline unsigned qcow2_entry_run(
    const struct qcow2_geometry *g, struct qcow2_entry e, unsigned subcluster)
{
    uint32_t differ, allocated = (uint32_t)e.bitmap, zero = (uint32_t)(e.bitmap >> 32);

    if (!g->extended)
        return 1;
    if (e.word & QCOW2_COMPRESSED)
        return QCOW2_SUBCLUSTERS - subcluster;
    differ = (allocated ^ -(allocated >> subcluster & 1)) | (zero ^ -(zero >> subcluster & 1));
    differ >>= subcluster;
    return differ ? (unsigned)__builtin_ctz(differ) : QCOW2_SUBCLUSTERS - subcluster;
}

/* Where a compressed cluster's bytes are: they may begin anywhere and end anywhere in their last
 * sector. */
static inline void qcow2_entry_packed(
    const struct qcow2_geometry *g, struct qcow2_entry e, uint64_t *offset, uint64_t *length)
{
    unsigned x = 62 - (g->cluster_bits - 8);
    uint64_t sectors = ((e.word & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> x) + 1;

    *offset = e.word & ((UINT64_C(1) << x) - 1);
    *length = sectors * 512 - *offset % 512;
}

/* The clusters that it refers to: how many, from *first on; 0: none. */
static inline uint64_t qcow2_entry_clusters(
    const struct qcow2_geometry *g, struct qcow2_entry e, uint64_t *first)
{
    uint64_t offset = e.word & QCOW2_OFFSET_MASK, length = 1;

    if (e.word & QCOW2_COMPRESSED)
        qcow2_entry_packed(g, e, &offset, &length);
    else if (!offset)
        return 0;
    *first = offset >> g->cluster_bits;
    return ((offset + length - 1) >> g->cluster_bits) - *first + 1;
}

static inline uint64_t qcow2_packed_word(
    const struct qcow2_geometry *g, uint64_t offset, uint64_t length)
{
    unsigned x = 62 - (g->cluster_bits - 8);
    uint64_t extra_sectors = (offset + length - 1) / 512 - offset / 512;

    return QCOW2_COMPRESSED | extra_sectors << x | offset;
}

/* Why an entry cannot be, as a literal; NULL: it can. image_bytes: the file's, beyond which nothing
 * lies. */
const char *qcow2_l1_entry_fault(
    const struct qcow2_geometry *g, uint64_t word, uint64_t image_bytes);
const char *qcow2_l2_entry_fault(
    const struct qcow2_geometry *g, unsigned version, struct qcow2_entry e, uint64_t image_bytes);

#endif
