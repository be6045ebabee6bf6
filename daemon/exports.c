/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exports.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "base/log.h"
#include "daemon.h"
#include "export/nbd.h"
#include "groups.h"
#include "images.h"
#include "rt/worker.h"

#define BUSY_PAUSE_NS 50000000

struct nbd_socket {
    struct list link;
    struct nbd_server *server;
    char path[];
};

const char *export_path(
    const struct daemon *d, const struct catalog_export *e, char *buf, size_t len)
{
    if (e->path)
        return e->path;
    snprintf(buf, len, "%s/nbd.sock", d->config->runtime_dir);
    return buf;
}

unsigned export_clients(const struct catalog_export *e)
{
    return e->socket ? nbd_server_clients(e->socket->server, e->target) : 0;
}

static int find_volume(
    struct daemon *d, const char *target, struct catalog_vg **v, struct lv **lv, struct error *err)
{
    const char *slash = strchr(target, '/');
    char *vg = strndup(target, (size_t)(slash - target));
    int rc = vg ? groups_find(d, vg, v, err) : -ENOMEM;

    if (rc == 0)
        rc = groups_find_volume(d, vg, slash + 1, lv, err);
    free(vg);
    return rc;
}

int exports_device(struct daemon *d, const char *target, struct blockdev **dev, struct error *err)
{
    struct catalog_array *a;
    struct catalog_vg *v;
    struct lv *lv;
    int rc;

    if (strchr(target, '/')) {
        rc = find_volume(d, target, &v, &lv, err);
        return rc ? rc : images_device(d, lv, dev, err);
    }
    rc = arrays_find(d, target, &a, err);
    if (rc)
        return rc;
    if (a->vg)
        return arrays_refuse_used(a, err);
    *dev = array_blockdev(a->array);
    return 0;
}

/* What clones build upon is only read. */
static int refuse_writable_backing(
    struct daemon *d, const struct catalog_export *e, struct error *err)
{
    struct catalog_vg *v;
    struct lv *lv;
    int rc;

    if (e->read_only || !strchr(e->target, '/'))
        return 0;
    rc = find_volume(d, e->target, &v, &lv, err);
    return rc ? rc : images_refuse_cloned(v, lv, err);
}

static struct nbd_socket *find_socket(struct daemon *d, const char *path)
{
    list_for_each (it, &d->catalog.sockets) {
        struct nbd_socket *s = container_of(it, struct nbd_socket, link);

        if (!strcmp(s->path, path))
            return s;
    }
    return NULL;
}

static int open_socket(
    struct daemon *d, const char *path, struct nbd_socket **socket, struct error *err)
{
    const struct config *c = d->config;
    struct nbd_params params = {.path = path,
        .mode = c->export_socket_mode,
        .owner = c->export_socket_owner,
        .group = c->export_socket_group,
        .workers = d->workers,
        .worker_count = d->worker_count,
        .clients_max = c->nbd_clients_max};
    struct nbd_socket *s = malloc(sizeof *s + strlen(path) + 1);
    int rc = s ? nbd_server_start(&s->server, &params, err) : -ENOMEM;

    if (rc) {
        free(s);
        return rc;
    }
    strcpy(s->path, path);
    list_append(&d->catalog.sockets, &s->link);
    *socket = s;
    return 0;
}

static void close_socket_if_idle(struct nbd_socket *s)
{
    if (nbd_server_exports(s->server) > 0)
        return;
    list_remove(&s->link);
    nbd_server_stop(s->server);
    free(s);
}

static int serve(struct daemon *d, struct catalog_export *e, struct error *err)
{
    char buf[PATH_MAX];
    const char *path = export_path(d, e, buf, sizeof buf);
    struct nbd_socket *s = find_socket(d, path);
    struct blockdev *dev;
    int rc = exports_device(d, e->target, &dev, err);

    if (rc == 0)
        rc = refuse_writable_backing(d, e, err);
    if (rc == 0 && !s)
        rc = open_socket(d, path, &s, err);
    if (rc)
        return rc;
    rc = nbd_server_add(s->server, e->target, dev, e->read_only, err);
    if (rc) {
        close_socket_if_idle(s);
        return rc;
    }
    e->socket = s;
    *e->reason = '\0';
    events_post(&d->events, EVENT_EXPORT_ADDED, e->target, "nbd on %s%s", path,
        e->read_only ? ", read-only" : "");
    return 0;
}

