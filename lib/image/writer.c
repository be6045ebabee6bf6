/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "image/plan.h"
#include "image/refcount.h"

#define AHEAD_BYTES     (UINT64_C(64) << 20) /* the file grows in larger steps */
#define ALL_SUBCLUSTERS UINT64_C(0xffffffff)

static int no_memory(struct error *err)
{
    return error_set(err, ENOMEM, "out of memory");
}

static int check_header(const struct writer *w, struct error *err)
{
    const struct qcow2_header *h = &w->header;

    if (w->cluster_bytes < w->plan->file->logical_block_bytes)
        return error_set(err, EINVAL, "clusters of %" PRIu64 " bytes on blocks of %u",
            w->cluster_bytes, w->plan->file->logical_block_bytes);
    if (qcow2_l1_entries(&w->geometry, h->size_bytes) * 8 > QCOW2_L1_MAX_BYTES)
        return error_set(err, EFBIG, "a disk of that size needs larger clusters");
    return 0;
}

/* Makes sure that the file has so many clusters. */
static int reserve(struct writer *w, uint64_t clusters, struct error *err)
{
    const struct writer_plan *plan = w->plan;
    uint64_t bytes = clusters * w->cluster_bytes;
    int rc = -ENOSPC;

    if (bytes <= plan->file->size_bytes)
        return 0;
    if (plan->file_ops && plan->file_ops->grow) {
        rc = plan->file_ops->grow(plan->file_arg, bytes + AHEAD_BYTES);
        if (rc == -ENOSPC)
            rc = plan->file_ops->grow(plan->file_arg, bytes);
    }
    return rc ? error_set(err, -rc, "no room for more than %" PRIu64 " bytes in %s: %s",
                    (uint64_t)plan->file->size_bytes, plan->file->name, strerror(-rc))
              : 0;
}

int writer_take(struct writer *w, uint64_t clusters, uint64_t *offset, struct error *err)
{
    int rc = reserve(w, w->end + clusters, err);

    if (rc)
        return rc;
    *offset = w->end * w->cluster_bytes;
    w->end += clusters;
    return 0;
}

static uint64_t block_refcounts(const struct writer *w)
{
    return UINT64_C(1) << w->geometry.refcount_block_bits;
}

/* The block of a cluster's refcount, in memory from now on. */
static uint8_t *block_of(struct writer *w, uint64_t cluster)
{
    uint64_t index = cluster >> w->geometry.refcount_block_bits;

    if (index >= w->block_count) {
        uint64_t count = index + 1 + index / 2;
        uint8_t **blocks = realloc(w->blocks, count * sizeof *blocks);

        if (!blocks)
            return NULL;
        memset(blocks + w->block_count, 0, (count - w->block_count) * sizeof *blocks);
        w->blocks = blocks;
        w->block_count = count;
    }
    if (w->blocks[index])
        return w->blocks[index];
    w->blocks[index] = malloc(w->cluster_bytes);
    for (uint64_t i = 0; w->blocks[index] && i < block_refcounts(w); i++)
        refcount_set(w->blocks[index], w->geometry.refcount_order, i, 1);
    return w->blocks[index];
}

/* change: added to the refcount, which is 1 as long as nobody has changed it. */
static int count(struct writer *w, uint64_t cluster, int change, struct error *err)
{
    uint8_t *block = block_of(w, cluster);
    uint64_t index = cluster & (block_refcounts(w) - 1);
    unsigned order = w->geometry.refcount_order;

    if (!block)
        return no_memory(err);
    refcount_set(block, order, index, refcount_get(block, order, index) + (uint64_t)change);
    return 0;
}

/* Whether the cluster that is open for compressed data takes so many more, of so many bytes in all:
 * it, and those that will follow it directly. */
static bool open_cluster_takes(struct writer *w, uint64_t bytes, unsigned streams)
{
    uint64_t cluster = w->packed_at / w->cluster_bytes;
    uint64_t room = w->cluster_bytes - w->packed_at % w->cluster_bytes;
    uint64_t index = cluster & (block_refcounts(w) - 1);
    uint8_t *block;

    if (w->packed_at % w->cluster_bytes == 0 || (bytes > room && cluster + 1 != w->end))
        return false;
    block = block_of(w, cluster);
    return block && refcount_get(block, w->geometry.refcount_order, index) + streams <=
                        refcount_max(w->geometry.refcount_order);
}

