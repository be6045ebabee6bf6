/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading the header. Extensions begin where the header's fields end and go up to the backing
 * name, or the end of the first cluster: type, length, data, padding to 8 bytes; type 0 ends them.
 */
#include "image/header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "image/header_layout.h"

#define KNOWN_INCOMPATIBLE                                                                         \
    (QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_DATA_FILE | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2)
#define EXTENDED_CLUSTER_BITS_MIN 14
#define SNAPSHOT_BYTES_MIN        40
#define BITMAPS_MAX               65535

/* The first cluster, or what there is of it. */
struct source {
    const uint8_t *bytes;
    size_t length;
    uint64_t image_bytes;
    size_t header_bytes, extensions_end;
};

struct extension_view {
    uint32_t type, length;
    const uint8_t *data;
};

static int bad(struct error *err, const char *why)
{
    return error_set(err, EBADMSG, "the qcow2 header is damaged: %s", why);
}

/* The next extension at *at, which moves past it; length and type 0 at the end. */
static int next_extension(
    const struct source *s, size_t *at, struct extension_view *e, struct error *err)
{
    *e = (struct extension_view){0};
    if (s->extensions_end - *at < EXTENSION_BYTES)
        return 0;
    e->type = get_be32(s->bytes + *at);
    if (e->type == EXTENSION_END)
        return 0;
    e->length = get_be32(s->bytes + *at + 4);
    e->data = s->bytes + *at + EXTENSION_BYTES;
    *at += EXTENSION_BYTES;
    if (e->length > s->extensions_end - *at)
        return bad(err, "an extension goes beyond its end");
    *at = MIN(*at + round_up(e->length, 8), s->extensions_end);
    return 0;
}

static int refuse_feature(const struct source *s, uint64_t unknown, struct error *err)
{
    unsigned bit = (unsigned)__builtin_ctzll(unknown);
    struct extension_view e;
    size_t at = s->header_bytes;

    while (!next_extension(s, &at, &e, NULL) && e.type != EXTENSION_END) {
        if (e.type != EXTENSION_FEATURES)
            continue;
        for (uint32_t i = 0; i + FEATURE_BYTES <= e.length; i += FEATURE_BYTES)
            if (e.data[i] == 0 && e.data[i + 1] == bit)
                return error_set(err, EOPNOTSUPP,
                    "the image has a feature that we do not know: \"%.*s\"", FEATURE_NAME_BYTES,
                    (const char *)e.data + i + 2);
    }
    return error_set(
        err, EOPNOTSUPP, "the image has a feature that we do not know: incompatible bit %u", bit);
}

static int check_features(const struct qcow2_header *h, const struct source *s, struct error *err)
{
    uint32_t encryption = get_be32(s->bytes + AT_ENCRYPTION);
    uint64_t unknown = h->incompatible & ~KNOWN_INCOMPATIBLE;

    if (encryption)
        return error_set(err, EOPNOTSUPP, "the image is encrypted (%s)",
            encryption == 1   ? "AES"
            : encryption == 2 ? "LUKS"
                              : "by an unknown method");
    if (unknown)
        return refuse_feature(s, unknown, err);
    if (h->incompatible & QCOW2_DATA_FILE)
        return error_set(err, EOPNOTSUPP, "the image keeps its data in an external data file");
    if (h->incompatible & QCOW2_EXTENDED_L2 && h->cluster_bits < EXTENDED_CLUSTER_BITS_MIN)
        return bad(err, "extended L2 entries with clusters of less than 16 KiB");
    if (h->refcount_order > 6)
        return bad(err, "refcounts of more than 64 bits");
    return 0;
}

static int read_compression(struct qcow2_header *h, const struct source *s, struct error *err)
{
    unsigned type = s->header_bytes > AT_COMPRESSION ? s->bytes[AT_COMPRESSION] : 0;

    if (!type != !(h->incompatible & QCOW2_COMPRESSION))
        return bad(err, "the compression type contradicts the features");
    if (type != QCOW2_ZLIB && type != QCOW2_ZSTD)
        return error_set(err, EOPNOTSUPP, "the image has an unknown compression type, %u", type);
    h->compression = type;
    return 0;
}

/* Version 3's part. */
static int read_v3(struct qcow2_header *h, struct source *s, struct error *err)
{
    if (s->length < V3_BYTES)
        return bad(err, "it is cut off");
    s->header_bytes = get_be32(s->bytes + AT_HEADER_BYTES);
    if (s->header_bytes < V3_BYTES || s->header_bytes % 8 || s->header_bytes > s->length)
        return bad(err, "its length cannot be");
    h->incompatible = get_be64(s->bytes + AT_INCOMPATIBLE);
    h->compatible = get_be64(s->bytes + AT_COMPATIBLE);
    h->autoclear = get_be64(s->bytes + AT_AUTOCLEAR);
    h->refcount_order = get_be32(s->bytes + AT_REFCOUNT_ORDER);
    return 0;
}

