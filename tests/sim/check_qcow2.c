/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every table is walked, the shared ones once for each disk that has them, and each entry counted
 * as a reference, as QEMU counts. Refcounts are read before, so that COPIED flags are held against
 * them on the way.
 */
#include "check_qcow2.h"

#include <inttypes.h>
#include <stdlib.h>

#define COPIED      (UINT64_C(1) << 63)
#define PACKED      (UINT64_C(1) << 62)
#define ZERO        UINT64_C(1)
#define L1_RESERVED UINT64_C(0x7f000000000001ff)
#define L2_RESERVED UINT64_C(0x3f000000000001fe)
#define LOAD_MAX    (64u << 20)

static const char *const kind_names[] = {
    [CHECK_QCOW2_FREE] = "free",
    [CHECK_QCOW2_HEADER] = "the header",
    [CHECK_QCOW2_REFTABLE] = "the refcount table",
    [CHECK_QCOW2_REFBLOCK] = "a refcount block",
    [CHECK_QCOW2_L1] = "an L1 table",
    [CHECK_QCOW2_SNAPSHOTS] = "the snapshot table",
    [CHECK_QCOW2_BITMAPS] = "bitmaps",
    [CHECK_QCOW2_L2] = "an L2 table",
    [CHECK_QCOW2_DATA] = "data",
    [CHECK_QCOW2_PACKED] = "compressed data",
};

uint8_t *check_qcow2_load(const struct check_qcow2 *c, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset / CHECK_SECTOR_BYTES * CHECK_SECTOR_BYTES;
    uint64_t length =
        (offset - first + bytes + CHECK_SECTOR_BYTES - 1) / CHECK_SECTOR_BYTES * CHECK_SECTOR_BYTES;
    const uint8_t *at;
    uint8_t *buf;

    if (bytes > LOAD_MAX || !(buf = malloc(length + 1)))
        return NULL;
    at = check_read(&c->file, buf, first, length);
    if (!at) {
        free(buf);
        return NULL;
    }
    memmove(buf, at + (offset - first), bytes);
    return buf;
}

const uint8_t *check_qcow2_table(const struct check_qcow2 *c, uint64_t offset)
{
    return check_read(&c->file, c->table, offset, c->cluster_bytes);
}

/* --- references --- */

/* NULL: it is not in the file. */
static struct check_qcow2_cluster *cluster_at(struct check_qcow2 *c, uint64_t offset)
{
    uint64_t number = offset >> c->cluster_bits;

    return number < c->cluster_count ? &c->clusters[number] : NULL;
}

static void say_overlap(struct check_qcow2 *c, const struct check_qcow2_cluster *at,
    enum check_qcow2_kind kind, const char *why)
{
    check_problem(&c->problems, "cluster at %" PRIx64 " is %s, and %s%s",
        (uint64_t)(at - c->clusters) << c->cluster_bits, kind_names[at->kind], kind_names[kind],
        why);
}

/* One that begins there; NULL: it cannot be. */
static struct check_qcow2_cluster *place_of(
    struct check_qcow2 *c, enum check_qcow2_kind kind, uint64_t offset)
{
    struct check_qcow2_cluster *at = cluster_at(c, offset);

    if (!at)
        check_problem(&c->problems, "%s beyond the end: %" PRIx64, kind_names[kind], offset);
    else if (offset % c->cluster_bytes)
        check_problem(&c->problems, "%s is not aligned: %" PRIx64, kind_names[kind], offset);
    else
        return at;
    return NULL;
}

bool check_qcow2_claim(
    struct check_qcow2 *c, enum check_qcow2_kind kind, uint64_t offset, uint64_t bytes)
{
    uint64_t end = offset + bytes;

    for (; offset < end; offset += c->cluster_bytes) {
        struct check_qcow2_cluster *at = place_of(c, kind, offset);

        if (!at)
            return false;
        if (at->kind != CHECK_QCOW2_FREE) {
            say_overlap(c, at, kind, "");
            return false;
        }
        at->kind = kind;
        at->references++;
    }
    return true;
}

/* An L2 table or data: the same place in each disk, and once. */
static bool refer(struct check_qcow2 *c, enum check_qcow2_kind kind, uint64_t offset,
    uint64_t place, unsigned pass)
{
    struct check_qcow2_cluster *at = place_of(c, kind, offset);

    if (!at)
        return false;
    at->references++;
    if (at->kind != CHECK_QCOW2_FREE && at->kind != kind) {
        say_overlap(c, at, kind, "");
        return false;
    }
    if (at->kind == kind && at->place != place) {
        say_overlap(c, at, kind, " of another place");
        return false;
    }
    if (at->pass == pass)
        say_overlap(c, at, kind, " again");
    at->kind = kind;
    at->pass = pass;
    at->place = place;
    return true;
}

