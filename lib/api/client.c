/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client half of libashlar: one Unix socket, one JSON document a line. A call sends its request
 * and reads lines until the answer with its id; events that come in between are kept in order for
 * ashlar_next_event. Not for use by several threads at once. What can fail: the connection (then
 * every later call is -EPIPE), memory, and the daemon's refusals.
 */
#include "ashlar.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arith.h"

/* An answer that is longer than this is a broken daemon. */
#define LINE_MAX_BYTES (64u << 20)

struct ashlar_client {
    int fd; /* -1: not connected */
    json_int_t last_id;
    char *buf; /* what has been received and not yet used: [start, end) of capacity */
    size_t start, end, capacity;
    json_t *events;
    char error[1024];
};

static int fail(struct ashlar_client *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct ashlar_client *c, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
    return -code;
}

/* The connection is of no more use. */
static int hang_up(struct ashlar_client *c, int code, const char *why)
{
    close(c->fd);
    c->fd = -1;
    return fail(c, code, "connection to ashlard lost: %s", why);
}

static int dial(struct ashlar_client *c, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof addr.sun_path)
        return fail(c, ENAMETOOLONG, "%s: too long for a socket path", path);
    memcpy(addr.sun_path, path, strlen(path));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return fail(c, errno, "socket: %m");
    if (connect(c->fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        int code = errno;
        close(c->fd);
        c->fd = -1;
        return fail(c, code, "%s: %s (is ashlard running?)", path, strerror(code));
    }
    return 0;
}

int ashlar_connect(const char *socket_path, struct ashlar_client **client)
{
    struct ashlar_client *c = calloc(1, sizeof *c);

    *client = c;
    if (!c)
        return -ENOMEM;
    c->fd = -1;
    c->events = json_array();
    if (!c->events)
        return fail(c, ENOMEM, "out of memory");
    if (!socket_path)
        socket_path = getenv("ASHLAR_SOCKET");
    return dial(c, socket_path ? socket_path : ASHLAR_DEFAULT_SOCKET);
}

void ashlar_disconnect(struct ashlar_client *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    json_decref(c->events);
    free(c->buf);
    free(c);
}

const char *ashlar_error(const struct ashlar_client *c)
{
    return c ? c->error : "out of memory";
}

const char *ashlar_version(void)
{
    return ASHLAR_VERSION;
}

static int send_all(struct ashlar_client *c, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hang_up(c, EPIPE, strerror(errno));
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Room for more input behind `end`. */
static int make_room(struct ashlar_client *c)
{
    size_t used = c->end - c->start;
    char *bigger;

    if (c->start) {
        memmove(c->buf, c->buf + c->start, used);
        c->start = 0;
        c->end = used;
    }
    if (c->end < c->capacity)
        return 0;
    if (c->capacity >= LINE_MAX_BYTES)
        return hang_up(c, EMSGSIZE, "a line without end");
    bigger = realloc(c->buf, MAX(c->capacity * 2, (size_t)65536));
    if (!bigger)
        return fail(c, ENOMEM, "out of memory");
    c->buf = bigger;
    c->capacity = MAX(c->capacity * 2, (size_t)65536);
    return 0;
}

/* Reads one line and parses it; timeout_ms < 0 waits for ever. */
static int read_document(struct ashlar_client *c, int timeout_ms, json_t **doc)
{
    char *nl;

    while (!(nl = c->end > c->start ? memchr(c->buf + c->start, '\n', c->end - c->start) : NULL)) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        int rc = make_room(c);
        if (rc)
            return rc;
        rc = poll(&p, 1, timeout_ms);
        if (rc == 0)
            return fail(c, ETIMEDOUT, "no answer in time");
        ssize_t n = rc < 0 ? -1 : recv(c->fd, c->buf + c->end, c->capacity - c->end, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hang_up(c, EPIPE, n ? strerror(errno) : "ashlard closed it");
        c->end += (size_t)n;
    }
    *doc = json_loadb(c->buf + c->start, (size_t)(nl - c->buf) - c->start, 0, NULL);
    c->start = (size_t)(nl - c->buf) + 1;
    return json_is_object(*doc)
               ? 0
               : (json_decref(*doc), hang_up(c, EBADMSG, "an answer that is not JSON"));
}

static int errno_by_name(const char *name)
{
    for (int code = 1; name && code < 134; code++) {
        const char *known = strerrorname_np(code);
        if (known && !strcmp(known, name))
            return code;
    }
    return EIO;
}

static int refusal(struct ashlar_client *c, json_t *error)
{
    const char *message = "no reason given", *name = NULL;

    json_unpack(error, "{s?s, s?{s?s}}", "message", &message, "data", "errno", &name);
    return fail(c, errno_by_name(name), "%s", message);
}

/* Keeps an event for later; anything else is not for us. */
static void keep_event(struct ashlar_client *c, json_t *doc)
{
    if (json_is_string(json_object_get(doc, "method")))
        json_array_append(c->events, json_object_get(doc, "params"));
    json_decref(doc);
}

static int await_answer(struct ashlar_client *c, char **result_json)
{
    json_t *doc, *id;
    int rc;

    for (;;) {
        rc = read_document(c, -1, &doc);
        if (rc)
            return rc;
        id = json_object_get(doc, "id");
        if (id && (json_is_null(id) || json_integer_value(id) == c->last_id))
            break;
        keep_event(c, doc);
    }
    json_t *error = json_object_get(doc, "error");
    if (error) {
        rc = refusal(c, error);
    } else {
        *result_json = json_dumps(json_object_get(doc, "result"), JSON_COMPACT | JSON_ENCODE_ANY);
        rc = *result_json ? 0 : fail(c, EBADMSG, "an answer without a result");
    }
    json_decref(doc);
    return rc;
}

int ashlar_call(
    struct ashlar_client *c, const char *method, const char *params_json, char **result_json)
{
    json_t *params = params_json ? json_loads(params_json, 0, NULL) : json_object();
    char *text;
    int rc;

    if (!json_is_object(params)) {
        json_decref(params);
        return fail(c, EINVAL, "parameters are not a JSON object");
    }
    if (c->fd < 0) {
        json_decref(params);
        return fail(c, EPIPE, "not connected");
    }
    json_t *request = json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", ++c->last_id,
        "method", method, "params", params);
    text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (!text)
        return fail(c, ENOMEM, "out of memory");
    size_t len = strlen(text);
    text[len] = '\n'; /* in place of the terminator */
    rc = send_all(c, text, len + 1);
    free(text);
    return rc ? rc : await_answer(c, result_json);
}

int ashlar_next_event(struct ashlar_client *c, int timeout_ms, char **event_json)
{
    json_t *doc;

    while (json_array_size(c->events) == 0) {
        int rc = c->fd < 0 ? fail(c, EPIPE, "not connected") : read_document(c, timeout_ms, &doc);
        if (rc)
            return rc;
        keep_event(c, doc);
    }
    *event_json = json_dumps(json_array_get(c->events, 0), JSON_COMPACT | JSON_ENCODE_ANY);
    json_array_remove(c->events, 0);
    return *event_json ? 0 : fail(c, ENOMEM, "out of memory");
}
