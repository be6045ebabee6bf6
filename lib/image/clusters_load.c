/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Refcount blocks in memory, and what follows from them when an image is opened or its file has
 * become longer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/clusters.h"

void refblock_free(struct refblock *b)
{
    if (!b)
        return;
    dirty_free(&b->dirty);
    free(b->bytes);
    free(b);
}

struct refblock *refblock_new(const struct qcow2 *q, uint64_t number, uint64_t host_offset)
{
    struct refblock *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->number = number;
    b->host_offset = host_offset;
    b->bytes = aligned_alloc(4096, MAX(cluster_bytes(q), UINT64_C(4096)));
    if (!b->bytes || dirty_init(&b->dirty, cluster_bytes(q)) < 0) {
        refblock_free(b);
        return NULL;
    }
    memset(b->bytes, 0, cluster_bytes(q));
    return b;
}

void clusters_free(struct qcow2 *q)
{
    struct clusters *c = &q->clusters;

    for (uint64_t i = 0; c->blocks && i < c->block_count; i++)
        refblock_free(c->blocks[i]);
    free(c->blocks);
    free(c->allocatable);
    free(c->freed.runs);
    free(c->metadata);
}

static int load_block(struct qcow2 *q, uint64_t number, uint64_t offset, struct error *err)
{
    struct refblock *b;
    int rc;

    if (offset & QCOW2_REFTABLE_RESERVED || offset % cluster_bytes(q) ||
        offset > q->file->size_bytes - cluster_bytes(q))
        return error_set(err, EBADMSG, "refcount block %llu of the image cannot be at %llu",
            (unsigned long long)number, (unsigned long long)offset);
    b = refblock_new(q, number, offset);
    rc = b ? blockdev_read_bytes(q->file, b->bytes, offset, cluster_bytes(q)) : -ENOMEM;
    if (rc) {
        refblock_free(b);
        return error_set(err, -rc, "cannot read the image's refcounts");
    }
    q->clusters.blocks[number] = b;
    return 0;
}

/* All blocks that the table names. */
static int load_blocks(struct qcow2 *q, const uint8_t *reftable, struct error *err)
{
    int rc = 0;

    for (uint64_t i = 0; !rc && i < q->clusters.block_count; i++) {
        uint64_t offset = get_be64(reftable + 8 * i);

        if (offset)
            rc = load_block(q, i, offset, err);
    }
    return rc;
}

void clusters_add(struct qcow2 *q, uint64_t count)
{
    struct clusters *c = &q->clusters;

    for (uint64_t i = c->count; i < count; i++) {
        uint64_t block = i >> q->g.refcount_block_bits;

        if (block < c->block_count && c->blocks[block] && !cluster_refcount(q, i))
            cluster_set_free(c, i, true);
    }
    c->count = count;
}

void clusters_fresh(struct qcow2 *q, uint64_t from)
{
    spin_lock(&q->clusters.lock);
    q->clusters.untouched = MIN(q->clusters.untouched, from);
    spin_unlock(&q->clusters.lock);
}

/* Clusters up to the end of the last block: those beyond get theirs when they are wanted
 * (extend.c). */
static uint64_t covered(const struct qcow2 *q)
{
    uint64_t n = q->clusters.block_count;

    while (n && !q->clusters.blocks[n - 1])
        n--;
    return n << q->g.refcount_block_bits;
}

int clusters_init(struct qcow2 *q, struct error *err)
{
    struct clusters *c = &q->clusters;
    uint64_t table_bytes = (uint64_t)q->header.reftable_clusters << q->g.cluster_bits;
    uint64_t count = q->file->size_bytes >> q->g.cluster_bits;
    uint8_t *reftable = malloc(table_bytes);
    int rc;

    atomic_flag_clear(&c->lock.held);
    c->dirty_from = UINT64_MAX;
    c->untouched = UINT64_MAX; /* what a former owner left */
    c->block_count = table_bytes / 8;
    c->blocks = calloc(c->block_count, sizeof *c->blocks);
    c->allocatable = calloc(div_round_up(count, 64) + 1, sizeof *c->allocatable);
    rc = reftable && c->blocks && c->allocatable ? 0 : -ENOMEM;
    if (!rc)
        rc = blockdev_read_bytes(q->file, reftable, q->header.reftable_offset, table_bytes);
    if (rc)
        error_set(err, -rc, "cannot read the image's refcounts");
    if (!rc)
        rc = load_blocks(q, reftable, err);
    if (!rc)
        clusters_add(q, MIN(count, covered(q)));
    free(reftable);
    return rc;
}