/* The same target on the same socket. */
static int refuse_twice(struct daemon *d, const struct catalog_export *e, struct error *err)
{
    char a[PATH_MAX], b[PATH_MAX];
    const char *path = export_path(d, e, a, sizeof a);

    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *o = container_of(it, struct catalog_export, link);

        if (o != e && !strcmp(o->target, e->target) &&
            !strcmp(export_path(d, o, b, sizeof b), path))
            return error_set(err, EEXIST, "%s is exported on %s already", e->target, path);
    }
    return 0;
}

int exports_add(struct daemon *d, const struct export_plan *p, struct catalog_export **result,
    struct error *err)
{
    struct catalog_export *e;
    int rc;

    if (strlen(p->target) >= CATALOG_NAME_MAX)
        return error_set(err, EINVAL, "the target's name is too long");
    if (p->path && p->path[0] != '/')
        return error_set(err, EINVAL, "%s is not an absolute path", p->path);
    e = catalog_add_export(d, p->target, p->path, p->read_only);
    if (!e)
        return -ENOMEM;
    rc = refuse_twice(d, e, err);
    if (rc == 0)
        rc = serve(d, e, err);
    if (rc)
        catalog_drop_export(e);
    else
        *result = e;
    return rc;
}

/* Disconnects its clients. Nobody looks at it. */
static bool is_served(const struct catalog_export *e, const char *target)
{
    return e->socket && !strcmp(e->target, target);
}

static void withdraw(struct daemon *d, struct catalog_export *e)
{
    struct nbd_socket *s = e->socket;

    e->socket = NULL;
    if (!s)
        return;
    nbd_server_remove(s->server, e->target);
    close_socket_if_idle(s);
}

static void remove_export(struct daemon *d, struct catalog_export *e)
{
    char buf[PATH_MAX];

    catalog_view_begin(d);
    list_remove(&e->link);
    catalog_view_end(d);
    withdraw(d, e);
    events_post(&d->events, EVENT_EXPORT_REMOVED, e->target, "nbd on %s",
        export_path(d, e, buf, sizeof buf));
    catalog_drop_export(e);
}

int exports_remove(struct daemon *d, const char *target, const char *path, struct error *err)
{
    bool any = false;

    list_for_each_safe (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);
        char buf[PATH_MAX];

        if (strcmp(e->target, target) || (path && strcmp(export_path(d, e, buf, sizeof buf), path)))
            continue;
        remove_export(d, e);
        any = true;
    }
    return any ? 0
               : error_set(err, ENOENT, "%s is not exported%s%s", target, path ? " on " : "",
                     path ? path : "");
}

static int switch_all(struct daemon *d, const char *target, struct blockdev *dev, struct error *err)
{
    int rc = 0;

    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (rc == 0 && is_served(e, target))
            rc = nbd_server_switch(e->socket->server, target, dev, err);
    }
    return rc;
}

static int switch_paused(struct daemon *d, const char *target, struct blockdev *from,
    struct blockdev *to, struct error *err)
{
    int rc = blockdev_flush(from);

    if (rc)
        return error_set(err, -rc, "cannot flush %s: %s", target, strerror(-rc));
    rc = switch_all(d, target, to, err);
    if (rc)
        switch_all(d, target, from, NULL);
    return rc;
}

int exports_switch(struct daemon *d, const char *target, struct blockdev *from, struct blockdev *to,
    struct error *err)
{
    int rc;

    blockdev_flush(from); /* so that there is little left when they wait */
    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (is_served(e, target))
            nbd_server_pause(e->socket->server, target);
    }
    rc = switch_paused(d, target, from, to, err);
    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (is_served(e, target))
            nbd_server_resume(e->socket->server, target);
    }
    return rc;
}

int exports_refuse_exported(struct daemon *d, const char *target, struct error *err)
{
    if (!catalog_find_export(&d->catalog, target))
        return 0;
    return error_set(err, EBUSY, "%s is exported (export remove comes first)", target);
}

static void serve_again(struct daemon *d, struct catalog_export *e, uint64_t due_ns)
{
    struct error err = {0};
    int rc;

    while ((rc = serve(d, e, &err)) == -EADDRINUSE && rt_now_ns() < due_ns)
        co_sleep_ns(BUSY_PAUSE_NS);
    if (rc == 0)
        return;
    snprintf(e->reason, sizeof e->reason, "%.255s", err.code ? err.text : strerror(-rc));
    log_error("export of %s: %s", e->target, e->reason);
}

void exports_bring_up(struct daemon *d, uint64_t due_ns)
{
    list_for_each (it, &d->catalog.exports) {
        struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (!e->socket)
            serve_again(d, e, due_ns);
    }
}

void exports_close_all(struct daemon *d)
{
    catalog_view_begin(d);
    list_for_each (it, &d->catalog.exports)
        withdraw(d, container_of(it, struct catalog_export, link));
    catalog_view_end(d);
}
