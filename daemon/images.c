/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "images.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/log.h"
#include "daemon.h"
#include "image_tasks.h"
#include "overlay.h"

#define HEADER_BYTES_MAX (UINT64_C(1) << QCOW2_CLUSTER_BITS_MAX)

static int failure(const struct error *err, int otherwise)
{
    return err && err->code ? -err->code : otherwise;
}

static struct catalog_image *find(const struct daemon *d, const struct lv *lv, bool overlay)
{
    list_for_each (v, &d->catalog.vgs)
        list_for_each (it, &container_of(v, struct catalog_vg, link)->images) {
            struct catalog_image *i = container_of(it, struct catalog_image, link);

            if (overlay ? i->overlay && i->backing == lv : i->lv == lv)
                return i;
        }
    return NULL;
}

struct catalog_image *images_find(const struct daemon *d, const struct lv *lv)
{
    return find(d, lv, false);
}

struct catalog_image *images_overlay(const struct daemon *d, const struct lv *lv)
{
    return find(d, lv, true);
}

struct catalog_image *images_guest(const struct daemon *d, const struct lv *lv)
{
    struct catalog_image *i = images_find(d, lv);

    return i ? i : images_overlay(d, lv);
}

int images_device(struct daemon *d, struct lv *lv, struct blockdev **dev, struct error *err)
{
    struct catalog_image *i = images_guest(d, lv);

    if (i && !i->q)
        return error_set(err, ENXIO, "volume %s cannot be used: %s", i->target, i->reason);
    *dev = i ? qcow2_blockdev(i->q) : lv_blockdev(lv, err);
    return *dev ? 0 : failure(err, -ENXIO);
}

struct catalog_image *images_clone_of(const struct catalog_vg *v, const struct lv *lv)
{
    list_for_each (it, &v->images) {
        struct catalog_image *i = container_of(it, struct catalog_image, link);

        if (i->backing == lv && !i->overlay)
            return i;
    }
    return NULL;
}

/* snapshot NULL: of any, and of the volume itself; empty: of the volume itself. */
static int refuse_cloned(
    const struct catalog_vg *v, const struct lv *lv, const char *snapshot, struct error *err)
{
    list_for_each (it, &v->images) {
        const struct catalog_image *i = container_of(it, struct catalog_image, link);

        if (i->backing == lv && !i->overlay && (!snapshot || !strcmp(i->snapshot, snapshot)))
            return error_set(err, EBUSY,
                "%s was cloned from %s/%s%s%s, which must stay as it is (volume flatten, or "
                "remove, the clone)",
                i->target, vg_name(v->vg), lv_name(lv), *i->snapshot ? "@" : "", i->snapshot);
    }
    return 0;
}

int images_refuse_needed(const struct catalog_vg *v, const struct lv *lv, struct error *err)
{
    return refuse_cloned(v, lv, NULL, err);
}

int images_refuse_cloned(const struct catalog_vg *v, const struct lv *lv, struct error *err)
{
    return refuse_cloned(v, lv, "", err);
}

int images_refuse_snapshot_cloned(
    const struct catalog_vg *v, const struct lv *lv, const char *snapshot, struct error *err)
{
    return refuse_cloned(v, lv, snapshot, err);
}

int images_refuse_overlay(struct daemon *d, const struct lv *lv, struct error *err)
{
    const struct catalog_image *i = images_overlay(d, lv);

    if (!i)
        return 0;
    return error_set(err, EBUSY, "%s has the snapshot %s, an overlay (volume commit comes first)",
        i->target, lv_find_tag(i->lv, IMAGE_TAG_OVERLAY));
}

void image_rename(struct catalog_image *i)
{
    const struct lv *lv = i->overlay && i->backing ? i->backing : i->lv;

    snprintf(i->target, sizeof i->target, "%s/%s", vg_name(i->vg->vg), lv_name(lv));
    if (i->q) {
        struct blockdev *dev = qcow2_blockdev(i->q);

        snprintf(dev->name, sizeof dev->name, "%.127s", i->target);
    }
}

