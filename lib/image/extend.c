/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A longer file: its new clusters get refcount blocks, which stand in the new part themselves, and
 * a longer refcount table when the old one has no room. All of it is durable before any of the new
 * clusters can be taken, so that no commit has to wait for it: blocks, then the table's entries (or
 * the new table, and the header that names it).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/image.h"
#include "image/refcount.h"

struct extension {
    struct qcow2 *q;
    uint64_t old_count, new_count;
    uint64_t next;                /* the first cluster that nothing was put into */
    uint64_t first_block, blocks; /* numbers of the new ones */
    struct refblock **made;
    uint64_t table_cluster, table_clusters; /* a new refcount table; 0: the old one does */
};

static uint64_t per_block(const struct qcow2 *q)
{
    return UINT64_C(1) << q->g.refcount_block_bits;
}

/* So many clusters in a row of the new part. */
static int place(struct extension *x, uint64_t at_least, uint64_t count, uint64_t *cluster)
{
    uint64_t at = MAX(x->next, at_least);

    if (at + count > x->new_count)
        return -ENOSPC;
    *cluster = at;
    x->next = at + count;
    return 0;
}

static void count_in(struct extension *x, uint64_t cluster, uint64_t count)
{
    struct qcow2 *q = x->q;

    for (uint64_t i = cluster; i < cluster + count; i++) {
        uint64_t number = i / per_block(q);
        struct refblock *b = x->made[number - x->first_block];

        if (!b)
            b = q->clusters.blocks[number];
        spin_lock(&q->clusters.lock);
        refcount_set(b->bytes, q->g.refcount_order, i % per_block(q), 1);
        spin_unlock(&q->clusters.lock);
    }
}

/* Blocks for the regions that have none, and a table if they ask for it. */
static int make_blocks(struct extension *x)
{
    struct qcow2 *q = x->q;
    uint64_t last = (x->new_count - 1) / per_block(q), cluster;
    int rc = 0;

    x->first_block = x->old_count / per_block(q);
    x->blocks = last - x->first_block + 1;
    x->made = calloc(x->blocks, sizeof *x->made);
    if (!x->made)
        return -ENOMEM;
    for (uint64_t i = 0; !rc && i < x->blocks; i++) {
        uint64_t number = x->first_block + i;

        if (number < q->clusters.block_count && q->clusters.blocks[number])
            continue;
        rc = place(x, number * per_block(q), 1, &cluster);
        if (rc == -ENOSPC && i) { /* the last bit is not worth a block: left for the next time */
            x->new_count = number * per_block(q);
            x->blocks = i;
            return 0;
        }
        if (!rc && !(x->made[i] = refblock_new(q, number, cluster << q->g.cluster_bits)))
            rc = -ENOMEM;
    }
    return rc;
}

static int make_table(struct extension *x)
{
    struct qcow2 *q = x->q;
    uint64_t need = x->first_block + x->blocks;

    if (need <= q->clusters.block_count)
        return 0;
    x->table_clusters = div_round_up(8 * (need + need / 2), cluster_bytes(q));
    if (x->table_clusters << q->g.cluster_bits > QCOW2_REFTABLE_MAX_BYTES)
        x->table_clusters = QCOW2_REFTABLE_MAX_BYTES >> q->g.cluster_bits;
    if (8 * need > x->table_clusters << q->g.cluster_bits)
        return -EFBIG;
    return place(x, 0, x->table_clusters, &x->table_cluster);
}

static int write_block(struct qcow2 *q, struct refblock *b)
{
    return blockdev_write_bytes(q->file, b->bytes, b->host_offset, cluster_bytes(q), 0);
}

/* Most growth asks for neither. */
static bool has_new_tables(const struct extension *x)
{
    bool any = x->table_clusters;

    for (uint64_t i = 0; i < x->blocks; i++)
        any |= !!x->made[i];
    return any;
}

static int write_blocks(struct extension *x)
{
    struct qcow2 *q = x->q;
    int rc = 0;

    for (uint64_t i = 0; i < x->blocks; i++)
        if (x->made[i])
            count_in(x, x->made[i]->host_offset >> q->g.cluster_bits, 1);
    if (x->table_clusters)
        count_in(x, x->table_cluster, x->table_clusters);
    for (uint64_t i = 0; !rc && i < x->blocks; i++)
        if (x->made[i])
            rc = write_block(q, x->made[i]);
    if (!rc && x->table_clusters && x->first_block < q->clusters.block_count &&
        q->clusters.blocks[x->first_block] && !x->made[0])
        rc = write_block(q, q->clusters.blocks[x->first_block]); /* it may count the new table */
    return rc ? rc : blockdev_flush(q->file);
}

