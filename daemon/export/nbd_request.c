/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests in flight: how many there may be, and the memory they hold. All objects are made with
 * the connection; payload memory comes from the worker's pool of I/O buffers. Admission is the
 * reader's alone, so nobody else ever waits for room.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "export/nbd_connection.h"
#include "rt/io.h"

int nbd_requests_init(struct nbd_connection *c)
{
    c->pool = calloc(NBD_IN_FLIGHT_MAX, sizeof *c->pool);
    if (!c->pool)
        return -ENOMEM;
    for (unsigned i = 0; i < NBD_IN_FLIGHT_MAX; i++) {
        c->pool[i].conn = c;
        c->pool[i].next = c->idle;
        c->idle = &c->pool[i];
    }
    c->replies_tail = &c->replies;
    return 0;
}

void nbd_requests_fini(struct nbd_connection *c)
{
    assert(!c->in_flight && !c->bytes);
    free(c->pool);
}

static bool has_room(const struct nbd_connection *c, size_t bytes)
{
    return c->idle && (!c->bytes || c->bytes + bytes <= NBD_TRANSFER_MAX);
}

struct nbd_request *nbd_request_get(struct nbd_connection *c, size_t bytes)
{
    struct nbd_request *r;

    while (!has_room(c, bytes)) {
        co_event_clear(&c->changed);
        if (atomic_load(&c->closing))
            return NULL;
        co_event_wait(&c->changed);
    }
    r = c->idle;
    c->idle = r->next;
    c->in_flight++;
    c->bytes += bytes;
    r->data_count = 0;
    r->data_bytes = bytes;
    r->result = 0;
    return r;
}

static size_t segment_bytes(const struct nbd_request *r, int i)
{
    return MIN(r->data_bytes - (size_t)i * NBD_SEGMENT_BYTES, (size_t)NBD_SEGMENT_BYTES);
}

int nbd_request_allocate(struct nbd_request *r)
{
    int count = (int)div_round_up(r->data_bytes, NBD_SEGMENT_BYTES);

    for (int i = 0; i < count; i++) {
        void *buf = io_buffer_get(segment_bytes(r, i));

        if (!buf)
            return -ENOMEM;
        r->data[i] = (struct iovec){buf, segment_bytes(r, i)};
        r->data_count++;
    }
    return 0;
}

void nbd_request_put(struct nbd_request *r)
{
    struct nbd_connection *c = r->conn;

    for (int i = 0; i < r->data_count; i++)
        io_buffer_put(r->data[i].iov_base, segment_bytes(r, i));
    c->bytes -= r->data_bytes;
    c->in_flight--;
    r->next = c->idle;
    c->idle = r;
    co_event_set(&c->changed);
}

void nbd_requests_drain(struct nbd_connection *c)
{
    uint64_t due_ns = 0;

    while (c->in_flight || c->writing) {
        co_event_clear(&c->changed);
        if (!due_ns && !c->executing && atomic_load(&c->closing))
            due_ns = rt_now_ns() + NBD_DRAIN_NS;
        if (!co_event_wait_until(&c->changed, due_ns ? due_ns : UINT64_MAX)) {
            stream_shutdown(c->stream);
            due_ns = UINT64_MAX;
        }
    }
}
