/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2's pure codecs: header, snapshot table, bitmap directory, table entries, refcounts and
 * compressed clusters, by the first byte of the input. What is read is written, and that reads and
 * is written the same; what is not refused lies within the image.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/bitmaps.h"
#include "image/compress.h"
#include "image/entry.h"
#include "image/refcount.h"
#include "image/snapshot_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IMAGE_BYTES (UINT64_C(1) << 40)

static struct qcow2_geometry geometry(unsigned choice)
{
    struct qcow2_header h = {.cluster_bits = 9 + choice % 13, .refcount_order = choice / 13 % 7};
    struct qcow2_geometry g;

    if (h.cluster_bits >= 14 && choice & 128)
        h.incompatible = QCOW2_EXTENDED_L2;
    qcow2_geometry_init(&g, &h);
    return g;
}

static bool is_inside(uint64_t offset, uint64_t bytes)
{
    return offset && offset <= IMAGE_BYTES && bytes <= IMAGE_BYTES - offset;
}

static void write_again(const struct qcow2_header *h, const uint8_t *once, size_t cluster_bytes)
{
    uint8_t *twice = malloc(cluster_bytes);
    struct qcow2_header back;

    assert(twice && !qcow2_header_read(&back, once, cluster_bytes, IMAGE_BYTES, NULL));
    assert(back.extension_count == h->extension_count);
    assert(!qcow2_header_write(&back, twice, cluster_bytes, NULL));
    assert(!memcmp(once, twice, cluster_bytes));
    qcow2_header_free(&back);
    free(twice);
}

static void try_header(const uint8_t *data, size_t size)
{
    struct qcow2_header h;
    struct error err = {0};
    size_t cluster_bytes;
    uint8_t *once;

    if (qcow2_header_read(&h, data, size, IMAGE_BYTES, &err)) {
        assert(err.text[0]);
        return;
    }
    assert(!h.l1_entries || is_inside(h.l1_offset, UINT64_C(8) * h.l1_entries));
    assert(is_inside(h.reftable_offset, (uint64_t)h.reftable_clusters << h.cluster_bits));
    cluster_bytes = (size_t)1 << h.cluster_bits;
    once = malloc(cluster_bytes);
    assert(once);
    if (!qcow2_header_write(&h, once, cluster_bytes, &err))
        write_again(&h, once, cluster_bytes);
    else
        assert(err.code == ENOSPC);
    free(once);
    qcow2_header_free(&h);
}

static void try_snapshots(unsigned count, const uint8_t *data, size_t size)
{
    struct qcow2_snapshot *list, *back;
    size_t used, length;
    uint8_t *once, *twice;

    if (qcow2_snapshots_read(&list, count, data, size, 1 << 30, &used, NULL))
        return;
    assert(used <= size);
    length = qcow2_snapshots_bytes(list, count);
    once = malloc(length + 1);
    twice = malloc(length + 1);
    assert(once && twice);
    qcow2_snapshots_write(list, count, once);
    assert(!qcow2_snapshots_read(&back, count, once, length, 0, &used, NULL) && used == length);
    assert(qcow2_snapshots_bytes(back, count) == length);
    qcow2_snapshots_write(back, count, twice);
    assert(!memcmp(once, twice, length));
    qcow2_snapshots_free(back, count);
    qcow2_snapshots_free(list, count);
    free(once);
    free(twice);
}

