/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "made.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/fault.h"
#include "block/member.h"
#include "image/refcount.h"
#include "image/snapshot_table.h"

#include "rt/run.h"

uint64_t made_get(struct made *m, uint64_t at)
{
    uint8_t bytes[8];

    CU_ASSERT_EQUAL(blockdev_read_bytes(m->memory, bytes, at, sizeof bytes), 0);
    return get_be64(bytes);
}

void made_put(struct made *m, uint64_t at, uint64_t value)
{
    uint8_t bytes[8];

    put_be64(bytes, value);
    CU_ASSERT_EQUAL(blockdev_write_bytes(m->memory, bytes, at, sizeof bytes, 0), 0);
}

static uint64_t refcount_at(struct made *m, uint64_t offset, uint64_t *index)
{
    uint64_t cluster = offset >> m->g.cluster_bits, bits = m->g.refcount_block_bits;
    uint64_t block = made_get(m, m->h.reftable_offset + 8 * (cluster >> bits));

    *index = cluster & ((UINT64_C(1) << bits) - 1);
    return block;
}

/* Reads the eight bytes around it, for any order. */
static uint64_t refcount_word(struct made *m, uint64_t offset, uint8_t *bytes, uint64_t *index)
{
    uint64_t block = refcount_at(m, offset, index), order = m->g.refcount_order;
    uint64_t at = block + round_down((*index << order) / 8, 8);

    *index %= UINT64_C(64) >> order;
    CU_ASSERT_EQUAL(blockdev_read_bytes(m->memory, bytes, at, 8), 0);
    return at;
}

uint64_t made_refcount(struct made *m, uint64_t offset)
{
    uint8_t bytes[8];
    uint64_t index;

    refcount_word(m, offset, bytes, &index);
    return refcount_get(bytes, m->g.refcount_order, index);
}

void made_set_refcount(struct made *m, uint64_t offset, uint64_t value)
{
    uint8_t bytes[8];
    uint64_t index, at = refcount_word(m, offset, bytes, &index);

    refcount_set(bytes, m->g.refcount_order, index, value);
    CU_ASSERT_EQUAL(blockdev_write_bytes(m->memory, bytes, at, sizeof bytes, 0), 0);
}

uint64_t made_take(struct made *m, uint64_t count)
{
    uint64_t offset = m->next << m->g.cluster_bits;

    for (; count; count--)
        made_set_refcount(m, m->next++ << m->g.cluster_bits, 1);
    return offset;
}

void made_write_header(struct made *m)
{
    size_t length = MIN(m->cluster_bytes, 4096u);
    uint8_t *bytes = malloc(length);

    CU_ASSERT_EQUAL(qcow2_header_write(&m->h, bytes, length, NULL), 0);
    CU_ASSERT_EQUAL(blockdev_write_bytes(m->memory, bytes, 0, length, 0), 0);
    free(bytes);
}

static void make_refcounts(struct made *m, uint64_t file_clusters)
{
    uint64_t blocks = div_round_up(file_clusters, UINT64_C(1) << m->g.refcount_block_bits);

    m->h.reftable_offset = m->cluster_bytes;
    m->h.reftable_clusters = (uint32_t)div_round_up(blocks * 8, m->cluster_bytes);
    for (uint64_t i = 0; i < blocks; i++)
        made_put(
            m, m->h.reftable_offset + 8 * i, (1 + m->h.reftable_clusters + i) << m->g.cluster_bits);
    made_take(m, 1 + m->h.reftable_clusters + blocks);
}

void made_begin(struct made *m, const struct made_plan *plan)
{
    *m = (struct made){.h = {.version = plan->version ? plan->version : 3,
                           .cluster_bits = plan->cluster_bits,
                           .refcount_order = plan->refcount_order,
                           .incompatible = plan->extended ? QCOW2_EXTENDED_L2 : 0,
                           .l1_entries = MADE_L1_ENTRIES}};
    qcow2_geometry_init(&m->g, &m->h);
    m->cluster_bytes = UINT64_C(1) << plan->cluster_bits;
    m->h.size_bytes = (uint64_t)MADE_L1_ENTRIES << (plan->cluster_bits + m->g.l2_bits);
    CU_ASSERT_EQUAL(member_memory("memory", plan->file_clusters << plan->cluster_bits,
                        plan->block_bytes ? plan->block_bytes : 512, &m->memory),
        0);
    CU_ASSERT_EQUAL(fault_create(m->memory, &m->file), 0);
    make_refcounts(m, plan->file_clusters);
    m->h.l1_offset = made_take(m, 1);
    made_write_header(m);
}

void made_end(struct made *m)
{
    blockdev_close(m->file);
}

uint64_t made_l1_at(const struct made *m, unsigned index)
{
    return m->h.l1_offset + UINT64_C(8) * index;
}

static uint64_t entry_at(struct made *m, uint64_t guest_cluster)
{
    uint64_t l1_at = made_l1_at(m, (unsigned)(guest_cluster >> m->g.l2_bits));
    uint64_t table = made_get(m, l1_at) & QCOW2_OFFSET_MASK;

    if (!table) {
        table = made_take(m, 1);
        made_put(m, l1_at, table | QCOW2_COPIED);
    }
    return table + ((guest_cluster & ((UINT64_C(1) << m->g.l2_bits) - 1)) << m->g.l2_entry_bits);
}

