/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raid/defaults.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/size.h"
#include "raid/geometry.h"

/* In sectors. */
#define KIB            2u
#define MIB            2048u
#define GIB            2097152u
#define HEADROOM_MAX   (128u * MIB)
#define METADATA       (12u * KIB) /* the first 4 KiB, superblock, bad-block log */
#define BITMAP_OFFSET  8u
#define BBLOG_SECTORS  8u
#define RAID1_ROUNDING (64u * KIB) /* so that it might become RAID5 one day */
#define BITMAP_NEEDS   (64u * KIB) /* no room for a bitmap on less */

uint64_t md_default_bitmap_space(uint64_t sectors)
{
    if (sectors < BITMAP_NEEDS)
        return 0;
    if (sectors - 64 * KIB >= (uint64_t)200 * GIB)
        return 128 * KIB;
    if (sectors - 4 * KIB > (uint64_t)8 * GIB)
        return 64 * KIB;
    return 4 * KIB;
}

/* Room to move the data by in a later reshape: about a thousandth of the device. */
static uint64_t headroom(uint64_t device_sectors, uint64_t chunk_sectors)
{
    uint64_t sectors = HEADROOM_MAX;

    while (
        sectors << 10 > device_sectors && (chunk_sectors == 0 || sectors / 2 >= 2 * chunk_sectors))
        sectors /= 2;
    return sectors;
}

uint64_t md_default_data_offset(uint64_t device_sectors, uint64_t chunk_sectors)
{
    uint64_t sectors = METADATA + md_default_bitmap_space(device_sectors) +
                       headroom(device_sectors, chunk_sectors);

    return round_up(sectors, MIB);
}

void md_create_name(struct md_superblock *sb, const char *homehost, const char *name)
{
    size_t name_bytes = strlen(name);

    assert(name_bytes <= MD_NAME_BYTES);
    memset(sb->name, 0, sizeof sb->name);
    if (homehost && !strchr(name, ':') && strlen(homehost) + 1 + name_bytes < MD_NAME_BYTES)
        snprintf(sb->name, sizeof sb->name, "%s:%s", homehost, name);
    else
        memcpy(sb->name, name, name_bytes);
}

void md_create_member(struct md_superblock *sb, uint32_t dev_number, uint64_t device_bytes)
{
    sb->dev_number = dev_number;
    sb->data_size = device_bytes / MD_SECTOR_BYTES - sb->data_offset;
}

static const char *device_name(
    const struct md_create_params *p, unsigned device, char *buf, size_t len)
{
    if (p->names)
        return p->names[device] ? p->names[device] : "missing";
    snprintf(buf, len, "device %u", device);
    return buf;
}

static int check_counts(const struct md_create_params *p, struct error *err)
{
    if (p->raid_disks == 0 || p->raid_disks > RAID_DISKS_MAX || p->device_count < p->raid_disks)
        return error_set(
            err, EINVAL, "an array has 1 to %u members, not %u", RAID_DISKS_MAX, p->raid_disks);
    if (p->device_count > 2 * RAID_DISKS_MAX)
        return error_set(err, EINVAL, "too many spares");
    if (p->level == 0 && p->device_count > p->raid_disks)
        return error_set(err, EINVAL, "raid0 has no use for spares");
    if (p->level == 0 && p->member_bytes)
        return error_set(err, EINVAL, "raid0 always uses all of each member");
    for (unsigned i = 0; i < p->device_count; i++)
        if (!p->device_bytes[i] && (p->level == 0 || i >= p->raid_disks))
            return error_set(err, EINVAL, "%s %u cannot be missing",
                i < p->raid_disks ? "member" : "spare", i < p->raid_disks ? i : i - p->raid_disks);
    return 0;
}

/* As mdadm does: from the first device, and then the same for all. */
static int choose_data_offset(
    struct md_superblock *sb, const struct md_create_params *p, struct error *err)
{
    for (unsigned i = 0; i < p->device_count; i++) {
        if (!p->device_bytes[i])
            continue;
        sb->data_offset = md_default_data_offset(p->device_bytes[i] / MD_SECTOR_BYTES, sb->chunk);
        return 0;
    }
    return error_set(err, EINVAL, "all members are missing");
}

static int too_small(
    const struct md_create_params *p, unsigned device, uint64_t needed_bytes, struct error *err)
{
    char has[16], needs[16], name[128];

    return error_set(err, ENOSPC, "%s is too small: %s of at least %s",
        device_name(p, device, name, sizeof name),
        size_format(p->device_bytes[device], has, sizeof has),
        size_format(needed_bytes, needs, sizeof needs));
}

/* Sectors that are used of each device, of which none has less: chosen in `sb->size`. */
static int choose_size(
    struct md_superblock *sb, const struct md_create_params *p, struct error *err)
{
    uint64_t unit = p->level == 1 ? RAID1_ROUNDING : sb->chunk;
    uint64_t least = p->member_bytes
                         ? round_down(p->member_bytes / MD_SECTOR_BYTES, p->level == 1 ? KIB : unit)
                         : MAX(unit, (uint64_t)BITMAP_NEEDS);
    uint64_t smallest = UINT64_MAX;

