/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pv_choice.h"

#include <errno.h>
#include <stdlib.h>

#include "arrays.h"
#include "daemon.h"
#include "members.h"

static int choose_array(struct daemon *d, struct pv_choices *c, unsigned i, const char *name,
    bool force, struct error *err)
{
    struct catalog_array *a;
    int rc;

    if ((rc = arrays_find(d, name, &a, err)) || (rc = arrays_refuse_used(a, err)) ||
        (rc = content_refuse(array_blockdev(a->array), force, err)))
        return rc;
    c->of[i].array = a;
    c->devs[i] = array_blockdev(a->array);
    return 0;
}

static int choose_path(struct daemon *d, struct pv_choices *c, unsigned i, const char *path,
    bool force, struct error *err)
{
    struct members m;
    int rc = members_open(d, &m, &path, 1, force ? MEMBERS_FORCE : 0, err);

    if (rc)
        return rc;
    c->of[i].path = catalog_make_pv(path);
    if (!c->of[i].path) {
        members_close(&m);
        return -ENOMEM;
    }
    c->devs[i] = c->of[i].path->dev = m.devs[0];
    members_forget(&m);
    return 0;
}

int pv_choices_open(struct daemon *d, struct pv_choices *c, const char *const *names,
    unsigned count, bool force, struct error *err)
{
    int rc = 0;

    *c = (struct pv_choices){
        .devs = calloc(count, sizeof *c->devs), .of = calloc(count, sizeof *c->of)};
    if (!c->devs || !c->of)
        rc = -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        c->count++;
        rc = names[i][0] == '/' ? choose_path(d, c, i, names[i], force, err)
                                : choose_array(d, c, i, names[i], force, err);
    }
    if (rc)
        pv_choices_close(c);
    return rc;
}

int pv_choices_wipe(const struct pv_choices *c, struct error *err)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct members one = {.devs = &c->devs[i], .count = 1};
        int rc = members_wipe(&one, err);

        if (rc)
            return rc;
    }
    return 0;
}

static void attach_path(struct daemon *d, struct catalog_pv *pv, struct catalog_vg *vg)
{
    struct catalog_pv *known = catalog_find_pv(&d->catalog, pv->path);

    if (known) /* was away or had been emptied: this one takes its place */
        catalog_drop_pv(known);
    pv->vg = vg;
    list_append(&d->catalog.pvs, &pv->link);
}

void pv_choices_attach(struct daemon *d, struct pv_choices *c, struct catalog_vg *vg)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (c->of[i].array)
            c->of[i].array->vg = vg;
        else
            attach_path(d, c->of[i].path, vg);
        c->of[i].path = NULL;
    }
}

void pv_choices_close(struct pv_choices *c)
{
    for (unsigned i = 0; c->of && i < c->count; i++)
        if (c->of[i].path) {
            blockdev_close(c->of[i].path->dev);
            catalog_drop_pv(c->of[i].path);
        }
    free(c->devs);
    free(c->of);
    *c = (struct pv_choices){0};
}
