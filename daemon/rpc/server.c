/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon.h"
#include "events.h"
#include "json.h"
#include "rpc/method.h"
#include "rt/worker.h"

#define WRITE_DUE_NS       (10ull * 1000 * 1000 * 1000)
#define LINE_ROOM_AT_START 4096

struct rpc_server {
    struct daemon *daemon;
    struct listener *listener;
    struct list connections;
    unsigned connection_count;
    bool stopping;
    struct wait_group calls;   /* in flight on all connections */
    struct wait_group running; /* the accepting coroutine and one for each connection */
};

struct rpc_connection {
    struct rpc_server *server;
    struct list link;
    struct stream *stream;
    struct co_mutex writing;
    struct list calls; /* in flight */
    unsigned call_count;
    struct wait_group coroutines; /* calls and the subscriber: all but the reader */
    struct co_event fewer_calls;
    bool subscribed, ended, broken; /* ended: nothing more is read */
    struct event_reader events;
    char *line; /* what has been read and not yet been answered */
    size_t used, room;
};

struct request {
    struct rpc_call call;
    struct rpc_connection *connection;
    size_t length;
    char line[];
};

/* Nothing more can be written: the reader ends too. */
static void break_off(struct rpc_connection *c)
{
    c->broken = true;
    stream_shutdown(c->stream);
}

/* Takes `text` over; NULL: nothing to send. */
static void send_line(struct rpc_connection *c, char *text)
{
    struct iovec iov[2] = {{text, text ? strlen(text) : 0}, {"\n", 1}};

    if (!text)
        return;
    co_mutex_lock(&c->writing);
    if (!c->broken && stream_write(c->stream, iov, 2, WRITE_DUE_NS))
        break_off(c);
    co_mutex_unlock(&c->writing);
    free(text);
}

static void call_end(struct request *r)
{
    struct rpc_connection *c = r->connection;

    list_remove(&r->call.link);
    free(r);
    c->call_count--;
    co_event_set(&c->fewer_calls);
    wait_group_done(&c->server->calls);
    wait_group_done(&c->coroutines);
}

static void answer(void *arg)
{
    struct request *r = arg;
    struct rpc_connection *c = r->connection;

    send_line(c, rpc_answer(&r->call, r->line, r->length));
    call_end(r);
}

/* Starts a coroutine that answers the line. */
static int start_request(struct rpc_connection *c, const char *line, size_t length)
{
    struct request *r;

    while (c->call_count >= RPC_IN_FLIGHT_MAX) {
        co_event_clear(&c->fewer_calls);
        co_event_wait(&c->fewer_calls);
    }
    if (c->server->stopping)
        return -ESHUTDOWN;
    r = calloc(1, sizeof *r + length);
    if (!r)
        return -ENOMEM;
    r->connection = c;
    r->call.daemon = c->server->daemon;
    r->call.connection = c;
    co_event_init(&r->call.wake);
    memcpy(r->line, line, length);
    r->length = length;
    list_append(&c->calls, &r->call.link);
    c->call_count++;
    wait_group_add(&c->coroutines, 1);
    wait_group_add(&c->server->calls, 1);
    if (co_start("rpc request", answer, r) == 0)
        return 0;
    call_end(r);
    return -ENOMEM;
}

/* Answers the whole lines that are there and moves the rest to the front. */
static int take_lines(struct rpc_connection *c, size_t seen)
{
    char *start = c->line, *end, *search = c->line + seen;
    int rc = 0;

    while (rc == 0 && (end = memchr(search, '\n', c->used - (size_t)(search - c->line)))) {
        if (end > start)
            rc = start_request(c, start, (size_t)(end - start));
        start = search = end + 1;
    }
    c->used -= (size_t)(start - c->line);
    memmove(c->line, start, c->used);
    return rc;
}

static int make_room(struct rpc_connection *c)
{
    size_t room = c->room ? MIN(c->room * 2, (size_t)RPC_LINE_MAX + 1) : LINE_ROOM_AT_START;
    char *line;

    if (c->used < c->room)
        return 0;
    if (c->room > RPC_LINE_MAX) {
        send_line(c, rpc_error_line(RPC_INVALID_REQUEST, "a line may have 1 MiB"));
        return -EMSGSIZE;
    }
    line = realloc(c->line, room);
    if (!line)
        return -ENOMEM;
    c->line = line;
    c->room = room;
    return 0;
}

static void read_lines(struct rpc_connection *c)
{
    while (make_room(c) == 0) {
        size_t seen = c->used;
        ssize_t n = stream_read(c->stream, c->line + seen, 1, c->room - seen);

        if (n <= 0)
            return;
        c->used += (size_t)n;
        if (take_lines(c, seen))
            return;
    }
}

