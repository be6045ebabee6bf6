/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a snapshot refers to: its tables do not change, and are read from the disk. */
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "image/snapshot.h"

static int check_table(const struct qcow2 *q, const uint8_t *table)
{
    for (unsigned i = 0; i < 1u << q->g.l2_bits; i++) {
        struct qcow2_entry e = qcow2_entry_get(&q->g, table, i);

        if (qcow2_l2_entry_fault(&q->g, q->g.version, e, q->file->size_bytes))
            return -EIO;
    }
    return 0;
}

static int visit_one(struct qcow2 *q, unsigned index, uint64_t word, uint8_t *table,
    snapshot_visit *visit, void *arg)
{
    int rc = qcow2_l1_entry_fault(&q->g, word, q->file->size_bytes) ? -EIO : 0;

    if (!rc)
        rc = blockdev_read_bytes(q->file, table, word & QCOW2_OFFSET_MASK, cluster_bytes(q));
    if (!rc)
        rc = check_table(q, table);
    return rc ? rc : visit(arg, index, word, table);
}

int snapshot_walk(struct qcow2 *q, const struct qcow2_snapshot *s, snapshot_visit *visit, void *arg)
{
    uint64_t bytes = 8 * (uint64_t)s->l1_entries;
    uint8_t *l1 = malloc(MAX(bytes, UINT64_C(1)));
    uint8_t *table = aligned_alloc(4096, MAX(cluster_bytes(q), UINT64_C(4096)));
    int rc = l1 && table ? 0 : -ENOMEM;

    if (!rc && (s->l1_offset > q->file->size_bytes || bytes > q->file->size_bytes - s->l1_offset))
        rc = -EIO;
    if (!rc)
        rc = blockdev_read_bytes(q->file, l1, s->l1_offset, bytes);
    for (unsigned i = 0; !rc && i < s->l1_entries; i++) {
        uint64_t word = get_be64(l1 + 8 * (uint64_t)i);

        if (word & QCOW2_OFFSET_MASK)
            rc = visit_one(q, i, word, table, visit, arg);
    }
    free(table);
    free(l1);
    return rc;
}

int table_clusters(const struct qcow2 *q, const uint8_t *table, struct freed *f)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < 1u << q->g.l2_bits; i++)
        rc = freed_add_entry(q, f, qcow2_entry_get(&q->g, table, i));
    return rc;
}

int clusters_count_down_all(struct qcow2 *q, const struct freed *f)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < f->count; i++)
        rc = clusters_count_down(q, &f->runs[i]);
    return rc;
}

static void discard_unused(struct qcow2 *q, const struct freed_run *run)
{
    for (uint64_t c = run->cluster, end = c; c < run->cluster + run->count; c = end + 1) {
        end = c;
        while (end < run->cluster + run->count && !clusters_refcount(q, end))
            end++;
        if (end > c)
            blockdev_discard(q->file, c << q->g.cluster_bits, (end - c) << q->g.cluster_bits);
    }
}

void clusters_reuse(struct qcow2 *q, const struct freed *f)
{
    for (size_t i = 0; q->options.discard && i < f->count; i++)
        discard_unused(q, &f->runs[i]);
    clusters_allow(q, f);
    space_wake(q);
}
