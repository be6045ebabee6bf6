/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new, empty image. In this order: the header's cluster, the refcount table, the refcount blocks
 * that cover all of these, L1. The refcount table is as large as a file that holds the whole disk
 * will need, so that it need not move while there are no snapshots.
 *
 * All of it is zeroed first, as the file may hold anything; then refcounts, and when these are
 * durable the header. What fails in between leaves a file that is no image, or still the former
 * one's header: whoever formats a file lets nobody open it before qcow2_format has returned 0.
 */
#include "image/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "image/refcount.h"

#define HEADER_BYTES              4096u /* or a cluster: no plan's header is longer */
#define EXTENDED_CLUSTER_BITS_MIN 14
#define DEFAULT_REFCOUNT_ORDER    4

/* In clusters. */
struct layout {
    uint64_t reftable, blocks, l1, all;
};

static int check_plan(const struct qcow2_plan *plan, struct error *err)
{
    unsigned bits = plan->cluster_bits;

    if (plan->size_bytes % 512)
        return error_set(err, EINVAL, "the disk's size is no multiple of 512 bytes");
    if (bits && (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX))
        return error_set(err, EINVAL, "clusters are 512 bytes to 2 MiB");
    if (plan->refcount_order > 6)
        return error_set(err, EINVAL, "refcounts have at most 64 bits");
    if (plan->backing_name && strlen(plan->backing_name) > QCOW2_BACKING_NAME_MAX)
        return error_set(err, EINVAL, "the backing name is longer than 1023 bytes");
    return 0;
}

int qcow2_plan_header(struct qcow2_header *h, struct qcow2_geometry *g,
    const struct qcow2_plan *plan, struct error *err)
{
    int rc = check_plan(plan, err);

    if (rc < 0)
        return rc;
    *h = (struct qcow2_header){.version = 3,
        .cluster_bits = plan->cluster_bits ? plan->cluster_bits : QCOW2_DEFAULT_CLUSTER_BITS,
        .size_bytes = plan->size_bytes,
        .compatible = plan->no_lazy_refcounts ? 0 : QCOW2_LAZY_REFCOUNTS,
        .refcount_order = plan->refcount_order ? plan->refcount_order : DEFAULT_REFCOUNT_ORDER,
        .compression = plan->compression,
        .backing_name = (char *)plan->backing_name,
        .backing_format = (char *)plan->backing_format};
    if (plan->compression != QCOW2_ZLIB)
        h->incompatible |= QCOW2_COMPRESSION;
    if (!plan->standard_l2 && h->cluster_bits >= EXTENDED_CLUSTER_BITS_MIN)
        h->incompatible |= QCOW2_EXTENDED_L2;
    qcow2_geometry_init(g, h);
    return 0;
}

/* Clusters of a table of so many 8-byte entries. */
static uint64_t table_clusters(const struct qcow2_geometry *g, uint64_t entries)
{
    return div_round_up(entries, UINT64_C(1) << (g->cluster_bits - 3));
}

/* Blocks that cover `clusters` and themselves, and, where asked for, their table. */
static uint64_t count_blocks(const struct qcow2_geometry *g, uint64_t clusters, bool with_table)
{
    uint64_t blocks = 0, needed = 1;

    while (blocks < needed) {
        uint64_t table = with_table ? table_clusters(g, needed) : 0;

        blocks = needed;
        needed = div_round_up(clusters + blocks + table, UINT64_C(1) << g->refcount_block_bits);
    }
    return blocks;
}

/* A table that is as large as there may be one is enough for any disk; it may be too small for a
 * file that holds all of it. */
static uint64_t reftable_clusters(const struct qcow2_geometry *g, uint64_t others)
{
    uint64_t wanted = table_clusters(g, count_blocks(g, others, true));

    return MIN(wanted, (uint64_t)QCOW2_REFTABLE_MAX_BYTES >> g->cluster_bits);
}

static int plan_layout(struct qcow2_header *h, const struct qcow2_geometry *g,
    struct layout *layout, struct error *err)
{
    uint64_t l1_entries = qcow2_l1_entries(g, h->size_bytes), disk;

