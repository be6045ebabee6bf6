/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raid/bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"

#define BITMAP_MAGIC 0x6d746962u /* "bitm" */

enum { VERSION_HOST_ENDIAN = 3, VERSION = 4, VERSION_CLUSTERED = 5, VERSION_LOCKLESS = 6 };

enum {
    OFF_MAGIC = 0,
    OFF_VERSION = 4,
    OFF_UUID = 8,
    OFF_EVENTS = 24,
    OFF_EVENTS_CLEARED = 32,
    OFF_SYNC_SIZE = 40,
    OFF_STATE = 48,
    OFF_CHUNK = 52,
    OFF_DAEMON_SLEEP = 56,
    OFF_WRITE_BEHIND = 60,
    OFF_SECTORS_RESERVED = 64
};

#define SECTORS_MAX       ((uint64_t)INT64_MAX / MD_SECTOR_BYTES)
#define CHUNK_DEFAULT_MIN (64u << 20)
#define CHUNK_DEFAULT_MAX (1u << 30)
#define WRITE_BEHIND_MAX  16383u

static int check_version(uint32_t version, struct error *err)
{
    switch (version) {
    case VERSION:
        return 0;
    case VERSION_HOST_ENDIAN:
        return error_set(err, EOPNOTSUPP, "bitmap version 3 (host-endian) is not supported");
    case VERSION_CLUSTERED:
        return error_set(err, EOPNOTSUPP, "bitmap version 5 (clustered) is not supported");
    case VERSION_LOCKLESS:
        return error_set(err, EOPNOTSUPP, "bitmap version 6 (lockless) is not supported");
    default:
        return error_set(err, EOPNOTSUPP, "bitmap version %" PRIu32 " is not supported", version);
    }
}

static int check_fields(const struct md_bitmap_header *h, struct error *err)
{
    if (h->chunk_bytes < MD_SECTOR_BYTES || !is_power_of_2(h->chunk_bytes))
        return error_set(err, EBADMSG, "bitmap is damaged: chunk size %" PRIu32 " makes no sense",
            h->chunk_bytes);
    if (h->sync_size == 0 || h->sync_size > SECTORS_MAX)
        return error_set(
            err, EBADMSG, "bitmap is damaged: size %" PRIu64 " makes no sense", h->sync_size);
    if (h->daemon_sleep == 0 || h->daemon_sleep > INT32_MAX)
        return error_set(err, EBADMSG, "bitmap is damaged: daemon sleep %" PRIu32 " makes no sense",
            h->daemon_sleep);
    if (h->write_behind > WRITE_BEHIND_MAX)
        return error_set(err, EBADMSG, "bitmap is damaged: write behind %" PRIu32 " makes no sense",
            h->write_behind);
    return 0;
}

int md_bitmap_decode(struct md_bitmap_header *h, const void *buf, struct error *err)
{
    const uint8_t *p = buf;
    struct md_bitmap_header read;
    int rc;

    if (get_le32(p + OFF_MAGIC) != BITMAP_MAGIC)
        return error_set(err, ENODATA, "no bitmap where the superblock says there is one");
    rc = check_version(get_le32(p + OFF_VERSION), err);
    if (rc)
        return rc;
    memcpy(read.uuid, p + OFF_UUID, sizeof read.uuid);
    read.events = get_le64(p + OFF_EVENTS);
    read.events_cleared = get_le64(p + OFF_EVENTS_CLEARED);
    read.sync_size = get_le64(p + OFF_SYNC_SIZE);
    read.state = get_le32(p + OFF_STATE);
    read.chunk_bytes = get_le32(p + OFF_CHUNK);
    read.daemon_sleep = get_le32(p + OFF_DAEMON_SLEEP);
    read.write_behind = get_le32(p + OFF_WRITE_BEHIND);
    read.sectors_reserved = get_le32(p + OFF_SECTORS_RESERVED);
    rc = check_fields(&read, err);
    if (rc)
        return rc;
    *h = read;
    return 0;
}

void md_bitmap_encode(const struct md_bitmap_header *h, void *buf)
{
    uint8_t *p = buf;

    memset(p, 0, MD_BITMAP_HEADER_BYTES);
    put_le32(p + OFF_MAGIC, BITMAP_MAGIC);
    put_le32(p + OFF_VERSION, VERSION);
    memcpy(p + OFF_UUID, h->uuid, sizeof h->uuid);
    put_le64(p + OFF_EVENTS, h->events);
    put_le64(p + OFF_EVENTS_CLEARED, h->events_cleared);
    put_le64(p + OFF_SYNC_SIZE, h->sync_size);
    put_le32(p + OFF_STATE, h->state);
    put_le32(p + OFF_CHUNK, h->chunk_bytes);
    put_le32(p + OFF_DAEMON_SLEEP, h->daemon_sleep);
    put_le32(p + OFF_WRITE_BEHIND, h->write_behind);
    put_le32(p + OFF_SECTORS_RESERVED, h->sectors_reserved);
}