void images_rename_all(struct catalog_vg *v)
{
    list_for_each (it, &v->images)
        image_rename(container_of(it, struct catalog_image, link));
}

/* Whether the image builds upon a backing: a clone that was flattened may have its tag still, when
 * the daemon was killed between the two. And how large its disk is. */
static int look_at_header(
    struct blockdev *file, bool *backed, uint64_t *size_bytes, struct error *err)
{
    struct qcow2_header h;
    size_t length = MIN(file->size_bytes, HEADER_BYTES_MAX);
    uint8_t *bytes = malloc(length);
    int rc = bytes ? blockdev_read(file, bytes, 0, length) : -ENOMEM;

    if (rc == 0)
        rc = qcow2_header_read(&h, bytes, length, file->size_bytes, err);
    if (rc == 0) {
        *backed = h.backing_name != NULL;
        *size_bytes = h.size_bytes;
        qcow2_header_free(&h);
    }
    free(bytes);
    return rc;
}

/* A view of its own of what the backing's image keeps. */
static int open_view(struct catalog_image *i, struct error *err)
{
    struct catalog_image *b = images_find(i->daemon, i->backing);
    struct qcow2_options options = {.read_only = true, .snapshot = i->snapshot};

    if (!b || !b->q)
        return error_set(err, ENXIO, "the volume that has snapshot %s is not open", i->snapshot);
    options.backing = b->below;
    return qcow2_open(&i->view, b->file, b->target, &options, err);
}

static int find_backing(
    struct catalog_image *i, bool backed, struct blockdev **below, struct error *err)
{
    bool tagged = lv_find_tag(i->lv, IMAGE_TAG_BACKING) != NULL;
    int rc;

    *below = NULL;
    if (backed && !tagged)
        return error_set(
            err, EOPNOTSUPP, "its image has a backing file, of which the volume does not tell");
    if (!backed && i->overlay)
        return error_set(err, EOPNOTSUPP, "the overlay's image has no backing file");
    if (!backed) {
        i->backing = NULL;
        return 0;
    }
    if (!i->backing)
        return error_set(err, ENXIO, "the volume that it builds upon is not there");
    if (i->overlay) {
        *below = lv_blockdev(i->backing, err);
        return *below ? 0 : -ENXIO;
    }
    if (!*i->snapshot)
        return images_device(i->daemon, i->backing, below, err);
    rc = open_view(i, err);
    if (rc == 0)
        *below = qcow2_blockdev(i->view);
    return rc;
}

static void close_below(struct catalog_image *i, struct blockdev *below)
{
    if (below)
        blockdev_unuse(below);
    if (i->view)
        qcow2_close(i->view);
    i->view = NULL;
}

int image_leave_backing(struct catalog_image *i, struct error *err)
{
    static const char *const tags[] = {IMAGE_TAG_BACKING, IMAGE_TAG_SNAPSHOT};
    int rc = 0;

    close_below(i, i->below);
    i->below = NULL;
    i->backing = NULL;
    for (unsigned k = 0; rc == 0 && k < ARRAY_LEN(tags); k++) {
        const char *value = lv_find_tag(i->lv, tags[k]);
        char tag[320];

        snprintf(tag, sizeof tag, "%s%s", tags[k], value ? value : "");
        if (value)
            rc = lv_remove_tag(i->lv, tag, 0, err);
    }
    return rc;
}

static int open_image(
    struct catalog_image *i, struct blockdev *below, uint64_t size_bytes, struct error *err)
{
    struct qcow2_options options = {
        .read_only = i->file->capabilities & BLOCK_READ_ONLY,
        .backing = below,
        .file_ops = &image_file_ops,
        .file_arg = i,
        .ahead_bytes = image_ahead_bytes(size_bytes),
        .discard = true,
    };
    int rc = qcow2_open(&i->q, i->file, i->target, &options, err);

