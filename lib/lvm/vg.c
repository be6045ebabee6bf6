/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Groups as a whole: making, extending, reducing, renaming, removing, closing. */
#include "lvm/vg_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/archive.h"
#include "lvm/volume.h"
#include "rt/worker.h"

#define EXTENT_MIN_BYTES 4096u
#define EXTENT_MAX_BYTES (UINT64_C(1) << 40)

uint64_t vg_extent_bytes(const struct vg *vg)
{
    return (uint64_t)vg->metadata->extent_size_sectors * LVM_SECTOR_BYTES;
}

const char *vg_name(const struct vg *vg)
{
    return vg->metadata->name;
}

const char *vg_uuid(const struct vg *vg)
{
    return vg->metadata->id;
}

bool vg_has_pv(const struct vg *vg, const struct blockdev *pv)
{
    for (unsigned i = 0; i < vg->metadata->pv_count; i++)
        if (vg->pvs[i]->dev == pv)
            return true;
    return false;
}

static char *copy_text(const char *text, bool *failed)
{
    char *copy = text ? strdup(text) : NULL;

    *failed |= text && !copy;
    return copy;
}

int vg_new(struct vg **vg, const struct vg_settings *settings)
{
    struct vg *new = calloc(1, sizeof *new);
    bool failed = !new;

    if (new) {
        co_mutex_init(&new->mutex);
        list_init(&new->lvs);
        new->settings.archive_keep = MAX(settings->archive_keep, 1u);
        new->settings.archive_dir = copy_text(settings->archive_dir, &failed);
        new->settings.backup_dir = copy_text(settings->backup_dir, &failed);
        new->settings.host = copy_text(settings->host, &failed);
    }
    if (!failed) {
        *vg = new;
        return 0;
    }
    vg_free(new);
    return -ENOMEM;
}

void vg_free(struct vg *vg)
{
    if (!vg)
        return;
    list_for_each_safe (it, &vg->lvs) {
        struct lv *lv = container_of(it, struct lv, link);

        if (lv->volume)
            blockdev_close(lv->volume);
        free(lv);
    }
    for (unsigned i = 0; vg->pvs && i < vg->metadata->pv_count; i++) {
        if (vg->pvs[i] && vg->pvs[i]->dev)
            blockdev_unuse(vg->pvs[i]->dev);
        free(vg->pvs[i]);
    }
    free(vg->pvs);
    vg_metadata_free(vg->metadata);
    free(vg->text);
    free((char *)vg->settings.archive_dir);
    free((char *)vg->settings.backup_dir);
    free((char *)vg->settings.host);
    free(vg);
}

int vg_writable(const struct vg *vg, struct error *err)
{
    const struct vg_metadata *m = vg->metadata;
    const char *reason = m->read_only_reason;

    if (!reason && vg->conflict[0])
        reason = vg->conflict;
    if (reason)
        return error_set(err, EROFS, "volume group %s is never modified: %s", m->name, reason);
    for (unsigned i = 0; i < m->pv_count; i++) {
        const struct blockdev *d = vg->pvs[i]->dev;

        if (!d)
            return error_set(err, EROFS,
                "volume group %s is not modified: its PV %s (%s) is missing", m->name, m->pvs[i].id,
                m->pvs[i].device);
        if (d->capabilities & BLOCK_READ_ONLY)
            return error_set(
                err, EROFS, "volume group %s is not modified: %s is read-only", m->name, d->name);
    }
    return 0;
}

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

static int check_extent_size(uint64_t bytes, struct error *err)
{
    if (is_power_of_2(bytes) && bytes >= EXTENT_MIN_BYTES && bytes <= EXTENT_MAX_BYTES)
        return 0;
    return error_set(err, EINVAL, "the extent size is no power of two from 4 KiB to 1 TiB");
}

static struct vg_metadata *new_metadata(const char *name, uint64_t extent_bytes)
{
    uint8_t random[LVM_UUID_CHARS];
    char id[LVM_UUID_TEXT_CHARS + 1];

    rt_random(random, sizeof random);
    lvm_uuid_make(id, random);
    return vg_metadata_new(name, id, (uint32_t)(extent_bytes / LVM_SECTOR_BYTES));
}

/* vg has everything but what is on disk and its texts. */
static int write_new(struct vg *vg, const char *name, struct error *err)
{
    struct vg_metadata *m = NULL;
    char what[LVM_NAME_CHARS + 64];
    int rc = format_pvs(vg->pvs, vg->metadata->pv_count, err);

    if (!rc)
        rc = change_begin(vg, &m, err);
    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar vg create %s", name);
    rc = change_apply(vg, m, vg->pvs, NULL, what, err);
    return change_end(vg, m, rc, false);
}

int vg_create(struct vg **vg, const char *name, struct blockdev **pvs, unsigned pv_count,
    uint64_t extent_size_bytes, const struct vg_settings *settings, unsigned flags,
    struct error *err)
{
    uint64_t extent = extent_size_bytes ? extent_size_bytes : VG_EXTENT_DEFAULT_BYTES;
    struct vg *new = NULL;
    unsigned used = 0;
    int rc = vg_name_check(name, err);

