/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "overlay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon.h"
#include "exports.h"
#include "image/sink.h"
#include "image_tasks.h"
#include "images.h"
#include "lvm/metadata.h"
#include "sparse.h"
#include "task.h"

#define NAME_SUFFIX ".overlay"

struct overlay_plan {
    struct qcow2_plan image;
    char backing_name[CATALOG_NAME_MAX];
    uint64_t lv_bytes;
};

struct commit {
    struct task task;
    struct daemon *daemon;
    struct catalog_image *image;        /* until everything has gone down */
    char uuid[LVM_UUID_TEXT_CHARS + 1]; /* of its LV */
};

const char *overlay_snapshot(const struct catalog_image *i)
{
    return lv_find_tag(i->lv, IMAGE_TAG_OVERLAY);
}

bool overlay_is_committing(const struct catalog_image *i)
{
    return lv_has_tag(i->lv, IMAGE_TAG_COMMITTING);
}

int overlay_refuse_other(const struct catalog_image *i, const char *snapshot, struct error *err)
{
    if (!strcmp(overlay_snapshot(i), snapshot))
        return 0;
    return error_set(err, ENOENT, "volume %s has no snapshot %.200s", i->target, snapshot);
}

int overlay_refuse_committing(const struct catalog_image *i, struct error *err)
{
    if (!overlay_is_committing(i))
        return 0;
    return error_set(err, EBUSY, "snapshot %s of %s is being committed: it is not whole any more",
        overlay_snapshot(i), i->target);
}

static int make_plan(
    struct catalog_vg *v, struct lv *raw, struct overlay_plan *p, struct error *err)
{
    uint64_t bytes;
    int rc;

    *p = (struct overlay_plan){.image.size_bytes = lv_size_bytes(raw)};
    snprintf(p->backing_name, sizeof p->backing_name, "%s/%s", vg_name(v->vg), lv_name(raw));
    p->image.backing_name = p->backing_name;
    p->image.backing_format = "raw";
    rc = qcow2_plan_bytes(&p->image, &bytes, err);
    if (rc == 0)
        p->lv_bytes = bytes + image_ahead_bytes(p->image.size_bytes);
    return rc;
}

/* What may be in the way: of an overlay that could be neither made nor removed again. The catalog
 * knows those that are in use, or may be. */
static int sweep(struct daemon *d, struct catalog_vg *v, struct lv *raw, struct error *err)
{
    char name[LVM_NAME_CHARS + sizeof NAME_SUFFIX];
    struct lv *left;
    int rc = images_sweep(v, err);

    snprintf(name, sizeof name, "%s" NAME_SUFFIX, lv_name(raw));
    left = rc ? NULL : vg_find_lv(v->vg, name);
    if (!left || !lv_find_tag(left, IMAGE_TAG_OVERLAY) || images_find(d, left))
        return rc;
    return lv_remove(left, 0, err);
}

static int make_volume(struct catalog_vg *v, struct lv *raw, const char *snapshot,
    const struct overlay_plan *p, unsigned flags, struct lv **lv, struct error *err)
{
    char name[LVM_NAME_CHARS + sizeof NAME_SUFFIX], backing[80], overlay[LVM_TAG_CHARS + 1];
    const char *const tags[] = {IMAGE_TAG, IMAGE_TAG_NEW, backing, overlay};

    snprintf(name, sizeof name, "%s" NAME_SUFFIX, lv_name(raw));
    snprintf(backing, sizeof backing, IMAGE_TAG_BACKING "%s", lv_uuid(raw));
    snprintf(overlay, sizeof overlay, IMAGE_TAG_OVERLAY "%s", snapshot);
    return lv_create(v->vg, name, p->lv_bytes, tags, 4, flags, lv, err);
}

static int refuse_create(
    struct daemon *d, struct catalog_vg *v, struct lv *raw, const char *snapshot, struct error *err)
{
    int rc = images_refuse_overlay(d, raw, err);

    if (rc == 0)
        rc = images_refuse_cloned(v, raw, err);
    return rc ? rc : lvm_tag_check(snapshot, err);
}

/* The overlay is empty. */
static int put_over(struct daemon *d, struct catalog_image *i, struct error *err)
{
    return exports_switch(d, i->target, i->below, qcow2_blockdev(i->q), err);
}

int overlay_create(struct daemon *d, struct catalog_vg *v, struct lv *raw, const char *snapshot,
    bool dry, struct error *err)
{
    struct overlay_plan p;
    struct lv *lv;
    int rc = refuse_create(d, v, raw, snapshot, err);

    if (rc == 0)
        rc = make_plan(v, raw, &p, err);
    if (rc == 0 && !dry)
        rc = sweep(d, v, raw, err);
    if (rc == 0)
        rc = make_volume(v, raw, snapshot, &p, dry ? VG_DRY_RUN : 0, &lv, err);
    if (rc || dry)
        return rc;
    rc = sparse_format(lv, &p.image, err);
    if (rc == 0)
        rc = images_add(d, v, lv, err);
    if (rc == 0) {
        rc = put_over(d, images_find(d, lv), err);
        if (rc)
            images_drop(d, images_find(d, lv));
    }
    if (rc)
        lv_remove(lv, 0, NULL);
    return rc;
}

