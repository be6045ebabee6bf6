/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent bitmaps tell what changed since some moment; we do not keep them up. Before the first
 * change of an image they are taken out of it, and what they used is freed. Those that cannot be
 * read are taken out all the same: their clusters are a check's to find.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "image/bitmaps.h"
#include "image/image.h"

static int add_bytes(struct qcow2 *q, struct freed *f, uint64_t offset, uint64_t bytes)
{
    return freed_add(f, offset >> q->g.cluster_bits, div_round_up(bytes, cluster_bytes(q)));
}

static int add_table(struct qcow2 *q, const struct qcow2_bitmap *b, struct freed *f)
{
    uint64_t bytes = 8 * (uint64_t)b->table_entries;
    uint8_t *table = malloc(MAX(bytes, UINT64_C(1)));
    int rc = table ? blockdev_read_bytes(q->file, table, b->table_offset, bytes) : -ENOMEM;

    for (uint32_t i = 0; !rc && i < b->table_entries; i++) {
        uint64_t word = get_be64(table + 8 * (uint64_t)i);

        if (word & QCOW2_OFFSET_MASK && !qcow2_bitmap_entry_fault(&q->g, word, q->file->size_bytes))
            rc = freed_add(f, (word & QCOW2_OFFSET_MASK) >> q->g.cluster_bits, 1);
    }
    free(table);
    return rc ? rc : add_bytes(q, f, b->table_offset, bytes);
}

int bitmaps_clusters(struct qcow2 *q, struct freed *f)
{
    const struct qcow2_bitmaps_extension *x = &q->header.bitmaps;
    uint8_t *bytes = malloc(x->directory_bytes);
    struct qcow2_bitmap *list = NULL;
    int rc = -ENOMEM;

    if (bytes)
        rc = blockdev_read_bytes(q->file, bytes, x->directory_offset, x->directory_bytes);
    if (!rc)
        rc = qcow2_bitmaps_read(
            &list, x->count, bytes, x->directory_bytes, &q->g, q->file->size_bytes, NULL);
    for (uint32_t i = 0; !rc && i < x->count; i++)
        rc = add_table(q, &list[i], f);
    if (!rc)
        rc = add_bytes(q, f, x->directory_offset, x->directory_bytes);
    if (list)
        qcow2_bitmaps_free(list, x->count);
    free(bytes);
    return rc;
}
