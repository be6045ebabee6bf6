/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volumes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/size.h"
#include "block/probe.h"
#include "daemon.h"
#include "exports.h"
#include "image_tasks.h"
#include "images.h"
#include "sparse.h"

#define DRY(dry) ((dry) ? VG_DRY_RUN : 0)

static const char *target(const struct catalog_vg *v, const char *name, char buf[CATALOG_NAME_MAX])
{
    snprintf(buf, CATALOG_NAME_MAX, "%s/%s", vg_name(v->vg), name);
    return buf;
}

uint64_t volume_size_bytes(struct daemon *d, struct lv *lv)
{
    struct catalog_image *i = images_find(d, lv);

    return i && i->q ? qcow2_blockdev(i->q)->size_bytes : lv_size_bytes(lv);
}

int volumes_create(struct daemon *d, struct catalog_vg *v, const struct volume_plan *plan,
    struct lv **lv, struct error *err)
{
    char buf[CATALOG_NAME_MAX], size[16];
    int rc = plan->sparse
                 ? sparse_create(d, v, plan, lv, err)
                 : lv_create(v->vg, plan->name, plan->size_bytes, NULL, 0, DRY(plan->dry), lv, err);

    if (rc == 0 && !plan->dry)
        events_post(&d->events, EVENT_VOLUME_CREATED, target(v, plan->name, buf), "%s",
            size_format(volume_size_bytes(d, *lv), size, sizeof size));
    return rc;
}

static int refuse_shrink(struct daemon *d, struct lv *lv, uint64_t size_bytes, struct error *err)
{
    struct blockdev *dev;
    uint64_t used_bytes = 0;
    char what[64] = "", text[16];
    int rc = images_device(d, lv, &dev, err);

    if (rc == 0)
        rc = probe_used_bytes(dev, &used_bytes, what, sizeof what, err);
    if (rc || used_bytes <= size_bytes)
        return rc;
    return error_set(err, EBUSY,
        "%s on it uses %s: no less than %" PRIu64 " bytes is safe (--force overrides)", what,
        size_format(used_bytes, text, sizeof text), used_bytes);
}

int volumes_resize(struct daemon *d, struct catalog_vg *v, struct lv *lv, uint64_t size_bytes,
    bool force, bool dry, struct error *err)
{
    struct catalog_image *image = images_find(d, lv);
    char buf[CATALOG_NAME_MAX], size[16];
    int rc = images_refuse_cloned(v, lv, err);

    if (rc == 0)
        rc = images_refuse_overlay(d, lv, err);
    if (rc == 0 && image)
        rc = image_refuse_busy(image, err);
    if (rc == 0 && size_bytes < volume_size_bytes(d, lv) && !force)
        rc = refuse_shrink(d, lv, size_bytes, err);
    if (rc == 0)
        rc = image ? sparse_resize(image, size_bytes, dry, err)
                   : lv_resize(lv, size_bytes, DRY(dry), err);
    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VOLUME_RESIZED, target(v, lv_name(lv), buf), "%s",
            size_format(volume_size_bytes(d, lv), size, sizeof size));
    return rc;
}

/* By guests, clones, an overlay, or a job. */
static int refuse_used(struct daemon *d, const struct catalog_vg *v, const struct lv *lv,
    const char *name, struct error *err)
{
    const struct catalog_image *image = images_find(d, lv);
    int rc = exports_refuse_exported(d, name, err);

    if (rc == 0)
        rc = images_refuse_needed(v, lv, err);
    if (rc == 0)
        rc = images_refuse_overlay(d, lv, err);
    return rc || !image ? rc : image_refuse_busy(image, err);
}

int volumes_remove(
    struct daemon *d, struct catalog_vg *v, struct lv *lv, bool dry, struct error *err)
{
    struct catalog_image *image = images_find(d, lv);
    char buf[CATALOG_NAME_MAX];
    int rc = refuse_used(d, v, lv, target(v, lv_name(lv), buf), err);

    if (rc == 0)
        rc = image ? sparse_remove(image, dry, err) : lv_remove(lv, DRY(dry), err);
    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VOLUME_REMOVED, buf, "removed");
    return rc;
}

int volumes_rename(struct daemon *d, struct catalog_vg *v, struct lv *lv, const char *name,
    bool dry, struct error *err)
{
    struct catalog_image *image = images_find(d, lv);
    char buf[CATALOG_NAME_MAX];
    int rc = refuse_used(d, v, lv, target(v, lv_name(lv), buf), err);

    if (rc == 0)
        rc = lv_rename(lv, name, DRY(dry), err);
    if (rc || dry)
        return rc;
    if (image)
        image_rename(image);
    events_post(&d->events, EVENT_VG_CHANGED, vg_name(v->vg), "%s is now %s", buf, name);
    return 0;
}
