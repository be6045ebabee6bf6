/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_nbd.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "rt/sim/sim.h"
#include "rt/stream.h"
#include "rt/worker.h"

static int send_bytes(struct nbd_client *c, void *data, size_t length)
{
    struct iovec iov = {data, length};

    return length ? stream_write(c->stream, &iov, 1, 0) : 0;
}

static int receive(struct nbd_client *c, void *data, size_t length)
{
    return length == 0 || stream_read(c->stream, data, length, length) == (ssize_t)length
               ? 0
               : -ENOTCONN;
}

static int send_option(struct nbd_client *c, uint32_t option, void *data, uint32_t length)
{
    uint8_t head[NBD_OPTION_BYTES];
    int rc;

    put_be64(head, NBD_OPTION_MAGIC);
    put_be32(head + 8, option);
    put_be32(head + 12, length);
    rc = send_bytes(c, head, sizeof head);
    return rc ? rc : send_bytes(c, data, length);
}

/* A reply to that option: its type; its payload goes to `payload`. */
static int receive_reply(
    struct nbd_client *c, uint32_t option, uint32_t *type, uint8_t *payload, uint32_t room)
{
    uint8_t head[NBD_OPTION_REPLY_BYTES];
    uint32_t length;
    int rc = receive(c, head, sizeof head);

    if (rc)
        return rc;
    length = get_be32(head + 16);
    if (get_be64(head) != NBD_OPTION_REPLY_MAGIC || get_be32(head + 8) != option || length > room)
        sim_fail("nbd: a malformed reply to option %u", option);
    *type = get_be32(head + 12);
    return receive(c, payload, length);
}

static int greet(struct nbd_client *c)
{
    uint8_t greeting[NBD_GREETING_BYTES], answer[4];
    int rc = receive(c, greeting, sizeof greeting);

    if (rc)
        return rc;
    if (get_be64(greeting) != NBD_MAGIC || get_be64(greeting + 8) != NBD_OPTION_MAGIC)
        sim_fail("nbd: a malformed greeting");
    put_be32(answer, NBD_HANDSHAKE_FIXED | NBD_HANDSHAKE_NO_ZEROES);
    return send_bytes(c, answer, sizeof answer);
}

static int ask_structured(struct nbd_client *c)
{
    uint8_t payload[512];
    uint32_t type = 0;
    int rc = send_option(c, NBD_OPT_STRUCTURED_REPLY, NULL, 0);

    if (rc == 0)
        rc = receive_reply(c, NBD_OPT_STRUCTURED_REPLY, &type, payload, sizeof payload);
    if (rc == 0 && type != NBD_REP_ACK)
        sim_fail("nbd: structured replies are refused");
    return rc;
}

static int go(struct nbd_client *c, const char *name)
{
    uint8_t data[512], payload[512];
    uint32_t length = (uint32_t)strlen(name), type = NBD_REP_INFO;
    int rc;

    put_be32(data, length);
    memcpy(data + 4, name, length);
    put_be16(data + 4 + length, 0);
    rc = send_option(c, NBD_OPT_GO, data, length + 6);
    while (rc == 0 && type == NBD_REP_INFO) {
        rc = receive_reply(c, NBD_OPT_GO, &type, payload, sizeof payload);
        if (rc == 0 && type == NBD_REP_INFO && get_be16(payload) == NBD_INFO_EXPORT) {
            c->size_bytes = get_be64(payload + 2);
            c->flags = get_be16(payload + 10);
        }
    }
    if (rc)
        return rc;
    return type == NBD_REP_ACK ? 0 : -ENOENT;
}

static int handshake(struct nbd_client *c, const char *name)
{
    int rc = greet(c);

    if (rc == 0 && c->structured)
        rc = ask_structured(c);
    return rc ? rc : go(c, name);
}

static struct nbd_call *find_call(struct nbd_client *c, uint64_t cookie)
{
    list_for_each (it, &c->waiting) {
        struct nbd_call *call = container_of(it, struct nbd_call, link);

        if (call->cookie == cookie)
            return call;
    }
    sim_fail("nbd: a reply to nothing");
}

static void end_call(struct nbd_call *call, int result)
{
    list_remove(&call->link);
    call->result = result;
    co_event_set(&call->done);
}

/* doc/proto.md, "Error values". */
static int errno_of(uint32_t error)
{
    static const int known[] = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN};

    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (nbd_error(-known[i]) == error)
            return -known[i];
    sim_fail("nbd: an unknown error %u", error);
}

static int receive_simple(struct nbd_client *c)
{
    uint8_t head[NBD_SIMPLE_REPLY_BYTES - 4];
    struct nbd_call *call;
    uint32_t error;
    int rc = receive(c, head, sizeof head);

    if (rc)
        return rc;
    call = find_call(c, get_be64(head + 4));
    error = get_be32(head);
    if (c->structured && call->type == NBD_CMD_READ)
        sim_fail("nbd: a simple reply to a read, where structured ones were agreed on");
    if (!error && call->type == NBD_CMD_READ)
        rc = receive(c, call->data, call->length);
    if (rc == 0)
        end_call(call, error ? errno_of(error) : 0);
    return rc;
}

