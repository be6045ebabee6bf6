/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcounts as they stand: read, compared with what was counted, and put right in the blocks that
 * there are. New blocks and a new table: check_rebuild.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/check_private.h"
#include "image/refcount.h"

static uint64_t per_block(const struct check *c)
{
    return UINT64_C(1) << c->g.refcount_block_bits;
}

/* A block's refcounts of clusters that the file has. */
static uint64_t count_in(const struct check *c, uint64_t block)
{
    uint64_t first = block << c->g.refcount_block_bits;

    return first < c->clusters ? MIN(per_block(c), c->clusters - first) : 0;
}

static void keep_block(struct check *c, uint64_t i, uint64_t word, uint64_t at)
{
    uint64_t offset = word & ~QCOW2_REFTABLE_RESERVED;

    if (word == offset && (!offset || check_inside(c, offset, c->cluster_bytes))) {
        c->blocks[i] = offset;
        return;
    }
    check_found(c, CHECK_TABLE, at, "refcount table: entry %ju cannot be: 0x%jx", (uintmax_t)i,
        (uintmax_t)word);
    c->rebuild = true;
}

static int load_table(struct check *c)
{
    uint64_t offset = c->header.reftable_offset;
    uint64_t length = (uint64_t)c->header.reftable_clusters << c->g.cluster_bits;
    uint8_t *bytes;
    int rc;

    c->block_count = length / 8;
    c->blocks = calloc(c->block_count, sizeof *c->blocks);
    if (!c->blocks)
        return -ENOMEM;
    rc = check_read_table(c, offset, length, &bytes);
    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        check_found(c, CHECK_UNREADABLE, offset, "the refcount table cannot be read");
        c->rebuild = true;
        return 0;
    }
    for (uint64_t i = 0; i < c->block_count; i++)
        keep_block(c, i, get_be64(bytes + i * 8), offset + i * 8);
    free(bytes);
    return 0;
}

static void load_block(struct check *c, uint64_t block, const uint8_t *bytes)
{
    uint32_t *to = c->refcounts + (block << c->g.refcount_block_bits);
    uint64_t n = count_in(c, block);

    for (uint64_t i = 0; i < n; i++)
        to[i] = (uint32_t)MIN(refcount_get(bytes, c->g.refcount_order, i), (uint64_t)UINT32_MAX);
}

static void load_batch(struct check *c, const uint64_t *blocks, struct check_reads *reads)
{
    check_read_batch(c, reads);
    for (unsigned i = 0; i < reads->count; i++) {
        if (!reads->results[i]) {
            load_block(c, blocks[i], c->batch + i * c->cluster_bytes);
            continue;
        }
        check_found(c, CHECK_UNREADABLE, reads->offsets[i], "a refcount block cannot be read");
        c->blocks[blocks[i]] = 0;
        c->rebuild = true;
    }
    reads->count = 0;
}

int check_load_refcounts(struct check *c)
{
    uint64_t blocks[CHECK_BATCH_MAX] = {0};
    struct check_reads reads = {0};
    int rc = load_table(c);

    for (uint64_t i = 0; !rc && i < c->block_count && count_in(c, i); i++) {
        if (!c->blocks[i])
            continue;
        blocks[reads.count] = i;
        reads.offsets[reads.count++] = c->blocks[i];
        if (reads.count == check_batch_count(c))
            load_batch(c, blocks, &reads);
    }
    load_batch(c, blocks, &reads);
    return rc;
}

void check_use_refcounts(struct check *c)
{
    uint64_t length = (uint64_t)c->header.reftable_clusters << c->g.cluster_bits;

    check_use(c, c->header.reftable_offset, length, CHECK_USE_REFCOUNT, 1);
    for (uint64_t i = 0; i < c->block_count; i++)
        if (c->blocks[i])
            check_use(c, c->blocks[i], c->cluster_bytes, CHECK_USE_REFCOUNT, 1);
}

bool check_has_block(const struct check *c, uint64_t cluster)
{
    uint64_t block = cluster >> c->g.refcount_block_bits;

    return block < c->block_count && c->blocks[block];
}

static void compare(struct check *c, uint64_t cluster)
{
    uint32_t stands = c->refcounts[cluster], counted = c->references[cluster];
    uint64_t offset = cluster << c->g.cluster_bits;

    if (stands == counted)
        return;
    if (stands > counted) {
        check_found(
            c, CHECK_LEAK, offset, "the refcount is %u, there are %u references", stands, counted);
        return;
    }
    check_found(
        c, CHECK_REFCOUNT, offset, "the refcount is %u, there are %u references", stands, counted);
    c->rebuild |= !check_has_block(c, cluster);
    c->overflow |= counted > c->refcount_max;
}

void check_compare_refcounts(struct check *c)
{
    c->result->image_end_bytes = 0;
    for (uint64_t i = 0; i < c->clusters; i++) {
        compare(c, i);
        if (c->refcounts[i] || c->references[i])
            c->result->image_end_bytes = (i + 1) << c->g.cluster_bits;
    }
}

/* The span of bytes in a block that the differing refcounts take; false: none. */
static bool differing(
    const struct check *c, uint64_t block, const uint32_t *wanted, uint64_t *from, uint64_t *to)
{
    uint64_t first = block << c->g.refcount_block_bits, n = count_in(c, block);
    unsigned order = c->g.refcount_order;
    bool any = false;

    for (uint64_t i = 0; i < n; i++) {
        if (wanted[first + i] == c->refcounts[first + i])
            continue;
        *from = any ? *from : (i << order) / 8;
        *to = div_round_up((i + 1) << order, 8);
        any = true;
    }
    return any;
}

static int write_block(struct check *c, uint64_t block, const uint32_t *wanted)
{
    uint64_t first = block << c->g.refcount_block_bits, n = count_in(c, block), from, to;
    uint64_t at = c->blocks[block];
    uint8_t *bytes = c->batch;
    int rc;

    if (!at || !differing(c, block, wanted, &from, &to))
        return 0;
    rc = check_read_cluster(c, at);
    if (rc < 0)
        return rc;
    for (uint64_t i = 0; i < n; i++)
        if (wanted[first + i] != c->refcounts[first + i])
            refcount_set(bytes, c->g.refcount_order, i, wanted[first + i]);
    return blockdev_write_bytes(c->file, bytes + from, at + from, to - from, 0);
}

int check_write_refcounts(struct check *c, const uint32_t *wanted)
{
    int rc = 0;

    for (uint64_t i = 0; !rc && i < c->block_count && count_in(c, i); i++)
        rc = write_block(c, i, wanted);
    return rc ? rc : blockdev_flush(c->file);
}