static void check_copied(
    struct check_qcow2 *c, uint64_t entry, uint64_t offset, unsigned pass, const char *what)
{
    const struct check_qcow2_cluster *at = cluster_at(c, offset);
    bool copied = entry & COPIED;

    if (pass == 1 && at && copied != (at->refcount == 1))
        check_problem(&c->problems,
            "%s at %" PRIx64 " has COPIED %sset, and refcount %" PRIu64 " with dirty bit %d", what,
            offset, copied ? "" : "not ", at->refcount, c->dirty);
}

static void refer_packed(struct check_qcow2 *c, uint64_t entry)
{
    uint64_t offset, bytes;

    check_qcow2_packed(c, entry, &offset, &bytes);
    if (entry & COPIED)
        check_problem(&c->problems, "compressed cluster at %" PRIx64 " has COPIED set", offset);
    for (uint64_t at = offset & -c->cluster_bytes; at < offset + bytes; at += c->cluster_bytes) {
        struct check_qcow2_cluster *cluster = cluster_at(c, at);

        if (!cluster) {
            check_problem(&c->problems, "compressed data beyond the end: %" PRIx64, offset);
            return;
        }
        if (cluster->kind != CHECK_QCOW2_FREE && cluster->kind != CHECK_QCOW2_PACKED)
            say_overlap(c, cluster, CHECK_QCOW2_PACKED, "");
        cluster->kind = CHECK_QCOW2_PACKED;
        cluster->references++;
    }
}

/* --- tables --- */

static void check_bits(struct check_qcow2 *c, uint64_t place, uint64_t entry, uint64_t bitmap)
{
    uint64_t reserved = L2_RESERVED | (c->extended || c->version == 2 ? ZERO : 0);

    if (!(entry & PACKED) && entry & reserved)
        check_problem(&c->problems, "cluster %" PRIu64 ": entry %" PRIx64, place, entry);
    if ((uint32_t)bitmap & (uint32_t)(bitmap >> 32))
        check_problem(&c->problems, "cluster %" PRIu64 ": bitmap %" PRIx64, place, bitmap);
    if (entry & PACKED && bitmap)
        check_problem(&c->problems, "cluster %" PRIu64 ": compressed with a bitmap", place);
    if (!(entry & (PACKED | CHECK_QCOW2_OFFSET)) && ((uint32_t)bitmap || entry & COPIED))
        check_problem(&c->problems, "cluster %" PRIu64 ": allocated nowhere", place);
}

static void walk_entry(
    struct check_qcow2 *c, unsigned pass, uint64_t place, uint64_t entry, uint64_t bitmap)
{
    uint64_t offset = entry & CHECK_QCOW2_OFFSET;

    check_bits(c, place, entry, bitmap);
    if (entry & PACKED)
        refer_packed(c, entry);
    else if (offset && refer(c, CHECK_QCOW2_DATA, offset, place, pass))
        check_copied(c, entry, offset, pass, "data");
}

static void walk_l2(struct check_qcow2 *c, unsigned pass, uint64_t offset, uint64_t l1_index)
{
    unsigned entry_bytes = c->extended ? 16 : 8;
    const uint8_t *table = check_qcow2_table(c, offset);

    if (!table) {
        check_problem(&c->problems, "an L2 table cannot be read: %" PRIx64, offset);
        return;
    }
    for (uint64_t i = 0; i < c->l2_entries; i++) {
        const uint8_t *at = table + i * entry_bytes;
        uint64_t entry = check_be(at, 0, 8), bitmap = c->extended ? check_be(at, 8, 8) : 0;

        if (entry || bitmap)
            walk_entry(c, pass, l1_index * c->l2_entries + i, entry, bitmap);
    }
}

static void walk_l1_entry(struct check_qcow2 *c, unsigned pass, uint64_t index, uint64_t entry)
{
    uint64_t offset = entry & CHECK_QCOW2_OFFSET;

    if (entry & L1_RESERVED || (!offset && entry))
        check_problem(&c->problems, "L1 entry %" PRIu64 ": %" PRIx64, index, entry);
    if (!offset || !refer(c, CHECK_QCOW2_L2, offset, index, pass))
        return;
    check_copied(c, entry, offset, pass, "L2 table");
    walk_l2(c, pass, offset, index);
}

static void walk_disk(struct check_qcow2 *c, unsigned pass, const struct check_qcow2_disk *d)
{
    uint64_t bytes = d->l1_entries * 8, covers = c->l2_entries * c->cluster_bytes;
    uint8_t *l1;

    if (d->l1_entries < d->size_bytes / covers + (d->size_bytes % covers != 0))
        check_problem(
            &c->problems, "%s: %" PRIu64 " L1 entries are too few", d->name, d->l1_entries);
    if (!bytes || !check_qcow2_claim(c, CHECK_QCOW2_L1, d->l1_offset, bytes))
        return;
    l1 = check_qcow2_load(c, d->l1_offset, bytes);
    for (uint64_t i = 0; l1 && i < d->l1_entries; i++)
        walk_l1_entry(c, pass, i, check_be(l1, i * 8, 8));
    if (!l1)
        check_problem(&c->problems, "%s: the L1 table cannot be read", d->name);
    free(l1);
}

