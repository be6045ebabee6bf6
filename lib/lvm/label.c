/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/label.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "lvm/crc.h"

/* Offsets: label_header, then pv_header. */
#define LABEL_MAGIC  0
#define LABEL_SECTOR 8
#define LABEL_CRC    16
#define LABEL_OFFSET 20 /* of the pv_header; the checksum starts here */
#define LABEL_TYPE   24
#define LABEL_HEADER 32
#define PV_ID        0
#define PV_SIZE      32
#define PV_AREAS     40
#define AREA_BYTES   16

static const char label_magic[8] = "LABELONE", label_type[8] = "LVM2 001";

/* A list of {offset, size} ended by zeros, at *pos, which moves past it. */
static bool get_areas(
    const uint8_t *sector, unsigned *pos, struct lvm_area areas[LVM_AREAS_MAX], unsigned *count)
{
    for (*count = 0; *pos + AREA_BYTES <= LVM_LABEL_BYTES; (*count)++) {
        struct lvm_area area = {get_le64(sector + *pos), get_le64(sector + *pos + 8)};

        *pos += AREA_BYTES;
        if (!area.offset_bytes && !area.size_bytes)
            return true;
        if (*count == LVM_AREAS_MAX || area.offset_bytes > INT64_MAX || area.size_bytes > INT64_MAX)
            return false;
        areas[*count] = area;
    }
    return false;
}

/* Areas lie behind the labels and, but for open ends, within the device. */
static bool areas_are_sane(const struct lvm_label *l, const struct lvm_area *areas, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (areas[i].offset_bytes % LVM_LABEL_BYTES || areas[i].size_bytes % LVM_LABEL_BYTES ||
            areas[i].offset_bytes > l->device_size_bytes ||
            areas[i].size_bytes > l->device_size_bytes - areas[i].offset_bytes)
            return false;
    return true;
}

static bool get_pv_header(struct lvm_label *l, const uint8_t *sector, unsigned pos)
{
    if (!lvm_uuid_from_label(l->id, (const char *)sector + pos + PV_ID))
        return false;
    l->device_size_bytes = get_le64(sector + pos + PV_SIZE);
    pos += PV_AREAS;
    if (!get_areas(sector, &pos, l->data_areas, &l->data_area_count) ||
        !get_areas(sector, &pos, l->metadata_areas, &l->metadata_area_count))
        return false;
    if (pos + 8 <= LVM_LABEL_BYTES)
        l->extension_version = get_le32(sector + pos);
    if (l->extension_version) {
        l->extension_flags = get_le32(sector + pos + 4);
        pos += 8;
        if (!get_areas(sector, &pos, l->bootloader_areas, &l->bootloader_area_count))
            return false;
    }
    return areas_are_sane(l, l->data_areas, l->data_area_count) &&
           areas_are_sane(l, l->metadata_areas, l->metadata_area_count);
}

int lvm_label_decode(
    struct lvm_label *label, const void *sector, uint64_t sector_number, struct error *err)
{
    const uint8_t *p = sector;
    struct lvm_label l = {.sector = sector_number};
    uint32_t offset = get_le32(p + LABEL_OFFSET);

    if (memcmp(p + LABEL_MAGIC, label_magic, sizeof label_magic) != 0)
        return error_set(err, ENODATA, "there is no LVM2 label");
    if (get_le32(p + LABEL_CRC) !=
        lvm_crc(LVM_CRC_INITIAL, p + LABEL_OFFSET, LVM_LABEL_BYTES - LABEL_OFFSET))
        return error_set(err, EBADMSG, "the LVM2 label's checksum is wrong");
    if (get_le64(p + LABEL_SECTOR) != sector_number)
        return error_set(err, EBADMSG, "the LVM2 label is of another sector");
    if (memcmp(p + LABEL_TYPE, label_type, sizeof label_type) != 0)
        return error_set(err, EOPNOTSUPP, "the label is not of type \"LVM2 001\"");
    if (offset < LABEL_HEADER || offset > LVM_LABEL_BYTES - PV_AREAS || offset % 8)
        return error_set(err, EBADMSG, "the LVM2 label's header is misplaced");
    if (!get_pv_header(&l, p, offset))
        return error_set(err, EBADMSG, "the LVM2 label's fields make no sense");
    *label = l;
    return 0;
}

int lvm_label_find(struct lvm_label *label, const void *first_bytes, struct error *err)
{
    struct error first_error = {0};
    int first_rc = 0;

    for (unsigned i = 0; i < LVM_LABEL_SCAN_SECTORS; i++) {
        struct error e = {0};
        int rc = lvm_label_decode(label, (const char *)first_bytes + i * LVM_LABEL_BYTES, i, &e);

        if (!rc)
            return 0;
        if (!first_rc || (first_rc == -ENODATA && rc != -ENODATA)) {
            first_rc = rc;
            first_error = e;
        }
    }
    return error_set(err, -first_rc, "%s", first_error.text);
}

static void put_areas(uint8_t *sector, unsigned *pos, const struct lvm_area *areas, unsigned count)
{
    assert(count <= LVM_AREAS_MAX);
    for (unsigned i = 0; i < count; i++, *pos += AREA_BYTES) {
        put_le64(sector + *pos, areas[i].offset_bytes);
        put_le64(sector + *pos + 8, areas[i].size_bytes);
    }
    *pos += AREA_BYTES;
}

void lvm_label_encode(const struct lvm_label *label, void *sector)
{
    uint8_t *p = memset(sector, 0, LVM_LABEL_BYTES);
    unsigned pos = LABEL_HEADER + PV_AREAS;

    memcpy(p + LABEL_MAGIC, label_magic, sizeof label_magic);
    put_le64(p + LABEL_SECTOR, label->sector);
    put_le32(p + LABEL_OFFSET, LABEL_HEADER);
    memcpy(p + LABEL_TYPE, label_type, sizeof label_type);
    lvm_uuid_to_label((char *)p + LABEL_HEADER + PV_ID, label->id);
    put_le64(p + LABEL_HEADER + PV_SIZE, label->device_size_bytes);
    put_areas(p, &pos, label->data_areas, label->data_area_count);
    put_areas(p, &pos, label->metadata_areas, label->metadata_area_count);
    if (label->extension_version) {
        put_le32(p + pos, label->extension_version);
        put_le32(p + pos + 4, label->extension_flags);
        pos += 8;
        put_areas(p, &pos, label->bootloader_areas, label->bootloader_area_count);
    }
    put_le32(
        p + LABEL_CRC, lvm_crc(LVM_CRC_INITIAL, p + LABEL_OFFSET, LVM_LABEL_BYTES - LABEL_OFFSET));
}