    if (rc == -EUCLEAN) {
        options.read_only = true;
        rc = qcow2_open(&i->q, i->file, i->target, &options, err);
    }
    i->read_only = options.read_only;
    return rc;
}

/* With the file in use. */
static int open_on_backing(struct catalog_image *i, struct error *err)
{
    struct blockdev *below;
    uint64_t size_bytes = 0;
    bool backed = false;
    int rc = look_at_header(i->file, &backed, &size_bytes, err);

    if (rc == 0)
        rc = find_backing(i, backed, &below, err);
    if (rc == 0 && below)
        rc = blockdev_use(below, false);
    if (rc)
        return rc;
    rc = open_image(i, below, size_bytes, err);
    if (rc == 0)
        i->below = below;
    else
        close_below(i, below);
    return rc;
}

int image_open(struct catalog_image *i, struct error *err)
{
    struct error why = {0};
    int rc;

    i->file = lv_blockdev(i->lv, &why);
    rc = i->file ? blockdev_use(i->file, true) : failure(&why, -ENXIO);
    if (rc == 0) {
        rc = open_on_backing(i, &why);
        if (rc)
            blockdev_unuse(i->file);
    }
    snprintf(i->reason, sizeof i->reason, "%.255s", why.code ? why.text : rc ? strerror(-rc) : "");
    return rc ? error_set(err, -rc, "%s: %s", i->target, i->reason) : 0;
}

int image_close(struct catalog_image *i)
{
    struct qcow2 *q = i->q;
    int rc;

    if (!q)
        return 0;
    image_stop_task(i);
    i->sunk = false;
    catalog_view_begin(i->daemon);
    i->q = NULL;
    snprintf(i->reason, sizeof i->reason, "it is closed");
    catalog_view_end(i->daemon);
    rc = qcow2_close(q);
    if (rc)
        log_error("volume %s: its image could not be closed well: %s", i->target, strerror(-rc));
    blockdev_unuse(i->file);
    close_below(i, i->below);
    i->below = NULL;
    return rc;
}

static struct lv *find_uuid(const struct vg_status *s, const char *uuid)
{
    for (unsigned k = 0; uuid && k < s->lv_count; k++)
        if (!strcmp(s->lvs[k].uuid, uuid))
            return s->lvs[k].lv;
    return NULL;
}

static struct catalog_image *new_entry(
    struct daemon *d, struct catalog_vg *v, struct lv *lv, const struct vg_status *s)
{
    struct catalog_image *i = calloc(1, sizeof *i);

    if (!i)
        return NULL;
    i->daemon = d;
    i->vg = v;
    i->lv = lv;
    i->backing = find_uuid(s, lv_find_tag(lv, IMAGE_TAG_BACKING));
    i->overlay = lv_find_tag(lv, IMAGE_TAG_OVERLAY);
    if (i->backing && lv_find_tag(lv, IMAGE_TAG_SNAPSHOT))
        snprintf(i->snapshot, sizeof i->snapshot, "%.255s", lv_find_tag(lv, IMAGE_TAG_SNAPSHOT));
    co_mutex_init(&i->growing);
    co_event_init(&i->task_ended);
    image_rename(i);
    list_append(&v->images, &i->link);
    return i;
}

void images_drop(struct daemon *d, struct catalog_image *i)
{
    catalog_view_begin(d);
    list_remove(&i->link);
    catalog_view_end(d);
    image_close(i);
    free(i);
}

int images_add(struct daemon *d, struct catalog_vg *v, struct lv *lv, struct error *err)
{
    struct vg_status *s = vg_status(v->vg);
    struct catalog_image *i = s ? new_entry(d, v, lv, s) : NULL;
    int rc;

    if (s)
        vg_status_free(s);
    if (!i)
        return -ENOMEM;
    rc = image_open(i, err);
    if (rc)
        images_drop(d, i);
    return rc;
}

