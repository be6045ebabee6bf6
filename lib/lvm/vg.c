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

/* A group of no PVs yet, not on disk. */
static int new_group(
    struct vg **vg, const char *name, uint64_t extent_bytes, const struct vg_settings *settings)
{
    struct vg *new = NULL;
    int rc = vg_new(&new, settings);

    if (!rc && !(new->metadata = new_metadata(name, extent_bytes)))
        rc = -ENOMEM;
    if (rc)
        vg_free(new);
    else
        *vg = new;
    return rc;
}

/* Its first change brings the PVs. */
static int fill_group(
    struct vg *vg, struct blockdev **pvs, unsigned pv_count, unsigned flags, struct error *err)
{
    struct vg_metadata *m = NULL;
    char what[LVM_NAME_CHARS + 64];
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar vg create %s", m->name);
    rc = vg_add_pvs(vg, m, pvs, pv_count, flags, what, err);
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}

int vg_create(struct vg **vg, const char *name, struct blockdev **pvs, unsigned pv_count,
    uint64_t extent_size_bytes, const struct vg_settings *settings, unsigned flags,
    struct error *err)
{
    uint64_t extent = extent_size_bytes ? extent_size_bytes : VG_EXTENT_DEFAULT_BYTES;
    struct vg *new = NULL;
    int rc = vg_name_check(name, err);

    if (!rc)
        rc = check_extent_size(extent, err);
    if (!rc && (!pv_count || pv_count > LVM_PVS_MAX))
        rc = error_set(err, EINVAL, "a volume group has 1 to %u PVs", LVM_PVS_MAX);
    if (!rc && new_group(&new, name, extent, settings))
        rc = error_set(err, ENOMEM, "out of memory");
    if (!rc)
        rc = fill_group(new, pvs, pv_count, flags, err);
    if (rc || flags & VG_DRY_RUN) {
        vg_free(new);
        new = NULL;
    }
    if (!rc)
        *vg = new;
    return rc;
}

static void name_volumes(struct vg *vg)
{
    list_for_each (it, &vg->lvs)
        lv_name_volume(container_of(it, struct lv, link));
}

static int rename_locked(
    struct vg *vg, struct vg_metadata *m, const char *name, bool dry, struct error *err)
{
    char what[3 * LVM_NAME_CHARS], old[LVM_NAME_CHARS + 1];

    snprintf(old, sizeof old, "%s", m->name);
    snprintf(what, sizeof what, "ashlar vg rename %s %.127s", old, name);
    m->name = arena_text(m->arena, name);
    if (!m->name)
        return error_set(err, ENOMEM, "out of memory");
    int rc = dry ? 0 : change_apply(vg, m, vg->pvs, NULL, what, err);
    if (rc || dry)
        return rc;
    name_volumes(vg);
    if (vg->settings.backup_dir && strcmp(old, name) != 0)
        backup_remove(vg->settings.backup_dir, old);
    return 0;
}

int vg_rename(struct vg *vg, const char *name, unsigned flags, struct error *err)
{
    struct vg_metadata *m = NULL;
    bool dry = flags & VG_DRY_RUN;
    int rc = vg_name_check(name, err);

    if (!rc)
        rc = change_begin(vg, &m, err);
    if (rc)
        return rc;
    rc = rename_locked(vg, m, name, dry, err);
    return change_end(vg, m, rc, dry);
}

static int replace_tag(
    struct vg_metadata *m, const char *prefix, const char *tag, struct error *err)
{
    unsigned kept = 0;
    int rc = tag ? lvm_tag_check(tag, err) : 0;

    for (unsigned i = 0; i < m->tags.count; i++)
        if (strncmp(m->tags.items[i], prefix, strlen(prefix)) != 0)
            m->tags.items[kept++] = m->tags.items[i];
    m->tags.count = kept;
    if (!rc && tag && text_list_add(m->arena, &m->tags, tag))
        rc = error_set(err, ENOMEM, "out of memory");
    return rc;
}

int vg_replace_tag(
    struct vg *vg, const char *prefix, const char *tag, unsigned flags, struct error *err)
{
    struct vg_metadata *m = NULL;
    bool dry = flags & VG_DRY_RUN;
    char what[3 * LVM_NAME_CHARS];
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar vg tag %s %.128s", m->name, tag ? tag : prefix);
    rc = replace_tag(m, prefix, tag, err);
    if (!rc && !dry)
        rc = change_apply(vg, m, vg->pvs, NULL, what, err);
    return change_end(vg, m, rc, dry);
}

static const char *behind_prefix(const struct text_list *tags, const char *prefix)
{
    size_t length = strlen(prefix);

    for (unsigned i = 0; i < tags->count; i++)
        if (strncmp(tags->items[i], prefix, length) == 0)
            return tags->items[i] + length;
    return NULL;
}

const char *vg_find_tag(const struct vg *vg, const char *prefix)
{
    return behind_prefix(&vg->metadata->tags, prefix);
}

const char *lv_find_tag(const struct lv *lv, const char *prefix)
{
    return behind_prefix(&lv_meta(lv)->tags, prefix);
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
