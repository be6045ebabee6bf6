/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_super.h"

#include <inttypes.h>
#include <stdio.h>

#define MAGIC               0xa92b4efcu
#define BITMAP_MAGIC        0x6d746962u
#define BITMAP_HEADER_BYTES 256u
#define SUPER_START         8u /* sectors */
#define ROLES               256u
#define MAX_DEV             1920u
#define FEATURES_KNOWN      0x1fffu

static uint32_t super_bytes(const struct check_super *s)
{
    return ROLES + 2 * s->max_dev;
}

static void read_fields(struct check_super *s)
{
    const uint8_t *p = s->bytes;

    s->feature_map = check_u32(p, 8);
    s->set_uuid = p + 16;
    s->level = (int32_t)check_u32(p, 72);
    s->layout = check_u32(p, 76);
    s->size = check_u64(p, 80);
    s->chunk = check_u32(p, 88);
    s->raid_disks = check_u32(p, 92);
    s->bitmap_start = (int64_t)SUPER_START + (int32_t)check_u32(p, 96);
    s->data_offset = check_u64(p, 128);
    s->data_size = check_u64(p, 136);
    s->recovery_offset = check_u64(p, 152);
    s->number = check_u32(p, 160);
    s->device_uuid = p + 168;
    s->bad_blocks_size = check_u16(p, 186);
    s->bad_blocks_start = (int64_t)SUPER_START + (int32_t)check_u32(p, 188);
    s->events = check_u64(p, 200);
    s->resync_offset = check_u64(p, 208);
    s->max_dev = check_u32(p, 220);
}

static bool is_zero(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i])
            return false;
    return true;
}

static uint32_t checksum(const struct check_super *s)
{
    uint64_t sum = 0;
    uint32_t bytes = super_bytes(s);

    for (uint32_t at = 0; at + 4 <= bytes; at += 4)
        sum += at == 216 ? 0 : check_u32(s->bytes, at);
    if (bytes % 4)
        sum += check_u16(s->bytes, bytes - 2);
    return (uint32_t)sum + (uint32_t)(sum >> 32);
}

/* What super_1_load refuses. */
static const char *refusal(const struct check_super *s, const struct check_disk *d)
{
    uint64_t sectors = d->size_bytes / CHECK_SECTOR_BYTES;

    if (check_u32(s->bytes, 4) != 1)
        return "major version is not 1";
    if (s->max_dev > MAX_DEV)
        return "room for more roles than fit";
    if (checksum(s) != check_u32(s->bytes, 216))
        return "wrong checksum";
    if (check_u64(s->bytes, 144) != SUPER_START)
        return "super_offset is not where it stands";
    if (check_u32(s->bytes, 12) || !is_zero(s->bytes + 224, 32))
        return "pads are not zero";
    if (s->feature_map & ~FEATURES_KNOWN)
        return "unknown features";
    if (s->data_size < 10)
        return "data_size below 10";
    if (s->data_offset < SUPER_START + CHECK_SUPER_BYTES / CHECK_SECTOR_BYTES)
        return "data_offset inside the superblock";
    if (s->data_offset > sectors || s->data_size > sectors - s->data_offset)
        return "data beyond the end of the device";
    if (s->feature_map & CHECK_FEATURE_RAID0_LAYOUT && s->level != 0)
        return "the raid0 layout feature on another level";
    return NULL;
}

bool check_super_read(struct check_super *s, const struct check_disk *d, char damage[128])
{
    const void *at = check_read(d, s->bytes, SUPER_START * CHECK_SECTOR_BYTES, CHECK_SUPER_BYTES);
    const char *why;

    damage[0] = '\0';
    if (!at || check_u32(at, 0) != MAGIC)
        return false;
    if (at != s->bytes)
        memcpy(s->bytes, at, CHECK_SUPER_BYTES);
    read_fields(s);
    why = refusal(s, d);
    if (why)
        snprintf(damage, 128, "superblock: %s", why);
    return !why;
}

uint16_t check_super_role(const struct check_super *s, uint32_t number)
{
    return number < s->max_dev ? check_u16(s->bytes, ROLES + 2 * number) : CHECK_ROLE_SPARE;
}