static int remove_one(struct catalog_vg *v, struct lv *lv, struct error *err)
{
    struct error why = {0};
    char name[CATALOG_NAME_MAX];
    int rc;

    snprintf(name, sizeof name, "%s/%s", vg_name(v->vg), lv_name(lv));
    rc = lv_remove(lv, 0, &why);
    if (rc == 0) {
        log_warning("volume %s was not made to its end: removed", name);
        return 0;
    }
    log_error("volume %s was not made to its end and cannot be removed: %s", name, why.text);
    return error_set(err, -rc, "volume %s, which was not made to its end, cannot be removed: %s",
        name, why.text);
}

int images_sweep(struct catalog_vg *v, struct error *err)
{
    struct vg_status *s = vg_status(v->vg);
    int rc = s ? 0 : -ENOMEM;

    for (unsigned k = 0; rc == 0 && !s->read_only_reason && k < s->lv_count; k++)
        if (lv_has_tag(s->lvs[k].lv, IMAGE_TAG_NEW))
            rc = remove_one(v, s->lvs[k].lv, err);
    if (s)
        vg_status_free(s);
    return rc;
}

/* Entries for those that have none. What is not whole gets none: opened, it could not be removed
 * any more. */
static int note_images(struct daemon *d, struct catalog_vg *v)
{
    struct vg_status *s = vg_status(v->vg);
    int rc = s ? 0 : -ENOMEM;

    for (unsigned k = 0; rc == 0 && k < s->lv_count; k++) {
        struct lv *lv = s->lvs[k].lv;

        if (lv_has_tag(lv, IMAGE_TAG) && !lv_has_tag(lv, IMAGE_TAG_NEW) && !images_find(d, lv) &&
            !new_entry(d, v, lv, s))
            rc = -ENOMEM;
    }
    if (s)
        vg_status_free(s);
    return rc;
}

/* Where what it builds upon is open. True: it has been opened. */
static bool try_open(struct catalog_image *i)
{
    struct catalog_image *b = i->backing ? images_find(i->daemon, i->backing) : NULL;
    struct error err = {0};

    if (i->q || i->task || (b && !b->q))
        return false;
    if (overlay_settle(i, &err) == 0 && image_open(i, &err) == 0) {
        if (i->read_only)
            log_warning("volume %s can only be read: %s", i->target, i->reason);
        return true;
    }
    log_error("volume %s", err.text);
    return false;
}

/* What a clone builds upon comes first, so in as many rounds as the longest chain has volumes. */
static void open_images(struct catalog_vg *v)
{
    bool more = true;

    for (unsigned round = 0; more && round < IMAGE_CHAIN_MAX; round++) {
        more = false;
        list_for_each (it, &v->images)
            more |= try_open(container_of(it, struct catalog_image, link));
    }
    list_for_each (it, &v->images) {
        struct catalog_image *i = container_of(it, struct catalog_image, link);

        if (!i->q && !*i->reason)
            snprintf(i->reason, sizeof i->reason, "what it was cloned from cannot be used");
    }
}

void images_bring_up(struct daemon *d)
{
    list_for_each (it, &d->catalog.vgs) {
        struct catalog_vg *v = container_of(it, struct catalog_vg, link);

        images_sweep(v, NULL);
        if (note_images(d, v))
            log_error("volume group %s: out of memory", vg_name(v->vg));
        open_images(v);
        overlays_go_on(v);
    }
}

/* Clones before what they build upon; what claims to build upon itself is not open. */
void images_close_all(struct daemon *d, struct catalog_vg *v)
{
    bool more = true;

    while (more) {
        more = false;
        list_for_each_safe (it, &v->images) {
            struct catalog_image *i = container_of(it, struct catalog_image, link);

            if (i->q && images_clone_of(v, i->lv))
                continue;
            images_drop(d, i);
            more = true;
        }
    }
}