static int make_empty(struct catalog_image *i, struct error *err)
{
    struct overlay_plan p;
    struct blockdev *file;
    int rc = make_plan(i->vg, i->backing, &p, err);

    if (rc == 0)
        rc = lv_resize(i->lv, p.lv_bytes, 0, err);
    if (rc)
        return rc;
    file = lv_blockdev(i->lv, err);
    rc = file ? qcow2_format(file, &p.image, err) : -ENXIO;
    return rc ? rc : lv_remove_tag(i->lv, IMAGE_TAG_REVERTING, 0, err);
}

/* The tag stays until it is empty, so that this is made good when the daemon ends in between. */
int overlay_settle(struct catalog_image *i, struct error *err)
{
    int rc;

    if (!i->backing || !lv_has_tag(i->lv, IMAGE_TAG_REVERTING))
        return 0;
    rc = make_empty(i, err);
    if (rc)
        snprintf(i->reason, sizeof i->reason, "its snapshot could not be reverted to");
    return rc;
}

int overlay_revert(struct catalog_image *i, bool dry, struct error *err)
{
    int rc = exports_refuse_exported(i->daemon, i->target, err);

    if (rc == 0)
        rc = overlay_refuse_committing(i, err);
    if (rc == 0)
        rc = lv_add_tag(i->lv, IMAGE_TAG_REVERTING, dry ? VG_DRY_RUN : 0, err);
    if (rc || dry)
        return rc;
    image_close(i);
    rc = overlay_settle(i, err);
    return rc ? rc : image_open(i, err);
}

/* It is empty, and so it stays. */
static int take_away(struct catalog_image *i, struct error *err)
{
    struct daemon *d = i->daemon;
    struct catalog_vg *v = i->vg;
    struct lv *lv = i->lv;
    struct error why = {0};
    int rc = exports_switch(d, i->target, qcow2_blockdev(i->q), i->below, err);

    if (rc)
        return rc;
    images_drop(d, i);
    rc = lv_remove(lv, 0, err);
    if (rc && (images_add(d, v, lv, &why) || put_over(d, images_find(d, lv), &why)))
        log_error("overlay %s is not in use again: %s", lv_name(lv), why.text);
    return rc;
}

static struct catalog_image *find_uuid(struct daemon *d, const char *uuid)
{
    list_for_each (v, &d->catalog.vgs)
        list_for_each (it, &container_of(v, struct catalog_vg, link)->images) {
            struct catalog_image *i = container_of(it, struct catalog_image, link);

            if (!strcmp(lv_uuid(i->lv), uuid))
                return i;
        }
    return NULL;
}

/* Whoever holds `change` may wait for the image's job: so it has none any more when `change` is
 * taken, and what was found before may be gone. */
static int finish(struct commit *c, struct error *err)
{
    struct catalog_image *i;
    int rc = 0;

    catalog_change_begin(c->daemon);
    i = find_uuid(c->daemon, c->uuid);
    if (i && i->sunk && !i->task)
        rc = take_away(i, err);
    return catalog_change_end(c->daemon, rc, err);
}

static int commit(struct task *t, struct error *err)
{
    struct commit *c = container_of(t, struct commit, task);
    struct catalog_image *i = c->image;
    int rc = qcow2_sink(i->q, task_go_on, t, err);

    i->sunk = rc == 0;
    image_end_task(i);
    return rc ? rc : finish(c, err);
}

static void end_commit(struct task *t)
{
    struct commit *c = container_of(t, struct commit, task);
    struct daemon *d = c->daemon;

    free(c);
    wait_group_done(&d->catalog.commits);
}

static int start(struct catalog_image *i, uint64_t *job_id)
{
    struct commit *c = calloc(1, sizeof *c);
    int rc;

    if (!c)
        return -ENOMEM;
    c->daemon = i->daemon;
    c->image = i;
    snprintf(c->uuid, sizeof c->uuid, "%s", lv_uuid(i->lv));
    wait_group_add(&i->daemon->catalog.commits, 1);
    image_begin_task(i, &c->task);
    rc = task_start(&c->task, i->daemon, "commit", i->target, commit, end_commit, job_id);
    if (rc) {
        image_end_task(i);
        end_commit(&c->task);
    }
    return rc;
}

int overlay_commit(struct catalog_image *i, bool dry, uint64_t *job_id, struct error *err)
{
    int rc = image_refuse_busy(i, err);

    if (rc == 0)
        rc = image_refuse_unwritable(i, err);
    if (rc == 0 && !overlay_is_committing(i))
        rc = lv_add_tag(i->lv, IMAGE_TAG_COMMITTING, dry ? VG_DRY_RUN : 0, err);
    return rc || dry ? rc : start(i, job_id);
}

void overlays_go_on(struct catalog_vg *v)
{
    list_for_each (it, &v->images) {
        struct catalog_image *i = container_of(it, struct catalog_image, link);
        uint64_t job_id;

        if (i->overlay && i->q && !i->read_only && !i->task && overlay_is_committing(i) &&
            start(i, &job_id))
            log_error("volume %s cannot be committed: out of memory", i->target);
    }
}

void overlays_stop(struct daemon *d)
{
    list_for_each (v, &d->catalog.vgs)
        list_for_each (it, &container_of(v, struct catalog_vg, link)->images) {
            struct catalog_image *i = container_of(it, struct catalog_image, link);

            if (i->overlay && i->task)
                task_cancel(i->task);
        }
    wait_group_wait(&d->catalog.commits);
}