static uint64_t div_round_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

static bool is_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

static void check_shape(
    const struct check_super *s, const struct check_disk *d, struct check_problems *p)
{
    static const int levels[] = {0, 1, 4, 5, 6, 10};
    bool known = false, active = check_role_is_active(check_super_role(s, s->number));

    for (unsigned i = 0; i < sizeof levels / sizeof *levels; i++)
        known |= s->level == levels[i];
    if (!known)
        check_problem(p, "%s: level %d", d->name, s->level);
    if (s->raid_disks == 0 || s->raid_disks > s->max_dev)
        check_problem(
            p, "%s: %" PRIu32 " raid disks, room for %" PRIu32, d->name, s->raid_disks, s->max_dev);
    if (s->level == 0 ? s->chunk == 0 || s->chunk % 8 : s->level > 1 && !is_power_of_two(s->chunk))
        check_problem(p, "%s: chunk of %" PRIu32 " sectors", d->name, s->chunk);
    if (s->level > 0 && (s->size == 0 || (active && s->size > s->data_size)))
        check_problem(
            p, "%s: %" PRIu64 " sectors used of %" PRIu64, d->name, s->size, s->data_size);
    if (s->feature_map & CHECK_FEATURE_RECOVERY_OFFSET && s->recovery_offset > s->size)
        check_problem(p, "%s: recovered beyond its end, at %" PRIu64, d->name, s->recovery_offset);
    if (s->level == 0 && s->resync_offset != UINT64_MAX)
        check_problem(p, "%s: raid0 is not clean", d->name);
}

static void check_roles(
    const struct check_super *s, const struct check_disk *d, struct check_problems *p)
{
    uint8_t claims[MAX_DEV] = {0};

    if (s->number >= s->max_dev)
        check_problem(
            p, "%s: device number %" PRIu32 ", room for %" PRIu32, d->name, s->number, s->max_dev);
    for (uint32_t i = 0; i < s->max_dev; i++) {
        uint16_t role = check_super_role(s, i);
        if (role >= CHECK_ROLE_JOURNAL)
            continue;
        if (role >= s->raid_disks || role >= MAX_DEV)
            check_problem(p, "%s: device %" PRIu32 " has role %u of %" PRIu32, d->name, i, role,
                s->raid_disks);
        else if (++claims[role] > 2)
            check_problem(p, "%s: role %u of more than two devices", d->name, role);
    }
}

/* Parts of a disk, in sectors. */
struct part {
    const char *name;
    int64_t start, end;
};

static void check_apart(
    const struct part *parts, unsigned count, const struct check_disk *d, struct check_problems *p)
{
    for (unsigned i = 0; i < count; i++) {
        if (parts[i].start < 0)
            check_problem(p, "%s: %s before the start of the disk", d->name, parts[i].name);
        for (unsigned k = 0; k < i; k++)
            if (parts[i].start < parts[k].end && parts[k].start < parts[i].end)
                check_problem(p, "%s: %s overlaps %s", d->name, parts[i].name, parts[k].name);
    }
}

/* Data inside the disk has been seen to; all the rest lies before it. */
static void check_parts(const struct check_super *s, const struct check_bitmap *bitmap,
    const struct check_disk *d, struct check_problems *p)
{
    struct part parts[4] = {
        {"the superblock", SUPER_START,
            SUPER_START + (super_bytes(s) + CHECK_SECTOR_BYTES - 1) / CHECK_SECTOR_BYTES},
        {"the data", (int64_t)s->data_offset, (int64_t)(s->data_offset + s->data_size)},
    };
    unsigned count = 2;

    if (s->bad_blocks_size)
        parts[count++] = (struct part){
            "the bad-block log", s->bad_blocks_start, s->bad_blocks_start + s->bad_blocks_size};
    if (bitmap)
        parts[count++] = (struct part){
            "the bitmap", s->bitmap_start, s->bitmap_start + (int64_t)bitmap->sectors};
    for (unsigned i = 2; i < count; i++)
        if (parts[i].start > (int64_t)s->data_offset)
            check_problem(p, "%s: %s behind the data", d->name, parts[i].name);
    check_apart(parts, count, d, p);
}

