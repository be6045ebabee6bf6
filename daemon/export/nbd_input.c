/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a client sends, read ahead: one system call brings many small requests. Long payloads are
 * received where they belong, past the buffer.
 *
 * A client that sends faster than we take must not hold up the others on this worker: what is
 * thrown away is so a buffer at a time.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "export/nbd_connection.h"

static int receive(struct nbd_connection *c, void *buf, size_t min, size_t max)
{
    ssize_t n = stream_read(c->stream, buf, min, max);

    if (n < 0)
        return (int)n;
    if ((size_t)n < min)
        return n ? -EPIPE : -ENODATA;
    return (int)n;
}

/* At least `bytes` are in the buffer; reads up to `ahead` when it must read. */
int nbd_input_need(struct nbd_connection *c, size_t bytes, size_t ahead)
{
    struct nbd_input *in = &c->input;
    size_t have = in->tail - in->head;
    int n;

    if (have >= bytes)
        return 0;
    memmove(in->buf, in->buf + in->head, have);
    in->head = 0;
    in->tail = have;
    n = receive(c, in->buf + have, bytes - have, MAX(ahead, bytes) - have);
    if (n < 0)
        return n == -ENODATA && have ? -EPIPE : n;
    in->tail += (size_t)n;
    return 0;
}

/* Moves on by what of `bytes` is in the buffer; returns how much that was. */
static size_t take(struct nbd_input *in, void *buf, size_t bytes)
{
    size_t n = MIN(bytes, in->tail - in->head);

    if (buf)
        memcpy(buf, in->buf + in->head, n);
    in->head += n;
    return n;
}

int nbd_input_read(struct nbd_connection *c, void *buf, size_t bytes)
{
    size_t n = take(&c->input, buf, bytes);
    int rc = n < bytes ? receive(c, (char *)buf + n, bytes - n, bytes - n) : 0;

    return rc == -ENODATA ? -EPIPE : MIN(rc, 0);
}

int nbd_input_skip(struct nbd_connection *c, size_t bytes)
{
    struct nbd_input *in = &c->input;

    bytes -= take(in, NULL, bytes);
    while (bytes) {
        int n = receive(c, in->buf, 1, MIN(bytes, (size_t)NBD_INPUT_BYTES));

        if (n < 0)
            return n == -ENODATA ? -EPIPE : n;
        bytes -= (size_t)n;
        co_yield ();
    }
    in->head = in->tail = 0;
    return 0;
}