    if (!rc)
        rc = check_extent_size(extent, err);
    if (!rc && (!pv_count || pv_count > LVM_PVS_MAX))
        rc = error_set(err, EINVAL, "a volume group has 1 to %u PVs", LVM_PVS_MAX);
    if (rc)
        return rc;
    if (vg_new(&new, settings) || !(new->metadata = new_metadata(name, extent)) ||
        !(new->pvs = calloc(pv_count, sizeof *new->pvs)))
        rc = error_set(err, ENOMEM, "out of memory");
    if (!rc)
        rc = prepare_pvs(new->metadata, pvs, pv_count, pvs[0], flags, new->pvs, &used, err);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = write_new(new, name, err);
    if (!rc && !(flags & VG_DRY_RUN)) {
        vg_report_unused(new);
        *vg = new;
        return 0;
    }
    if (new &&new->pvs) {
        drop_pvs(new->pvs, pv_count, used);
        free(new->pvs);
        new->pvs = NULL;
    }
    vg_free(new);
    if (!rc)
        *vg = NULL;
    return rc;
}

static int extend_locked(struct vg *vg, struct vg_metadata *m, struct blockdev **devs,
    unsigned count, unsigned flags, struct error *err)
{
    unsigned old = vg->metadata->pv_count, used = 0;
    struct pv **pvs = calloc(old + count, sizeof *pvs);
    char what[LVM_NAME_CHARS + 64];
    int rc = pvs ? 0 : error_set(err, ENOMEM, "out of memory");

    if (rc)
        return rc;
    memcpy(pvs, vg->pvs, old * sizeof *pvs);
    rc = prepare_pvs(m, devs, count, vg->pvs[0]->dev, flags, pvs + old, &used, err);
    snprintf(what, sizeof what, "ashlar vg extend %s", m->name);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = format_pvs(pvs + old, count, err);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = change_apply(vg, m, pvs, NULL, what, err);
    if (!rc && !(flags & VG_DRY_RUN)) {
        vg_report_unused(vg);
        return 0;
    }
    drop_pvs(pvs + old, count, used);
    free(pvs);
    return rc;
}

int vg_extend(
    struct vg *vg, struct blockdev **pvs, unsigned pv_count, unsigned flags, struct error *err)
{
    struct vg_metadata *m = NULL;
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    unsigned total = m->pv_count + pv_count;
    if (!pv_count || total > LVM_PVS_MAX || (m->max_pv && total > m->max_pv))
        rc = error_set(err, EINVAL, "volume group %s cannot have %u PVs", m->name, total);
    else
        rc = extend_locked(vg, m, pvs, pv_count, flags, err);
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

static void name_volumes(struct vg *vg)
{
    list_for_each (it, &vg->lvs)
        lv_name_volume(container_of(it, struct lv, link));
}

int vg_rename(struct vg *vg, const char *name, unsigned flags, struct error *err)
{
    char what[3 * LVM_NAME_CHARS], old[LVM_NAME_CHARS + 1];
    struct vg_metadata *m = NULL;
    int rc = vg_name_check(name, err);

    if (!rc)
        rc = change_begin(vg, &m, err);
    if (rc)
        return rc;
    snprintf(old, sizeof old, "%s", m->name);
    snprintf(what, sizeof what, "ashlar vg rename %s %.127s", old, name);
    m->name = arena_text(m->arena, name);
    if (!m->name)
        rc = error_set(err, ENOMEM, "out of memory");
    if (!rc && !(flags & VG_DRY_RUN)) {
        rc = change_apply(vg, m, vg->pvs, NULL, what, err);
        if (!rc) {
            name_volumes(vg);
            if (vg->settings.backup_dir && strcmp(old, name) != 0)
                backup_remove(vg->settings.backup_dir, old);
        }
    }
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}

static int clear_areas(struct pv *pv)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < pv->label.metadata_area_count; i++) {
        pv->mdas[i].header.committed = (struct lvm_raw_locn){0};
        pv->mdas[i].header.precommitted = (struct lvm_raw_locn){0};
        rc = pv_write_header(pv, &pv->mdas[i]);
    }
    return rc ? rc : blockdev_flush(pv->dev);
}

/* All areas before the first label: should it end half way, the group is whole or gone. */
static int erase_group(struct vg *vg, struct error *err)
{
    static int (*const steps[])(struct pv *) = {clear_areas, pv_wipe_label};

    for (unsigned step = 0; step < ARRAY_LEN(steps); step++)
        for (unsigned i = 0; i < vg->metadata->pv_count; i++) {
            int rc = steps[step](vg->pvs[i]);

            if (!rc)
                continue;
            snprintf(vg->conflict, sizeof vg->conflict, "it is partly removed: %s", strerror(-rc));
            return error_set(err, -rc, "the LVM2 metadata of %s cannot be erased: %s",
                vg->pvs[i]->dev->name, strerror(-rc));
        }
    return 0;
}

int vg_remove(struct vg *vg, unsigned flags, struct error *err)
{
    struct vg_metadata *m = NULL;
    char what[LVM_NAME_CHARS + 64];
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar vg remove %s", m->name);
    if (m->lv_count)
        rc = error_set(err, ENOTEMPTY, "volume group %s has %u volumes", m->name, m->lv_count);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = vg_archive(vg, what, err);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = erase_group(vg, err);
    change_end(vg, m, rc, true);
    if (!rc && !(flags & VG_DRY_RUN)) {
        if (vg->settings.backup_dir)
            backup_remove(vg->settings.backup_dir, vg_name(vg));
        vg_free(vg);
    }
    return rc;
}

int vg_close(struct vg *vg, struct error *err)
{
    co_mutex_lock(&vg->mutex);
    list_for_each (it, &vg->lvs) {
        const struct lv *lv = container_of(it, struct lv, link);

        if (lv->volume && lv->volume->users) {
            co_mutex_unlock(&vg->mutex);
            return error_set(err, EBUSY, "volume %s/%s is in use", vg_name(vg), lv->name);
        }
    }
    co_mutex_unlock(&vg->mutex);
    vg_free(vg);
    return 0;
}
