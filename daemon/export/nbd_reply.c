/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replies: whoever ends a request queues its reply and, when nobody is sending, becomes the one who
 * does. Before each send it lets the other coroutines run that are ready, since those that end
 * meanwhile get their replies into the same system call.
 *
 * A send that fails, or a client that takes nothing for NBD_STALL_NS, ends the connection: the
 * reader finds the stream shut down, and what replies there are go nowhere.
 */
#include <errno.h>

#include "base/bytes.h"
#include "export/nbd_connection.h"

/* Segments of one send may hold about so much: what has been sent is free again the earlier. */
#define SEND_BYTES (512u << 10)

static void encode_read(struct nbd_request *r)
{
    const struct nbd_command *cmd = &r->command;

    if (!r->conn->structured) {
        nbd_simple_reply_encode(r->head, cmd->cookie, 0);
        r->head_bytes = NBD_SIMPLE_REPLY_BYTES;
        return;
    }
    nbd_chunk_encode(r->head, NBD_CHUNK_OFFSET_DATA, cmd->cookie, 8 + cmd->length);
    put_be64(r->head + NBD_CHUNK_BYTES, cmd->offset);
    r->head_bytes = NBD_CHUNK_BYTES + 8;
}

static void encode_status(struct nbd_request *r)
{
    nbd_chunk_encode(
        r->head, NBD_CHUNK_BLOCK_STATUS, r->command.cookie, 4 + (uint32_t)r->data[0].iov_len);
    put_be32(r->head + NBD_CHUNK_BYTES, NBD_ALLOCATION_ID);
    r->head_bytes = NBD_CHUNK_BYTES + 4;
}

static void encode_error(struct nbd_request *r, bool chunk)
{
    if (!chunk) {
        nbd_simple_reply_encode(r->head, r->command.cookie, nbd_error(r->result));
        r->head_bytes = NBD_SIMPLE_REPLY_BYTES;
        return;
    }
    nbd_chunk_encode(r->head, NBD_CHUNK_ERROR, r->command.cookie, 6);
    put_be32(r->head + NBD_CHUNK_BYTES, nbd_error(r->result));
    put_be16(r->head + NBD_CHUNK_BYTES + 4, 0);
    r->head_bytes = NBD_CHUNK_BYTES + 6;
}

/* True: the segments of data follow. */
static bool encode(struct nbd_request *r)
{
    unsigned type = r->command.type;
    bool read = type == NBD_CMD_READ, status = type == NBD_CMD_BLOCK_STATUS;

    if (r->result < 0 || (!read && !status)) {
        encode_error(r, r->conn->structured && (read || status));
        return false;
    }
    if (read)
        encode_read(r);
    else
        encode_status(r);
    return true;
}

/* Moves replies from the queue to `batch`; returns the number of segments in c->send. */
static int gather(struct nbd_connection *c, struct nbd_request **batch)
{
    struct nbd_request *r, **last = batch;
    size_t bytes = 0;
    int n = 0;

    while ((r = c->replies) && n + 1 + r->data_count <= NBD_SEND_SEGMENTS && bytes < SEND_BYTES) {
        bool data = encode(r);

        c->send[n++] = (struct iovec){r->head, r->head_bytes};
        for (int i = 0; data && i < r->data_count; i++) {
            bytes += r->data[i].iov_len;
            c->send[n++] = r->data[i];
        }
        *last = r;
        last = &r->next;
        c->replies = r->next;
    }
    *last = NULL;
    if (!c->replies)
        c->replies_tail = &c->replies;
    return n;
}

static void send_batch(struct nbd_connection *c)
{
    struct nbd_request *batch, *r;
    int rc, n = gather(c, &batch);

    if (!c->send_failure) {
        rc = stream_write(c->stream, c->send, n, NBD_STALL_NS);
        if (rc < 0) {
            c->send_failure = rc == -ETIMEDOUT ? "it does not read its replies"
                                               : "it has gone before its replies";
            stream_shutdown(c->stream);
        }
    }
    while ((r = batch)) {
        batch = r->next;
        nbd_request_put(r);
    }
}

void nbd_reply(struct nbd_request *r)
{
    struct nbd_connection *c = r->conn;

    r->next = NULL;
    *c->replies_tail = r;
    c->replies_tail = &r->next;
    if (c->writing)
        return;
    c->writing = true;
    while (c->replies) {
        co_yield ();
        send_batch(c);
    }
    c->writing = false;
    co_event_set(&c->changed);
}