/* Sectors from the bitmap's start to whatever comes next on the member. */
static uint64_t room_sectors(const struct md_superblock *sb)
{
    uint64_t end = sb->data_offset - MD_SUPERBLOCK_OFFSET;

    if (sb->bblog_size && sb->bblog_offset > sb->bitmap_offset)
        end = MIN(end, (uint64_t)sb->bblog_offset);
    return end - (uint64_t)sb->bitmap_offset;
}

int md_bitmap_check(const struct md_bitmap_header *h, const struct md_superblock *sb,
    uint64_t sync_bytes, struct error *err)
{
    uint64_t bytes =
        MD_BITMAP_HEADER_BYTES + div_round_up(md_bitmap_bits(sync_bytes, h->chunk_bytes), 8);

    if (memcmp(h->uuid, sb->set_uuid, sizeof h->uuid) != 0)
        return error_set(err, EBADMSG, "bitmap belongs to another array");
    /* mdadm counts RAID10's to the KiB, the array ends with a whole chunk: more is no fault */
    if (h->sync_size < sync_bytes / MD_SECTOR_BYTES)
        return error_set(err, EBADMSG,
            "bitmap covers %" PRIu64 " sectors, the array needs %" PRIu64, h->sync_size,
            sync_bytes / MD_SECTOR_BYTES);
    if (div_round_up(bytes, MD_SECTOR_BYTES) > room_sectors(sb))
        return error_set(
            err, EBADMSG, "bitmap of %" PRIu64 " bytes does not fit before the data", bytes);
    return 0;
}

bool md_bitmap_current(const struct md_bitmap_header *h, uint64_t array_events)
{
    return !(h->state & (MD_BITMAP_STALE | MD_BITMAP_WRITE_ERROR)) && h->events >= array_events;
}

bool md_bitmap_covers(const struct md_bitmap_header *h, uint64_t member_events)
{
    return member_events >= h->events_cleared;
}

uint64_t md_bitmap_bits(uint64_t sync_bytes, uint64_t chunk_bytes)
{
    return div_round_up(sync_bytes, chunk_bytes);
}

uint64_t md_bitmap_bytes(uint64_t bits)
{
    return round_up(MD_BITMAP_HEADER_BYTES + div_round_up(bits, 8), MD_BITMAP_ALIGN_BYTES);
}

uint64_t md_bitmap_default_chunk_bytes(uint64_t sync_bytes, uint64_t space_bytes)
{
    uint64_t max_bits = (space_bytes - MD_BITMAP_HEADER_BYTES) * 8;
    uint64_t chunk_bytes = MD_BITMAP_CHUNK_MIN_BYTES;

    for (uint64_t bits = sync_bytes / chunk_bytes + 1; bits > max_bits; bits = (bits + 1) / 2)
        chunk_bytes *= 2;
    chunk_bytes = MAX(chunk_bytes, (uint64_t)CHUNK_DEFAULT_MIN);
    return MIN(chunk_bytes, (uint64_t)CHUNK_DEFAULT_MAX);
}

void md_bitmap_fill(void *map, uint64_t bits, bool set)
{
    uint64_t bytes = md_bitmap_bytes(bits) - MD_BITMAP_HEADER_BYTES;
    uint64_t whole = set ? 0 : bits / 8;
    uint8_t *p = map;

    memset(p, 0, whole);
    memset(p + whole, 0xff, bytes - whole);
    if (!set && bits % 8)
        p[whole] = (uint8_t)(0xffu << bits % 8);
}

bool md_bitmap_test(const void *map, uint64_t bit)
{
    return ((const uint8_t *)map)[bit / 8] >> bit % 8 & 1;
}

void md_bitmap_set(void *map, uint64_t bit)
{
    ((uint8_t *)map)[bit / 8] |= (uint8_t)(1u << bit % 8);
}

void md_bitmap_clear(void *map, uint64_t bit)
{
    ((uint8_t *)map)[bit / 8] &= (uint8_t) ~(1u << bit % 8);
}

uint64_t md_bitmap_next(const void *map, uint64_t from, uint64_t bits)
{
    const uint8_t *p = map;

    while (from < bits) {
        unsigned rest = p[from / 8] >> from % 8;
        if (rest)
            return MIN(from + (unsigned)__builtin_ctz(rest), bits);
        from = round_down(from, 8) + 8;
    }
    return bits;
}

uint64_t md_bitmap_count(const void *map, uint64_t bits)
{
    const uint8_t *p = map;
    uint64_t count = 0;

    for (uint64_t i = 0; i < bits / 8; i++)
        count += (unsigned)__builtin_popcount(p[i]);
    if (bits % 8)
        count += (unsigned)__builtin_popcount(p[bits / 8] & ((1u << bits % 8) - 1));
    return count;
}
