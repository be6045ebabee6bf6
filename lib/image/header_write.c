/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing the header: as a whole, or what changes in an image's life, all of which stands in its
 * first sector, so that it takes effect at once.
 */
#include "image/header.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "image/header_layout.h"

/* As QEMU calls them. */
static const struct {
    uint8_t kind, bit; /* kind: 0 incompatible, 1 compatible, 2 autoclear */
    char name[FEATURE_NAME_BYTES];
} features[] = {{0, 0, "dirty bit"}, {0, 1, "corrupt bit"}, {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"}, {2, 1, "raw external data"}};

static size_t extension_space(size_t length)
{
    return EXTENSION_BYTES + round_up(length, 8);
}

static size_t fields_space(const struct qcow2_header *h)
{
    return h->version == 3 ? KNOWN_BYTES + h->unknown_bytes : V2_BYTES;
}

/* Up to the backing name, without the names of features. */
static size_t header_space(const struct qcow2_header *h)
{
    size_t space = fields_space(h);

    if (h->backing_format)
        space += extension_space(strlen(h->backing_format));
    if (h->has_bitmaps)
        space += extension_space(BITMAPS_EXTENSION_BYTES);
    for (unsigned i = 0; i < h->extension_count; i++)
        space += extension_space(h->extensions[i].length);
    return space + EXTENSION_BYTES;
}

static uint8_t *put_extension_head(uint8_t *p, uint32_t type, size_t length)
{
    put_be32(p, type);
    put_be32(p + 4, (uint32_t)length);
    return p + EXTENSION_BYTES;
}

static uint8_t *put_extension(uint8_t *p, uint32_t type, const void *data, size_t length)
{
    p = put_extension_head(p, type, length);
    if (length)
        memcpy(p, data, length);
    return p + round_up(length, 8);
}

static uint8_t *put_feature_names(uint8_t *p)
{
    p = put_extension_head(p, EXTENSION_FEATURES, FEATURE_BYTES * ARRAY_LEN(features));
    for (unsigned i = 0; i < ARRAY_LEN(features); i++, p += FEATURE_BYTES) {
        p[0] = features[i].kind;
        p[1] = features[i].bit;
        memcpy(p + 2, features[i].name, FEATURE_NAME_BYTES);
    }
    return p;
}

static uint8_t *put_bitmaps(uint8_t *p, const struct qcow2_bitmaps_extension *b)
{
    p = put_extension_head(p, EXTENSION_BITMAPS, BITMAPS_EXTENSION_BYTES);
    put_be32(p, b->count);
    put_be32(p + 4, 0);
    put_be64(p + 8, b->directory_bytes);
    put_be64(p + 16, b->directory_offset);
    return p + BITMAPS_EXTENSION_BYTES;
}

static void put_extensions(const struct qcow2_header *h, uint8_t *p, bool names)
{
    if (h->backing_format)
        p = put_extension(p, EXTENSION_FORMAT, h->backing_format, strlen(h->backing_format));
    if (names)
        p = put_feature_names(p);
    if (h->has_bitmaps)
        p = put_bitmaps(p, &h->bitmaps);
    for (unsigned i = 0; i < h->extension_count; i++)
        p = put_extension(
            p, h->extensions[i].type, h->extensions[i].bytes, h->extensions[i].length);
    put_extension_head(p, EXTENSION_END, 0);
}

static void put_features(const struct qcow2_header *h, uint8_t *p)
{
    put_be64(p + AT_INCOMPATIBLE, h->incompatible);
    put_be64(p + AT_COMPATIBLE, h->compatible);
    put_be64(p + AT_AUTOCLEAR, h->has_bitmaps ? h->autoclear & QCOW2_BITMAPS_VALID : 0);
}

static void put_v3(const struct qcow2_header *h, uint8_t *p)
{
    put_features(h, p);
    put_be32(p + AT_REFCOUNT_ORDER, h->refcount_order);
    put_be32(p + AT_HEADER_BYTES, KNOWN_BYTES + h->unknown_bytes);
    p[AT_COMPRESSION] = (uint8_t)h->compression;
    if (h->unknown_bytes)
        memcpy(p + KNOWN_BYTES, h->unknown, h->unknown_bytes);
}

static void put_tables(const struct qcow2_header *h, uint8_t *p)
{
    put_be64(p + AT_SIZE, h->size_bytes);
    put_be32(p + AT_L1_ENTRIES, h->l1_entries);
    put_be64(p + AT_L1_OFFSET, h->l1_offset);
    put_be64(p + AT_REFTABLE_OFFSET, h->reftable_offset);
    put_be32(p + AT_REFTABLE_CLUSTERS, h->reftable_clusters);
    put_be32(p + AT_SNAPSHOT_COUNT, h->snapshot_count);
    put_be64(p + AT_SNAPSHOTS_OFFSET, h->snapshots_offset);
}

static void put_fields(const struct qcow2_header *h, uint8_t *p)
{
    put_be32(p, MAGIC);
    put_be32(p + AT_VERSION, h->version);
    put_be32(p + AT_CLUSTER_BITS, h->cluster_bits);
    put_tables(h, p);
    if (h->version == 3)
        put_v3(h, p);
}

static void put_backing_name(const struct qcow2_header *h, uint8_t *bytes, size_t at)
{
    size_t length = strlen(h->backing_name);

    put_be64(bytes + AT_BACKING_OFFSET, at);
    put_be32(bytes + AT_BACKING_BYTES, (uint32_t)length);
    memcpy(bytes + at, h->backing_name, length);
}

int qcow2_header_write(
    const struct qcow2_header *h, uint8_t *bytes, size_t length, struct error *err)
{
    size_t names_space = extension_space(FEATURE_BYTES * ARRAY_LEN(features));
    size_t name_bytes = h->backing_name ? strlen(h->backing_name) : 0, space = header_space(h);
    bool names; /* where there is room for them */

    assert(length <= (size_t)1 << h->cluster_bits && name_bytes <= QCOW2_BACKING_NAME_MAX);
    if (space + name_bytes > length)
        return error_set(err, ENOSPC, "the header with its extensions does not fit in a cluster");
    names = h->version == 3 && space + names_space + name_bytes <= length;
    memset(bytes, 0, length);
    put_fields(h, bytes);
    put_extensions(h, bytes + fields_space(h), names);
    if (name_bytes)
        put_backing_name(h, bytes, names ? space + names_space : space);
    return 0;
}

int qcow2_header_update(const struct qcow2_header *h, uint8_t *sector)
{
    if (get_be32(sector) != MAGIC || get_be32(sector + AT_VERSION) != h->version ||
        get_be32(sector + AT_CLUSTER_BITS) != h->cluster_bits)
        return -EBADMSG;
    put_tables(h, sector);
    if (h->version == 3)
        put_features(h, sector);
    if (!h->backing_name) {
        put_be64(sector + AT_BACKING_OFFSET, 0);
        put_be32(sector + AT_BACKING_BYTES, 0);
    }
    return 0;
}
