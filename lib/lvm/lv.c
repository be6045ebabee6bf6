/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Volumes: making, resizing, renaming, removing, tagging. */
#include "lvm/vg_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/volume.h"
#include "rt/worker.h"

#define WHAT_CHARS 512

const char *lv_name(const struct lv *lv)
{
    return lv->name;
}

const char *lv_uuid(const struct lv *lv)
{
    return lv->id;
}

/* A volume in the group's list is in its metadata and its clones. */
static struct vg_lv *find_meta(const struct lv *lv, const struct vg_metadata *m)
{
    struct vg_lv *meta = vg_metadata_find_lv_by_id(m, lv->id);

    assert(meta);
    return meta;
}

struct vg_lv *lv_meta(const struct lv *lv)
{
    return find_meta(lv, lv->vg->metadata);
}

uint64_t lv_size_bytes(const struct lv *lv)
{
    return vg_lv_extents(lv_meta(lv)) * vg_extent_bytes(lv->vg);
}

uint64_t lv_creation_seconds(const struct lv *lv)
{
    return lv_meta(lv)->creation_time;
}

bool lv_has_tag(const struct lv *lv, const char *tag)
{
    return text_list_has(&lv_meta(lv)->tags, tag);
}

struct lv *vg_find_lv(struct vg *vg, const char *name)
{
    list_for_each (it, &vg->lvs) {
        struct lv *lv = container_of(it, struct lv, link);

        if (strcmp(lv->name, name) == 0)
            return lv;
    }
    return NULL;
}

struct lv *lv_new(struct vg *vg, const struct vg_lv *meta)
{
    struct lv *lv = calloc(1, sizeof *lv);

    if (!lv)
        return NULL;
    lv->vg = vg;
    memcpy(lv->id, meta->id, sizeof lv->id);
    snprintf(lv->name, sizeof lv->name, "%s", meta->name);
    list_init(&lv->link);
    return lv;
}

static int size_to_extents(
    const struct vg *vg, uint64_t size_bytes, uint32_t *extents, struct error *err)
{
    uint64_t n = div_round_up(size_bytes, vg_extent_bytes(vg));

    if (!n)
        return error_set(err, EINVAL, "a volume has at least one extent");
    if (n > LVM_EXTENTS_MAX)
        return error_set(err, EFBIG, "a volume has at most %u extents", LVM_EXTENTS_MAX);
    *extents = (uint32_t)n;
    return 0;
}

static int check_new_name(const struct vg_metadata *m, const char *name, struct error *err)
{
    int rc = lv_name_check(name, err);

    if (!rc && vg_metadata_find_lv(m, name))
        rc = error_set(err, EEXIST, "volume %s/%s exists", m->name, name);
    return rc;
}

static int set_tags(struct vg_metadata *m, struct vg_lv *lv, const char *const *tags,
    unsigned count, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < count; i++) {
        rc = lvm_tag_check(tags[i], err);
        if (!rc && text_list_add(m->arena, &lv->tags, tags[i]))
            rc = error_set(err, ENOMEM, "out of memory");
    }
    return rc;
}

/* A volume without extents in m. */
static int describe_lv(
    struct vg *vg, struct vg_metadata *m, const char *name, struct vg_lv **lv, struct error *err)
{
    uint8_t random[LVM_UUID_CHARS];
    char id[LVM_UUID_TEXT_CHARS + 1];
    int rc = check_new_name(m, name, err);

    if (rc)
        return rc;
    if (m->lv_count >= LVM_LVS_MAX || (m->max_lv && m->lv_count >= m->max_lv))
        return error_set(err, ENOSPC, "volume group %s has %u volumes, which is its limit", m->name,
            m->lv_count);
    rt_random(random, sizeof random);
    lvm_uuid_make(id, random);
    *lv = vg_metadata_add_lv(m, name, id);
    if (!*lv)
        return error_set(err, ENOMEM, "out of memory");
    (*lv)->creation_host = arena_text(m->arena, vg->settings.host ? vg->settings.host : "");
    (*lv)->creation_time = rt_wall_seconds();
    return 0;
}

static int create_locked(struct vg *vg, struct vg_metadata *m, const struct vg_lv *meta,
    struct lv **lv, struct error *err)
{
    struct lv *new = lv_new(vg, meta);
    char what[WHAT_CHARS];

    if (!new)
        return error_set(err, ENOMEM, "out of memory");
    snprintf(what, sizeof what, "ashlar volume create %s/%s", m->name, new->name);
    int rc = change_apply(vg, m, vg->pvs, new, what, err);
    if (rc) {
        free(new);
        return rc;
    }
    list_append(&vg->lvs, &new->link);
    *lv = new;
    return 0;
}

int lv_create(struct vg *vg, const char *name, uint64_t size_bytes, const char *const *tags,
    unsigned tag_count, unsigned flags, struct lv **lv, struct error *err)
{
    struct vg_metadata *m = NULL;
    struct vg_lv *meta = NULL;
    struct lv *new = NULL;
    uint32_t extents = 0;
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    rc = size_to_extents(vg, size_bytes, &extents, err);
    if (!rc)
        rc = describe_lv(vg, m, name, &meta, err);
    if (!rc)
        rc = set_tags(m, meta, tags, tag_count, err);
    if (!rc)
        rc = lv_allocate(m, meta, extents, err);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = create_locked(vg, m, meta, &new, err);
    if (!rc)
        *lv = new;
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}

