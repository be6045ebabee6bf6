/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Handshake, fixed newstyle: the client sends options until one attaches an export (GO,
 * EXPORT_NAME) or it leaves. Each option is received whole, then answered in one send.
 *
 * What can fail: a client that does not speak the protocol, leaves, or is slower than
 * NBD_HANDSHAKE_NS, is disconnected; an option that is unknown, malformed or too long gets an error
 * reply and the handshake goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "export/nbd_connection.h"

/* Longer data of an option is thrown away, longer still ends the connection. */
#define DATA_MAX    (64u << 10)
#define DISCARD_MAX (16u << 20)

/* An option and the replies to it, gathered for one send. */
struct answer {
    struct nbd_connection *conn;
    struct nbd_option option;
    const uint8_t *data;
    uint8_t *replies;
    size_t length, room;
    bool failed; /* out of memory */
};

static uint8_t *extend(struct answer *a, size_t bytes)
{
    if (a->room - a->length < bytes) {
        size_t room = MAX(2 * a->room, a->length + bytes + 512);
        uint8_t *larger = realloc(a->replies, room);

        if (!larger) {
            a->failed = true;
            return NULL;
        }
        a->replies = larger;
        a->room = room;
    }
    a->length += bytes;
    return a->replies + a->length - bytes;
}

/* Adds a reply; its payload is to be filled in by the caller. NULL: out of memory. */
static uint8_t *reply(struct answer *a, uint32_t type, size_t payload)
{
    uint8_t *head = extend(a, NBD_OPTION_REPLY_BYTES + payload);

    if (!head)
        return NULL;
    nbd_option_reply_encode(head, a->option.type, type, (uint32_t)payload);
    return head + NBD_OPTION_REPLY_BYTES;
}

static void reply_error(struct answer *a, uint32_t type, const char *text)
{
    uint8_t *payload = reply(a, type, strlen(text));

    if (payload)
        memcpy(payload, text, strlen(text));
}

static int send_bytes(struct nbd_connection *c, void *buf, size_t length)
{
    struct iovec iov = {buf, length};

    return stream_write(c->stream, &iov, 1, NBD_HANDSHAKE_NS);
}

/* No reply at all to an unknown name: the option has no way to say so. */
static const char *export_name(struct answer *a)
{
    struct nbd_connection *c = a->conn;
    struct nbd_string name = {(const char *)a->data, a->option.length};
    const struct blockdev *d;
    uint8_t *payload;

    if (!nbd_attach(c, &name))
        return "it asked for an export that does not exist";
    payload = extend(a, c->no_zeroes ? 10 : 134);
    if (!payload)
        return NULL;
    memset(payload, 0, c->no_zeroes ? 10 : 134);
    d = nbd_export_enter(c->export);
    put_be64(payload, atomic_load(&d->size_bytes));
    put_be16(payload + 8, nbd_transmission_flags(c, d));
    nbd_export_leave(c->export);
    return NULL;
}

static void list(struct answer *a)
{
    struct nbd_server *s = a->conn->server;

    if (a->option.length) {
        reply_error(a, NBD_REP_ERR_INVALID, "LIST takes no data");
        return;
    }
    co_mutex_lock(&s->lock);
    list_for_each (link, &s->exports) {
        const struct nbd_export *e = container_of(link, struct nbd_export, link);
        size_t length = strlen(e->name);
        uint8_t *payload = reply(a, NBD_REP_SERVER, 4 + length);

        if (!payload)
            break;
        put_be32(payload, (uint32_t)length);
        memcpy(payload + 4, e->name, length);
    }
    co_mutex_unlock(&s->lock);
    reply(a, NBD_REP_ACK, 0);
}

/* What clients may count on is a power of two. */
static uint32_t preferred_block(const struct blockdev *d)
{
    uint32_t least = MAX(d->logical_block_bytes, d->physical_block_bytes);

    least = MAX(least, 4096u);
    if (is_power_of_2(d->optimal_io_bytes) && d->optimal_io_bytes <= NBD_TRANSFER_MAX)
        return MAX(least, d->optimal_io_bytes);
    return least;
}

