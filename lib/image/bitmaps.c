/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/bitmaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "image/entry.h"

#define AT_TABLE_OFFSET  0
#define AT_TABLE_ENTRIES 8
#define AT_FLAGS         12
#define AT_TYPE          16
#define AT_GRANULARITY   17
#define AT_NAME_BYTES    18
#define AT_EXTRA_BYTES   20
#define ENTRY_BYTES      24 /* then extra data and name */
#define TYPE_DIRTY       1
#define FLAGS_KNOWN      7
#define GRANULARITY_MAX  63
#define ENTRY_RESERVED   UINT64_C(0xff000000000001fe) /* of a table's entry; bit 0: all ones */
#define ENTRY_ONES       UINT64_C(1)

static const char *table_fault(
    const struct qcow2_bitmap *b, const struct qcow2_geometry *g, uint64_t image_bytes)
{
    uint64_t bytes = UINT64_C(8) * b->table_entries;

    if (!bytes || bytes > QCOW2_BITMAP_TABLE_MAX_BYTES)
        return "the table is empty or larger than 64 MiB";
    if (!b->table_offset || b->table_offset & ((UINT64_C(1) << g->cluster_bits) - 1))
        return "the table is not at a cluster";
    if (b->table_offset > image_bytes || bytes > image_bytes - b->table_offset)
        return "the table is not inside the image";
    return NULL;
}

/* The entry's fields, but for the name. */
static const char *read_fields(struct qcow2_bitmap *b, const uint8_t *entry,
    const struct qcow2_geometry *g, uint64_t image_bytes)
{
    b->table_offset = get_be64(entry + AT_TABLE_OFFSET);
    b->table_entries = get_be32(entry + AT_TABLE_ENTRIES);
    b->flags = get_be32(entry + AT_FLAGS);
    b->granularity_bits = entry[AT_GRANULARITY];
    if (entry[AT_TYPE] != TYPE_DIRTY)
        return "its type is unknown";
    if (b->flags & ~FLAGS_KNOWN)
        return "reserved flags are set";
    if (b->granularity_bits > GRANULARITY_MAX)
        return "its granularity cannot be";
    return table_fault(b, g, image_bytes);
}

/* Bytes of the entry at `entry`, of which there are `room`; 0: it does not fit. */
static uint64_t entry_space(const uint8_t *entry, size_t room)
{
    uint64_t space;

    if (room < ENTRY_BYTES)
        return 0;
    space = round_up(UINT64_C(1) * ENTRY_BYTES + get_be32(entry + AT_EXTRA_BYTES) +
                         get_be16(entry + AT_NAME_BYTES),
        8);
    return space <= room ? space : 0;
}

static int read_name(struct qcow2_bitmap *b, const uint8_t *entry)
{
    const uint8_t *name = entry + ENTRY_BYTES + get_be32(entry + AT_EXTRA_BYTES);

    b->name = strndup((const char *)name, get_be16(entry + AT_NAME_BYTES));
    return b->name ? 0 : -ENOMEM;
}

/* What is being read. */
struct directory {
    const uint8_t *bytes;
    size_t length;
    const struct qcow2_geometry *geometry;
    uint64_t image_bytes;
};

/* The entry at *at, which moves past it. */
static int read_entry(
    struct qcow2_bitmap *b, const struct directory *d, size_t *at, const char **fault)
{
    const uint8_t *entry = d->bytes + *at;
    uint64_t space = entry_space(entry, d->length - *at);
    uint16_t name_bytes;

    *fault = "it goes beyond the end of the directory";
    if (!space)
        return -EBADMSG;
    name_bytes = get_be16(entry + AT_NAME_BYTES);
    *fault = "its name is empty or too long";
    if (!name_bytes || name_bytes > QCOW2_BITMAP_NAME_MAX)
        return -EBADMSG;
    *fault = read_fields(b, entry, d->geometry, d->image_bytes);
    if (*fault)
        return -EBADMSG;
    *at += space;
    return read_name(b, entry);
}

static int read_directory(
    struct qcow2_bitmap *list, unsigned count, const struct directory *d, struct error *err)
{
    size_t at = 0;

    for (unsigned i = 0; i < count; i++) {
        const char *fault = NULL;
        int rc = read_entry(&list[i], d, &at, &fault);

        if (rc == -EBADMSG)
            return error_set(
                err, EBADMSG, "the bitmap directory is damaged: entry %u: %s", i, fault);
        if (rc < 0)
            return error_set(err, ENOMEM, "out of memory");
    }
    if (at != d->length)
        return error_set(
            err, EBADMSG, "the bitmap directory is damaged: it is longer than its entries");
    return 0;
}

int qcow2_bitmaps_read(struct qcow2_bitmap **list, unsigned count, const uint8_t *bytes,
    size_t length, const struct qcow2_geometry *g, uint64_t image_bytes, struct error *err)
{
    struct directory d = {
        .bytes = bytes, .length = length, .geometry = g, .image_bytes = image_bytes};
    struct qcow2_bitmap *read = calloc(count + !count, sizeof *read);
    int rc = read ? read_directory(read, count, &d, err) : error_set(err, ENOMEM, "out of memory");

    if (rc < 0)
        qcow2_bitmaps_free(read, count);
    else
        *list = read;
    return rc;
}

void qcow2_bitmaps_free(struct qcow2_bitmap *list, unsigned count)
{
    for (unsigned i = 0; list && i < count; i++)
        free(list[i].name);
    free(list);
}

const char *qcow2_bitmap_entry_fault(
    const struct qcow2_geometry *g, uint64_t word, uint64_t image_bytes)
{
    uint64_t offset = word & QCOW2_OFFSET_MASK;

    if (word & ENTRY_RESERVED || (offset && word & ENTRY_ONES))
        return "reserved bits are set";
    if (offset & ((UINT64_C(1) << g->cluster_bits) - 1))
        return "the offset is not a cluster's";
    if (offset >= image_bytes && offset)
        return "it points beyond the end of the image";
    return NULL;
}
