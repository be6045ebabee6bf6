/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The exports of an NBD server: what it serves by which name, and who is attached to it, all under
 * the server's lock. An export lives until it has been removed and its last connection has gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "export/nbd_connection.h"

static struct nbd_export *find(const struct nbd_server *s, const struct nbd_string *name)
{
    list_for_each (link, &s->exports) {
        struct nbd_export *e = container_of(link, struct nbd_export, link);

        if (nbd_string_is(name, e->name) || (!name->length && s->export_count == 1))
            return e;
    }
    return NULL;
}

bool nbd_attach(struct nbd_connection *c, const struct nbd_string *name)
{
    struct nbd_export *e;

    co_mutex_lock(&c->server->lock);
    e = find(c->server, name);
    if (e && !atomic_load(&c->closing)) {
        c->export = e;
        e->clients++;
    }
    co_mutex_unlock(&c->server->lock);
    return c->export;
}

void nbd_detach(struct nbd_connection *c)
{
    co_mutex_lock(&c->server->lock);
    if (c->export)
        c->export->clients--;
    c->export = NULL;
    co_mutex_unlock(&c->server->lock);
    co_event_set(&c->server->departure);
}

struct blockdev *nbd_export_enter(struct nbd_export *e)
{
    gate_enter(&e->gate);
    return e->dev;
}

void nbd_export_leave(struct nbd_export *e)
{
    gate_leave(&e->gate);
}

static void free_export(struct nbd_export *e)
{
    blockdev_unuse(e->dev);
    free(e);
}

static int new_export(struct nbd_export **e, const char *name, struct blockdev *d, bool read_only)
{
    struct nbd_export *new = calloc(1, sizeof *new + strlen(name) + 1);
    int rc = new ? blockdev_use(d, false) : -ENOMEM;

    if (rc < 0) {
        free(new);
        return rc;
    }
    strcpy(new->name, name);
    gate_init(&new->gate);
    new->dev = d;
    new->read_only = read_only || (d->capabilities & BLOCK_READ_ONLY);
    *e = new;
    return 0;
}

/* False: the name is taken. */
static bool put_on(struct nbd_server *s, struct nbd_export *e)
{
    struct nbd_string name = {e->name, strlen(e->name)};
    bool taken;

    co_mutex_lock(&s->lock);
    taken = find(s, &name);
    if (!taken) {
        list_append(&s->exports, &e->link);
        s->export_count++;
    }
    co_mutex_unlock(&s->lock);
    return !taken;
}

int nbd_server_add(
    struct nbd_server *s, const char *name, struct blockdev *d, bool read_only, struct error *err)
{
    struct nbd_export *e;
    int rc;

    if (!*name || strlen(name) > NBD_NAME_MAX)
        return error_set(err, EINVAL, "an export's name has 1 to %d bytes", NBD_NAME_MAX);
    rc = new_export(&e, name, d, read_only);
    if (rc < 0)
        return error_set(err, -rc, "cannot export %s: %s", d->name, strerror(-rc));
    if (put_on(s, e))
        return 0;
    free_export(e);
    return error_set(err, EEXIST, "%s serves an export %s already", s->path, name);
}

/* By name, not as the default; with the lock held. */
static struct nbd_export *find_named(const struct nbd_server *s, const char *name)
{
    struct nbd_string wanted = {name, strlen(name)};

    return wanted.length ? find(s, &wanted) : NULL;
}

/* Nobody finds it any more. */
static void take_off(struct nbd_server *s, struct nbd_export *e)
{
    list_remove(&e->link);
    s->export_count--;
}

int nbd_server_remove(struct nbd_server *s, const char *name)
{
    struct nbd_export *e;

    co_mutex_lock(&s->lock);
    e = find_named(s, name);
    if (e)
        take_off(s, e);
    co_mutex_unlock(&s->lock);
    if (!e)
        return -ENOENT;
    nbd_disconnect_all(s, e);
    free_export(e);
    return 0;
}

void nbd_exports_fini(struct nbd_server *s)
{
    list_for_each_safe (link, &s->exports)
        free_export(container_of(link, struct nbd_export, link));
}

/* None is added or removed meanwhile: that is the control worker's, too. */
static struct nbd_export *look_up(struct nbd_server *s, const char *name)
{
    struct nbd_export *e;

    co_mutex_lock(&s->lock);
    e = find_named(s, name);
    co_mutex_unlock(&s->lock);
    return e;
}

int nbd_server_pause(struct nbd_server *s, const char *name)
{
    struct nbd_export *e = look_up(s, name);

    if (!e)
        return -ENOENT;
    gate_close(&e->gate);
    return 0;
}

void nbd_server_resume(struct nbd_server *s, const char *name)
{
    gate_open(&look_up(s, name)->gate);
}

/* What clients have been told holds of it. What it lacks of trim and zeroes the wrapper makes up
 * for. */
static int refuse_other_shape(
    const struct nbd_export *e, const struct blockdev *to, struct error *err)
{
    const struct blockdev *from = e->dev;

    if (to->size_bytes != from->size_bytes || to->logical_block_bytes != from->logical_block_bytes)
        return error_set(err, EINVAL, "%s has another size or other blocks", to->name);
    if (!e->read_only && (to->capabilities & BLOCK_READ_ONLY))
        return error_set(err, EINVAL, "%s can only be read", to->name);
    return 0;
}

int nbd_server_switch(
    struct nbd_server *s, const char *name, struct blockdev *dev, struct error *err)
{
    struct nbd_export *e = look_up(s, name);
    int rc;

    if (!e)
        return -ENOENT;
    rc = refuse_other_shape(e, dev, err);
    if (rc == 0)
        rc = blockdev_use(dev, false);
    if (rc)
        return rc;
    blockdev_unuse(e->dev);
    e->dev = dev;
    return 0;
}

unsigned nbd_server_exports(const struct nbd_server *s)
{
    return s->export_count;
}

unsigned nbd_server_clients(struct nbd_server *s, const char *name)
{
    const struct nbd_export *e;
    unsigned clients;

    co_mutex_lock(&s->lock);
    e = find_named(s, name);
    clients = e ? e->clients : 0;
    co_mutex_unlock(&s->lock);
    return clients;
}