static void describe_device(struct answer *a, const struct blockdev *d)
{
    uint8_t *payload = reply(a, NBD_REP_INFO, 12);

    if (payload) {
        put_be16(payload, NBD_INFO_EXPORT);
        put_be64(payload + 2, atomic_load(&d->size_bytes));
        put_be16(payload + 10, nbd_transmission_flags(a->conn, d));
    }
    /* Also when nobody asks: requests that do not keep to it are refused. */
    payload = reply(a, NBD_REP_INFO, 14);
    if (payload) {
        put_be16(payload, NBD_INFO_BLOCK_SIZE);
        put_be32(payload + 2, d->logical_block_bytes);
        put_be32(payload + 6, preferred_block(d));
        put_be32(payload + 10, NBD_TRANSFER_MAX);
    }
}

static void describe(struct answer *a, const struct nbd_go *go)
{
    struct nbd_export *e = a->conn->export;
    uint8_t *payload;

    describe_device(a, nbd_export_enter(e));
    nbd_export_leave(e);
    if (nbd_go_wants(go, NBD_INFO_NAME) &&
        (payload = reply(a, NBD_REP_INFO, 2 + strlen(e->name)))) {
        put_be16(payload, NBD_INFO_NAME);
        memcpy(payload + 2, e->name, strlen(e->name));
    }
    reply(a, NBD_REP_ACK, 0);
}

static void info_or_go(struct answer *a)
{
    struct nbd_go go;

    if (!nbd_go_decode(&go, a->data, a->option.length))
        reply_error(a, NBD_REP_ERR_INVALID, "malformed data");
    else if (!nbd_attach(a->conn, &go.name))
        reply_error(a, NBD_REP_ERR_UNKNOWN, "no such export");
    else
        describe(a, &go);
    if (a->option.type == NBD_OPT_INFO || a->failed)
        nbd_detach(a->conn);
}