int writer_take_packed(
    struct writer *w, const uint32_t *lengths, unsigned n, uint64_t *offset, struct error *err)
{
    uint64_t at, bytes = 0, fresh = w->end, taken;
    int rc = 0;

    for (unsigned i = 0; i < n; i++)
        bytes += lengths[i];
    at = open_cluster_takes(w, bytes, n) ? w->packed_at : w->end * w->cluster_bytes;
    if (at + bytes > w->end * w->cluster_bytes)
        rc = writer_take(w, div_round_up(at + bytes, w->cluster_bytes) - w->end, &taken, err);
    if (rc)
        return rc;
    *offset = at;
    w->packed_at = round_up(at + bytes, w->plan->file->logical_block_bytes);
    for (; !rc && fresh < w->end; fresh++)
        rc = count(w, fresh, -1, err);
    for (unsigned i = 0; i < n; at += lengths[i++])
        for (uint64_t c = at / w->cluster_bytes;
             !rc && c <= (at + lengths[i] - 1) / w->cluster_bytes; c++)
            rc = count(w, c, 1, err);
    return rc;
}

static int write_clusters(
    struct writer *w, const uint8_t *bytes, uint64_t clusters, uint64_t *offset, struct error *err)
{
    int rc = writer_take(w, clusters, offset, err);

    if (rc)
        return rc;
    rc = blockdev_write(w->plan->file, bytes, *offset, clusters * w->cluster_bytes, BLOCK_STABLE);
    return rc ? error_set(err, -rc, "cannot write to %s at %" PRIu64 ": %s", w->plan->file->name,
                    *offset, strerror(-rc))
              : 0;
}

static int put_table(struct writer *w, struct error *err)
{
    uint64_t offset;
    int rc;

    if (!w->l2_used)
        return 0;
    rc = write_clusters(w, w->l2, 1, &offset, err);
    if (rc)
        return rc;
    put_be64(w->l1 + w->l2_index * 8, offset | QCOW2_COPIED);
    memset(w->l2, 0, w->cluster_bytes);
    w->l2_used = false;
    return 0;
}

struct qcow2_entry writer_plain_entry(const struct writer *w, uint64_t offset)
{
    return (struct qcow2_entry){
        .word = offset | QCOW2_COPIED, .bitmap = w->geometry.extended ? ALL_SUBCLUSTERS : 0};
}

int writer_map(struct writer *w, uint64_t guest_cluster, struct qcow2_entry e, struct error *err)
{
    uint64_t index = guest_cluster >> w->geometry.l2_bits;
    unsigned mask = (1u << w->geometry.l2_bits) - 1;
    int rc = 0;

    assert(index >= w->l2_index && index < w->header.l1_entries);
    if (index != w->l2_index)
        rc = put_table(w, err);
    if (rc)
        return rc;
    w->l2_index = index;
    w->l2_used = true;
    qcow2_entry_put(&w->geometry, w->l2, (unsigned)guest_cluster & mask, e);
    return 0;
}

static uint64_t l1_clusters(const struct writer *w)
{
    return div_round_up((uint64_t)w->header.l1_entries * 8, w->cluster_bytes);
}

static int allocate(struct writer *w, struct error *err)
{
    w->l1 = calloc(l1_clusters(w) ? l1_clusters(w) : 1, w->cluster_bytes);
    w->l2 = io_buffer_get(w->cluster_bytes);
    if (!w->l1 || !w->l2)
        return no_memory(err);
    memset(w->l2, 0, w->cluster_bytes);
    return 0;
}

/* What was in the file is no image any more. */
static int void_header(struct writer *w, struct error *err)
{
    struct blockdev *file = w->plan->file;
    int rc = blockdev_write_zeros(file, 0, w->cluster_bytes, 0);

    if (!rc)
        rc = blockdev_flush(file);
    return rc ? error_set(err, -rc, "cannot write to %s: %s", file->name, strerror(-rc)) : 0;
}