static int read_fields(struct qcow2_header *h, struct source *s, struct error *err)
{
    const uint8_t *p = s->bytes;

    if (s->length < 4 || get_be32(p) != MAGIC)
        return error_set(err, ENOEXEC, "this is not a qcow2 image");
    if (s->length < V2_BYTES)
        return bad(err, "it is cut off");
    h->version = get_be32(p + AT_VERSION);
    if (h->version != 2 && h->version != 3)
        return error_set(err, EOPNOTSUPP, "qcow2 version %u is unknown", h->version);
    h->cluster_bits = get_be32(p + AT_CLUSTER_BITS);
    if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return bad(err, "clusters are 512 bytes to 2 MiB");
    s->length = MIN(s->length, (size_t)1 << h->cluster_bits);
    h->size_bytes = get_be64(p + AT_SIZE);
    h->l1_entries = get_be32(p + AT_L1_ENTRIES);
    h->l1_offset = get_be64(p + AT_L1_OFFSET);
    h->reftable_offset = get_be64(p + AT_REFTABLE_OFFSET);
    h->reftable_clusters = get_be32(p + AT_REFTABLE_CLUSTERS);
    h->snapshot_count = get_be32(p + AT_SNAPSHOT_COUNT);
    h->snapshots_offset = get_be64(p + AT_SNAPSHOTS_OFFSET);
    h->refcount_order = 4;
    s->header_bytes = V2_BYTES;
    return h->version == 3 ? read_v3(h, s, err) : 0;
}

/* Behind the header's cluster, at a cluster, and with all its bytes inside the image. */
static bool is_inside(
    const struct qcow2_header *h, uint64_t offset, uint64_t bytes, uint64_t image_bytes)
{
    return offset && !(offset & ((UINT64_C(1) << h->cluster_bits) - 1)) && offset <= image_bytes &&
           bytes <= image_bytes - offset;
}

static int check_tables(const struct qcow2_header *h, uint64_t image_bytes, struct error *err)
{
    uint64_t l1_bytes = UINT64_C(8) * h->l1_entries;
    uint64_t reftable_bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;
    struct qcow2_geometry g;

    qcow2_geometry_init(&g, h);
    if (l1_bytes > QCOW2_L1_MAX_BYTES)
        return bad(err, "the L1 table is larger than 32 MiB");
    if (h->l1_entries < qcow2_l1_entries(&g, h->size_bytes))
        return bad(err, "the L1 table is too small for the disk");
    if (l1_bytes && !is_inside(h, h->l1_offset, l1_bytes, image_bytes))
        return bad(err, "the L1 table is not at a cluster inside the image");
    if (!reftable_bytes || reftable_bytes > QCOW2_REFTABLE_MAX_BYTES)
        return bad(err, "the refcount table is empty or larger than 8 MiB");
    if (!is_inside(h, h->reftable_offset, reftable_bytes, image_bytes))
        return bad(err, "the refcount table is not at a cluster inside the image");
    if (h->snapshot_count > QCOW2_SNAPSHOTS_MAX)
        return bad(err, "there are more than 65536 snapshots");
    if (h->snapshot_count && !is_inside(h, h->snapshots_offset,
                                 UINT64_C(1) * h->snapshot_count * SNAPSHOT_BYTES_MIN, image_bytes))
        return bad(err, "the snapshot table is not at a cluster inside the image");
    return 0;
}

/* A string of the image, up to a zero byte; nothing: NULL. */
static int keep_string(char **to, const uint8_t *bytes, size_t length)
{
    size_t used = strnlen((const char *)bytes, length);

    if (!used)
        return 0;
    *to = strndup((const char *)bytes, used);
    return *to ? 0 : -ENOMEM;
}

static int keep_bytes(uint8_t **to, const uint8_t *bytes, size_t length)
{
    if (!length)
        return 0;
    *to = malloc(length);
    if (!*to)
        return -ENOMEM;
    memcpy(*to, bytes, length);
    return 0;
}