static int resize_meta(
    struct vg_metadata *m, struct vg_lv *meta, uint32_t extents, struct error *err)
{
    uint32_t have = vg_lv_extents(meta);

    if (extents > have)
        return lv_allocate(m, meta, extents - have, err);
    lv_cut(meta, extents);
    return 0;
}

int lv_resize(struct lv *lv, uint64_t size_bytes, unsigned flags, struct error *err)
{
    struct vg *vg = lv->vg;
    struct vg_metadata *m = NULL;
    char what[WHAT_CHARS];
    uint32_t extents = 0;
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar volume resize %s/%s %llu", m->name, lv->name,
        (unsigned long long)size_bytes);
    rc = size_to_extents(vg, size_bytes, &extents, err);
    if (!rc)
        rc = resize_meta(m, find_meta(lv, m), extents, err);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = change_apply(vg, m, vg->pvs, lv, what, err);
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}

int lv_rename(struct lv *lv, const char *name, unsigned flags, struct error *err)
{
    struct vg *vg = lv->vg;
    struct vg_metadata *m = NULL;
    char what[WHAT_CHARS];
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar volume rename %s/%s %.127s", m->name, lv->name, name);
    rc = check_new_name(m, name, err);
    if (!rc && !(find_meta(lv, m)->name = arena_text(m->arena, name)))
        rc = error_set(err, ENOMEM, "out of memory");
    if (!rc && !(flags & VG_DRY_RUN))
        rc = change_apply(vg, m, vg->pvs, NULL, what, err);
    if (!rc && !(flags & VG_DRY_RUN)) {
        snprintf(lv->name, sizeof lv->name, "%s", name);
        lv_name_volume(lv);
    }
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}

/* Out of the list, and held exclusively, so that nobody finds or opens it while the commit waits.
 */
static int remove_locked(struct lv *lv, struct vg_metadata *m, bool dry, struct error *err)
{
    struct vg *vg = lv->vg;
    char what[WHAT_CHARS];
    int rc = 0;

    if (lv->volume && blockdev_use(lv->volume, true))
        return error_set(err, EBUSY, "volume %s/%s is in use", m->name, lv->name);
    snprintf(what, sizeof what, "ashlar volume remove %s/%s", m->name, lv->name);
    vg_metadata_remove_lv(m, find_meta(lv, m));
    if (!dry) {
        list_remove(&lv->link);
        rc = change_apply(vg, m, vg->pvs, lv, what, err);
        if (rc)
            list_append(&vg->lvs, &lv->link);
    }
    if (lv->volume)
        blockdev_unuse(lv->volume);
    return rc;
}

int lv_remove(struct lv *lv, unsigned flags, struct error *err)
{
    struct vg *vg = lv->vg;
    struct vg_metadata *m = NULL;
    bool dry = flags & VG_DRY_RUN;
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    rc = remove_locked(lv, m, dry, err);
    if (!rc && !dry) {
        if (lv->volume)
            blockdev_close(lv->volume);
        free(lv);
    }
    return change_end(vg, m, rc, dry);
}

/* `edit` changes the tags of a volume in m. */
static int change_tags(struct lv *lv, const char *tag, unsigned flags, const char *verb,
    int (*edit)(struct vg_metadata *m, struct vg_lv *lv, const char *tag, struct error *err),
    struct error *err)
{
    struct vg *vg = lv->vg;
    struct vg_metadata *m = NULL;
    char what[WHAT_CHARS];
    int rc = change_begin(vg, &m, err);

    if (rc)
        return rc;
    snprintf(what, sizeof what, "ashlar volume %s %s/%s %.128s", verb, m->name, lv->name, tag);
    rc = edit(m, find_meta(lv, m), tag, err);
    if (!rc && !(flags & VG_DRY_RUN))
        rc = change_apply(vg, m, vg->pvs, NULL, what, err);
    return change_end(vg, m, rc, flags & VG_DRY_RUN);
}

static int add_tag(struct vg_metadata *m, struct vg_lv *lv, const char *tag, struct error *err)
{
    return set_tags(m, lv, &tag, 1, err);
}

static int remove_tag(struct vg_metadata *m, struct vg_lv *lv, const char *tag, struct error *err)
{
    return text_list_remove(&lv->tags, tag)
               ? 0
               : error_set(err, ENOENT, "volume %s/%s has no tag %.64s", m->name, lv->name, tag);
}

int lv_add_tag(struct lv *lv, const char *tag, unsigned flags, struct error *err)
{
    return change_tags(lv, tag, flags, "tag", add_tag, err);
}

int lv_remove_tag(struct lv *lv, const char *tag, unsigned flags, struct error *err)
{
    return change_tags(lv, tag, flags, "untag", remove_tag, err);
}