/* Entries up to one of all ones; each inside the data. */
static void check_bad_blocks(
    const struct check_super *s, const struct check_disk *d, struct check_problems *p)
{
    uint64_t bytes = (uint64_t)s->bad_blocks_size * CHECK_SECTOR_BYTES;
    uint8_t buf[CHECK_SUPER_BYTES];
    const void *log = NULL;

    if (!(s->feature_map & CHECK_FEATURE_BAD_BLOCKS))
        return;
    if (bytes && bytes <= sizeof buf && s->bad_blocks_start >= 0)
        log = check_read(d, buf, (uint64_t)s->bad_blocks_start * CHECK_SECTOR_BYTES, bytes);
    if (!log) {
        check_problem(p, "%s: no bad-block log", d->name);
        return;
    }
    for (uint64_t at = 0; at < bytes && check_u64(log, at) != UINT64_MAX; at += 8) {
        uint64_t entry = check_u64(log, at);
        if (!(entry & 0x3ff) || (entry >> 10) + (entry & 0x3ff) > s->data_offset + s->data_size)
            check_problem(p, "%s: bad-block entry %" PRIx64, d->name, entry);
    }
}

void check_super_strict(const struct check_super *s, const struct check_bitmap *bitmap,
    const struct check_disk *d, struct check_problems *p)
{
    check_shape(s, d, p);
    check_roles(s, d, p);
    check_parts(s, bitmap, d, p);
    check_bad_blocks(s, d, p);
}

/* What md_bitmap_read_sb refuses, or a kernel that we want to read it. */
static const char *bitmap_refusal(
    const uint8_t *h, const struct check_super *s, uint64_t covered_bytes)
{
    uint32_t chunk_bytes = check_u32(h, 52), daemon_sleep = check_u32(h, 56);

    if (check_u32(h, 0) != BITMAP_MAGIC)
        return "no magic";
    if (check_u32(h, 4) != 4)
        return "version is not 4";
    if (memcmp(h + 8, s->set_uuid, 16) != 0)
        return "of another array";
    if (!is_power_of_two(chunk_bytes) || chunk_bytes < 512)
        return "chunk size makes no sense";
    if (daemon_sleep < 1 || daemon_sleep > 0x7fffffff)
        return "daemon_sleep makes no sense";
    if (check_u32(h, 60) > 16383)
        return "write_behind makes no sense";
    if (check_u32(h, 48) & ~6u)
        return "unknown state bits";
    if (covered_bytes && check_u64(h, 40) != covered_bytes / CHECK_SECTOR_BYTES)
        return "does not cover what it has to";
    if (check_u64(h, 32) > check_u64(h, 24))
        return "cleared at events that it has not seen";
    return NULL;
}

bool check_bitmap_read(struct check_bitmap *b, const struct check_super *s,
    const struct check_disk *d, uint64_t covered_bytes, struct check_problems *p)
{
    uint64_t at = (uint64_t)s->bitmap_start * CHECK_SECTOR_BYTES;
    uint8_t buf[CHECK_SECTOR_BYTES];
    const uint8_t *h = s->bitmap_start < 0 ? NULL : check_read(d, buf, at, sizeof buf);
    const char *why = h ? bitmap_refusal(h, s, covered_bytes) : "outside the disk";

    if (why) {
        check_problem(p, "%s: bitmap: %s", d->name, why);
        return false;
    }
    b->events = check_u64(h, 24);
    b->events_cleared = check_u64(h, 32);
    b->chunk_bytes = check_u32(h, 52);
    b->bits = div_round_up(check_u64(h, 40), b->chunk_bytes / CHECK_SECTOR_BYTES);
    b->sectors = div_round_up(BITMAP_HEADER_BYTES + div_round_up(b->bits, 8), CHECK_SECTOR_BYTES);
    if (check_u32(h, 64) && b->sectors > check_u32(h, 64))
        check_problem(p, "%s: bitmap: larger than it says", d->name);
    return true;
}
