/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What follows from a header's numbers: pure. */
#include "image/header.h"

#include "base/arith.h"

void qcow2_geometry_init(struct qcow2_geometry *g, const struct qcow2_header *h)
{
    bool extended = h->incompatible & QCOW2_EXTENDED_L2;
    unsigned entry_bits = extended ? 4 : 3;

    *g = (struct qcow2_geometry){.version = h->version,
        .compression = h->compression,
        .cluster_bits = h->cluster_bits,
        .extended = extended,
        .subcluster_bits = extended ? h->cluster_bits - 5 : h->cluster_bits,
        .l2_entry_bits = entry_bits,
        .l2_bits = h->cluster_bits - entry_bits,
        .refcount_order = h->refcount_order,
        .refcount_block_bits = h->cluster_bits + 3 - h->refcount_order};
}

uint64_t qcow2_l1_entries(const struct qcow2_geometry *g, uint64_t size_bytes)
{
    unsigned span_bits = g->cluster_bits + g->l2_bits; /* of the disk, by one L2 table */

    return (size_bytes >> span_bits) + !!(size_bytes & ((UINT64_C(1) << span_bits) - 1));
}
