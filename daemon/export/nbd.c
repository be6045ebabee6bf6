/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The NBD server: its socket, and the lives of its connections.
 *
 * The acceptor runs on the control worker and hands each connection to a data worker, in turn,
 * where it stays. A connection takes itself off the list as the last thing it does, all of it under
 * the lock: whoever finds it gone under the lock may free the server.
 *
 * Removing an export and stopping end the connections concerned in the same way: what they have
 * sent is answered (what has not been started yet, by ESHUTDOWN), and they may take their replies
 * for NBD_DRAIN_NS.
 */
#include "export/nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "export/nbd_connection.h"
#include "rt/io.h"

/* Of the socket: a long reply goes out in one piece. */
#define SOCKET_BUFFER_BYTES (2u << 20)

void nbd_set_transmitting(struct nbd_connection *c)
{
    co_mutex_lock(&c->server->lock);
    c->transmitting = true;
    if (atomic_load(&c->closing))
        stream_shutdown(c->stream);
    co_mutex_unlock(&c->server->lock);
}

/* With the lock held. */
static void disconnect(struct nbd_connection *c)
{
    atomic_store(&c->closing, true);
    if (c->transmitting)
        stream_shutdown_read(c->stream);
    else
        stream_shutdown(c->stream);
    co_event_set(&c->changed);
}

void nbd_disconnect_all(struct nbd_server *s, const struct nbd_export *e)
{
    unsigned left;

    for (;;) {
        co_event_clear(&s->departure);
        left = 0;
        co_mutex_lock(&s->lock);
        list_for_each (link, &s->connections) {
            struct nbd_connection *c = container_of(link, struct nbd_connection, link);

            if (e && c->export != e)
                continue;
            left++;
            if (!atomic_load(&c->closing))
                disconnect(c);
        }
        co_mutex_unlock(&s->lock);
        if (!left)
            break;
        co_event_wait(&s->departure);
    }
}

static void serve(struct nbd_connection *c)
{
    const char *path = c->server->path, *why;
    struct peer peer;

    stream_peer(c->stream, &peer);
    stream_set_buffers(c->stream, SOCKET_BUFFER_BYTES);
    why = nbd_handshake(c);
    log_info("%s: client %u (process %d, user %u, group %u) %s %s", path, c->number, (int)peer.pid,
        peer.uid, peer.gid, why ? "ended in the handshake:" : "uses", why ? why : c->export->name);
    if (why)
        return;
    nbd_set_transmitting(c);
    why = nbd_transmission(c);
    log_info("%s: client %u ended: %s", path, c->number, why);
}

static void free_connection(struct nbd_connection *c)
{
    if (c->pool)
        nbd_requests_fini(c);
    io_buffer_put(c->input.buf, NBD_INPUT_BYTES);
    stream_close(c->stream);
    free(c);
}

static void depart(struct nbd_connection *c)
{
    struct nbd_server *s = c->server;

    co_mutex_lock(&s->lock);
    list_remove(&c->link);
    s->connection_count--;
    if (c->export)
        c->export->clients--;
    free_connection(c);
    co_event_set(&s->departure);
    co_mutex_unlock(&s->lock);
}

static void connection_main(void *arg)
{
    struct nbd_connection *c = arg;

    c->input.buf = io_buffer_get(NBD_INPUT_BYTES);
    if (c->input.buf && !nbd_requests_init(c))
        serve(c);
    depart(c);
}

/* Puts it on the list, if there is a place. */
static bool enlist(struct nbd_connection *c)
{
    struct nbd_server *s = c->server;
    bool room;

    co_mutex_lock(&s->lock);
    room = s->connection_count < s->clients_max;
    if (room) {
        list_append(&s->connections, &c->link);
        s->connection_count++;
    }
    co_mutex_unlock(&s->lock);
    return room;
}

int nbd_accept(struct nbd_server *s, struct stream *stream)
{
    struct nbd_connection *c = calloc(1, sizeof *c);
    struct worker *w = s->workers[s->next_worker++ % s->worker_count];

    if (!c) {
        stream_close(stream);
        return -ENOMEM;
    }
    c->server = s;
    c->stream = stream;
    c->number = s->next_worker;
    co_event_init(&c->changed);
    if (!enlist(c)) {
        free_connection(c);
        return -EMFILE;
    }
    if (worker_start(w, "nbd client", connection_main, c) < 0) {
        depart(c);
        return -ENOMEM;
    }
    return 0;
}

static void accept_all(void *arg)
{
    struct nbd_server *s = arg;
    struct stream *stream;
    int rc;

    while ((rc = listener_accept(s->listener, &stream)) != -ECANCELED) {
        if (!rc)
            rc = nbd_accept(s, stream);
        if (rc == -EMFILE)
            log_warning("%s: a client is turned away: there are %u", s->path, s->clients_max);
        else if (rc < 0)
            log_warning("%s: cannot take a client: %s", s->path, strerror(-rc));
    }
    wait_group_done(&s->acceptor);
}

static void free_server(struct nbd_server *s)
{
    free(s->workers);
    free(s->path);
    free(s);
}

static struct nbd_server *new_server(const struct nbd_params *params)
{
    struct nbd_server *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->path = strdup(params->path);
    s->workers = calloc(params->worker_count, sizeof(struct worker *));
    if (!s->path || !s->workers) {
        free_server(s);
        return NULL;
    }
    memcpy(s->workers, params->workers, params->worker_count * sizeof(struct worker *));
    s->worker_count = params->worker_count;
    s->clients_max = params->clients_max;
    list_init(&s->exports);
    list_init(&s->connections);
    co_mutex_init(&s->lock);
    co_event_init(&s->departure);
    wait_group_init(&s->acceptor);
    return s;
}

int nbd_server_start(struct nbd_server **s, const struct nbd_params *params, struct error *err)
{
    struct nbd_server *new = new_server(params);
    int rc;

    if (!new)
        return error_set(err, ENOMEM, "out of memory");
    rc = listener_open(
        params->path, params->mode, params->owner, params->group, &new->listener, err);
    if (rc < 0) {
        free_server(new);
        return rc;
    }
    wait_group_add(&new->acceptor, 1);
    if (co_start("nbd acceptor", accept_all, new) < 0) {
        listener_close(new->listener);
        free_server(new);
        return error_set(err, ENOMEM, "out of memory");
    }
    *s = new;
    return 0;
}

void nbd_server_stop(struct nbd_server *s)
{
    listener_shutdown(s->listener);
    wait_group_wait(&s->acceptor);
    nbd_disconnect_all(s, NULL);
    nbd_exports_fini(s);
    listener_close(s->listener);
    free_server(s);
}
