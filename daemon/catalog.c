/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/mutant.h"
#include "catalog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "group_space.h"
#include "lvm/vg.h"
#include "state.h"

void catalog_init(struct catalog *c)
{
    *c = (struct catalog){0};
    list_init(&c->arrays);
    list_init(&c->pvs);
    list_init(&c->vgs);
    list_init(&c->sockets);
    list_init(&c->copies);
    co_event_init(&c->copy_ended);
    wait_group_init(&c->commits);
    list_init(&c->exports);
    co_mutex_init(&c->change);
    co_mutex_init(&c->view);
    co_mutex_init(&c->saving);
}

void catalog_free(struct catalog *c)
{
    list_for_each_safe (it, &c->arrays)
        catalog_drop_array(container_of(it, struct catalog_array, link));
    list_for_each_safe (it, &c->pvs)
        catalog_drop_pv(container_of(it, struct catalog_pv, link));
    list_for_each_safe (it, &c->exports)
        catalog_drop_export(container_of(it, struct catalog_export, link));
    free(c->saved);
}

void catalog_change_begin(struct daemon *d)
{
    co_mutex_lock(&d->catalog.change);
}

int catalog_change_end(struct daemon *d, int rc, struct error *err)
{
    struct error why = {0};
    int saved;

    group_space_look_all(d);
    saved = MUTANT(STATE_NOT_SAVED) ? 0 : state_save(d, &why);

    co_mutex_unlock(&d->catalog.change);
    if (rc || !saved)
        return rc;
    return error_set(
        err, -saved, "done, but it will not be remembered over a restart: %s", why.text);
}

void catalog_view_begin(struct daemon *d)
{
    co_mutex_lock(&d->catalog.view);
}

void catalog_view_end(struct daemon *d)
{
    co_mutex_unlock(&d->catalog.view);
}

static void free_strings(char **strings)
{
    for (char **s = strings; s && *s; s++)
        free(*s);
    free(strings);
}

struct catalog_array *catalog_add_array(struct daemon *d, const char *name, const uint8_t uuid[16])
{
    struct catalog_array *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->members = calloc(1, sizeof *a->members);
    a->away = calloc(1, sizeof *a->away);
    if (!a->members || !a->away) {
        free_strings(a->members);
        free_strings(a->away);
        free(a);
        return NULL;
    }
    a->daemon = d;
    snprintf(a->name, sizeof a->name, "%s", name);
    memcpy(a->uuid, uuid, sizeof a->uuid);
    a->max_read_errors = ARRAY_MAX_READ_ERRORS;
    list_append(&d->catalog.arrays, &a->link);
    return a;
}

static char **copy_strings(const char *const *strings, unsigned count)
{
    char **copy = calloc(count + 1, sizeof *copy);

    for (unsigned i = 0; copy && i < count; i++)
        if (!(copy[i] = strdup(strings[i]))) {
            free_strings(copy);
            return NULL;
        }
    return copy;
}

int catalog_set_members(struct catalog_array *a, const char *const *members, unsigned count)
{
    char **copy = copy_strings(members, count);

    if (!copy)
        return -ENOMEM;
    free_strings(a->members);
    a->members = copy;
    return 0;
}

static bool among(const char *s, const char *const *strings, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(s, strings[i]))
            return true;
    return false;
}

static unsigned length(char *const *strings)
{
    unsigned n = 0;

    while (strings[n])
        n++;
    return n;
}

/* The paths it had, and those that were away, but for the members. */
static char **left_over(
    const struct catalog_array *a, const char *const *members, unsigned member_count)
{
    const char **rest = calloc(length(a->members) + length(a->away) + 1, sizeof *rest);
    char *const *const lists[] = {a->members, a->away};
    char **copy = NULL;
    unsigned count = 0;

    if (!rest)
        return NULL;
    for (unsigned l = 0; l < 2; l++)
        for (char *const *s = lists[l]; *s; s++)
            if (!among(*s, members, member_count) && !among(*s, rest, count))
                rest[count++] = *s;
    copy = copy_strings(rest, count);
    free(rest);
    return copy;
}