    if (least < BITMAP_NEEDS)
        return error_set(err, EINVAL, "member size %" PRIu64 " makes no sense", p->member_bytes);
    for (unsigned i = 0; i < p->device_count; i++) {
        uint64_t sectors = p->device_bytes[i] / MD_SECTOR_BYTES;
        if (!p->device_bytes[i])
            continue;
        if (sectors < sb->data_offset + least)
            return too_small(p, i, (sb->data_offset + least) * MD_SECTOR_BYTES, err);
        smallest = MIN(smallest, sectors - sb->data_offset);
    }
    sb->size = p->member_bytes ? least : round_down(smallest, unit);
    return 0;
}

/* RAID0 has no common size; instead its layout counts once the members' sizes differ. */
static void mark_raid0(
    struct md_superblock *sb, const struct md_create_params *p, uint64_t data_bytes[])
{
    for (unsigned i = 0; i < p->raid_disks; i++) {
        data_bytes[i] = p->device_bytes[i] - sb->data_offset * MD_SECTOR_BYTES;
        if (data_bytes[i] / sb->chunk / MD_SECTOR_BYTES !=
            data_bytes[0] / sb->chunk / MD_SECTOR_BYTES)
            sb->feature_map |= MD_FEATURE_RAID0_LAYOUT;
    }
    sb->size = 0;
    sb->resync_offset = MD_MAX_SECTOR;
}

/* Whether such an array is possible, and what a bitmap would cover. */
static int check_geometry(struct md_superblock *sb, const struct md_create_params *p,
    uint64_t *sync_bytes, struct error *err)
{
    uint64_t data_bytes[RAID_DISKS_MAX];
    struct raid_shape shape = {
        .level = p->level,
        .layout = p->layout,
        .raid_disks = p->raid_disks,
        .chunk_bytes = (uint64_t)sb->chunk * MD_SECTOR_BYTES,
        .member_bytes = sb->size * MD_SECTOR_BYTES,
        .data_bytes = data_bytes,
    };
    struct raid_geometry g;
    int rc;

    if (p->level == 0)
        mark_raid0(sb, p, data_bytes);
    rc = raid_geometry_init(&g, &shape, err);
    if (rc)
        return rc;
    *sync_bytes = g.sync_bytes;
    raid_geometry_destroy(&g);
    return 0;
}

/* The bad-block log follows the bitmap; it is kept empty. Returns the bitmap's header. */
static struct md_bitmap_header place_bitmap(struct md_superblock *sb, uint64_t sync_bytes)
{
    struct md_bitmap_header h = {0};
    uint64_t sectors = 0;

    if (sb->level != 0) {
        uint64_t space_bytes = md_default_bitmap_space(sb->size) * MD_SECTOR_BYTES;
        h.chunk_bytes = (uint32_t)md_bitmap_default_chunk_bytes(sync_bytes, space_bytes);
        h.daemon_sleep = MD_BITMAP_DAEMON_SLEEP;
        h.sync_size = sync_bytes / MD_SECTOR_BYTES;
        sectors = md_bitmap_bytes(md_bitmap_bits(sync_bytes, h.chunk_bytes)) / MD_SECTOR_BYTES;
        sb->feature_map |= MD_FEATURE_BITMAP_OFFSET;
        sb->bitmap_offset = BITMAP_OFFSET;
    }
    sb->bblog_size = BBLOG_SECTORS;
    sb->bblog_offset = (int32_t)(BITMAP_OFFSET + sectors);
    return h;
}

static void assign_roles(struct md_superblock *sb, const struct md_create_params *p)
{
    uint32_t devices = p->device_count;

    for (unsigned i = 0; i < MD_MAX_DEV; i++)
        sb->dev_roles[i] = MD_DISK_ROLE_SPARE;
    md_superblock_set_role(sb, devices - 1, MD_DISK_ROLE_SPARE);
    for (unsigned i = 0; i < p->raid_disks; i++)
        if (p->device_bytes[i])
            md_superblock_set_role(sb, i, (uint16_t)i);
}

int md_create_template(struct md_superblock *sb, struct md_bitmap_header *bitmap,
    const struct md_create_params *p, struct error *err)
{
    uint64_t chunk_bytes = p->chunk_bytes ? p->chunk_bytes : MD_DEFAULT_CHUNK_BYTES;
    uint64_t sync_bytes;
    struct md_superblock made = {
        .level = p->level,
        .layout = p->layout,
        .chunk = p->level == 1 ? 0 : (uint32_t)(chunk_bytes / MD_SECTOR_BYTES),
        .raid_disks = p->raid_disks,
        .super_offset = MD_SUPERBLOCK_OFFSET,
        .resync_offset = p->assume_clean ? MD_MAX_SECTOR : 0,
    };
    int rc = check_counts(p, err);

    if (!rc && p->level != 1)
        rc = raid_chunk_check(chunk_bytes, err);
    if (!rc)
        rc = choose_data_offset(&made, p, err);
    if (!rc)
        rc = choose_size(&made, p, err);
    if (!rc)
        rc = check_geometry(&made, p, &sync_bytes, err);
    if (rc)
        return rc;
    *bitmap = place_bitmap(&made, sync_bytes);
    assign_roles(&made, p);
    *sb = made;
    return 0;
}
