/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One table of fields drives both directions, so that they cannot drift apart. The order of checks
 * is the kernel's: magic, version, length, checksum; only then is a field worth a look.
 */
#include "raid/superblock.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "raid/layout.h"

/* F(offset on disk, bits, field) */
#define FIELDS(F)                                                                                  \
    F(8, 32, feature_map)                                                                          \
    F(64, 64, ctime)                                                                               \
    F(72, 32, level)                                                                               \
    F(76, 32, layout)                                                                              \
    F(80, 64, size)                                                                                \
    F(88, 32, chunk)                                                                               \
    F(92, 32, raid_disks)                                                                          \
    F(96, 32, bitmap_offset)                                                                       \
    F(100, 32, new_level)                                                                          \
    F(104, 64, reshape_position)                                                                   \
    F(112, 32, delta_disks)                                                                        \
    F(116, 32, new_layout)                                                                         \
    F(120, 32, new_chunk)                                                                          \
    F(124, 32, new_offset)                                                                         \
    F(128, 64, data_offset)                                                                        \
    F(136, 64, data_size)                                                                          \
    F(144, 64, super_offset)                                                                       \
    F(152, 64, recovery_offset)                                                                    \
    F(160, 32, dev_number)                                                                         \
    F(164, 32, cnt_corrected_read)                                                                 \
    F(186, 16, bblog_size)                                                                         \
    F(188, 32, bblog_offset)                                                                       \
    F(192, 64, utime)                                                                              \
    F(200, 64, events)                                                                             \
    F(208, 64, resync_offset)                                                                      \
    F(220, 32, max_dev)

enum {
    OFF_MAGIC = 0,
    OFF_MAJOR = 4,
    OFF_PAD0 = 12,
    OFF_SET_UUID = 16,
    OFF_SET_NAME = 32,
    OFF_SUPER_OFFSET = 144,
    OFF_DEVICE_UUID = 168,
    OFF_DEVFLAGS = 184,
    OFF_BBLOG_SHIFT = 185,
    OFF_CHECKSUM = 216,
    OFF_MAX_DEV = 220,
    OFF_PAD3 = 224,
    OFF_ROLES = 256
};

#define SECTORS_MAX      ((uint64_t)INT64_MAX / MD_SECTOR_BYTES)
#define DATA_SECTORS_MIN 10u
/* What this code knows; a newer linux/raid/md_p.h may name more. */
#define KNOWN_FEATURES 0x1fffu

static uint32_t checksum(const uint8_t *p, uint32_t bytes)
{
    uint64_t sum = 0;
    uint32_t i;

    for (i = 0; i + 4 <= bytes; i += 4)
        if (i != OFF_CHECKSUM)
            sum += get_le32(p + i);
    if (i < bytes)
        sum += get_le16(p + i);
    return (uint32_t)(sum & UINT32_MAX) + (uint32_t)(sum >> 32);
}

/* Without these nothing else in the buffer can be trusted. */
static int check_envelope(const uint8_t *p, struct error *err)
{
    uint32_t max_dev = get_le32(p + OFF_MAX_DEV);

    if (get_le32(p + OFF_MAGIC) != MD_SB_MAGIC)
        return error_set(err, ENODATA, "no md superblock");
    if (get_le32(p + OFF_MAJOR) != 1)
        return error_set(err, EOPNOTSUPP, "md superblock version %" PRIu32 " is not supported",
            get_le32(p + OFF_MAJOR));
    if (max_dev > MD_MAX_DEV)
        return error_set(err, EBADMSG,
            "md superblock is damaged: max_dev %" PRIu32 " is more than %u", max_dev, MD_MAX_DEV);
    if (get_le32(p + OFF_CHECKSUM) != checksum(p, OFF_ROLES + 2 * max_dev))
        return error_set(err, EBADMSG, "md superblock is damaged: wrong checksum");
    return 0;
}

static int check_pads(const uint8_t *p, struct error *err)
{
    if (get_le32(p + OFF_PAD0))
        return error_set(err, EBADMSG, "md superblock is damaged: pad0 is not zero");
    for (unsigned i = OFF_PAD3; i < OFF_ROLES; i++)
        if (p[i])
            return error_set(err, EBADMSG, "md superblock is damaged: pad3 is not zero");
    return 0;
}

