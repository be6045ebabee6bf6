/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which clusters hold the image's own tables, as of when it was opened: each is there once and is
 * counted, or the image is not opened for writing, as a new table could be put over another.
 * Guests' entries that refer to one of them are not believed. What is freed leaves the set; tables
 * that were made since are our own, and not in it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "image/clusters.h"
#include "image/snapshot_table.h"

struct scan {
    struct qcow2 *q;
    struct error *err;
};

static int add(struct scan *s, const char *what, uint64_t offset, uint64_t bytes)
{
    struct clusters *c = &s->q->clusters;
    uint64_t end = div_round_up(offset + bytes, cluster_bytes(s->q));

    for (uint64_t i = offset >> s->q->g.cluster_bits; i < end; i++) {
        if (i >= c->metadata_count)
            return error_set(s->err, EUCLEAN, "the image's %s lies beyond its end", what);
        if (cluster_is_metadata(c, i))
            return error_set(s->err, EUCLEAN, "the image's %s lies over another table", what);
        if (!cluster_refcount(s->q, i))
            return error_set(s->err, EUCLEAN, "the image's %s is not counted", what);
        c->metadata[i / 64] |= UINT64_C(1) << i % 64;
    }
    return 0;
}

static int add_refcounts(struct scan *s)
{
    struct clusters *c = &s->q->clusters;
    uint64_t table_bytes = (uint64_t)s->q->header.reftable_clusters << s->q->g.cluster_bits;
    int rc = add(s, "refcount table", s->q->header.reftable_offset, table_bytes);

    for (uint64_t i = 0; !rc && i < c->block_count; i++)
        if (c->blocks[i])
            rc = add(s, "refcount block", c->blocks[i]->host_offset, cluster_bytes(s->q));
    return rc;
}

static int add_table(struct scan *s, uint64_t word)
{
    struct qcow2 *q = s->q;
    uint64_t offset = word & QCOW2_OFFSET_MASK;
    const char *fault = qcow2_l1_entry_fault(&q->g, word, q->file->size_bytes);

    if (fault)
        return error_set(s->err, EUCLEAN, "an L1 entry of the image cannot be: %s", fault);
    if (!offset)
        return 0;
    if (word & QCOW2_COPIED && cluster_refcount(q, offset >> q->g.cluster_bits) != 1)
        return error_set(s->err, EUCLEAN, "an L2 table of the image is not its own");
    return add(s, "L2 table", offset, cluster_bytes(q));
}

static int add_map(struct scan *s)
{
    const struct map *m = &s->q->map;
    int rc = m->count ? add(s, "L1 table", s->q->header.l1_offset, 8 * (uint64_t)m->count) : 0;

    for (unsigned i = 0; !rc && i < m->count; i++)
        rc = add_table(s, m->slots[i].word);
    return rc;
}

static int add_snapshots(struct scan *s)
{
    const struct qcow2_header *h = &s->q->header;
    int rc = 0;

    if (h->snapshot_count)
        rc = add(s, "snapshot table", h->snapshots_offset,
            qcow2_snapshots_bytes(s->q->snapshots, h->snapshot_count));
    for (unsigned i = 0; !rc && i < h->snapshot_count; i++) {
        const struct qcow2_snapshot *snapshot = &s->q->snapshots[i];

        if (snapshot->l1_entries)
            rc = add(
                s, "snapshot's L1 table", snapshot->l1_offset, 8 * (uint64_t)snapshot->l1_entries);
    }
    return rc;
}

int metadata_init(struct qcow2 *q, struct error *err)
{
    struct scan s = {.q = q, .err = err};
    struct clusters *c = &q->clusters;
    int rc;

    c->metadata_count = div_round_up(q->file->size_bytes, cluster_bytes(q));
    c->metadata = calloc(div_round_up(c->metadata_count, 64), sizeof *c->metadata);
    if (!c->metadata)
        return -ENOMEM;
    rc = add(&s, "header", 0, cluster_bytes(q));
    if (!rc)
        rc = add_refcounts(&s);
    if (!rc)
        rc = add_map(&s);
    return rc ? rc : add_snapshots(&s);
}

bool clusters_may_refer(struct qcow2 *q, uint64_t cluster, bool alone)
{
    uint64_t n;
    bool may;

    spin_lock(&q->clusters.lock);
    n = cluster_refcount(q, cluster);
    may = (alone ? n == 1 : n > 0) && !cluster_is_metadata(&q->clusters, cluster);
    spin_unlock(&q->clusters.lock);
    return may;
}
