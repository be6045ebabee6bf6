/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The header with its extensions, and the tables that stand apart: of snapshots, of bitmaps. */
#include <inttypes.h>
#include <stdlib.h>

#include "check_qcow2.h"

#define MAGIC        0x514649fbu
#define HEADER_BYTES 104u
#define HEADER_V2    72u
#define DIRTY        1u
#define CORRUPT      2u
#define DATA_FILE    4u
#define COMPRESSION  8u
#define EXTENDED     16u
#define KNOWN        (DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED)

#define EXTENSION_CRYPTO    0x0537be77u
#define EXTENSION_BITMAPS   0x23852875u
#define EXTENSION_DATA_FILE 0x44415441u

#define SNAPSHOT_BYTES 40u
#define SNAPSHOTS_MAX  65536u
#define TABLE_MAX      (32u << 20) /* an L1 */

/* Why the rest makes no sense. */
static const char *refusal(const uint8_t *h)
{
    uint64_t version = check_be(h, 4, 4), cluster_bits = check_be(h, 20, 4);

    if (check_be(h, 0, 4) != MAGIC)
        return "no magic";
    if (version != 2 && version != 3)
        return "version";
    if (cluster_bits < 9 || cluster_bits > 21)
        return "cluster size";
    if (version == 3 && check_be(h, 96, 4) > 6)
        return "refcount order";
    if (check_be(h, 32, 4))
        return "encryption";
    if (version == 3 && check_be(h, 72, 8) & ~(uint64_t)KNOWN)
        return "unknown features";
    if (version == 3 && check_be(h, 72, 8) & DATA_FILE)
        return "an external data file";
    if (check_be(h, 36, 4) * 8 > TABLE_MAX || check_be(h, 60, 4) > SNAPSHOTS_MAX ||
        check_be(h, 56, 4) > TABLE_MAX >> cluster_bits)
        return "a table too large";
    return NULL;
}

static void read_v3(struct check_qcow2 *c, const uint8_t *h)
{
    uint64_t features = check_be(h, 72, 8);
    uint64_t length = check_be(h, 100, 4);

    c->dirty = features & DIRTY;
    c->corrupt = features & CORRUPT;
    c->extended = features & EXTENDED;
    c->lazy = check_be(h, 80, 8) & 1;
    c->refcount_order = (unsigned)check_be(h, 96, 4);
    c->compression = length > HEADER_BYTES ? h[HEADER_BYTES] : 0;
    if (c->corrupt)
        check_problem(&c->problems, "header: it is marked corrupt");
    if (c->extended && c->cluster_bits < 14)
        check_problem(&c->problems, "header: extended L2 entries with small clusters");
    if (c->compression > 1 || !(features & COMPRESSION) != !c->compression)
        check_problem(&c->problems, "header: compression %u", c->compression);
}

/* --- extensions --- */

static void read_extension(struct check_qcow2 *c, uint64_t type, const uint8_t *p, uint64_t bytes)
{
    if (type == EXTENSION_CRYPTO || type == EXTENSION_DATA_FILE)
        check_problem(&c->problems, "header: extension %" PRIx64, type);
    if (type != EXTENSION_BITMAPS)
        return;
    if (bytes < 24 || check_be(p, 4, 4) || !check_be(p, 0, 4)) {
        check_problem(&c->problems, "header: the extension of bitmaps");
        return;
    }
    c->bitmap_count = check_be(p, 0, 4);
    c->bitmaps_bytes = check_be(p, 8, 8);
    c->bitmaps_offset = check_be(p, 16, 8);
}

/* Up to one of type 0, and not into the backing's name. */
static void read_extensions(
    struct check_qcow2 *c, const uint8_t *h, uint64_t at, uint64_t end, bool bitmaps)
{
    while (at + 8 <= end) {
        uint64_t type = check_be(h, at, 4), bytes = check_be(h, at + 4, 4);

        at += 8;
        if (type == 0)
            return;
        if (bytes > end - at) {
            check_problem(&c->problems, "header: extension %" PRIx64 " is cut", type);
            return;
        }
        if (type != EXTENSION_BITMAPS || bitmaps)
            read_extension(c, type, h + at, bytes);
        at += (bytes + 7) / 8 * 8;
    }
}