static int check_place(const struct md_superblock *sb, struct error *err)
{
    if (sb->super_offset == MD_SUPERBLOCK_OFFSET)
        return 0;
    if (sb->super_offset == 0)
        return error_set(err, EOPNOTSUPP, "md superblock version 1.1 is not supported");
    return error_set(err, EOPNOTSUPP,
        "md superblock belongs to sector %" PRIu64
        ": version 1.0, or a copy of another member, is not supported",
        sb->super_offset);
}

static int check_features(const struct md_superblock *sb, struct error *err)
{
    const uint32_t any_ppl = MD_FEATURE_PPL | MD_FEATURE_MULTIPLE_PPLS;
    const uint32_t not_with_ppl = MD_FEATURE_BITMAP_OFFSET | MD_FEATURE_JOURNAL;
    uint32_t unknown = sb->feature_map & ~KNOWN_FEATURES;

    if (unknown)
        return error_set(
            err, EOPNOTSUPP, "md superblock has unknown feature bits 0x%" PRIx32, unknown);
    if ((sb->feature_map & any_ppl) && (sb->feature_map & not_with_ppl))
        return error_set(
            err, EBADMSG, "md superblock is damaged: PPL together with bitmap or journal");
    if ((sb->feature_map & MD_FEATURE_RAID0_LAYOUT) && sb->level != 0)
        return error_set(
            err, EBADMSG, "md superblock is damaged: RAID0 layout on level %" PRId32, sb->level);
    return 0;
}

static int check_data(const struct md_superblock *sb, struct error *err)
{
    uint64_t superblock_end =
        MD_SUPERBLOCK_OFFSET + div_round_up(md_superblock_bytes(sb), MD_SECTOR_BYTES);

    if (sb->data_offset < superblock_end)
        return error_set(err, EBADMSG,
            "md superblock is damaged: data offset %" PRIu64 " is inside the superblock",
            sb->data_offset);
    if (sb->data_offset > SECTORS_MAX || sb->data_size > SECTORS_MAX - sb->data_offset)
        return error_set(err, EBADMSG,
            "md superblock is damaged: data offset %" PRIu64 " and size %" PRIu64 " overflow",
            sb->data_offset, sb->data_size);
    if (sb->data_size < DATA_SECTORS_MIN)
        return error_set(err, EBADMSG,
            "md superblock is damaged: data size %" PRIu64 " is too small", sb->data_size);
    if ((sb->feature_map & MD_FEATURE_RECOVERY_OFFSET) && sb->recovery_offset > sb->data_size)
        return error_set(err, EBADMSG,
            "md superblock is damaged: recovery offset %" PRIu64 " is beyond the data",
            sb->recovery_offset);
    return 0;
}

static bool level_has_chunks(int32_t level)
{
    return level == 0 || level == 4 || level == 5 || level == 6 || level == 10;
}

static int check_shape(const struct md_superblock *sb, struct error *err)
{
    uint16_t role = md_superblock_role(sb, sb->dev_number);

    if (sb->raid_disks == 0 || sb->raid_disks > sb->max_dev)
        return error_set(err, EBADMSG,
            "md superblock is damaged: %" PRIu32 " raid disks with room for %" PRIu32,
            sb->raid_disks, sb->max_dev);
    if (level_has_chunks(sb->level) && sb->chunk == 0)
        return error_set(err, EBADMSG, "md superblock is damaged: chunk size is zero");
    if (level_has_chunks(sb->level) && sb->level != 0 && !is_power_of_2(sb->chunk))
        return error_set(err, EBADMSG,
            "md superblock is damaged: chunk of %" PRIu32 " sectors is not a power of two",
            sb->chunk);
    if (sb->level > 0 && (sb->size == 0 || sb->size > SECTORS_MAX))
        return error_set(
            err, EBADMSG, "md superblock is damaged: size %" PRIu64 " makes no sense", sb->size);
    if (sb->level > 0 && md_role_is_active(role) && sb->size > sb->data_size)
        return error_set(err, EBADMSG,
            "md superblock is damaged: size %" PRIu64 " is more than the data size %" PRIu64,
            sb->size, sb->data_size);
    return 0;
}