int writer_begin(struct writer *w, const struct writer_plan *plan, struct error *err)
{
    int rc;

    *w = (struct writer){.plan = plan};
    rc = qcow2_plan_header(&w->header, &w->geometry, &plan->image, err);
    w->cluster_bytes = UINT64_C(1) << w->header.cluster_bits;
    if (!rc)
        rc = check_header(w, err);
    if (rc)
        return rc;
    w->header.l1_entries = (uint32_t)qcow2_l1_entries(&w->geometry, plan->image.size_bytes);
    w->end = w->first_free = MAX(div_round_up(plan->first_bytes, w->cluster_bytes), UINT64_C(1));
    rc = allocate(w, err);
    if (!rc)
        rc = reserve(w, w->end, err);
    if (!rc && !plan->first_bytes)
        rc = void_header(w, err);
    if (rc)
        writer_free(w);
    return rc;
}

/* Refcount blocks count themselves and their table, which all stand at the end. */
static uint64_t blocks_needed(const struct writer *w, uint64_t *table_clusters)
{
    uint64_t blocks = 0, table = 0, clusters, before;

    do {
        before = blocks + table;
        clusters = w->end + before;
        blocks = div_round_up(clusters, block_refcounts(w));
        table = div_round_up(blocks * 8, w->cluster_bytes);
    } while (blocks + table != before);
    *table_clusters = table;
    return blocks;
}

/* As it is to be on the disk, in w->l2: without what was never given out. */
static void build_block(struct writer *w, uint64_t index)
{
    uint64_t first = index << w->geometry.refcount_block_bits;
    const uint8_t *known = index < w->block_count ? w->blocks[index] : NULL;
    unsigned order = w->geometry.refcount_order;

    memset(w->l2, 0, w->cluster_bytes);
    for (uint64_t i = 0; i < block_refcounts(w) && first + i < w->end; i++)
        if (first + i == 0 || first + i >= w->first_free)
            refcount_set(w->l2, order, i, known ? refcount_get(known, order, i) : 1);
}

static int put_blocks(
    struct writer *w, uint64_t offset, uint64_t blocks, uint8_t *table, struct error *err)
{
    int rc = 0;

    for (uint64_t i = 0; !rc && i < blocks; i++, offset += w->cluster_bytes) {
        build_block(w, i);
        put_be64(table + i * 8, offset);
        rc = blockdev_write(w->plan->file, w->l2, offset, w->cluster_bytes, BLOCK_STABLE);
    }
    return rc ? error_set(err, -rc, "cannot write to %s: %s", w->plan->file->name, strerror(-rc))
              : 0;
}

static int put_refcounts(struct writer *w, struct error *err)
{
    uint64_t table_clusters, blocks = blocks_needed(w, &table_clusters), offset = 0, table_offset;
    uint8_t *table = calloc(table_clusters, w->cluster_bytes);
    int rc;

    if (!table)
        return no_memory(err);
    rc = writer_take(w, blocks + table_clusters, &offset, err);
    table_offset = offset + blocks * w->cluster_bytes;
    if (!rc)
        rc = put_blocks(w, offset, blocks, table, err);
    if (!rc)
        rc = blockdev_write(
            w->plan->file, table, table_offset, table_clusters * w->cluster_bytes, BLOCK_STABLE);
    free(table);
    w->header.reftable_offset = table_offset;
    w->header.reftable_clusters = (uint32_t)table_clusters;
    return rc;
}

static int put_header(struct writer *w, struct error *err)
{
    int rc = qcow2_header_write(&w->header, w->l2, w->cluster_bytes, err);

    if (!rc)
        rc = blockdev_flush(w->plan->file);
    if (!rc)
        rc = blockdev_write(w->plan->file, w->l2, 0, w->cluster_bytes, BLOCK_STABLE | BLOCK_FUA);
    return rc;
}

int writer_end(struct writer *w, uint64_t *end_bytes, struct error *err)
{
    int rc = put_table(w, err);

    if (!rc && w->header.l1_entries)
        rc = write_clusters(w, w->l1, l1_clusters(w), &w->header.l1_offset, err);
    if (!rc)
        rc = put_refcounts(w, err);
    if (!rc)
        rc = put_header(w, err);
    if (rc)
        return error_prefix(err, rc, "cannot finish the image in %s", w->plan->file->name);
    *end_bytes = w->end * w->cluster_bytes;
    return 0;
}

void writer_free(struct writer *w)
{
    for (uint64_t i = 0; i < w->block_count; i++)
        free(w->blocks[i]);
    free(w->blocks);
    if (w->l2)
        io_buffer_put(w->l2, w->cluster_bytes);
    free(w->l1);
    *w = (struct writer){0};
}