/* --- refcounts --- */

/* Below a byte they stand least significant first. */
static uint64_t refcount_of(const struct check_qcow2 *c, const uint8_t *block, uint64_t i)
{
    unsigned bits = 1u << c->refcount_order;

    if (bits >= 8)
        return check_be(block, i * bits / 8, bits / 8);
    return block[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
}

/* Most blocks are for more clusters than the file has. */
static void read_block(struct check_qcow2 *c, uint64_t offset, uint64_t first)
{
    uint64_t count = c->cluster_bytes * 8 >> c->refcount_order, there = 0, zeros;
    const uint8_t *block = check_qcow2_table(c, offset);

    if (!block) {
        check_problem(&c->problems, "a refcount block cannot be read: %" PRIx64, offset);
        return;
    }
    if (first < c->cluster_count)
        there = c->cluster_count - first < count ? c->cluster_count - first : count;
    for (uint64_t i = 0; i < there; i++)
        c->clusters[first + i].refcount = refcount_of(c, block, i);
    zeros = ((there << c->refcount_order) + 7) / 8;
    for (uint64_t i = there; i < count && (i << c->refcount_order) / 8 < zeros; i++)
        if (refcount_of(c, block, i))
            zeros = UINT64_MAX;
    while (zeros < c->cluster_bytes && !block[zeros])
        zeros++;
    if (zeros != c->cluster_bytes)
        check_problem(&c->problems, "refcounts beyond the end, in the block at %" PRIx64, offset);
}

static void read_refcounts(struct check_qcow2 *c)
{
    uint64_t bytes = c->reftable_clusters * c->cluster_bytes;
    uint64_t covers = c->cluster_bytes * 8 >> c->refcount_order;
    uint8_t *table;

    if (!check_qcow2_claim(c, CHECK_QCOW2_REFTABLE, c->reftable_offset, bytes))
        return;
    table = check_qcow2_load(c, c->reftable_offset, bytes);
    if (!table)
        check_problem(&c->problems, "the refcount table cannot be read");
    for (uint64_t i = 0; table && i < bytes / 8; i++) {
        uint64_t block = check_be(table, i * 8, 8);

        if (block && check_qcow2_claim(c, CHECK_QCOW2_REFBLOCK, block, c->cluster_bytes))
            read_block(c, block, i * covers);
    }
    free(table);
}

static void compare(struct check_qcow2 *c)
{
    for (uint64_t i = 0; i < c->cluster_count; i++) {
        const struct check_qcow2_cluster *at = &c->clusters[i];

        c->used += at->references != 0;
        c->leaks += at->refcount > at->references;
        if (at->refcount < at->references)
            check_problem(&c->problems,
                "%s at %" PRIx64 ": refcount %" PRIu64 " of %" PRIu64 " references",
                kind_names[at->kind], i << c->cluster_bits, at->refcount, at->references);
        if (at->refcount > at->references && !c->dirty)
            check_problem(&c->problems,
                "leak: cluster at %" PRIx64 " (%s) has refcount %" PRIu64 ", %" PRIu64
                " references",
                i << c->cluster_bits, kind_names[at->kind], at->refcount, at->references);
    }
}

/* --- all --- */

bool check_qcow2(struct check_qcow2 *c, const struct check_disk *file)
{
    memset(c, 0, sizeof *c);
    c->file = *file;
    if (!check_qcow2_header(c))
        return false;
    c->cluster_count = (file->size_bytes + c->cluster_bytes - 1) >> c->cluster_bits;
    c->clusters = calloc(c->cluster_count, sizeof *c->clusters);
    c->table = malloc(c->cluster_bytes);
    if (!c->clusters || !c->table) {
        check_problem(&c->problems, "out of memory");
        return false;
    }
    check_qcow2_claim(c, CHECK_QCOW2_HEADER, 0, c->cluster_bytes);
    read_refcounts(c);
    check_qcow2_snapshots(c);
    check_qcow2_bitmaps(c);
    for (unsigned i = 0; i < c->disk_count; i++)
        walk_disk(c, i + 1, &c->disks[i]);
    compare(c);
    return c->problems.count == 0;
}

void check_qcow2_free(struct check_qcow2 *c)
{
    free(c->disks);
    free(c->clusters);
    free(c->table);
    c->disks = NULL;
    c->clusters = NULL;
    c->table = NULL;
}
