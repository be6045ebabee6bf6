/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/mda.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "lvm/crc.h"

#define MDA_CRC       0
#define MDA_MAGIC     4 /* the checksum starts here */
#define MDA_VERSION   20
#define MDA_START     24
#define MDA_SIZE      32
#define MDA_RAW_LOCNS 40
#define LOCN_BYTES    24

#define VERSION 1u

static const uint8_t magic[16] = {
    0x20, 0x4c, 0x56, 0x4d, 0x32, 0x20, 0x78, 0x5b, 0x35, 0x41, 0x25, 0x72, 0x30, 0x4e, 0x2a, 0x3e};

static struct lvm_raw_locn get_locn(const uint8_t *p)
{
    return (struct lvm_raw_locn){get_le64(p), get_le64(p + 8), get_le32(p + 16), get_le32(p + 20)};
}

static void put_locn(uint8_t *p, const struct lvm_raw_locn *l)
{
    put_le64(p, l->offset);
    put_le64(p + 8, l->size);
    put_le32(p + 16, l->crc);
    put_le32(p + 20, l->flags);
}

static bool locn_is_sane(const struct lvm_raw_locn *l, uint64_t size_bytes)
{
    return !l->offset || (l->offset >= LVM_MDA_HEADER_BYTES && l->offset < size_bytes &&
                             l->offset % LVM_MDA_ALIGN_BYTES == 0 && l->size &&
                             l->size <= size_bytes - LVM_MDA_HEADER_BYTES);
}

int lvm_mda_decode(struct lvm_mda_header *h, const void *buf, uint64_t start_bytes,
    uint64_t size_bytes, struct error *err)
{
    const uint8_t *p = buf;
    struct lvm_mda_header got = {
        .start_bytes = get_le64(p + MDA_START),
        .size_bytes = get_le64(p + MDA_SIZE),
        .committed = get_locn(p + MDA_RAW_LOCNS),
        .precommitted = get_locn(p + MDA_RAW_LOCNS + LOCN_BYTES),
    };

    if (memcmp(p + MDA_MAGIC, magic, sizeof magic) != 0)
        return error_set(err, EBADMSG, "the metadata area has no header");
    if (get_le32(p + MDA_CRC) !=
        lvm_crc(LVM_CRC_INITIAL, p + MDA_MAGIC, LVM_MDA_HEADER_BYTES - MDA_MAGIC))
        return error_set(err, EBADMSG, "the metadata area's header has a wrong checksum");
    if (get_le32(p + MDA_VERSION) != VERSION)
        return error_set(err, EOPNOTSUPP, "the metadata area is of version %u, not 1",
            get_le32(p + MDA_VERSION));
    if (got.start_bytes != start_bytes || got.size_bytes != size_bytes ||
        size_bytes < LVM_MDA_MIN_BYTES)
        return error_set(
            err, EBADMSG, "the metadata area's header contradicts the label about its place");
    if (!locn_is_sane(&got.committed, size_bytes) || !locn_is_sane(&got.precommitted, size_bytes))
        return error_set(err, EBADMSG, "the metadata area's header points outside the area");
    *h = got;
    return 0;
}

void lvm_mda_encode(const struct lvm_mda_header *h, void *buf)
{
    uint8_t *p = memset(buf, 0, LVM_MDA_HEADER_BYTES);

    memcpy(p + MDA_MAGIC, magic, sizeof magic);
    put_le32(p + MDA_VERSION, VERSION);
    put_le64(p + MDA_START, h->start_bytes);
    put_le64(p + MDA_SIZE, h->size_bytes);
    put_locn(p + MDA_RAW_LOCNS, &h->committed);
    put_locn(p + MDA_RAW_LOCNS + LOCN_BYTES, &h->precommitted);
    put_le32(
        p + MDA_CRC, lvm_crc(LVM_CRC_INITIAL, p + MDA_MAGIC, LVM_MDA_HEADER_BYTES - MDA_MAGIC));
}

uint64_t lvm_mda_text_max(uint64_t size_bytes)
{
    uint64_t half = (size_bytes - LVM_MDA_HEADER_BYTES) / 2;

    return half > LVM_MDA_ALIGN_BYTES ? half - LVM_MDA_ALIGN_BYTES : 0;
}

/* The offset `length` bytes after `offset` in the ring. */
static uint64_t advance(uint64_t size_bytes, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;

    return end > size_bytes ? end - size_bytes + LVM_MDA_HEADER_BYTES : end;
}

int lvm_mda_place(const struct lvm_mda_header *h, uint64_t length, uint64_t *offset)
{
    const struct lvm_raw_locn *last = &h->committed;
    uint64_t ring = h->size_bytes - LVM_MDA_HEADER_BYTES, start = LVM_MDA_HEADER_BYTES;

    if (length > lvm_mda_text_max(h->size_bytes))
        return -ENOSPC;
    if (last->offset) {
        start = round_up(advance(h->size_bytes, last->offset, last->size), LVM_MDA_ALIGN_BYTES);
        if (start + LVM_MDA_ALIGN_BYTES > h->size_bytes)
            start = LVM_MDA_HEADER_BYTES;
        /* A longer text than we write may be there: what is free ends where it begins. */
        if (length > (last->offset + ring - start) % ring)
            return -ENOSPC;
    }
    *offset = start;
    return 0;
}

unsigned lvm_mda_pieces(
    uint64_t size_bytes, uint64_t offset, uint64_t length, struct lvm_mda_piece pieces[2])
{
    uint64_t first = MIN(length, size_bytes - offset);

    pieces[0] = (struct lvm_mda_piece){offset, first};
    pieces[1] = (struct lvm_mda_piece){LVM_MDA_HEADER_BYTES, length - first};
    return pieces[1].length ? 2 : 1;
}
