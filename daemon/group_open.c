/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening groups: every device that could be a PV and belongs to no open group is examined; those
 * of one group are opened together. PVs that keep no metadata do not say whose they are: each group
 * is offered them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon.h"
#include "group_settings.h"
#include "groups.h"

struct candidate {
    struct blockdev *dev;
    struct catalog_array *array; /* or */
    struct catalog_pv *path;
    struct vg_examination found;
    bool is_pv, tried;
};

struct candidates {
    struct candidate *list;
    unsigned count;
};

int group_settings(const struct daemon *d, struct group_settings *s, struct error *err)
{
    const char *dir = d->config->state_dir;
    int a = snprintf(s->archive_dir, sizeof s->archive_dir, "%s/archive", dir);
    int b = snprintf(s->backup_dir, sizeof s->backup_dir, "%s/backup", dir);

    if (a >= (int)sizeof s->archive_dir || b >= (int)sizeof s->backup_dir)
        return error_set(err, ENAMETOOLONG, "%s: too long", dir);
    s->vg = (struct vg_settings){.archive_dir = s->archive_dir,
        .archive_keep = d->config->archive_keep,
        .backup_dir = s->backup_dir,
        .host = d->config->host};
    return 0;
}

static void give_reason(struct candidate *c, const struct error *err)
{
    if (c->path)
        snprintf(c->path->reason, sizeof c->path->reason, "%.255s", err->text);
}

/* Damaged metadata on an array is told here, too: nobody else would. */
static void examine(struct candidate *c)
{
    struct error err = {0};
    int rc = vg_examine(c->dev, &c->found, &err);

    c->is_pv = rc == 0;
    if (rc == 0)
        return;
    if (rc != -ENODATA)
        log_error("%s: %s", c->dev->name, err.code ? err.text : strerror(-rc));
    give_reason(c, &err);
}

static int gather(struct daemon *d, struct candidates *all)
{
    unsigned room = 0;

    list_for_each (it, &d->catalog.arrays)
        room++;
    list_for_each (it, &d->catalog.pvs)
        room++;
    *all = (struct candidates){.list = calloc(room + 1, sizeof *all->list)};
    if (!all->list)
        return -ENOMEM;
    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (a->array && !a->vg && array_blockdev(a->array)->users == 0)
            all->list[all->count++] = (struct candidate){array_blockdev(a->array), .array = a};
    }
    list_for_each (it, &d->catalog.pvs) {
        struct catalog_pv *p = container_of(it, struct catalog_pv, link);

        if (p->dev && !p->vg)
            all->list[all->count++] = (struct candidate){p->dev, .path = p};
    }
    for (unsigned i = 0; i < all->count; i++)
        examine(&all->list[i]);
    return 0;
}

static void attach(struct candidate *c, struct catalog_vg *v)
{
    if (c->array)
        c->array->vg = v;
    else
        c->path->vg = v;
    c->tried = true;
}

/* To open groups that miss it. True: it has found its group. */
static bool offer(struct daemon *d, struct candidate *c)
{
    list_for_each (it, &d->catalog.vgs) {
        struct catalog_vg *v = container_of(it, struct catalog_vg, link);
        struct error err = {0};
        int rc;

        if (*c->found.vg_uuid && strcmp(c->found.vg_uuid, vg_uuid(v->vg)))
            continue;
        rc = vg_attach_pv(v->vg, c->dev, &err);
        if (rc == 0) {
            attach(c, v);
            events_post(&d->events, EVENT_VG_CHANGED, vg_name(v->vg), "%s is back", c->dev->name);
            return true;
        }
        if (*c->found.vg_uuid) {
            log_error("%s: %s", c->dev->name, err.text);
            give_reason(c, &err);
            c->tried = true;
        }
    }
    return false;
}

static int refuse_taken_name(struct daemon *d, const struct candidate *c, struct error *err)
{
    struct catalog_vg *other = catalog_find_vg(&d->catalog, c->found.vg_name);

    if (!other)
        return 0;
    return error_set(err, EEXIST,
        "two volume groups have the name %s: UUID %s is open, UUID %s cannot be", c->found.vg_name,
        vg_uuid(other->vg), c->found.vg_uuid);
}