/* A role has one member, and perhaps a replacement. (Cut off roles read as zero, and the checksum
 * does not tell zeros from ones.) */
static int check_roles(const struct md_superblock *sb, struct error *err)
{
    bool reshape = sb->feature_map & MD_FEATURE_RESHAPE_ACTIVE;
    uint32_t roles = reshape ? sb->max_dev : sb->raid_disks;
    uint8_t claims[MD_MAX_DEV] = {0};

    if (sb->dev_number >= sb->max_dev)
        return error_set(err, EBADMSG,
            "md superblock is damaged: device number %" PRIu32 " with room for %" PRIu32,
            sb->dev_number, sb->max_dev);
    for (uint32_t i = 0; i < sb->max_dev; i++) {
        uint16_t role = sb->dev_roles[i];
        if (role >= MD_DISK_ROLE_JOURNAL || (role < roles && ++claims[role] <= 2))
            continue;
        return error_set(err, EBADMSG,
            "md superblock is damaged: device %" PRIu32 " has role %u of %" PRIu32 "%s", i, role,
            sb->raid_disks, role < roles ? ", as two others have" : "");
    }
    return 0;
}

static int check_bitmap_place(const struct md_superblock *sb, struct error *err)
{
    int64_t start = (int64_t)MD_SUPERBLOCK_OFFSET + sb->bitmap_offset;
    int64_t after =
        MD_SUPERBLOCK_OFFSET + (int64_t)div_round_up(md_superblock_bytes(sb), MD_SECTOR_BYTES);

    if (!(sb->feature_map & MD_FEATURE_BITMAP_OFFSET))
        return 0;
    if (start < after || (uint64_t)start >= sb->data_offset)
        return error_set(err, EBADMSG,
            "md superblock is damaged: bitmap offset %" PRId32
            " is not between superblock and data",
            sb->bitmap_offset);
    return 0;
}

static void decode_fields(struct md_superblock *sb, const uint8_t *p)
{
#define GET(offset, bits, field) sb->field = get_le##bits(p + (offset));
    FIELDS(GET)
#undef GET
    memcpy(sb->set_uuid, p + OFF_SET_UUID, sizeof sb->set_uuid);
    memcpy(sb->name, p + OFF_SET_NAME, MD_NAME_BYTES);
    sb->name[MD_NAME_BYTES] = '\0';
    memcpy(sb->device_uuid, p + OFF_DEVICE_UUID, sizeof sb->device_uuid);
    sb->devflags = p[OFF_DEVFLAGS];
    sb->bblog_shift = p[OFF_BBLOG_SHIFT];
    for (uint32_t i = 0; i < MD_MAX_DEV; i++)
        sb->dev_roles[i] = i < sb->max_dev ? get_le16(p + OFF_ROLES + 2 * i) : MD_DISK_ROLE_SPARE;
}

int md_superblock_decode(struct md_superblock *sb, const void *buf, struct error *err)
{
    static int (*const checks[])(const struct md_superblock *, struct error *) = {
        check_place, check_features, check_data, check_shape, check_roles, check_bitmap_place};
    struct md_superblock read;
    int rc;

    rc = check_envelope(buf, err);
    if (!rc)
        rc = check_pads(buf, err);
    if (rc)
        return rc;
    decode_fields(&read, buf);
    for (unsigned i = 0; i < ARRAY_LEN(checks); i++) {
        rc = checks[i](&read, err);
        if (rc)
            return rc;
    }
    *sb = read;
    return 0;
}

int md_superblock_supported(const struct md_superblock *sb, struct error *err)
{
    static const struct {
        uint32_t bits;
        const char *what;
    } refused[] = {
        {MD_FEATURE_RESHAPE_ACTIVE | MD_FEATURE_RESHAPE_BACKWARDS | MD_FEATURE_NEW_OFFSET,
            "a reshape that is not finished"},
        {MD_FEATURE_JOURNAL, "a journal device"},
        {MD_FEATURE_PPL | MD_FEATURE_MULTIPLE_PPLS, "a partial parity log"},
        {MD_FEATURE_CLUSTERED, "a clustered bitmap"},
        {MD_FEATURE_BAD_BLOCKS, "recorded bad blocks"},
    };

    for (unsigned i = 0; i < ARRAY_LEN(refused); i++)
        if (sb->feature_map & refused[i].bits)
            return error_set(err, EOPNOTSUPP, "md array with %s is not supported", refused[i].what);
    if (sb->level != 0 && sb->level != 1 && sb->level != 5 && sb->level != 6 && sb->level != 10)
        return error_set(
            err, EOPNOTSUPP, "md array of level %s is not supported", raid_level_name(sb->level));
    return 0;
}

