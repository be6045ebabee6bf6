/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_pv.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define LABEL_SECTORS     4u
#define PV_HEADER         32u
#define PV_AREAS          40u /* from the header */
#define MDA_HEADER        512u
#define MDA_SLOTS         40u
#define MDA_SLOT_BYTES    24u
#define MDA_SLOT_COUNT    ((MDA_HEADER - MDA_SLOTS) / MDA_SLOT_BYTES)
#define PV_VERSION_MAX    2u
#define SLOT_IGNORED_FLAG 1u

static uint32_t checksum(const void *bytes, size_t count)
{
    return (uint32_t)crc32(0xf597a6cfu ^ UINT32_MAX, bytes, (uInt)count) ^ UINT32_MAX;
}

static void damaged(struct check_pv *pv, const char *why)
{
    pv->state = CHECK_PV_DAMAGED;
    snprintf(pv->damage, sizeof pv->damage, "%s", why);
}

/* --- the label --- */

static const char *label_refusal(const uint8_t *sector, unsigned number)
{
    if (check_u32(sector, 16) != checksum(sector + 20, CHECK_SECTOR_BYTES - 20))
        return "label: wrong checksum";
    if (check_u64(sector, 8) != number)
        return "label: of another sector";
    if (memcmp(sector + 24, "LVM2 001", 8) != 0)
        return "label: of another type";
    if (check_u32(sector, 20) != PV_HEADER)
        return "label: header not behind it";
    return NULL;
}

/* The sector into label: the only valid one of the first four. */
static bool find_label(struct check_pv *pv, uint8_t *label, struct check_problems *p)
{
    uint8_t buf[LABEL_SECTORS * CHECK_SECTOR_BYTES];
    const uint8_t *sectors = check_read(&pv->disk, buf, 0, sizeof buf);
    bool found = false;

    for (unsigned i = 0; sectors && i < LABEL_SECTORS; i++) {
        const uint8_t *sector = sectors + i * CHECK_SECTOR_BYTES;
        const char *why;
        if (memcmp(sector, "LABELONE", 8) != 0)
            continue;
        why = label_refusal(sector, i);
        if (why && !found)
            damaged(pv, why);
        if (why)
            continue;
        if (found)
            check_problem(p, "%s: a second label", pv->disk.name);
        else
            memcpy(label, sector, CHECK_SECTOR_BYTES);
        found = true;
    }
    return found;
}

struct area {
    uint64_t offset, size;
};

/* A list that ends with zeros, at *at, which moves behind it. False: it does not end. */
static bool read_areas(const uint8_t *label, unsigned *at, struct area areas[2], unsigned *count)
{
    for (*count = 0; *at + 16 <= CHECK_SECTOR_BYTES; (*count)++) {
        struct area a = {check_u64(label, *at), check_u64(label, *at + 8)};
        *at += 16;
        if (!a.offset && !a.size)
            return true;
        if (*count < 2)
            areas[*count] = a;
    }
    return false;
}

static bool read_uuid(struct check_pv *pv, const uint8_t *from)
{
    for (unsigned i = 0; i < 32; i++)
        if (!isalnum(from[i]) && from[i] != '!' && from[i] != '#')
            return false;
    memcpy(pv->uuid, from, 32);
    return true;
}

static bool area_is_inside(const struct check_pv *pv, struct area a, uint64_t first)
{
    return a.offset >= first && a.offset % CHECK_SECTOR_BYTES == 0 &&
           a.size % CHECK_SECTOR_BYTES == 0 && a.offset <= pv->size_bytes &&
           a.size <= pv->size_bytes - a.offset;
}

static void check_areas(struct check_pv *pv, struct area data, struct area metadata,
    unsigned number, struct check_problems *p)
{
    uint64_t behind_label = (number + 1) * CHECK_SECTOR_BYTES;
    uint64_t data_end = data.size ? data.offset + data.size : pv->size_bytes;

    if (pv->size_bytes > pv->disk.size_bytes || pv->size_bytes % CHECK_SECTOR_BYTES)
        check_problem(p, "%s: PV of %" PRIu64 " bytes on a device of %" PRIu64, pv->disk.name,
            pv->size_bytes, pv->disk.size_bytes);
    if (!area_is_inside(pv, data, behind_label))
        check_problem(p, "%s: data area outside the device", pv->disk.name);
    if (metadata.size && !area_is_inside(pv, metadata, behind_label))
        check_problem(p, "%s: metadata area outside the device", pv->disk.name);
    if (metadata.size && metadata.offset < data_end &&
        data.offset < metadata.offset + metadata.size)
        check_problem(p, "%s: metadata area overlaps the data area", pv->disk.name);
}

static bool read_header(struct check_pv *pv, const uint8_t *label, struct check_problems *p)
{
    struct area data[2] = {0}, metadata[2] = {0}, boot[2];
    unsigned at = PV_HEADER + PV_AREAS, data_count, metadata_count, boot_count = 0;

    if (!read_uuid(pv, label + PV_HEADER) || !read_areas(label, &at, data, &data_count) ||
        !read_areas(label, &at, metadata, &metadata_count)) {
        damaged(pv, "label: its header makes no sense");
        return false;
    }
    if (at + 8 <= CHECK_SECTOR_BYTES && check_u32(label, at)) {
        if (check_u32(label, at) > PV_VERSION_MAX)
            check_problem(p, "%s: header of a later version", pv->disk.name);
        at += 8;
        if (!read_areas(label, &at, boot, &boot_count))
            check_problem(p, "%s: boot loader areas without an end", pv->disk.name);
    }
    if (data_count != 1 || metadata_count > 1 || boot_count)
        check_problem(p, "%s: %u data, %u metadata, %u boot loader areas", pv->disk.name,
            data_count, metadata_count, boot_count);
    pv->size_bytes = check_u64(label, PV_HEADER + 32);
    pv->data_offset_bytes = data[0].offset;
    pv->area_offset_bytes = metadata[0].offset;
    pv->area_bytes = metadata[0].size;
    check_areas(pv, data[0], metadata[0], (unsigned)check_u64(label, 8), p);
    return true;
}

