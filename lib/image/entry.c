/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What entries cannot be: pure. What is asked for here are the rules of the format's description,
 * not only what QEMU insists on. */
#include "image/entry.h"

#include <stddef.h>

static const char *offset_fault(
    const struct qcow2_geometry *g, uint64_t offset, uint64_t bytes, uint64_t image_bytes)
{
    if (offset & ((UINT64_C(1) << g->cluster_bits) - 1))
        return "the offset is not a cluster's";
    if (bytes > image_bytes || offset > image_bytes - bytes)
        return "it points beyond the end of the image";
    return NULL;
}

const char *qcow2_l1_entry_fault(
    const struct qcow2_geometry *g, uint64_t word, uint64_t image_bytes)
{
    uint64_t offset = word & QCOW2_OFFSET_MASK;

    if (word & QCOW2_L1_RESERVED)
        return "reserved bits are set";
    if (!offset)
        return word & QCOW2_COPIED ? "COPIED without a table" : NULL;
    return offset_fault(g, offset, UINT64_C(1) << g->cluster_bits, image_bytes);
}

static const char *packed_fault(
    const struct qcow2_geometry *g, struct qcow2_entry e, uint64_t image_bytes)
{
    uint64_t offset, length;

    if (e.word & QCOW2_COPIED)
        return "COPIED on a compressed cluster";
    if (e.bitmap)
        return "a compressed cluster with subclusters";
    qcow2_entry_packed(g, e, &offset, &length);
    if (!offset || offset >= image_bytes || length > image_bytes - offset)
        return "the compressed bytes are not inside the image";
    return NULL;
}

static const char *subcluster_fault(struct qcow2_entry e)
{
    if (e.word & QCOW2_ZERO)
        return "reserved bits are set";
    if ((uint32_t)e.bitmap & (uint32_t)(e.bitmap >> 32))
        return "a subcluster is both allocated and zero";
    if ((uint32_t)e.bitmap && !(e.word & QCOW2_OFFSET_MASK))
        return "subclusters are allocated without a cluster";
    return NULL;
}

const char *qcow2_l2_entry_fault(
    const struct qcow2_geometry *g, unsigned version, struct qcow2_entry e, uint64_t image_bytes)
{
    uint64_t offset = e.word & QCOW2_OFFSET_MASK;
    const char *fault = NULL;

    if (e.word & QCOW2_COMPRESSED)
        return packed_fault(g, e, image_bytes);
    if (e.word & QCOW2_L2_RESERVED)
        return "reserved bits are set";
    if (version == 2 && e.word & QCOW2_ZERO)
        return "a zero cluster in version 2";
    if (g->extended)
        fault = subcluster_fault(e);
    if (fault)
        return fault;
    if (!offset)
        return e.word & QCOW2_COPIED ? "COPIED without a cluster" : NULL;
    /* The file may end within its last cluster, where the rest was never written. */
    return offset_fault(g, offset, 1, image_bytes);
}