    if (l1_entries > QCOW2_L1_MAX_BYTES / 8)
        return error_set(err, EFBIG, "a disk of that size needs larger clusters");
    disk = (h->size_bytes >> g->cluster_bits) + 1 + l1_entries;
    layout->l1 = table_clusters(g, l1_entries);
    layout->reftable = reftable_clusters(g, 1 + layout->l1 + disk);
    layout->blocks = count_blocks(g, 1 + layout->reftable + layout->l1, false);
    layout->all = 1 + layout->reftable + layout->blocks + layout->l1;
    h->reftable_offset = UINT64_C(1) << g->cluster_bits;
    h->reftable_clusters = (uint32_t)layout->reftable;
    h->l1_entries = (uint32_t)l1_entries;
    h->l1_offset = l1_entries ? (1 + layout->reftable + layout->blocks) << g->cluster_bits : 0;
    return 0;
}

static int plan_all(struct qcow2_header *h, struct qcow2_geometry *g, struct layout *layout,
    const struct qcow2_plan *plan, struct error *err)
{
    int rc = qcow2_plan_header(h, g, plan, err);

    return rc < 0 ? rc : plan_layout(h, g, layout, err);
}

int qcow2_plan_bytes(const struct qcow2_plan *plan, uint64_t *bytes, struct error *err)
{
    struct qcow2_header h;
    struct qcow2_geometry g;
    struct layout layout;
    int rc = plan_all(&h, &g, &layout, plan, err);

    if (!rc)
        *bytes = layout.all << g.cluster_bits;
    return rc;
}

/* Every cluster of the layout is in use once. The blocks are next to one another, and so are
 * their refcounts. */
static int write_refcounts(
    struct blockdev *file, const struct qcow2_geometry *g, const struct layout *layout)
{
    size_t table_bytes = layout->blocks * 8;
    size_t bytes = div_round_up(layout->all << g->refcount_order, 8);
    uint64_t at = (1 + layout->reftable) << g->cluster_bits;
    uint8_t *table = calloc(1, table_bytes), *refcounts = calloc(1, bytes);
    int rc = table && refcounts ? 0 : -ENOMEM;

    if (!rc) {
        for (uint64_t i = 0; i < layout->blocks; i++)
            put_be64(table + i * 8, at + (i << g->cluster_bits));
        for (uint64_t i = 0; i < layout->all; i++)
            refcount_set(refcounts, g->refcount_order, i, 1);
        rc = blockdev_write_bytes(file, table, UINT64_C(1) << g->cluster_bits, table_bytes, 0);
    }
    if (!rc)
        rc = blockdev_write_bytes(file, refcounts, at, bytes, 0);
    free(table);
    free(refcounts);
    return rc;
}

static int write_tables(
    struct blockdev *file, const struct qcow2_geometry *g, const struct layout *layout)
{
    uint64_t bytes = round_up(layout->all << g->cluster_bits, file->logical_block_bytes);
    int rc = blockdev_write_zeroes(file, 0, bytes, 0);

    if (!rc)
        rc = write_refcounts(file, g, layout);
    return rc < 0 ? rc : blockdev_flush(file);
}

int qcow2_format(struct blockdev *file, const struct qcow2_plan *plan, struct error *err)
{
    struct qcow2_header h;
    struct qcow2_geometry g;
    struct layout layout;
    uint8_t header[HEADER_BYTES];
    size_t length;
    int rc = plan_all(&h, &g, &layout, plan, err);

    if (rc < 0)
        return rc;
    if (layout.all << g.cluster_bits > file->size_bytes)
        return error_set(err, ENOSPC, "%s is too small for a new image", file->name);
    length = MIN(sizeof header, (size_t)1 << g.cluster_bits);
    rc = qcow2_header_write(&h, header, length, err);
    if (rc < 0)
        return rc;
    rc = write_tables(file, &g, &layout);
    if (!rc)
        rc = blockdev_write_bytes(file, header, 0, length, 0);
    if (!rc)
        rc = blockdev_flush(file);
    return rc < 0 ? error_set(err, -rc, "%s: writing a new image: %s", file->name, strerror(-rc))
                  : 0;
}