static int read_backing_name(struct qcow2_header *h, struct source *s, struct error *err)
{
    uint64_t offset = get_be64(s->bytes + AT_BACKING_OFFSET);
    uint32_t length = get_be32(s->bytes + AT_BACKING_BYTES);

    s->extensions_end = s->length;
    if (!offset)
        return 0;
    if (offset < s->header_bytes || offset > s->length || length > s->length - offset)
        return bad(err, "the backing name is not in the first cluster");
    if (length > QCOW2_BACKING_NAME_MAX)
        return bad(err, "the backing name is longer than 1023 bytes");
    s->extensions_end = offset;
    return keep_string(&h->backing_name, s->bytes + offset, length);
}

static int read_bitmaps(struct qcow2_header *h, const struct extension_view *e,
    const struct source *s, struct error *err)
{
    struct qcow2_bitmaps_extension *b = &h->bitmaps;

    if (!(h->autoclear & QCOW2_BITMAPS_VALID))
        return 0;
    if (h->has_bitmaps || e->length != BITMAPS_EXTENSION_BYTES || get_be32(e->data + 4))
        return bad(err, "the bitmaps extension makes no sense");
    b->count = get_be32(e->data);
    b->directory_bytes = get_be64(e->data + 8);
    b->directory_offset = get_be64(e->data + 16);
    if (!b->count || b->count > BITMAPS_MAX || b->directory_bytes > QCOW2_BITMAPS_MAX_BYTES)
        return bad(err, "the number or size of bitmaps cannot be");
    if (!is_inside(h, b->directory_offset, b->directory_bytes, s->image_bytes))
        return bad(err, "the bitmap directory is not at a cluster inside the image");
    h->has_bitmaps = true;
    return 0;
}

static int keep_extension(struct qcow2_header *h, const struct extension_view *e)
{
    struct qcow2_extension *more =
        reallocarray(h->extensions, h->extension_count + 1, sizeof *more);
    struct qcow2_extension *last;

    if (!more)
        return -ENOMEM;
    h->extensions = more;
    last = &more[h->extension_count++];
    *last = (struct qcow2_extension){.type = e->type, .length = e->length};
    return keep_bytes(&last->bytes, e->data, e->length);
}

static int read_extension(struct qcow2_header *h, const struct extension_view *e,
    const struct source *s, struct error *err)
{
    switch (e->type) {
    case EXTENSION_FORMAT:
        if (h->backing_format)
            return bad(err, "the backing format stands twice");
        return keep_string(&h->backing_format, e->data, e->length);
    case EXTENSION_BITMAPS:
        return read_bitmaps(h, e, s, err);
    case EXTENSION_ENCRYPTION:
        return bad(err, "an encryption header without encryption");
    case EXTENSION_FEATURES:
        return 0;
    default:
        return keep_extension(h, e);
    }
}

static int read_extensions(struct qcow2_header *h, const struct source *s, struct error *err)
{
    size_t at = s->header_bytes;
    struct extension_view e;
    int rc;

    while (!(rc = next_extension(s, &at, &e, err)) && e.type != EXTENSION_END) {
        rc = read_extension(h, &e, s, err);
        if (rc < 0)
            break;
    }
    if (!rc && h->autoclear & QCOW2_BITMAPS_VALID && !h->has_bitmaps)
        return bad(err, "there are no bitmaps, though the features say so");
    return rc;
}

static int read_all(struct qcow2_header *h, struct source *s, struct error *err)
{
    int rc = read_fields(h, s, err);

    if (!rc)
        rc = read_backing_name(h, s, err);
    if (!rc)
        rc = check_features(h, s, err);
    if (!rc)
        rc = read_compression(h, s, err);
    if (!rc)
        rc = check_tables(h, s->image_bytes, err);
    if (!rc)
        rc = read_extensions(h, s, err);
    if (!rc && s->header_bytes > KNOWN_BYTES) {
        h->unknown_bytes = (uint32_t)s->header_bytes - KNOWN_BYTES;
        rc = keep_bytes(&h->unknown, s->bytes + KNOWN_BYTES, h->unknown_bytes);
    }
    return rc;
}

int qcow2_header_read(struct qcow2_header *h, const uint8_t *bytes, size_t length,
    uint64_t image_bytes, struct error *err)
{
    struct source s = {.bytes = bytes, .length = length, .image_bytes = image_bytes};
    struct qcow2_header r = {0};
    int rc = read_all(&r, &s, err);

    if (rc == -ENOMEM)
        error_set(err, ENOMEM, "out of memory");
    if (rc < 0)
        qcow2_header_free(&r);
    else
        *h = r;
    return rc;
}

void qcow2_header_free(struct qcow2_header *h)
{
    for (unsigned i = 0; i < h->extension_count; i++)
        free(h->extensions[i].bytes);
    free(h->extensions);
    free(h->unknown);
    free(h->backing_name);
    free(h->backing_format);
    *h = (struct qcow2_header){0};
}