static void read_rest(struct check_qcow2 *c, const uint8_t *h, uint64_t bytes)
{
    uint64_t length = c->version == 2 ? HEADER_V2 : check_be(h, 100, 4), end = bytes;
    uint64_t name = check_be(h, 8, 8), name_bytes = check_be(h, 16, 4);

    if (c->version == 3 && (length < HEADER_BYTES || length % 8 || length > bytes)) {
        check_problem(&c->problems, "header: %" PRIu64 " bytes", length);
        return;
    }
    c->backed = name;
    if (name) {
        if (name < length || name > bytes || name_bytes > bytes - name || name_bytes > 1023)
            check_problem(&c->problems, "header: backing name at %" PRIx64, name);
        else
            end = name;
    }
    read_extensions(c, h, length, end, c->version == 3 && check_be(h, 88, 8) & 1);
}

bool check_qcow2_header(struct check_qcow2 *c)
{
    uint8_t *h = check_qcow2_load(c, 0, CHECK_SECTOR_BYTES), *whole;
    const char *why = h ? refusal(h) : "cannot be read";

    if (why) {
        check_problem(&c->problems, "header: %s", why);
        free(h);
        return false;
    }
    c->version = (unsigned)check_be(h, 4, 4);
    c->cluster_bits = (unsigned)check_be(h, 20, 4);
    c->cluster_bytes = UINT64_C(1) << c->cluster_bits;
    c->reftable_offset = check_be(h, 48, 8);
    c->reftable_clusters = check_be(h, 56, 4);
    c->snapshots_offset = check_be(h, 64, 8);
    c->refcount_order = 4;
    c->disk_count = 1 + (unsigned)check_be(h, 60, 4);
    c->disks = calloc(c->disk_count, sizeof *c->disks);
    if (c->version == 3)
        read_v3(c, h);
    c->l2_entries = c->cluster_bytes / (c->extended ? 16 : 8);
    if (c->disks)
        c->disks[0] = (struct check_qcow2_disk){
            .size_bytes = check_be(h, 24, 8),
            .l1_offset = check_be(h, 40, 8),
            .l1_entries = check_be(h, 36, 4),
        };
    free(h);
    whole = check_qcow2_load(c, 0, c->cluster_bytes);
    if (whole)
        read_rest(c, whole, c->cluster_bytes);
    else
        check_problem(&c->problems, "header: its cluster cannot be read");
    free(whole);
    return c->disks && whole;
}

/* --- snapshots --- */

/* The bytes of the entry at p, of which `left` are there; 0: it is cut. */
static uint64_t entry_bytes(const uint8_t *p, uint64_t left)
{
    uint64_t bytes;

    if (left < SNAPSHOT_BYTES)
        return 0;
    bytes = SNAPSHOT_BYTES + check_be(p, 36, 4) + check_be(p, 12, 2) + check_be(p, 14, 2);
    bytes = (bytes + 7) / 8 * 8;
    return bytes <= left ? bytes : 0;
}

static void read_snapshot(struct check_qcow2 *c, struct check_qcow2_disk *d, const uint8_t *p)
{
    uint64_t extra = check_be(p, 36, 4), id_bytes = check_be(p, 12, 2);
    uint64_t name_bytes = check_be(p, 14, 2), room = sizeof d->name - 1;

    d->l1_offset = check_be(p, 0, 8);
    d->l1_entries = check_be(p, 8, 4);
    d->size_bytes = extra >= 16 ? check_be(p, SNAPSHOT_BYTES + 8, 8) : c->disks[0].size_bytes;
    memcpy(d->name, p + SNAPSHOT_BYTES + extra + id_bytes, name_bytes < room ? name_bytes : room);
    if (c->version == 3 && extra < 16)
        check_problem(&c->problems, "snapshot %s: no size", d->name);
    if (!id_bytes)
        check_problem(&c->problems, "snapshot %s: no id", d->name);
    if (d->l1_entries * 8 > TABLE_MAX) {
        check_problem(&c->problems, "snapshot %s: an L1 table too large", d->name);
        d->l1_entries = 0;
    }
}