void md_superblock_encode(const struct md_superblock *sb, void *buf)
{
    uint8_t *p = buf;

    assert(sb->max_dev <= MD_MAX_DEV);
    memset(p, 0, MD_SUPERBLOCK_BYTES);
    put_le32(p + OFF_MAGIC, MD_SB_MAGIC);
    put_le32(p + OFF_MAJOR, 1);
#define PUT(offset, bits, field) put_le##bits(p + (offset), (uint##bits##_t)sb->field);
    FIELDS(PUT)
#undef PUT
    memcpy(p + OFF_SET_UUID, sb->set_uuid, sizeof sb->set_uuid);
    memcpy(p + OFF_SET_NAME, sb->name, MD_NAME_BYTES);
    memcpy(p + OFF_DEVICE_UUID, sb->device_uuid, sizeof sb->device_uuid);
    p[OFF_DEVFLAGS] = sb->devflags;
    p[OFF_BBLOG_SHIFT] = sb->bblog_shift;
    for (uint32_t i = 0; i < sb->max_dev; i++)
        put_le16(p + OFF_ROLES + 2 * i, sb->dev_roles[i]);
    put_le32(p + OFF_CHECKSUM, checksum(p, md_superblock_bytes(sb)));
}

uint32_t md_superblock_bytes(const struct md_superblock *sb)
{
    return OFF_ROLES + 2 * sb->max_dev;
}

uint16_t md_superblock_role(const struct md_superblock *sb, uint32_t dev_number)
{
    return dev_number < sb->max_dev ? sb->dev_roles[dev_number] : MD_DISK_ROLE_SPARE;
}

void md_superblock_set_role(struct md_superblock *sb, uint32_t dev_number, uint16_t role)
{
    assert(dev_number < MD_MAX_DEV);
    if (dev_number >= sb->max_dev) {
        uint32_t bytes = OFF_ROLES + 2 * (dev_number + 1);
        uint32_t max_dev = ((uint32_t)round_up(bytes, MD_SECTOR_BYTES) - OFF_ROLES) / 2;
        for (uint32_t i = sb->max_dev; i < max_dev; i++)
            sb->dev_roles[i] = MD_DISK_ROLE_SPARE;
        sb->max_dev = max_dev;
    }
    sb->dev_roles[dev_number] = role;
}

const char *md_superblock_short_name(const struct md_superblock *sb)
{
    const char *colon = strchr(sb->name, ':');

    return colon ? colon + 1 : sb->name;
}

void md_foreign_places(uint64_t member_bytes, struct md_foreign_place places[MD_FOREIGN_PLACES])
{
    const uint64_t reserved_090 = 64 << 10, reserved_10 = 8 << 10;
    uint64_t at_090 = round_down(member_bytes, reserved_090);
    uint64_t sectors = round_down(member_bytes, MD_SECTOR_BYTES);

    places[0].version = "0.90";
    places[0].offset_bytes = at_090 < reserved_090 ? 0 : at_090 - reserved_090;
    places[1].version = "1.0";
    places[1].offset_bytes =
        sectors < reserved_10 ? 0 : round_down(sectors - reserved_10, MD_SUPERBLOCK_BYTES);
    places[2].version = "1.1";
    places[2].offset_bytes = 0;
}

bool md_foreign_found(const struct md_foreign_place *place, const void *buf)
{
    const uint8_t *p = buf;
    uint32_t major = get_le32(p + OFF_MAJOR);

    if (get_le32(p + OFF_MAGIC) != MD_SB_MAGIC)
        return false;
    if (!strcmp(place->version, "0.90"))
        return major == 0;
    return major == 1 && get_le64(p + OFF_SUPER_OFFSET) == place->offset_bytes / MD_SECTOR_BYTES;
}