/* --- the metadata area --- */

struct slot {
    uint64_t offset, size;
    uint32_t crc, flags;
};

static struct slot slot_at(const uint8_t *header, unsigned i)
{
    const uint8_t *s = header + MDA_SLOTS + i * MDA_SLOT_BYTES;

    return (struct slot){check_u64(s, 0), check_u64(s, 8), check_u32(s, 16), check_u32(s, 20)};
}

static bool slot_is_inside(const struct check_pv *pv, const struct slot *s)
{
    return s->offset >= MDA_HEADER && s->offset < pv->area_bytes &&
           s->offset % CHECK_SECTOR_BYTES == 0 && s->size > 1 &&
           s->size <= pv->area_bytes - MDA_HEADER;
}

static const char *area_refusal(const struct check_pv *pv, const uint8_t *h)
{
    static const uint8_t magic[16] = {0x20, 0x4c, 0x56, 0x4d, 0x32, 0x20, 0x78, 0x5b, 0x35, 0x41,
        0x25, 0x72, 0x30, 0x4e, 0x2a, 0x3e};

    if (memcmp(h + 4, magic, sizeof magic) != 0)
        return "metadata area: no magic";
    if (check_u32(h, 0) != checksum(h + 4, MDA_HEADER - 4))
        return "metadata area: wrong checksum";
    if (check_u32(h, 20) != 1)
        return "metadata area: version is not 1";
    if (check_u64(h, 24) != pv->area_offset_bytes || check_u64(h, 32) != pv->area_bytes)
        return "metadata area: not where the label says";
    for (unsigned i = 0; i < 2; i++) {
        struct slot s = slot_at(h, i);
        if (s.offset && !slot_is_inside(pv, &s))
            return "metadata area: text outside of it";
    }
    return NULL;
}

/* What is read of an area are whole sectors. */
static bool copy_bytes(const struct check_disk *d, char *to, uint64_t offset, uint64_t bytes)
{
    uint64_t whole = (bytes + CHECK_SECTOR_BYTES - 1) / CHECK_SECTOR_BYTES * CHECK_SECTOR_BYTES;
    const char *at = check_read(d, to, offset, whole);

    if (at && at != to)
        memcpy(to, at, bytes);
    return at != NULL;
}

/* From the ring: what does not fit goes on behind the header. */
static const char *read_text(const struct check_pv *pv, const struct slot *s, char *text)
{
    uint64_t room = pv->area_bytes - s->offset, first = s->size < room ? s->size : room;

    if (!copy_bytes(&pv->disk, text, pv->area_offset_bytes + s->offset, first) ||
        (s->size > first && !copy_bytes(&pv->disk, text + first, pv->area_offset_bytes + MDA_HEADER,
                                s->size - first)))
        return "text: cannot be read";
    if (checksum(text, s->size) != s->crc)
        return "text: wrong checksum";
    if (memchr(text, '\0', s->size) != text + s->size - 1)
        return "text: does not end with its only NUL";
    return NULL;
}

/* False: out of memory. */
static bool take_text(struct check_pv *pv, const struct slot *s, char **text, size_t *bytes)
{
    const char *why;

    *text = malloc(s->size + 2 * CHECK_SECTOR_BYTES);
    if (!*text)
        return false;
    why = read_text(pv, s, *text);
    if (why) {
        damaged(pv, why);
        free(*text);
        *text = NULL;
        return true;
    }
    *bytes = s->size - 1;
    return true;
}

static bool read_area(struct check_pv *pv, char **text, size_t *bytes, struct check_problems *p)
{
    uint8_t buf[MDA_HEADER];
    const uint8_t *h = check_read(&pv->disk, buf, pv->area_offset_bytes, sizeof buf);
    const char *why = h ? area_refusal(pv, h) : "metadata area: cannot be read";
    struct slot committed;

    if (why) {
        damaged(pv, why);
        return true;
    }
    committed = slot_at(h, 0);
    pv->area_ignored = committed.flags & SLOT_IGNORED_FLAG;
    pv->precommitted = slot_at(h, 1).offset != 0;
    for (unsigned i = 2; i < MDA_SLOT_COUNT; i++)
        if (slot_at(h, i).offset)
            check_problem(p, "%s: metadata area with more than two slots", pv->disk.name);
    if (pv->area_ignored || !committed.offset)
        return true;
    return take_text(pv, &committed, text, bytes);
}

bool check_pv_read(struct check_pv *pv, const struct check_disk *d, char **text, size_t *bytes,
    struct check_problems *p)
{
    uint8_t label[CHECK_SECTOR_BYTES];

    memset(pv, 0, sizeof *pv);
    pv->disk = *d;
    pv->state = CHECK_PV_NONE;
    pv->vg = -1;
    *text = NULL;
    if (!find_label(pv, label, p))
        return true;
    pv->damage[0] = '\0';
    pv->state = CHECK_PV_ORPHAN;
    if (!read_header(pv, label, p) || !pv->area_bytes)
        return true;
    return read_area(pv, text, bytes, p);
}
