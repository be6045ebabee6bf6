/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PVs that join a group, and that leave it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/vg_impl.h"

/* A PV's place in the metadata. */
static int describe_pv(struct vg_metadata *m, const struct pv *pv)
{
    uint64_t extent_bytes = (uint64_t)m->extent_size_sectors * LVM_SECTOR_BYTES;
    uint64_t data = pv_data_offset_bytes(pv), size = pv->label.device_size_bytes;
    struct vg_pv *out = vg_metadata_add_pv(m);

    if (!out)
        return -ENOMEM;
    memcpy(out->id, pv->label.id, sizeof out->id);
    out->device = arena_text(m->arena, pv->dev->name);
    out->dev_size_sectors = size / LVM_SECTOR_BYTES;
    out->pe_start_sectors = data / LVM_SECTOR_BYTES;
    out->pe_count = (uint32_t)MIN((size - data) / extent_bytes, (uint64_t)LVM_EXTENTS_MAX);
    return out->device ? 0 : -ENOMEM;
}

static int check_device(const struct blockdev *d, uint64_t extent_bytes,
    const struct blockdev *other, struct error *err)
{
    if (d->capabilities & BLOCK_READ_ONLY)
        return error_set(err, EROFS, "%s is read-only", d->name);
    if (strchr(d->name, '\n'))
        return error_set(err, EINVAL, "a PV's name has a line break, which LVM2 cannot read");
    if (extent_bytes % d->logical_block_bytes)
        return error_set(err, EINVAL, "extents are smaller than the blocks of %s", d->name);
    if (other && other->logical_block_bytes != d->logical_block_bytes)
        return error_set(err, EINVAL, "%s has blocks of %u bytes, %s of %u", d->name,
            d->logical_block_bytes, other->name, other->logical_block_bytes);
    return 0;
}

static int check_not_taken(struct blockdev *d, bool force, struct error *err)
{
    struct vg_examination x = {0};
    struct error found = {0};
    int rc = force ? -ENODATA : vg_examine(d, &x, &found);

    if (!rc && x.vg_name[0])
        return error_set(
            err, EEXIST, "%s is a PV of volume group %s; force overrides", d->name, x.vg_name);
    if (rc && rc != -ENODATA)
        return error_set(err, -rc, "%.400s; force overrides", found.text);
    return 0;
}

/*
 * New PVs: checks the devices, fills in pvs[] and their place in m. Nothing is written, but they
 * are in use: *used of them, which the caller has to undo on failure.
 */
static int prepare_pvs(struct vg_metadata *m, struct blockdev **devs, unsigned count,
    const struct blockdev *first, unsigned flags, struct pv **pvs, unsigned *used,
    struct error *err)
{
    uint64_t extent_bytes = (uint64_t)m->extent_size_sectors * LVM_SECTOR_BYTES;
    int rc = 0;

    for (*used = 0; !rc && *used < count;) {
        struct blockdev *d = devs[*used];

        rc = check_device(d, extent_bytes, first, err);
        if (!rc)
            rc = check_not_taken(d, flags & VG_FORCE, err);
        if (!rc && !(pvs[*used] = calloc(1, sizeof **pvs)))
            rc = -ENOMEM;
        if (!rc)
            rc = pv_prepare(pvs[*used], d, extent_bytes, err);
        if (!rc)
            rc = describe_pv(m, pvs[*used]);
        if (!rc && blockdev_use(d, true))
            rc = error_set(err, EBUSY, "%s is in use", d->name);
        if (!rc)
            ++*used;
    }
    return rc == -ENOMEM ? error_set(err, ENOMEM, "out of memory") : rc;
}

static void drop_pvs(struct pv **pvs, unsigned count, unsigned used)
{
    for (unsigned i = 0; i < count; i++) {
        if (i < used)
            blockdev_unuse(pvs[i]->dev);
        free(pvs[i]);
    }
}

static int format_pvs(struct pv **pvs, unsigned count, struct error *err)
{
    for (unsigned i = 0; i < count; i++) {
        int rc = pv_format(pvs[i]);

        if (rc)
            return error_set(err, -rc, "the LVM2 label of %s cannot be written: %s",
                pvs[i]->dev->name, strerror(-rc));
    }
    return 0;
}

/* The last `count` of pvs are new. On failure they are no PVs again, unless a commit may name them.
 */