static bool may_belong(const struct candidate *o, const struct candidate *c)
{
    return o->is_pv && !o->tried &&
           (!*o->found.vg_uuid || !strcmp(o->found.vg_uuid, c->found.vg_uuid));
}

/*
 * From all that may belong to c's group; those that were just found come last in the list. When two
 * carry the same PV, one is a copy: it is settled for those that were known.
 */
static int open_devices(const struct candidates *all, const struct candidate *c,
    const struct vg_settings *settings, struct vg **vg, struct error *err)
{
    struct blockdev **devs = calloc(all->count, sizeof *devs);
    unsigned count = 0, known = 0;
    int rc;

    if (!devs)
        return -ENOMEM;
    for (unsigned i = 0; i < all->count; i++) {
        const struct candidate *o = &all->list[i];

        if (!may_belong(o, c))
            continue;
        devs[count++] = o->dev;
        if (o->array || !o->path->just_found)
            known++;
    }
    rc = vg_open(vg, devs, count, settings, err);
    if (rc == -EEXIST && known > 0 && known < count)
        rc = vg_open(vg, devs, known, settings, NULL);
    free(devs);
    return rc;
}

/* What is of the group belongs to it now; what may have been keeps the reason why not. */
static void attach_all(
    const struct candidates *all, struct catalog_vg *v, const char *uuid, const struct error *err)
{
    for (unsigned i = 0; i < all->count; i++) {
        struct candidate *o = &all->list[i];

        if (o->is_pv && vg_has_pv(v->vg, o->dev)) {
            attach(o, v);
        } else if (o->is_pv && !strcmp(o->found.vg_uuid, uuid)) {
            o->tried = true;
            give_reason(o, err);
        }
    }
}

static int open_group(
    struct daemon *d, struct candidates *all, struct candidate *c, struct error *err)
{
    struct group_settings *settings = malloc(sizeof *settings);
    struct catalog_vg *v = NULL;
    struct vg *vg;
    int rc = settings ? refuse_taken_name(d, c, err) : -ENOMEM;

    if (rc == 0)
        rc = group_settings(d, settings, err);
    if (rc == 0)
        rc = open_devices(all, c, &settings->vg, &vg, err);
    if (rc == 0 && !(v = catalog_add_vg(d, vg))) {
        vg_close(vg, NULL);
        rc = -ENOMEM;
    }
    if (v)
        attach_all(all, v, c->found.vg_uuid, err);
    free(settings);
    return rc;
}

/* All candidates of c's group have failed with it. */
static void give_up(struct candidates *all, const struct candidate *c, const struct error *err)
{
    log_error("volume group %s: %s", c->found.vg_name, err->text);
    for (unsigned i = 0; i < all->count; i++)
        if (!strcmp(all->list[i].found.vg_uuid, c->found.vg_uuid)) {
            all->list[i].tried = true;
            give_reason(&all->list[i], err);
        }
}

static void tell_opened(struct daemon *d, const char *name)
{
    struct catalog_vg *v = catalog_find_vg(&d->catalog, name);
    struct vg_status *s = v ? vg_status(v->vg) : NULL;

    if (!s)
        return;
    events_post(&d->events, EVENT_VG_CHANGED, name, "opened%s%s",
        s->read_only_reason ? ", read-only: " : "", s->read_only_reason ? s->read_only_reason : "");
    if (s->warning)
        log_warning("volume group %s: %s", name, s->warning);
    vg_status_free(s);
}

void groups_bring_up(struct daemon *d)
{
    struct candidates all;

    if (gather(d, &all)) {
        log_error("volume groups cannot be looked for: out of memory");
        return;
    }
    for (unsigned i = 0; i < all.count; i++)
        if (all.list[i].is_pv)
            offer(d, &all.list[i]);
    for (unsigned i = 0; i < all.count; i++) {
        struct candidate *c = &all.list[i];
        struct error err = {0};
        int rc;

        if (!c->is_pv || c->tried || !*c->found.vg_uuid)
            continue;
        rc = open_group(d, &all, c, &err);
        if (rc && !err.code)
            error_set(&err, -rc, "%s", strerror(-rc));
        if (rc)
            give_up(&all, c, &err);
        else
            tell_opened(d, c->found.vg_name);
    }
    free(all.list);
}
