/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volumes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "block/probe.h"
#include "daemon.h"
#include "exports.h"

#define DRY(dry) ((dry) ? VG_DRY_RUN : 0)

static const char *target(const struct vg *vg, const char *name, char buf[CATALOG_NAME_MAX])
{
    snprintf(buf, CATALOG_NAME_MAX, "%s/%s", vg_name(vg), name);
    return buf;
}

int volumes_create(struct daemon *d, struct vg *vg, const char *name, uint64_t size_bytes, bool dry,
    struct error *err)
{
    char buf[CATALOG_NAME_MAX], size[16];
    struct lv *lv;
    int rc = lv_create(vg, name, size_bytes, NULL, 0, DRY(dry), &lv, err);

    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VOLUME_CREATED, target(vg, name, buf), "%s",
            size_format(lv_size_bytes(lv), size, sizeof size));
    return rc;
}

static int refuse_shrink(struct lv *lv, uint64_t size_bytes, struct error *err)
{
    struct blockdev *dev = lv_blockdev(lv, err);
    uint64_t used_bytes = 0;
    char what[64] = "", text[16];
    int rc;

    if (!dev)
        return err && err->code ? -err->code : -ENXIO;
    rc = probe_used_bytes(dev, &used_bytes, what, sizeof what, err);
    if (rc || used_bytes <= size_bytes)
        return rc;
    return error_set(err, EBUSY,
        "%s on it uses %s: no less than %" PRIu64 " bytes is safe (--force overrides)", what,
        size_format(used_bytes, text, sizeof text), used_bytes);
}

int volumes_resize(struct daemon *d, struct vg *vg, struct lv *lv, uint64_t size_bytes, bool force,
    bool dry, struct error *err)
{
    char buf[CATALOG_NAME_MAX], size[16];
    int rc = 0;

    if (size_bytes < lv_size_bytes(lv) && !force)
        rc = refuse_shrink(lv, size_bytes, err);
    if (rc == 0)
        rc = lv_resize(lv, size_bytes, DRY(dry), err);
    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VOLUME_RESIZED, target(vg, lv_name(lv), buf), "%s",
            size_format(lv_size_bytes(lv), size, sizeof size));
    return rc;
}

int volumes_remove(struct daemon *d, struct vg *vg, struct lv *lv, bool dry, struct error *err)
{
    char buf[CATALOG_NAME_MAX];
    int rc = exports_refuse_exported(d, target(vg, lv_name(lv), buf), err);

    if (rc == 0)
        rc = lv_remove(lv, DRY(dry), err);
    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VOLUME_REMOVED, buf, "removed");
    return rc;
}

int volumes_rename(
    struct daemon *d, struct vg *vg, struct lv *lv, const char *name, bool dry, struct error *err)
{
    char buf[CATALOG_NAME_MAX];
    int rc = exports_refuse_exported(d, target(vg, lv_name(lv), buf), err);

    if (rc == 0)
        rc = lv_rename(lv, name, DRY(dry), err);
    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VG_CHANGED, vg_name(vg), "%s is now %s", buf, name);
    return rc;
}