static int join(struct vg *vg, struct vg_metadata *m, struct pv **pvs, unsigned count,
    const char *what, struct error *err)
{
    struct pv **added = pvs + m->pv_count - count;
    int rc = format_pvs(added, count, err);

    if (!rc)
        rc = change_apply(vg, m, pvs, NULL, what, err);
    for (unsigned i = 0; rc && !vg->conflict[0] && i < count; i++)
        pv_wipe_label(added[i]);
    if (!rc)
        vg_report_unused(vg);
    return rc;
}

int vg_add_pvs(struct vg *vg, struct vg_metadata *m, struct blockdev **devs, unsigned count,
    unsigned flags, const char *what, struct error *err)
{
    unsigned old = m->pv_count, used = 0;
    const struct blockdev *first = old ? vg->pvs[0]->dev : devs[0];
    struct pv **pvs = calloc(old + count, sizeof *pvs);
    int rc = pvs ? 0 : error_set(err, ENOMEM, "out of memory");

    if (rc)
        return rc;
    for (unsigned i = 0; i < old; i++)
        pvs[i] = vg->pvs[i];
    rc = prepare_pvs(m, devs, count, first, flags, pvs + old, &used, err);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = join(vg, m, pvs, count, what, err);
    if (rc || flags & VG_DRY_RUN) {
        drop_pvs(pvs + old, count, used);
        free(pvs);
    }
    return rc;
}

int vg_extend(
    struct vg *vg, struct blockdev **pvs, unsigned pv_count, unsigned flags, struct error *err)
{
    struct vg_metadata *m = NULL;
    char what[LVM_NAME_CHARS + 64];
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar vg extend %s", m->name);
    unsigned total = m->pv_count + pv_count;
    if (!pv_count || total > LVM_PVS_MAX || (m->max_pv && total > m->max_pv))
        rc = error_set(err, EINVAL, "volume group %s cannot have %u PVs", m->name, total);
    else
        rc = vg_add_pvs(vg, m, pvs, pv_count, flags, what, err);
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}

static int find_pv(const struct vg *vg, const char *name, struct error *err)
{
    for (unsigned i = 0; i < vg->metadata->pv_count; i++)
        if (strcmp(vg->pvs[i]->dev->name, name) == 0)
            return (int)i;
    return error_set(err, ENOENT, "%s is no PV of volume group %s", name, vg_name(vg));
}

/* The index of a PV that may go. */
static int find_empty_pv(
    const struct vg *vg, const struct vg_metadata *m, const char *name, struct error *err)
{
    struct pe_ranges used;
    int index = find_pv(vg, name, err);

    if (index < 0)
        return index;
    if (m->pv_count == 1)
        return error_set(err, EBUSY, "%s is the only PV of volume group %s", name, m->name);
    if (pe_ranges_used(m, &used))
        return error_set(err, ENOMEM, "out of memory");
    uint32_t extents = pe_ranges_count(&used, (unsigned)index);
    if (extents)
        return error_set(err, EBUSY, "%u extents of %s hold volumes", extents, name);
    return index;
}

static int reduce_locked(
    struct vg *vg, struct vg_metadata *m, unsigned index, const char *name, struct error *err)
{
    struct pv *gone = vg->pvs[index], **pvs = calloc(m->pv_count, sizeof *pvs);
    char what[512];

    if (!pvs)
        return error_set(err, ENOMEM, "out of memory");
    vg_metadata_remove_pv(m, index);
    memcpy(pvs, vg->pvs, index * sizeof *pvs);
    memcpy(pvs + index, vg->pvs + index + 1, (m->pv_count - index) * sizeof *pvs);
    snprintf(what, sizeof what, "ashlar vg reduce %s %s", m->name, name);
    int rc = change_apply(vg, m, pvs, NULL, what, err);
    if (rc) {
        free(pvs);
        return rc;
    }
    /* Should this fail, its older seqno still says that it is out. */
    if (pv_wipe_label(gone))
        snprintf(vg->warning, sizeof vg->warning, "the LVM2 label of %s could not be erased",
            gone->dev->name);
    blockdev_unuse(gone->dev);
    free(gone);
    return 0;
}

int vg_reduce(struct vg *vg, const char *pv, unsigned flags, struct error *err)
{
    struct vg_metadata *m = NULL;
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    int index = find_empty_pv(vg, m, pv, err);
    if (index < 0)
        rc = index;
    else if (!(flags & VG_DRY_RUN))
        rc = reduce_locked(vg, m, (unsigned)index, pv, err);
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}