/* Calls that wait for something to happen answer now; the subscriber ends. */
static void end_waits(struct rpc_connection *c)
{
    list_for_each (it, &c->calls)
        co_event_set(&container_of(it, struct rpc_call, link)->wake);
    if (c->subscribed)
        events_end(&c->server->daemon->events, &c->events);
}

static void connection_free(struct rpc_connection *c)
{
    list_remove(&c->link);
    c->server->connection_count--;
    stream_close(c->stream);
    free(c->line);
    free(c);
}

static void serve(void *arg)
{
    struct rpc_connection *c = arg;
    struct rpc_server *s = c->server;

    read_lines(c);
    c->ended = true;
    end_waits(c);
    wait_group_wait(&c->coroutines);
    connection_free(c);
    wait_group_done(&s->running);
}

static int connection_start(struct rpc_server *s, struct stream *stream)
{
    struct rpc_connection *c = calloc(1, sizeof *c);
    struct peer peer;

    if (!c)
        return -ENOMEM;
    stream_peer(stream, &peer);
    log_debug("rpc: connection from pid %d, uid %u", (int)peer.pid, (unsigned)peer.uid);
    c->server = s;
    c->stream = stream;
    co_mutex_init(&c->writing);
    list_init(&c->calls);
    wait_group_init(&c->coroutines);
    co_event_init(&c->fewer_calls);
    list_append(&s->connections, &c->link);
    s->connection_count++;
    wait_group_add(&s->running, 1);
    if (co_start("rpc connection", serve, c) == 0)
        return 0;
    wait_group_done(&s->running);
    list_remove(&c->link);
    s->connection_count--;
    free(c);
    return -ENOMEM;
}

static void turn_away(struct stream *stream)
{
    char *text = rpc_error_line(RPC_REFUSED, "too many connections");
    struct iovec iov[2] = {{text, text ? strlen(text) : 0}, {"\n", 1}};

    stream_write(stream, iov, 2, WRITE_DUE_NS);
    stream_close(stream);
    free(text);
}

static void accept_connections(void *arg)
{
    struct rpc_server *s = arg;
    struct stream *stream;
    int rc;

    while ((rc = listener_accept(s->listener, &stream)) != -ECANCELED) {
        if (rc) {
            log_error("rpc: accept: %s", strerror(-rc));
            co_sleep_ns(100 * 1000 * 1000);
        } else if (s->connection_count >= RPC_CONNECTIONS_MAX || connection_start(s, stream)) {
            turn_away(stream);
        }
    }
    wait_group_done(&s->running);
}

int rpc_server_start(struct rpc_server **server, struct daemon *daemon, struct listener *l)
{
    struct rpc_server *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    s->daemon = daemon;
    s->listener = l;
    list_init(&s->connections);
    wait_group_init(&s->calls);
    wait_group_init(&s->running);
    wait_group_add(&s->running, 1);
    if (co_start("rpc accept", accept_connections, s)) {
        free(s);
        return -ENOMEM;
    }
    *server = s;
    return 0;
}

void rpc_server_stop(struct rpc_server *s)
{
    s->stopping = true;
    listener_shutdown(s->listener);
    list_for_each (it, &s->connections)
        end_waits(container_of(it, struct rpc_connection, link));
    wait_group_wait(&s->calls);
    list_for_each (it, &s->connections)
        break_off(container_of(it, struct rpc_connection, link));
    wait_group_wait(&s->running);
    listener_close(s->listener);
    free(s);
}

static char *event_line(const struct event *e)
{
    json_t *json = json_pack("{s:s, s:s, s:{s:I, s:I, s:s, s:o, s:o}}", "jsonrpc", "2.0", "method",
        "event", "params", "seq", (json_int_t)e->seq, "time", (json_int_t)e->time_seconds, "kind",
        event_kind_name(e->kind), "target", json_text(e->target), "text", json_text(e->text));
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static void send_events(void *arg)
{
    struct rpc_connection *c = arg;
    struct event event;
    int rc = 0;

    while (!c->broken && (rc = events_next(&c->server->daemon->events, &c->events, &event)) == 0)
        send_line(c, event_line(&event));
    if (rc == -EOVERFLOW)
        break_off(c);
    wait_group_done(&c->coroutines);
}

int rpc_connection_subscribe(struct rpc_connection *c, struct error *err)
{
    if (c->subscribed)
        return error_set(err, EALREADY, "this connection has subscribed already");
    if (c->ended)
        return -ECANCELED;
    events_read_from_now(&c->server->daemon->events, &c->events);
    wait_group_add(&c->coroutines, 1);
    if (co_start("rpc events", send_events, c)) {
        wait_group_done(&c->coroutines);
        return -ENOMEM;
    }
    c->subscribed = true;
    return 0;
}
