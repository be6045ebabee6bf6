/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One scan of the image, and what its parts have in common: uses of clusters, reading. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/check_private.h"

static const char *use_name(unsigned uses)
{
    static const char *const names[CHECK_USES] = {
        "data", "an L2 table", "refcounts", "bitmaps", "header, L1 or snapshot table"};

    return names[__builtin_ctz(uses)];
}

static bool may_share(unsigned old, unsigned use)
{
    return !old || (old == use && use & (CHECK_USE_DATA | CHECK_USE_L2));
}

void check_use(struct check *c, uint64_t offset, uint64_t length, unsigned use, uint32_t times)
{
    uint64_t first = offset >> c->g.cluster_bits, last = (offset + length - 1) >> c->g.cluster_bits;

    for (uint64_t i = first; length && i <= last; i++) {
        unsigned old = c->uses[i] & ~CHECK_ACTIVE_L2;

        if (!may_share(old, use)) {
            check_found(c, CHECK_OVERLAP, i << c->g.cluster_bits,
                "the cluster is used as %s and as %s", use_name(old), use_name(use));
            c->rebuild |= ((old | use) & CHECK_USE_REFCOUNT) != 0;
        }
        c->uses[i] |= (uint8_t)use;
        c->references[i] = check_add(c->references[i], times);
    }
}

bool check_inside(const struct check *c, uint64_t offset, uint64_t length)
{
    return !(offset & (c->cluster_bytes - 1)) && length <= c->file_bytes &&
           offset <= c->file_bytes - length;
}

unsigned check_batch_count(const struct check *c)
{
    return (unsigned)MIN((uint64_t)CHECK_BATCH_MAX, CHECK_BATCH_BYTES >> c->g.cluster_bits);
}

int check_read_cluster(struct check *c, uint64_t offset)
{
    return blockdev_read_bytes(c->file, c->batch, offset, c->cluster_bytes);
}

static void read_small(struct check *c, struct check_reads *reads)
{
    for (unsigned i = 0; i < reads->count; i++)
        reads->results[i] = blockdev_read_bytes(
            c->file, c->batch + i * c->cluster_bytes, reads->offsets[i], c->cluster_bytes);
}

void check_read_batch(struct check *c, struct check_reads *reads)
{
    struct block_op ops[CHECK_BATCH_MAX] = {0};
    struct iovec iov[CHECK_BATCH_MAX];

    if (c->cluster_bytes < c->file->logical_block_bytes) {
        read_small(c, reads);
        return;
    }
    for (unsigned i = 0; i < reads->count; i++) {
        iov[i] = (struct iovec){c->batch + i * c->cluster_bytes, c->cluster_bytes};
        ops[i] = (struct block_op){.kind = BLOCK_READ,
            .dev = c->file,
            .iov = &iov[i],
            .iov_count = 1,
            .offset = reads->offsets[i]};
    }
    blockdev_run(ops, reads->count);
    for (unsigned i = 0; i < reads->count; i++)
        reads->results[i] = ops[i].result;
}

int check_read_table(struct check *c, uint64_t offset, uint64_t length, uint8_t **bytes)
{
    uint8_t *to = malloc(length);
    int rc = to ? blockdev_read_bytes(c->file, to, offset, length) : -ENOMEM;

    if (rc < 0)
        free(to);
    else
        *bytes = to;
    return rc;
}

void check_scan_free(struct check *c)
{
    free(c->refcounts);
    free(c->references);
    free(c->uses);
    free(c->blocks);
    free(c->tables);
    free(c->l1s);
    qcow2_snapshots_free(c->snapshots, c->snapshot_count);
    c->refcounts = c->references = NULL;
    c->uses = NULL;
    c->blocks = NULL;
    c->tables = NULL;
    c->l1s = NULL;
    c->snapshots = NULL;
    c->table_count = c->block_count = 0;
    c->snapshot_count = c->l1_count = 0;
}

static int scan_begin(struct check *c)
{
    check_scan_free(c);
    memset(c->found, 0, sizeof c->found);
    c->rebuild = c->incomplete = c->overflow = c->bad_bitmaps = false;
    c->clusters = div_round_up(c->file_bytes, c->cluster_bytes);
    c->refcounts = calloc(c->clusters, sizeof *c->refcounts);
    c->references = calloc(c->clusters, sizeof *c->references);
    c->uses = calloc(c->clusters, sizeof *c->uses);
    return c->refcounts && c->references && c->uses ? 0 : -ENOMEM;
}

/*
 * L2 tables are listed while nothing but L1s was counted, so that the count of a table is that of
 * its L1 entries; data is counted last, when all else is known.
 */
int check_scan(struct check *c)
{
    int rc = scan_begin(c);

    if (!rc)
        rc = check_load_refcounts(c);
    if (!rc)
        rc = check_read_snapshots(c);
    if (!rc)
        rc = check_count_l1s(c);
    if (rc < 0)
        return rc;
    check_use(c, 0, c->cluster_bytes, CHECK_USE_FIXED, 1);
    for (unsigned i = 0; i < c->l1_count; i++)
        check_use(c, c->l1s[i].offset, UINT64_C(8) * c->l1s[i].entries, CHECK_USE_FIXED, 1);
    check_use_snapshots(c);
    check_use_refcounts(c);
    rc = check_use_bitmaps(c);
    if (!rc)
        rc = check_count_l2s(c);
    if (!rc)
        check_compare_refcounts(c);
    return rc;
}