static int write_entries(struct extension *x)
{
    struct qcow2 *q = x->q;
    int rc = 0;

    for (uint64_t i = 0; !rc && i < x->blocks; i++) {
        uint8_t entry[8];

        if (!x->made[i])
            continue;
        put_be64(entry, x->made[i]->host_offset);
        rc = blockdev_write_bytes(
            q->file, entry, q->header.reftable_offset + 8 * (x->first_block + i), 8, 0);
    }
    return rc ? rc : blockdev_flush(q->file);
}

static int write_table(struct extension *x)
{
    struct qcow2 *q = x->q;
    uint64_t bytes = x->table_clusters << q->g.cluster_bits;
    struct qcow2_header h = q->header;
    uint8_t *table = calloc(1, bytes);
    int rc;

    if (!table)
        return -ENOMEM;
    for (uint64_t i = 0; i < q->clusters.block_count; i++)
        if (q->clusters.blocks[i])
            put_be64(table + 8 * i, q->clusters.blocks[i]->host_offset);
    for (uint64_t i = 0; i < x->blocks; i++)
        if (x->made[i])
            put_be64(table + 8 * (x->first_block + i), x->made[i]->host_offset);
    h.reftable_offset = x->table_cluster << q->g.cluster_bits;
    h.reftable_clusters = (uint32_t)x->table_clusters;
    rc = blockdev_write_bytes(q->file, table, h.reftable_offset, bytes, 0);
    free(table);
    if (!rc)
        rc = blockdev_flush(q->file);
    return rc ? rc : header_write(q, &h);
}

static int write_tables(struct extension *x)
{
    int rc = write_blocks(x);

    if (!rc)
        rc = x->table_clusters ? write_table(x) : write_entries(x);
    return rc;
}

/* Memory for it, before anything is written: what cannot fail remains. */
static int make_room(struct extension *x, uint64_t **bits, struct refblock ***blocks)
{
    struct qcow2 *q = x->q;
    uint64_t block_count = q->clusters.block_count;

    if (x->table_clusters)
        block_count = (x->table_clusters << q->g.cluster_bits) / 8;
    *bits = calloc(div_round_up(x->new_count, 64) + 1, sizeof **bits);
    *blocks = calloc(block_count, sizeof **blocks);
    return *bits && *blocks ? clusters_reserve(q, 1) : -ENOMEM;
}

static void adopt(struct extension *x, uint64_t **bits, struct refblock ***blocks)
{
    struct qcow2 *q = x->q;
    struct clusters *c = &q->clusters;
    uint64_t *old_bits = c->allocatable;
    struct refblock **old_blocks = c->blocks;

    spin_lock(&c->lock);
    memcpy(*bits, old_bits, div_round_up(c->count, 64) * sizeof **bits);
    memcpy(*blocks, old_blocks, c->block_count * sizeof **blocks);
    c->allocatable = *bits;
    c->blocks = *blocks;
    if (x->table_clusters)
        c->block_count = (x->table_clusters << q->g.cluster_bits) / 8;
    for (uint64_t i = 0; i < x->blocks; i++)
        if (x->made[i])
            c->blocks[x->first_block + i] = x->made[i];
    clusters_add(q, x->new_count);
    spin_unlock(&c->lock);
    *bits = old_bits;
    *blocks = old_blocks;
}

static void forget(struct extension *x)
{
    for (uint64_t i = 0; x->made && i < x->blocks; i++)
        refblock_free(x->made[i]);
}

int clusters_extend(struct qcow2 *q, uint64_t file_bytes)
{
    struct extension x = {.q = q,
        .old_count = q->clusters.count,
        .new_count = file_bytes >> q->g.cluster_bits,
        .next = q->clusters.count};
    uint64_t *bits = NULL, old_table = q->header.reftable_offset >> q->g.cluster_bits;
    uint64_t old_clusters = q->header.reftable_clusters;
    struct refblock **blocks = NULL;
    int rc;

    if (x.new_count <= x.old_count)
        return 0;
    rc = make_blocks(&x);
    if (!rc)
        rc = make_table(&x);
    if (!rc)
        rc = make_room(&x, &bits, &blocks);
    if (!rc && has_new_tables(&x))
        rc = write_tables(&x);
    if (!rc)
        adopt(&x, &bits, &blocks);
    else
        forget(&x);
    if (!rc)
        clusters_keep_more(q, x.blocks + x.table_clusters);
    if (!rc && x.table_clusters)
        clusters_drop(q, old_table, old_clusters);
    free(x.made);
    free(bits);
    free(blocks);
    return rc;
}