static bool same_id(const uint8_t *a, const uint8_t *b)
{
    uint64_t bytes = check_be(a, 12, 2);

    return bytes == check_be(b, 12, 2) && !memcmp(a + SNAPSHOT_BYTES + check_be(a, 36, 4),
                                              b + SNAPSHOT_BYTES + check_be(b, 36, 4), bytes);
}

/* Returns the bytes of the table; those that cannot be read are no disks. */
static uint64_t read_snapshots(struct check_qcow2 *c, const uint8_t *table, uint64_t bytes)
{
    uint64_t at = 0;

    for (unsigned i = 1; i < c->disk_count; i++) {
        uint64_t length = entry_bytes(table + at, bytes - at);

        if (!length) {
            check_problem(&c->problems, "snapshot %u is cut", i);
            c->disk_count = i;
            break;
        }
        for (uint64_t other = 0; other < at; other += entry_bytes(table + other, bytes - other))
            if (same_id(table + other, table + at))
                check_problem(&c->problems, "snapshot %u: the id of another one", i);
        read_snapshot(c, &c->disks[i], table + at);
        at += length;
    }
    return at;
}

/* It may end anywhere; most is one cluster. */
void check_qcow2_snapshots(struct check_qcow2 *c)
{
    uint64_t bytes = (c->disk_count - 1) * UINT64_C(1024);
    uint8_t *table = NULL;

    if (c->disk_count == 1)
        return;
    if (c->snapshots_offset < c->file.size_bytes) {
        uint64_t left = c->file.size_bytes - c->snapshots_offset;
        bytes = bytes < left ? bytes : left;
        table = check_qcow2_load(c, c->snapshots_offset, bytes);
    }
    if (!table) {
        check_problem(&c->problems, "the snapshot table cannot be read");
        c->disk_count = 1;
        return;
    }
    check_qcow2_claim(
        c, CHECK_QCOW2_SNAPSHOTS, c->snapshots_offset, read_snapshots(c, table, bytes));
    free(table);
}

/* --- bitmaps --- */

static void claim_bitmap(struct check_qcow2 *c, uint64_t offset, uint64_t entries)
{
    uint8_t *table;

    if (entries * 8 > TABLE_MAX || !check_qcow2_claim(c, CHECK_QCOW2_BITMAPS, offset, entries * 8))
        return;
    table = check_qcow2_load(c, offset, entries * 8);
    for (uint64_t i = 0; table && i < entries; i++) {
        uint64_t entry = check_be(table, i * 8, 8);

        if (entry & ~(CHECK_QCOW2_OFFSET | 1) || (entry & 1 && entry != 1))
            check_problem(&c->problems, "bitmap: entry %" PRIx64, entry);
        if (entry & CHECK_QCOW2_OFFSET)
            check_qcow2_claim(c, CHECK_QCOW2_BITMAPS, entry & CHECK_QCOW2_OFFSET, c->cluster_bytes);
    }
    free(table);
}

/* Entries: table offset 0, its entries 8, flags 12, type 16, granularity 17, name length 18, extra
 * data length 20; extra data, name. */
void check_qcow2_bitmaps(struct check_qcow2 *c)
{
    uint64_t bytes = c->bitmaps_bytes, at = 0, length;
    uint8_t *table;

    if (!c->bitmap_count)
        return;
    table = check_qcow2_claim(c, CHECK_QCOW2_BITMAPS, c->bitmaps_offset, bytes)
                ? check_qcow2_load(c, c->bitmaps_offset, bytes)
                : NULL;
    for (uint64_t i = 0; table && i < c->bitmap_count; i++, at += length) {
        const uint8_t *p = table + at;

        length = bytes - at >= 24 ? (24 + check_be(p, 18, 2) + check_be(p, 20, 4) + 7) / 8 * 8 : 0;
        if (!length || length > bytes - at) {
            check_problem(&c->problems, "bitmap %" PRIu64 " is cut", i);
            break;
        }
        claim_bitmap(c, check_be(p, 0, 8), check_be(p, 8, 4));
    }
    if (!table)
        check_problem(&c->problems, "the directory of bitmaps cannot be read");
    free(table);
}
