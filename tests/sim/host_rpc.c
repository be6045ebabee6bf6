/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rt/sim/sim.h"
#include "rt/stream.h"

#define ROOM_FIRST 4096

int rpc_client_open(struct rpc_client *c, const char *path)
{
    *c = (struct rpc_client){.next_id = 1};
    return stream_connect(path, &c->stream, NULL);
}

void rpc_client_close(struct rpc_client *c)
{
    if (c->stream)
        stream_close(c->stream);
    free(c->buf);
    *c = (struct rpc_client){0};
}

static int send_request(struct rpc_client *c, const char *method, json_t *params)
{
    json_t *request = json_pack("{s:s, s:i, s:s, s:o*}", "jsonrpc", "2.0", "id", (int)c->next_id,
        "method", method, "params", params);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    struct iovec iov[] = {{text, text ? strlen(text) : 0}, {(char[]){'\n'}, 1}};
    int rc;

    if (!text)
        sim_fail("%s: the request cannot be encoded", method);
    json_decref(request);
    rc = stream_write(c->stream, iov, 2, 0);
    free(text);
    return rc;
}

/* At least one byte more. */
static int receive(struct rpc_client *c)
{
    ssize_t n;

    if (c->length == c->room) {
        c->room = c->room ? 2 * c->room : ROOM_FIRST;
        c->buf = realloc(c->buf, c->room);
        if (!c->buf)
            sim_fail("out of memory");
    }
    n = stream_read(c->stream, c->buf + c->length, 1, c->room - c->length);
    if (n <= 0)
        return -EPIPE;
    c->length += (size_t)n;
    return 0;
}

/* The next line; its length counts the end of line. */
static int receive_line(struct rpc_client *c, size_t *length)
{
    char *end;

    while (!(end = c->length ? memchr(c->buf, '\n', c->length) : NULL))
        if (receive(c))
            return -EPIPE;
    *length = (size_t)(end + 1 - c->buf);
    return 0;
}

static int errno_of(const char *name)
{
    for (int e = 1; name && e < 256; e++)
        if (strerrorname_np(e) && !strcmp(strerrorname_np(e), name))
            return -e;
    return -EIO;
}

static int take_answer(
    struct rpc_client *c, const char *method, json_t *answer, json_t **result, struct error *err)
{
    json_t *good = json_object_get(answer, "result"), *bad = json_object_get(answer, "error");
    const char *text, *name;

    if (json_integer_value(json_object_get(answer, "id")) != (json_int_t)c->next_id)
        sim_fail("%s: an answer with another id", method);
    if (good) {
        *result = json_incref(good);
        return 0;
    }
    if (json_unpack(bad, "{s:s, s:{s:s}}", "message", &text, "data", "errno", &name))
        sim_fail("%s: neither a result nor an error", method);
    return error_set(err, -errno_of(name), "%s", text);
}

int rpc_client_next(struct rpc_client *c, json_t **line)
{
    size_t length;

    if (receive_line(c, &length))
        return -EPIPE;
    *line = json_loadb(c->buf, length, 0, NULL);
    memmove(c->buf, c->buf + length, c->length - length);
    c->length -= length;
    if (!*line)
        sim_fail("rpc: a line that is not JSON");
    return 0;
}

void rpc_client_shutdown(struct rpc_client *c)
{
    stream_shutdown(c->stream);
}

int rpc_client_call(
    struct rpc_client *c, const char *method, json_t *params, json_t **result, struct error *err)
{
    json_t *answer;
    int rc = send_request(c, method, params);

    if (rc || rpc_client_next(c, &answer))
        return -EPIPE;
    rc = take_answer(c, method, answer, result, err);
    json_decref(answer);
    c->next_id++;
    return rc;
}
