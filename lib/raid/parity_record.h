/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A record of the parity log, as bytes. Pure. The log lies in the space between the bitmap (and
 * bad-block log) and the data of each member of a RAID5 or RAID6, which md never touches
 * (docs/formats.md).
 *
 * A record is a header of 4 KiB and what the header's entries say is to stand on which members, one
 * after the other. Little-endian:
 *
 *      0  magic "ashlrPL1"          40  u64 sequence
 *      8  u32 CRC of the header     48  u64 floor
 *     12  u32 CRC of the payload    56  u32 payload bytes
 *     16  set_uuid of the array     60  u32 number of entries
 *     32  u32 tag                   64  entries: u64 member offset, u32 length, u16 role, u16 flags
 *     36  u32 zero
 *
 * Flag 1 of an entry: it has no payload, and only says that what older records have for that place
 * does not count (there was no member in the role).
 *
 * CRCs are those of zlib (crc32); the header's is computed with zeros in its place. What is not
 * used is zero.
 */
#ifndef ASHLAR_RAID_PARITY_RECORD_H
#define ASHLAR_RAID_PARITY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define PARITY_RECORD_HEADER_BYTES 4096u
#define PARITY_RECORD_ENTRIES_MAX  62u

struct parity_entry {
    uint64_t offset_bytes; /* in the member's data */
    uint32_t length;       /* not 0 */
    uint16_t role;
    bool empty; /* no payload */
};

struct parity_record {
    uint8_t set_uuid[16];
    uint32_t tag;      /* of the run of the array that wrote it: superblocks have it, too */
    uint64_t sequence; /* rises by at least 1 from record to record of the array */
    uint64_t floor;    /* records of this member below that are void */
    uint32_t payload_bytes, payload_crc;
    unsigned count;
    struct parity_entry entries[PARITY_RECORD_ENTRIES_MAX];
};

/* Of the payload, in pieces. */
uint32_t parity_record_crc(const struct iovec *iov, int iov_count);
/* `buf`: PARITY_RECORD_HEADER_BYTES. */
void parity_record_encode(const struct parity_record *r, void *buf);
/* False: there is no record, or a damaged one. Entries lie in `payload_bytes` without a gap; roles
 * and offsets are the caller's to check, and the payload's CRC. */
bool parity_record_decode(struct parity_record *r, const void *buf);

#endif