static int receive_data(struct nbd_client *c, struct nbd_call *call, uint32_t length)
{
    uint8_t offset[8];
    int rc = receive(c, offset, sizeof offset);

    if (rc)
        return rc;
    if (get_be64(offset) != call->offset || length != call->length + sizeof offset)
        sim_fail("nbd: a chunk of data that was not asked for");
    return receive(c, call->data, call->length);
}

static int receive_error(struct nbd_client *c, uint32_t length, int *result)
{
    uint8_t payload[512];
    int rc;

    if (length < 6 || length > sizeof payload)
        sim_fail("nbd: a malformed chunk with an error");
    rc = receive(c, payload, length);
    if (rc == 0)
        *result = errno_of(get_be32(payload));
    return rc;
}

/* Our server answers each request by one chunk. */
static int receive_chunk(struct nbd_client *c)
{
    uint8_t head[NBD_CHUNK_BYTES - 4];
    struct nbd_call *call;
    int rc = receive(c, head, sizeof head), result = 0;

    if (rc)
        return rc;
    call = find_call(c, get_be64(head + 4));
    if (get_be16(head) != NBD_CHUNK_FLAG_DONE || call->type != NBD_CMD_READ)
        sim_fail("nbd: a chunk that does not end its reply, or is no read's");
    if (get_be16(head + 2) == NBD_CHUNK_OFFSET_DATA)
        rc = receive_data(c, call, get_be32(head + 12));
    else if (get_be16(head + 2) == NBD_CHUNK_ERROR)
        rc = receive_error(c, get_be32(head + 12), &result);
    else
        sim_fail("nbd: a chunk of unknown type");
    if (rc == 0)
        end_call(call, result);
    return rc;
}

static void read_replies(void *arg)
{
    struct nbd_client *c = arg;
    uint8_t magic[4];
    int rc;

    do {
        rc = receive(c, magic, sizeof magic);
        if (rc == 0 && get_be32(magic) == NBD_SIMPLE_REPLY_MAGIC)
            rc = receive_simple(c);
        else if (rc == 0 && c->structured && get_be32(magic) == NBD_CHUNK_MAGIC)
            rc = receive_chunk(c);
        else if (rc == 0)
            sim_fail("nbd: a reply with a wrong magic");
    } while (rc == 0);
    c->ended = true;
    list_for_each_safe (it, &c->waiting)
        end_call(container_of(it, struct nbd_call, link), -ENOTCONN);
    wait_group_done(&c->reader);
}

int nbd_client_open(struct nbd_client *c, const char *path, const char *name, bool structured)
{
    int rc;

    *c = (struct nbd_client){.structured = structured, .next_cookie = 1};
    co_mutex_init(&c->sending);
    list_init(&c->waiting);
    wait_group_init(&c->reader);
    rc = stream_connect(path, &c->stream, NULL);
    if (rc)
        return rc;
    rc = handshake(c, name);
    if (rc == 0) {
        wait_group_add(&c->reader, 1);
        rc = co_start("nbd replies", read_replies, c);
    }
    if (rc)
        stream_close(c->stream);
    return rc;
}

void nbd_client_close(struct nbd_client *c)
{
    uint8_t bye[NBD_REQUEST_BYTES] = {0};

    put_be32(bye, NBD_REQUEST_MAGIC);
    put_be16(bye + 6, NBD_CMD_DISC);
    send_bytes(c, bye, sizeof bye);
    stream_shutdown(c->stream);
    wait_group_wait(&c->reader);
    stream_close(c->stream);
}

static int send_call(struct nbd_client *c, struct nbd_call *call)
{
    uint8_t request[NBD_REQUEST_BYTES];
    struct iovec iov[] = {{request, sizeof request}, {call->data, call->length}};

    put_be32(request, NBD_REQUEST_MAGIC);
    put_be16(request + 4, call->flags);
    put_be16(request + 6, call->type);
    put_be64(request + 8, call->cookie);
    put_be64(request + 16, call->offset);
    put_be32(request + 24, call->length);
    return stream_write(c->stream, iov, call->type == NBD_CMD_WRITE ? 2 : 1, 0);
}

int nbd_client_run(struct nbd_client *c, struct nbd_call *call)
{
    if (c->ended)
        return -ENOTCONN;
    call->cookie = c->next_cookie++;
    co_event_init(&call->done);
    list_append(&c->waiting, &call->link);
    co_mutex_lock(&c->sending);
    send_call(c, call); /* its failure is the reader's, too */
    co_mutex_unlock(&c->sending);
    co_event_wait(&call->done);
    return call->result;
}
