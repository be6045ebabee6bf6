/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raid/parity_record.h"

#include <string.h>
#include <zlib.h>

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#endif

#include "base/bytes.h"

#define OFF_HEADER_CRC  8
#define OFF_PAYLOAD_CRC 12
#define OFF_UUID        16
#define OFF_TAG         32
#define OFF_SEQUENCE    40
#define OFF_FLOOR       48
#define OFF_PAYLOAD     56
#define OFF_COUNT       60
#define OFF_ENTRIES     64
#define ENTRY_BYTES     16
#define ENTRY_EMPTY     1u

static const char magic[8] = "ashlrPL1";

/* The same CRC by either library; ISA-L's is some twenty times as fast. */
static uint32_t crc(uint32_t start, const void *buf, size_t bytes)
{
#ifdef HAVE_ISAL
    return crc32_gzip_refl(start, buf, bytes);
#else
    return (uint32_t)crc32(start, buf, (uInt)bytes);
#endif
}

uint32_t parity_record_crc(const struct iovec *iov, int iov_count)
{
    uint32_t sum = 0;

    for (int i = 0; i < iov_count; i++)
        sum = crc(sum, iov[i].iov_base, iov[i].iov_len);
    return sum;
}

static uint32_t header_crc(const uint8_t *p)
{
    static const uint8_t zeros[4];
    uint32_t sum = crc(0, p, OFF_HEADER_CRC);

    sum = crc(sum, zeros, sizeof zeros);
    return crc(sum, p + OFF_PAYLOAD_CRC, PARITY_RECORD_HEADER_BYTES - OFF_PAYLOAD_CRC);
}

void parity_record_encode(const struct parity_record *r, void *buf)
{
    uint8_t *p = buf;

    memset(p, 0, PARITY_RECORD_HEADER_BYTES);
    memcpy(p, magic, sizeof magic);
    put_le32(p + OFF_PAYLOAD_CRC, r->payload_crc);
    memcpy(p + OFF_UUID, r->set_uuid, sizeof r->set_uuid);
    put_le32(p + OFF_TAG, r->tag);
    put_le64(p + OFF_SEQUENCE, r->sequence);
    put_le64(p + OFF_FLOOR, r->floor);
    put_le32(p + OFF_PAYLOAD, r->payload_bytes);
    put_le32(p + OFF_COUNT, r->count);
    for (unsigned i = 0; i < r->count; i++) {
        uint8_t *e = p + OFF_ENTRIES + i * ENTRY_BYTES;

        put_le64(e, r->entries[i].offset_bytes);
        put_le32(e + 8, r->entries[i].length);
        put_le16(e + 12, r->entries[i].role);
        put_le16(e + 14, r->entries[i].empty ? ENTRY_EMPTY : 0);
    }
    put_le32(p + OFF_HEADER_CRC, header_crc(p));
}

static bool read_entries(struct parity_record *r, const uint8_t *p)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < r->count; i++) {
        const uint8_t *e = p + OFF_ENTRIES + i * ENTRY_BYTES;

        r->entries[i] = (struct parity_entry){
            .offset_bytes = get_le64(e),
            .length = get_le32(e + 8),
            .role = get_le16(e + 12),
            .empty = get_le16(e + 14) & ENTRY_EMPTY,
        };
        if (!r->entries[i].length || get_le16(e + 14) & ~ENTRY_EMPTY)
            return false;
        if (!r->entries[i].empty)
            bytes += r->entries[i].length;
    }
    return bytes == r->payload_bytes;
}

bool parity_record_decode(struct parity_record *r, const void *buf)
{
    const uint8_t *p = buf;

    if (memcmp(p, magic, sizeof magic) || get_le32(p + OFF_HEADER_CRC) != header_crc(p))
        return false;
    *r = (struct parity_record){
        .tag = get_le32(p + OFF_TAG),
        .sequence = get_le64(p + OFF_SEQUENCE),
        .floor = get_le64(p + OFF_FLOOR),
        .payload_bytes = get_le32(p + OFF_PAYLOAD),
        .payload_crc = get_le32(p + OFF_PAYLOAD_CRC),
        .count = get_le32(p + OFF_COUNT),
    };
    memcpy(r->set_uuid, p + OFF_UUID, sizeof r->set_uuid);
    return r->count && r->count <= PARITY_RECORD_ENTRIES_MAX && read_entries(r, p);
}