uint64_t made_data_entry(struct made *m, uint64_t guest_cluster)
{
    uint64_t at = entry_at(m, guest_cluster);

    made_put(m, at, made_take(m, 1) | QCOW2_COPIED);
    if (m->g.extended)
        made_put(m, at + 8, UINT32_MAX);
    return at;
}

int made_byte(uint64_t guest_cluster)
{
    return (int)(guest_cluster % 250) + 3;
}

uint64_t made_data(struct made *m, uint64_t guest_cluster)
{
    uint64_t at = made_data_entry(m, guest_cluster);
    uint8_t *bytes = malloc(m->cluster_bytes);

    memset(bytes, made_byte(guest_cluster), m->cluster_bytes);
    CU_ASSERT_EQUAL(blockdev_write_bytes(
                        m->memory, bytes, made_get(m, at) & QCOW2_OFFSET_MASK, m->cluster_bytes, 0),
        0);
    free(bytes);
    return at;
}

uint64_t made_packed(struct made *m, uint64_t guest_cluster, uint64_t offset, uint64_t length)
{
    uint64_t at = entry_at(m, guest_cluster);

    made_put(m, at, qcow2_packed_word(&m->g, offset, length));
    return at;
}

static void write_snapshots(struct made *m)
{
    struct qcow2_snapshot list[MADE_SNAPSHOTS] = {0};
    char ids[MADE_SNAPSHOTS][2];
    uint8_t *bytes = calloc(1, m->cluster_bytes);

    for (unsigned i = 0; i < m->snapshot_count; i++) {
        snprintf(ids[i], sizeof ids[i], "%u", i);
        list[i] = (struct qcow2_snapshot){.id = ids[i],
            .name = ids[i],
            .l1_offset = m->snapshot_l1s[i],
            .l1_entries = MADE_L1_ENTRIES,
            .size_bytes = m->h.size_bytes,
            .icount = UINT64_MAX};
    }
    qcow2_snapshots_write(list, m->snapshot_count, bytes);
    CU_ASSERT_EQUAL(
        blockdev_write_bytes(m->memory, bytes, m->h.snapshots_offset, m->cluster_bytes, 0), 0);
    free(bytes);
    m->h.snapshot_count = m->snapshot_count;
    made_write_header(m);
}

static void share(struct made *m, uint64_t at)
{
    uint64_t word = made_get(m, at), offset = word & QCOW2_OFFSET_MASK;

    if (!offset || word & QCOW2_COMPRESSED)
        return;
    made_set_refcount(m, offset, made_refcount(m, offset) + 1);
    made_put(m, at, word & ~QCOW2_COPIED);
}

void made_snapshot(struct made *m, const char *name)
{
    uint64_t l1 = made_take(m, 1);

    if (!m->h.snapshots_offset)
        m->h.snapshots_offset = made_take(m, 1);
    for (unsigned i = 0; i < MADE_L1_ENTRIES; i++) {
        uint64_t at = made_l1_at(m, i), table = made_get(m, at) & QCOW2_OFFSET_MASK;

        for (uint64_t k = 0; table && k < m->cluster_bytes; k += UINT64_C(1) << m->g.l2_entry_bits)
            share(m, table + k);
        share(m, at);
        made_put(m, l1 + UINT64_C(8) * i, made_get(m, at));
    }
    m->snapshot_l1s[m->snapshot_count++] = l1;
    write_snapshots(m);
}

#define BITMAP_GRANULARITY_BITS 16

uint64_t made_bitmap(struct made *m)
{
    uint64_t directory = made_take(m, 1), table = made_take(m, 1), bits = made_take(m, 1);

    made_put(m, directory, table);
    made_put(m, directory + 8, UINT64_C(1) << 32); /* entries 1, flags 0 */
    /* type 1, granularity, name length 1, no extra data; then the name */
    made_put(m, directory + 16,
        UINT64_C(1) << 56 | (uint64_t)BITMAP_GRANULARITY_BITS << 48 | UINT64_C(1) << 32);
    made_put(m, directory + 24, (uint64_t)'b' << 56);
    made_put(m, table, bits);
    m->h.autoclear = QCOW2_BITMAPS_VALID;
    m->h.has_bitmaps = true;
    m->h.bitmaps = (struct qcow2_bitmaps_extension){
        .count = 1, .directory_bytes = 32, .directory_offset = directory};
    made_write_header(m);
    return table;
}

int made_read(struct made *m, uint64_t guest_cluster)
{
    uint64_t per_table = UINT64_C(1) << m->g.l2_bits;
    uint64_t table =
        made_get(m, made_l1_at(m, (unsigned)(guest_cluster / per_table))) & QCOW2_OFFSET_MASK;
    uint64_t word =
        table ? made_get(m, table + (guest_cluster % per_table << m->g.l2_entry_bits)) : 0;
    uint64_t offset = word & QCOW2_COMPRESSED ? 0 : word & QCOW2_OFFSET_MASK;
    uint8_t *bytes;
    int found;

    if (!offset || (!m->g.extended && word & QCOW2_ZERO))
        return -1;
    bytes = malloc(m->cluster_bytes);
    CU_ASSERT_EQUAL(blockdev_read_bytes(m->memory, bytes, offset, m->cluster_bytes), 0);
    found = memcmp(bytes, bytes + 1, m->cluster_bytes - 1) ? -2 : bytes[0];
    free(bytes);
    return found;
}
