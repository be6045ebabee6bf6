/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new refcount table with new blocks, in clusters that nothing refers to. What is there stays
 * as it is until all of the new is durable; then one write into the header's first sector, 12
 * bytes, switches to it. The old table and blocks are leaks after that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/check_private.h"
#include "image/header_layout.h"
#include "image/refcount.h"

struct rebuild {
    struct check *c;
    uint32_t *refcounts; /* wanted, with the new clusters */
    uint64_t *blocks;
    uint64_t block_count; /* that the whole file needs */
    uint64_t table_offset, table_clusters;
    uint64_t cursor; /* no cluster below it is free */
};

static bool range_in_use(const struct rebuild *r, uint64_t block)
{
    unsigned bits = r->c->g.refcount_block_bits;
    uint64_t end = MIN((block + 1) << bits, r->c->clusters);

    for (uint64_t i = block << bits; i < end; i++)
        if (r->refcounts[i])
            return true;
    return false;
}

/* `count` clusters in a row, taken; 0: there are none. */
static uint64_t take(struct rebuild *r, uint64_t count)
{
    uint64_t whole = r->c->file_bytes >> r->c->g.cluster_bits, run = 0, i;

    for (i = r->cursor; i < whole && run < count; i++)
        run = r->refcounts[i] ? 0 : run + 1;
    if (run < count)
        return 0;
    for (uint64_t k = i - count; k < i; k++)
        r->refcounts[k] = 1;
    if (count == 1)
        r->cursor = i;
    return (i - count) << r->c->g.cluster_bits;
}

/* A block for each range with a cluster in use: the blocks themselves are in ranges too. */
static int place(struct rebuild *r)
{
    bool more = true;

    r->table_offset = take(r, r->table_clusters);
    if (!r->table_offset)
        return -ENOSPC;
    while (more) {
        more = false;
        for (uint64_t i = 0; i < r->block_count; i++) {
            if (r->blocks[i] || !range_in_use(r, i))
                continue;
            r->blocks[i] = take(r, 1);
            if (!r->blocks[i])
                return -ENOSPC;
            more = true;
        }
    }
    return 0;
}

static int write_new_block(struct rebuild *r, uint64_t block)
{
    struct check *c = r->c;
    uint64_t first = block << c->g.refcount_block_bits;
    uint64_t n = MIN(UINT64_C(1) << c->g.refcount_block_bits, c->clusters - first);

    memset(c->batch, 0, c->cluster_bytes);
    for (uint64_t i = 0; i < n; i++)
        refcount_set(c->batch, c->g.refcount_order, i, r->refcounts[first + i]);
    return blockdev_write_bytes(c->file, c->batch, r->blocks[block], c->cluster_bytes, 0);
}

static int write_table(struct rebuild *r)
{
    uint64_t length = r->table_clusters << r->c->g.cluster_bits;
    uint8_t *bytes = calloc(1, length);
    int rc;

    if (!bytes)
        return -ENOMEM;
    for (uint64_t i = 0; i < r->block_count; i++)
        put_be64(bytes + i * 8, r->blocks[i]);
    rc = blockdev_write_bytes(r->c->file, bytes, r->table_offset, length, 0);
    free(bytes);
    return rc;
}

static int write_all(struct rebuild *r)
{
    int rc = write_table(r);

    for (uint64_t i = 0; !rc && i < r->block_count; i++)
        if (r->blocks[i])
            rc = write_new_block(r, i);
    return rc ? rc : blockdev_flush(r->c->file);
}

static int switch_to(struct rebuild *r)
{
    struct qcow2_header *h = &r->c->header;
    uint8_t bytes[12]; /* two fields, side by side */
    int rc;

    put_be64(bytes, r->table_offset);
    put_be32(bytes + 8, (uint32_t)r->table_clusters);
    rc = blockdev_write_bytes(r->c->file, bytes, AT_REFTABLE_OFFSET, sizeof bytes, 0);
    if (!rc)
        rc = blockdev_flush(r->c->file);
    if (!rc) {
        h->reftable_offset = r->table_offset;
        h->reftable_clusters = (uint32_t)r->table_clusters;
    }
    return rc;
}

static int rebuild(struct rebuild *r)
{
    uint64_t clusters = r->block_count + r->table_clusters;
    int rc = place(r);

    if (rc == -ENOSPC) {
        /* The file becomes longer by that, and has more refcounts for it. */
        clusters += 2 + (clusters >> (r->c->g.refcount_block_bits - 1));
        r->c->result->room_needed_bytes = clusters << r->c->g.cluster_bits;
        return error_set(r->c->err, ENOSPC, "the image has no room for new refcounts");
    }
    if (!rc)
        rc = write_all(r);
    return rc ? rc : switch_to(r);
}

int check_rebuild_refcounts(struct check *c, const uint32_t *wanted)
{
    struct rebuild r = {.c = c};
    int rc = -ENOMEM;

    r.block_count = div_round_up(c->clusters, UINT64_C(1) << c->g.refcount_block_bits);
    r.table_clusters = div_round_up(r.block_count * 8, c->cluster_bytes);
    if (r.table_clusters << c->g.cluster_bits > QCOW2_REFTABLE_MAX_BYTES)
        return error_set(c->err, EFBIG, "the file is too long for refcounts of all its clusters");
    r.blocks = calloc(r.block_count, sizeof *r.blocks);
    r.refcounts = malloc(c->clusters * sizeof *r.refcounts);
    if (r.blocks && r.refcounts) {
        memcpy(r.refcounts, wanted, c->clusters * sizeof *r.refcounts);
        rc = rebuild(&r);
    }
    free(r.blocks);
    free(r.refcounts);
    return rc;
}
