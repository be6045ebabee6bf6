/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guest reads: piece by piece, each in one subcluster, each from the tables anew. */
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "check_qcow2.h"

#define PACKED      (UINT64_C(1) << 62)
#define ZERO        UINT64_C(1)
#define SUBCLUSTERS 32u

struct entry {
    uint64_t word, bitmap;
};

/* What is not there is not allocated. */
static bool find_entry(
    const struct check_qcow2 *c, unsigned disk, uint64_t cluster, struct entry *e)
{
    const struct check_qcow2_disk *d = &c->disks[disk];
    uint64_t l1_index = cluster / c->l2_entries, at = cluster % c->l2_entries;
    uint8_t *l1 = check_qcow2_load(c, d->l1_offset + l1_index * 8, 8);
    uint64_t l2_offset = l1 ? check_be(l1, 0, 8) & CHECK_QCOW2_OFFSET : 0;
    const uint8_t *l2;

    *e = (struct entry){0};
    free(l1);
    if (!l1 || l1_index >= d->l1_entries)
        return false;
    if (!l2_offset)
        return true;
    l2 = check_qcow2_table(c, l2_offset);
    if (!l2)
        return false;
    if (c->extended)
        *e = (struct entry){check_be(l2, at * 16, 8), check_be(l2, at * 16 + 8, 8)};
    else
        *e = (struct entry){check_be(l2, at * 8, 8), 0};
    return true;
}

static bool unpack_zlib(uint8_t *to, size_t to_bytes, const uint8_t *from, size_t from_bytes)
{
    z_stream z = {
        .next_in = (uint8_t *)(uintptr_t)from,
        .avail_in = (uInt)from_bytes,
        .next_out = to,
        .avail_out = (uInt)to_bytes,
    };

    if (inflateInit2(&z, -12) != Z_OK)
        return false;
    inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return z.avail_out == 0;
}

/* The frame may be followed by other bytes. */
static bool unpack_zstd(uint8_t *to, size_t to_bytes, const uint8_t *from, size_t from_bytes)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    ZSTD_outBuffer out = {to, to_bytes, 0};
    ZSTD_inBuffer in = {from, from_bytes, 0};
    size_t rc = 1;

    while (z && rc && !ZSTD_isError(rc) && in.pos < in.size && out.pos < out.size)
        rc = ZSTD_decompressStream(z, &out, &in);
    ZSTD_freeDStream(z);
    return out.pos == out.size;
}

static bool read_packed(
    const struct check_qcow2 *c, uint64_t word, void *buf, uint64_t within, uint64_t length)
{
    uint64_t offset, bytes, left;
    uint8_t *from, *to = malloc(c->cluster_bytes);
    bool good;

    check_qcow2_packed(c, word, &offset, &bytes);
    left = offset < c->file.size_bytes ? c->file.size_bytes - offset : 0;
    from = check_qcow2_load(c, offset, bytes < left ? bytes : left);
    good = from && to &&
           (c->compression ? unpack_zstd : unpack_zlib)(to, c->cluster_bytes, from, bytes);
    if (good)
        memcpy(buf, to + within, length);
    free(from);
    free(to);
    return good;
}

static bool read_from(const struct check_disk *d, void *buf, uint64_t offset, uint64_t length)
{
    uint64_t there = 0;
    const void *at;

    if (d && offset < d->size_bytes)
        there = length < d->size_bytes - offset ? length : d->size_bytes - offset;
    memset((char *)buf + there, 0, length - there);
    at = there ? check_read(d, buf, offset, there) : buf;
    if (at && at != buf)
        memcpy(buf, at, there);
    return at;
}

static bool read_piece(struct check_qcow2 *c, unsigned disk, const struct check_disk *backing,
    void *buf, uint64_t offset, uint64_t length)
{
    uint64_t within = offset % c->cluster_bytes;
    unsigned sub = (unsigned)(within / (c->cluster_bytes / SUBCLUSTERS));
    struct entry e;
    bool data, zero;

    if (!find_entry(c, disk, offset >> c->cluster_bits, &e))
        return false;
    if (e.word & PACKED)
        return read_packed(c, e.word, buf, within, length);
    data = c->extended ? e.bitmap >> sub & 1 : e.word & CHECK_QCOW2_OFFSET;
    zero = c->extended ? e.bitmap >> (SUBCLUSTERS + sub) & 1 : e.word & ZERO;
    if (zero)
        memset(buf, 0, length);
    else if (data)
        return read_from(&c->file, buf, (e.word & CHECK_QCOW2_OFFSET) + within, length);
    else
        return read_from(backing, buf, offset, length);
    return true;
}

bool check_qcow2_read(struct check_qcow2 *c, unsigned disk, const struct check_disk *backing,
    void *buf, uint64_t offset, uint64_t length)
{
    uint64_t unit = c->extended ? c->cluster_bytes / SUBCLUSTERS : c->cluster_bytes;

    for (uint64_t done = 0, piece; done < length; done += piece) {
        uint64_t left = unit - (offset + done) % unit;

        piece = length - done < left ? length - done : left;
        if (!read_piece(c, disk, backing, (char *)buf + done, offset + done, piece))
            return false;
    }
    return true;
}
