/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "groups.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon.h"
#include "group_settings.h"
#include "images.h"
#include "pv_choice.h"

int groups_find(struct daemon *d, const char *name, struct catalog_vg **vg, struct error *err)
{
    *vg = catalog_find_vg(&d->catalog, name);
    return *vg ? 0 : error_set(err, ENOENT, "there is no volume group %s", name);
}

int groups_find_volume(
    struct daemon *d, const char *vg, const char *name, struct lv **lv, struct error *err)
{
    struct catalog_vg *v;
    int rc = groups_find(d, vg, &v, err);

    if (rc)
        return rc;
    *lv = vg_find_lv(v->vg, name);
    return *lv && !lv_has_tag(*lv, IMAGE_TAG_NEW) && !lv_find_tag(*lv, IMAGE_TAG_OVERLAY)
               ? 0
               : error_set(err, ENOENT, "there is no volume %s in group %s", name, vg);
}

static void tell(struct daemon *d, const char *name, const char *what)
{
    events_post(&d->events, EVENT_VG_CHANGED, name, "%s", what);
}

static int create_on(struct daemon *d, const struct group_plan *p, struct pv_choices *choices,
    struct catalog_vg **v, struct error *err)
{
    unsigned flags = (p->dry ? VG_DRY_RUN : 0) | (p->force ? VG_FORCE : 0);
    struct group_settings settings;
    struct vg *vg;
    int rc = group_settings(d, &settings, err);

    if (rc == 0 && p->force && !p->dry)
        rc = pv_choices_wipe(choices, err);
    if (rc == 0)
        rc = vg_create(&vg, p->name, choices->devs, choices->count, p->extent_size_bytes,
            &settings.vg, flags, err);
    if (rc || p->dry)
        return rc;
    *v = catalog_add_vg(d, vg);
    if (!*v) {
        vg_remove(vg, 0, NULL);
        return -ENOMEM;
    }
    pv_choices_attach(d, choices, *v);
    tell(d, p->name, "created");
    return 0;
}

int groups_create(
    struct daemon *d, const struct group_plan *p, struct catalog_vg **v, struct error *err)
{
    struct pv_choices choices;
    int rc;

    if (catalog_find_vg(&d->catalog, p->name))
        return error_set(err, EEXIST, "there is a volume group %s already", p->name);
    rc = pv_choices_open(d, &choices, p->pvs, p->pv_count, p->force, err);
    if (rc)
        return rc;
    rc = create_on(d, p, &choices, v, err);
    pv_choices_close(&choices);
    return rc;
}

static int extend_by(struct daemon *d, const struct group_plan *p, struct catalog_vg *v,
    struct pv_choices *choices, struct error *err)
{
    unsigned flags = (p->dry ? VG_DRY_RUN : 0) | (p->force ? VG_FORCE : 0);
    int rc = p->force && !p->dry ? pv_choices_wipe(choices, err) : 0;

    if (rc == 0)
        rc = vg_extend(v->vg, choices->devs, choices->count, flags, err);
    if (rc || p->dry)
        return rc;
    pv_choices_attach(d, choices, v);
    tell(d, p->name, "extended");
    return 0;
}

int groups_extend(struct daemon *d, const struct group_plan *p, struct error *err)
{
    struct pv_choices choices;
    struct catalog_vg *v;
    int rc = groups_find(d, p->name, &v, err);

    if (rc == 0)
        rc = pv_choices_open(d, &choices, p->pvs, p->pv_count, p->force, err);
    if (rc)
        return rc;
    rc = extend_by(d, p, v, &choices, err);
    pv_choices_close(&choices);
    return rc;
}

/* Arrays are free again, paths are closed and forgotten; `pv` NULL: all of the group's. */
static void release_pvs(struct daemon *d, struct catalog_vg *v, const char *pv)
{
    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (a->vg == v && (!pv || !strcmp(pv, a->name)))
            a->vg = NULL;
    }
    list_for_each_safe (it, &d->catalog.pvs) {
        struct catalog_pv *p = container_of(it, struct catalog_pv, link);

        if (p->vg == v && (!pv || !strcmp(pv, p->path))) {
            blockdev_close(p->dev);
            catalog_drop_pv(p);
        }
    }
}

int groups_reduce(
    struct daemon *d, struct catalog_vg *v, const char *pv, bool dry, struct error *err)
{
    int rc = vg_reduce(v->vg, pv, dry ? VG_DRY_RUN : 0, err);

    if (rc || dry)
        return rc;
    release_pvs(d, v, pv);
    tell(d, vg_name(v->vg), "reduced");
    return 0;
}

/* Ends the group by `end`, which frees it on success, with nobody looking on. */
static int end_group(struct daemon *d, struct catalog_vg *v,
    int (*end)(struct vg *vg, struct error *err), struct error *err)
{
    int rc;

    catalog_view_begin(d);
    list_remove(&v->link);
    catalog_view_end(d);
    rc = end(v->vg, err);
    if (rc)
        list_append(&d->catalog.vgs, &v->link);
    return rc;
}

static int remove_group(struct vg *vg, struct error *err)
{
    return vg_remove(vg, 0, err);
}

int groups_remove(struct daemon *d, struct catalog_vg *v, bool dry, struct error *err)
{
    char name[CATALOG_NAME_MAX];
    int rc;

    snprintf(name, sizeof name, "%s", vg_name(v->vg));
    rc = dry ? vg_remove(v->vg, VG_DRY_RUN, err) : images_sweep(v, err);
    if (rc == 0 && !dry)
        rc = end_group(d, v, remove_group, err);
    if (rc || dry)
        return rc;
    release_pvs(d, v, NULL);
    catalog_drop_vg(v);
    tell(d, name, "removed");
    return 0;
}

int groups_rename(
    struct daemon *d, struct catalog_vg *v, const char *name, bool dry, struct error *err)
{
    size_t length = strlen(vg_name(v->vg));
    int rc;

    if (catalog_find_vg(&d->catalog, name))
        return error_set(err, EEXIST, "there is a volume group %s already", name);
    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (!strncmp(e->target, vg_name(v->vg), length) && e->target[length] == '/')
            return error_set(err, EBUSY, "volume %s is exported by that name", e->target);
    }
    rc = vg_rename(v->vg, name, dry ? VG_DRY_RUN : 0, err);
    if (rc || dry)
        return rc;
    images_rename_all(v);
    tell(d, name, "renamed");
    return 0;
}

/* The paths stay known, without their devices. */
static void detach_pvs(struct daemon *d, const struct catalog_vg *v)
{
    list_for_each (it, &d->catalog.pvs) {
        struct catalog_pv *p = container_of(it, struct catalog_pv, link);

        if (p->vg == v) {
            blockdev_close(p->dev);
            p->dev = NULL;
            p->vg = NULL;
        }
    }
    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (a->vg == v)
            a->vg = NULL;
    }
}

void groups_close_all(struct daemon *d)
{
    list_for_each_safe (it, &d->catalog.vgs) {
        struct catalog_vg *v = container_of(it, struct catalog_vg, link);
        struct error err = {0};

        images_close_all(d, v);
        if (end_group(d, v, vg_close, &err)) {
            log_error("volume group %s: %s", vg_name(v->vg), err.text);
            continue;
        }
        detach_pvs(d, v);
        catalog_drop_vg(v);
    }
}