int catalog_change_members(
    struct catalog_array *a, const char *const *members, unsigned count, bool keep_away)
{
    char **away = keep_away ? left_over(a, members, count) : copy_strings(NULL, 0);
    int rc = away ? catalog_set_members(a, members, count) : -ENOMEM;

    if (rc) {
        free_strings(away);
        return rc;
    }
    free_strings(a->away);
    a->away = away;
    return 0;
}

struct catalog_pv *catalog_make_pv(const char *path)
{
    struct catalog_pv *pv = calloc(1, sizeof *pv);

    if (!pv || !(pv->path = strdup(path))) {
        free(pv);
        return NULL;
    }
    list_init(&pv->link);
    return pv;
}

struct catalog_pv *catalog_add_pv(struct daemon *d, const char *path)
{
    struct catalog_pv *pv = catalog_make_pv(path);

    if (pv)
        list_append(&d->catalog.pvs, &pv->link);
    return pv;
}

struct catalog_vg *catalog_add_vg(struct daemon *d, struct vg *vg)
{
    struct catalog_vg *v = calloc(1, sizeof *v);

    if (!v)
        return NULL;
    v->vg = vg;
    list_init(&v->images);
    list_append(&d->catalog.vgs, &v->link);
    return v;
}

struct catalog_export *catalog_add_export(
    struct daemon *d, const char *target, const char *path, bool read_only)
{
    struct catalog_export *e = calloc(1, sizeof *e);

    if (!e || (path && !(e->path = strdup(path)))) {
        free(e);
        return NULL;
    }
    snprintf(e->target, sizeof e->target, "%s", target);
    e->read_only = read_only;
    list_append(&d->catalog.exports, &e->link);
    return e;
}

void catalog_drop_array(struct catalog_array *a)
{
    list_remove(&a->link);
    free_strings(a->members);
    free_strings(a->away);
    free(a);
}

void catalog_drop_pv(struct catalog_pv *pv)
{
    list_remove(&pv->link);
    free(pv->path);
    free(pv);
}

void catalog_drop_vg(struct catalog_vg *vg)
{
    list_remove(&vg->link);
    free(vg);
}

void catalog_drop_export(struct catalog_export *e)
{
    list_remove(&e->link);
    free(e->path);
    free(e);
}

struct catalog_array *catalog_find_array(const struct catalog *c, const char *name)
{
    list_for_each (it, &c->arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (!strcmp(a->name, name))
            return a;
    }
    return NULL;
}

struct catalog_array *catalog_find_array_uuid(const struct catalog *c, const uint8_t uuid[16])
{
    list_for_each (it, &c->arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (!memcmp(a->uuid, uuid, sizeof a->uuid))
            return a;
    }
    return NULL;
}

struct catalog_pv *catalog_find_pv(const struct catalog *c, const char *path)
{
    list_for_each (it, &c->pvs) {
        struct catalog_pv *pv = container_of(it, struct catalog_pv, link);

        if (!strcmp(pv->path, path))
            return pv;
    }
    return NULL;
}

struct catalog_vg *catalog_find_vg(const struct catalog *c, const char *name)
{
    list_for_each (it, &c->vgs) {
        struct catalog_vg *v = container_of(it, struct catalog_vg, link);

        if (!strcmp(vg_name(v->vg), name))
            return v;
    }
    return NULL;
}

struct catalog_vg *catalog_find_vg_uuid(const struct catalog *c, const char *uuid)
{
    list_for_each (it, &c->vgs) {
        struct catalog_vg *v = container_of(it, struct catalog_vg, link);

        if (!strcmp(vg_uuid(v->vg), uuid))
            return v;
    }
    return NULL;
}

struct catalog_export *catalog_find_export(const struct catalog *c, const char *target)
{
    list_for_each (it, &c->exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (!strcmp(e->target, target))
            return e;
    }
    return NULL;
}