static void structured_reply(struct answer *a)
{
    if (a->option.length) {
        reply_error(a, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY takes no data");
        return;
    }
    a->conn->structured = true;
    reply(a, NBD_REP_ACK, 0);
}

/* LIST may also ask for all of a name space, or for all there is. */
static bool allocation_asked(const struct nbd_meta *meta, bool listing)
{
    const uint8_t *at = meta->queries;

    for (uint32_t i = 0; i < meta->query_count; i++) {
        struct nbd_string query = nbd_meta_query(&at);

        if (nbd_string_is(&query, NBD_CONTEXT_ALLOCATION) ||
            (listing && nbd_string_is(&query, "base:")))
            return true;
    }
    return listing && !meta->query_count;
}

static void meta_context(struct answer *a)
{
    bool listing = a->option.type == NBD_OPT_LIST_META_CONTEXT;
    struct nbd_connection *c = a->conn;
    struct nbd_meta meta;
    uint8_t *payload;

    if (!listing)
        c->allocation_of = NULL;
    if (!c->structured || !nbd_meta_decode(&meta, a->data, a->option.length)) {
        reply_error(a, NBD_REP_ERR_INVALID,
            c->structured ? "malformed data" : "structured replies come first");
        return;
    }
    if (!nbd_attach(c, &meta.name)) {
        reply_error(a, NBD_REP_ERR_UNKNOWN, "no such export");
        return;
    }
    if (allocation_asked(&meta, listing)) {
        payload = reply(a, NBD_REP_META_CONTEXT, 4 + strlen(NBD_CONTEXT_ALLOCATION));
        if (payload) {
            put_be32(payload, listing ? 0 : NBD_ALLOCATION_ID);
            memcpy(payload + 4, NBD_CONTEXT_ALLOCATION, strlen(NBD_CONTEXT_ALLOCATION));
        }
        if (!listing)
            c->allocation_of = c->export;
    }
    nbd_detach(c);
    reply(a, NBD_REP_ACK, 0);
}

/* Adds the replies; or why the connection ends, after they have been sent. */
static const char *answer_option(struct answer *a)
{
    switch (a->option.type) {
    case NBD_OPT_EXPORT_NAME:
        return export_name(a);
    case NBD_OPT_ABORT:
        reply(a, NBD_REP_ACK, 0);
        return "it has ended the handshake";
    case NBD_OPT_LIST:
        list(a);
        return NULL;
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        info_or_go(a);
        return NULL;
    case NBD_OPT_STRUCTURED_REPLY:
        structured_reply(a);
        return NULL;
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        meta_context(a);
        return NULL;
    default:
        reply_error(a, NBD_REP_ERR_UNSUP, "unsupported option");
        return NULL;
    }
}

static const char *input_failure(int rc)
{
    if (rc == -ENODATA)
        return "it has left";
    return rc == -EPIPE ? "it has left in the middle of the handshake" : strerror(-rc);
}

/* The data stays in the input buffer while it is looked at. */
static int receive_data(struct answer *a)
{
    struct nbd_connection *c = a->conn;
    size_t length = a->option.length;
    int rc;

    if (length > DATA_MAX) {
        rc = nbd_input_skip(c, length);
        reply_error(a, NBD_REP_ERR_TOO_BIG, "too much data");
        return rc;
    }
    rc = nbd_input_need(c, length, length);
    a->data = c->input.buf + c->input.head;
    c->input.head += rc ? 0 : length;
    return rc == -ENODATA ? -EPIPE : rc;
}

static const char *next_option(struct nbd_connection *c)
{
    struct answer a = {.conn = c};
    const char *why = NULL;
    int rc = nbd_input_need(c, NBD_OPTION_BYTES, NBD_OPTION_BYTES);

    if (rc < 0)
        return input_failure(rc);
    if (!nbd_option_decode(&a.option, c->input.buf + c->input.head))
        return "wrong magic of an option";
    c->input.head += NBD_OPTION_BYTES;
    if (a.option.length > DISCARD_MAX)
        return "an option with absurdly much data";
    rc = receive_data(&a);
    if (rc < 0)
        why = input_failure(rc);
    else if (a.data)
        why = answer_option(&a);
    else if (a.option.type == NBD_OPT_EXPORT_NAME)
        why = "the name of an export is too long";
    if (a.failed)
        why = "out of memory";
    if (a.length && send_bytes(c, a.replies, a.length) < 0 && !why)
        why = "it has left in the middle of the handshake";
    free(a.replies);
    return why;
}

/* Both sides say what they can. */
static const char *greet(struct nbd_connection *c)
{
    uint8_t greeting[NBD_GREETING_BYTES];
    uint32_t flags;
    int rc;

    put_be64(greeting, NBD_MAGIC);
    put_be64(greeting + 8, NBD_OPTION_MAGIC);
    put_be16(greeting + 16, NBD_HANDSHAKE_FIXED | NBD_HANDSHAKE_NO_ZEROES);
    rc = send_bytes(c, greeting, sizeof greeting);
    if (!rc)
        rc = nbd_input_need(c, sizeof flags, sizeof flags);
    if (rc < 0)
        return input_failure(rc);
    flags = get_be32(c->input.buf + c->input.head);
    c->input.head += sizeof flags;
    if (flags & ~(NBD_HANDSHAKE_FIXED | NBD_HANDSHAKE_NO_ZEROES))
        return "unknown handshake flags";
    c->no_zeroes = flags & NBD_HANDSHAKE_NO_ZEROES;
    return NULL;
}

static void too_slow(struct timer *t)
{
    stream_shutdown(container_of(t, struct nbd_connection, handshake_timer)->stream);
}

const char *nbd_handshake(struct nbd_connection *c)
{
    const char *why;

    c->handshake_timer = (struct timer){.fn = too_slow};
    timer_arm(&c->handshake_timer, rt_now_ns() + NBD_HANDSHAKE_NS);
    why = greet(c);
    while (!why && !c->export)
        why = next_option(c);
    if (why && !c->handshake_timer.due_ns)
        why = "its handshake takes too long";
    timer_cancel(&c->handshake_timer);
    c->allocation = c->structured && c->export && c->allocation_of == c->export;
    return why;
}

uint16_t nbd_transmission_flags(const struct nbd_connection *c, const struct blockdev *d)
{
    const struct nbd_export *e = c->export;
    unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_FLUSH | NBD_FLAG_FUA | NBD_FLAG_MULTI_CONN;

    if (e->read_only)
        flags |= NBD_FLAG_READ_ONLY;
    else
        flags |= NBD_FLAG_WRITE_ZEROES | NBD_FLAG_FAST_ZERO;
    if (!e->read_only && (d->capabilities & BLOCK_CAN_DISCARD))
        flags |= NBD_FLAG_TRIM;
    if (d->capabilities & BLOCK_ROTATIONAL)
        flags |= NBD_FLAG_ROTATIONAL;
    if (c->structured)
        flags |= NBD_FLAG_DF;
    return (uint16_t)flags;
}