static void try_bitmaps(unsigned count, const uint8_t *data, size_t size)
{
    struct qcow2_geometry g = geometry(count);
    struct qcow2_bitmap *list;
    struct error err = {0};

    if (qcow2_bitmaps_read(&list, count, data, size, &g, IMAGE_BYTES, &err)) {
        assert(err.text[0]);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        assert(is_inside(list[i].table_offset, UINT64_C(8) * list[i].table_entries));
    qcow2_bitmaps_free(list, count);
}

static void try_packed(const struct qcow2_geometry *g, struct qcow2_entry e)
{
    uint64_t offset, length;

    qcow2_entry_packed(g, e, &offset, &length);
    assert(is_inside(offset, length) && (offset + length) % 512 == 0);
    assert(qcow2_packed_word(g, offset, length) == e.word);
}

/* Runs of subclusters follow one another to the end, each of one kind. */
static void try_runs(const struct qcow2_geometry *g, struct qcow2_entry e)
{
    unsigned count = g->extended ? QCOW2_SUBCLUSTERS : 1, run;

    for (unsigned i = 0; i < count; i += run) {
        run = qcow2_entry_run(g, e, i);
        assert(run && i + run <= count);
        for (unsigned k = 1; k < run; k++)
            assert(qcow2_entry_kind(g, e, i + k) == qcow2_entry_kind(g, e, i));
        if (i + run < count)
            assert(qcow2_entry_kind(g, e, i + run) != qcow2_entry_kind(g, e, i));
        assert(qcow2_entry_kind(g, e, i) != QCOW2_DATA || qcow2_entry_offset(e));
    }
}

static void try_entry(const struct qcow2_geometry *g, struct qcow2_entry e)
{
    uint8_t table[32];

    if (!qcow2_l1_entry_fault(g, e.word, IMAGE_BYTES) && e.word & QCOW2_OFFSET_MASK)
        assert(is_inside(e.word & QCOW2_OFFSET_MASK, UINT64_C(1) << g->cluster_bits));
    if (!qcow2_bitmap_entry_fault(g, e.word, IMAGE_BYTES))
        assert((e.word & QCOW2_OFFSET_MASK) < IMAGE_BYTES);
    if (qcow2_l2_entry_fault(g, 3, e, IMAGE_BYTES))
        return;
    if (e.word & QCOW2_COMPRESSED)
        try_packed(g, e);
    try_runs(g, e);
    qcow2_entry_put(g, table, 1, e);
    assert(qcow2_entry_get(g, table, 1).word == e.word);
}

static void try_entries(unsigned choice, const uint8_t *data, size_t size)
{
    struct qcow2_geometry g = geometry(choice);

    for (size_t i = 0; i + 16 <= size; i += 16)
        try_entry(
            &g, (struct qcow2_entry){get_be64(data + i), g.extended ? get_be64(data + i + 8) : 0});
}

/* What is set stays until it is set again, whatever else is. */
static void try_refcounts(unsigned order, const uint8_t *data, size_t size)
{
    uint8_t block[64] = {0};
    uint64_t model[512] = {0}, count = sizeof block * 8 >> order;

    for (size_t i = 0; i + 3 <= size; i += 3) {
        uint64_t index = get_be16(data + i) % count;

        model[index] = data[i + 2] * UINT64_C(0x0101010101010101) & refcount_max(order);
        refcount_set(block, order, index, model[index]);
    }
    for (uint64_t i = 0; i < count; i++)
        assert(refcount_get(block, order, i) == model[i]);
}

/* Whatever stands there fills the cluster or is refused; what is packed is unpacked, also with
 * something behind it. */
static void try_packed_cluster(unsigned choice, const uint8_t *data, size_t size)
{
    enum qcow2_compression how = choice & 1 ? QCOW2_ZSTD : QCOW2_ZLIB;
    size_t cluster_bytes = (size_t)512 << choice / 2 % 8, length;
    uint8_t *cluster = calloc(1, cluster_bytes), *packed = calloc(1, cluster_bytes);
    uint8_t *back = malloc(cluster_bytes);

    assert(cluster && packed && back);
    cluster_unpack(how, back, cluster_bytes, data, size);
    memcpy(cluster, data, MIN(size, cluster_bytes));
    if (!cluster_pack(how, packed, cluster_bytes, &length, cluster, cluster_bytes)) {
        assert(length <= cluster_bytes);
        assert(!cluster_unpack(how, back, cluster_bytes, packed, cluster_bytes));
        assert(!memcmp(back, cluster, cluster_bytes));
    }
    free(cluster);
    free(packed);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    switch (data[0] % 6) {
    case 0:
        try_header(data + 1, size - 1);
        break;
    case 1:
        try_snapshots(data[1], data + 2, size - 2);
        break;
    case 2:
        try_bitmaps(data[1], data + 2, size - 2);
        break;
    case 3:
        try_entries(data[1], data + 2, size - 2);
        break;
    case 4:
        try_refcounts(data[1] % 7, data + 2, size - 2);
        break;
    default:
        try_packed_cluster(data[1], data + 2, size - 2);
    }
    return 0;
}
