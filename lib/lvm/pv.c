/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/pv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/crc.h"
#include "lvm/metadata.h"
#include "rt/worker.h"

/* An optimal size above this is somebody's mistake: alignment to it would cost more than it gives.
 */
#define OPTIMAL_MAX_BYTES (64u << 20)

static void clear_header(struct pv_mda *mda)
{
    mda->header = (struct lvm_mda_header){
        .start_bytes = mda->area.offset_bytes, .size_bytes = mda->area.size_bytes};
}

static int read_mda(struct pv *pv, struct pv_mda *mda)
{
    uint8_t buf[LVM_MDA_HEADER_BYTES];
    int rc = blockdev_read_bytes(pv->dev, buf, mda->area.offset_bytes, sizeof buf);

    if (rc)
        return rc;
    mda->damaged =
        lvm_mda_decode(&mda->header, buf, mda->area.offset_bytes, mda->area.size_bytes, NULL);
    if (mda->damaged)
        clear_header(mda);
    mda->ignored = mda->header.committed.flags & LVM_RAW_LOCN_IGNORED;
    return 0;
}

int pv_read(struct pv *pv, struct blockdev *dev, struct error *err)
{
    uint8_t buf[LVM_LABEL_SCAN_BYTES];
    struct pv read = {.dev = dev};
    int rc = blockdev_read_bytes(dev, buf, 0, sizeof buf);

    if (rc)
        error_set(err, -rc, "cannot be read: %s", strerror(-rc));
    else
        rc = lvm_label_find(&read.label, buf, err);
    if (!rc && read.label.device_size_bytes > dev->size_bytes)
        rc = error_set(err, EBADMSG, "is smaller than its LVM2 label says");
    for (unsigned i = 0; !rc && i < read.label.metadata_area_count; i++) {
        read.mdas[i].area = read.label.metadata_areas[i];
        rc = read_mda(&read, &read.mdas[i]);
        if (rc)
            error_set(err, -rc, "the metadata area cannot be read: %s", strerror(-rc));
    }
    if (rc)
        return error_prefix(err, rc, "%s", dev->name);
    *pv = read;
    return 0;
}

uint64_t pv_data_offset_bytes(const struct pv *pv)
{
    return pv->label.data_areas[0].offset_bytes;
}

int pv_prepare(struct pv *pv, struct blockdev *dev, uint64_t extent_bytes, struct error *err)
{
    uint32_t optimal = dev->optimal_io_bytes;
    uint64_t align = optimal && optimal <= OPTIMAL_MAX_BYTES && optimal % 4096 == 0 ? optimal : 1;
    uint64_t data = round_up(PV_DATA_ALIGN_BYTES, align), size = dev->size_bytes;
    struct lvm_area area = {PV_MDA_OFFSET_BYTES, PV_MDA_SIZE_BYTES};
    uint8_t random[LVM_UUID_CHARS];

    if (size < data + extent_bytes)
        return error_set(err, ENOSPC, "%s is too small: a PV needs %llu bytes and one extent",
            dev->name, (unsigned long long)data);
    *pv = (struct pv){.dev = dev};
    pv->label = (struct lvm_label){
        .sector = LVM_LABEL_SECTOR,
        .device_size_bytes = size,
        .data_area_count = 1,
        .data_areas = {{data, 0}},
        .metadata_area_count = 1,
        .metadata_areas = {area},
        .extension_version = 2,
        .extension_flags = LVM_LABEL_IN_USE,
    };
    rt_random(random, sizeof random);
    lvm_uuid_make(pv->label.id, random);
    pv->mdas[0].area = area;
    clear_header(&pv->mdas[0]);
    return 0;
}

int pv_format(struct pv *pv)
{
    uint8_t sector[LVM_LABEL_BYTES];
    int rc = blockdev_write_zeroes(pv->dev, 0, PV_DATA_ALIGN_BYTES, 0);

    if (!rc)
        rc = pv_write_header(pv, &pv->mdas[0]);
    if (!rc)
        rc = blockdev_flush(pv->dev);
    lvm_label_encode(&pv->label, sector);
    if (!rc)
        rc = blockdev_write_bytes(
            pv->dev, sector, pv->label.sector * LVM_LABEL_BYTES, sizeof sector, 0);
    return rc ? rc : blockdev_flush(pv->dev);
}

int pv_wipe_label(struct pv *pv)
{
    static const uint8_t zeros[LVM_LABEL_SCAN_BYTES];
    int rc = blockdev_write_bytes(pv->dev, zeros, 0, sizeof zeros, 0);

    return rc ? rc : blockdev_flush(pv->dev);
}

int pv_read_text(const struct pv *pv, const struct pv_mda *mda, char **text, struct error *err)
{
    const struct lvm_raw_locn *locn = &mda->header.committed;
    struct lvm_mda_piece pieces[2];
    unsigned n = lvm_mda_pieces(mda->area.size_bytes, locn->offset, locn->size, pieces);
    char *buf = locn->size > LVM_TEXT_MAX_BYTES ? NULL : malloc(locn->size), *to = buf;
    int rc = buf ? 0 : -ENOMEM;

    for (unsigned i = 0; !rc && i < n; to += pieces[i++].length)
        rc = blockdev_read_bytes(
            pv->dev, to, mda->area.offset_bytes + pieces[i].offset, pieces[i].length);
    if (rc)
        error_set(err, -rc, "metadata cannot be read: %s", strerror(-rc));
    else if (lvm_crc(LVM_CRC_INITIAL, buf, locn->size) != locn->crc)
        rc = error_set(err, EBADMSG, "the metadata text's checksum is wrong");
    if (rc) {
        free(buf);
        return error_prefix(err, rc, "%s", pv->dev->name);
    }
    *text = buf;
    return 0;
}

int pv_write_text(const struct pv *pv, const struct pv_mda *mda, const struct lvm_raw_locn *locn,
    const char *text)
{
    struct lvm_mda_piece pieces[2];
    unsigned n = lvm_mda_pieces(mda->area.size_bytes, locn->offset, locn->size, pieces);
    int rc = 0;

    for (unsigned i = 0; !rc && i < n; text += pieces[i++].length)
        rc = blockdev_write_bytes(
            pv->dev, text, mda->area.offset_bytes + pieces[i].offset, pieces[i].length, 0);
    return rc;
}

int pv_write_header(const struct pv *pv, const struct pv_mda *mda)
{
    uint8_t buf[LVM_MDA_HEADER_BYTES];

    lvm_mda_encode(&mda->header, buf);
    return blockdev_write_bytes(pv->dev, buf, mda->area.offset_bytes, sizeof buf, 0);
}
