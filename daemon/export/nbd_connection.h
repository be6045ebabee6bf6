/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the NBD server share; nobody else includes it.
 *
 * A connection and all of its coroutines live on one worker, so what it holds needs no lock. The
 * server's list of connections and exports, and who is attached to what, belong to server->lock;
 * other threads reach a connection only under it, when they disconnect it.
 *
 * The coroutines of a connection: the reader, which is there from accept to the end (handshake,
 * then one request after the other), and one for each request in flight.
 */
#ifndef ASHLAR_DAEMON_EXPORT_NBD_CONNECTION_H
#define ASHLAR_DAEMON_EXPORT_NBD_CONNECTION_H

#include <stdatomic.h>

#include "base/list.h"
#include "export/nbd.h"
#include "export/nbd_protocol.h"
#include "rt/stream.h"
#include "rt/sync.h"
#include "rt/worker.h"

/* Longest transfer of one command, as told to clients; also what a connection's requests in flight
 * may hold together. */
#define NBD_TRANSFER_MAX (32u << 20)
/* A longer payload is not even thrown away: the client is disconnected. */
#define NBD_PAYLOAD_MAX (64u << 20)
/* Requests in flight on one connection; then it reads no more. */
#define NBD_IN_FLIGHT_MAX 128
/* Long transfers lie in buffers of this size. */
#define NBD_SEGMENT_BYTES (1u << 20)
#define NBD_SEGMENTS_MAX  (NBD_TRANSFER_MAX / NBD_SEGMENT_BYTES)
#define NBD_INPUT_BYTES   (128u << 10)
/* Segments of one send. */
#define NBD_SEND_SEGMENTS 256

#define NBD_HANDSHAKE_NS UINT64_C(30000000000)
/* Disconnected when it takes no reply for so long. */
#define NBD_STALL_NS UINT64_C(60000000000)
/* When we disconnect: for taking the replies that are left. */
#define NBD_DRAIN_NS UINT64_C(1000000000)

struct nbd_server {
    char *path;
    struct listener *listener;
    struct worker **workers;
    unsigned worker_count, next_worker, clients_max;
    struct wait_group acceptor;
    struct co_mutex lock;
    struct list exports, connections;
    unsigned export_count, connection_count;
    struct co_event departure; /* a connection has gone */
};

struct nbd_export {
    struct list link;
    struct gate gate;     /* requests; closed while the export is paused */
    struct blockdev *dev; /* seen inside the gate only: nbd_export_enter */
    bool read_only;
    unsigned clients; /* connections attached */
    char name[];
};

/* What has been received and not yet looked at: [head, tail) of buf. */
struct nbd_input {
    uint8_t *buf;
    size_t head, tail;
};

struct nbd_connection;

/* A request in flight: from the reader through its coroutine to the writer. */
struct nbd_request {
    struct nbd_connection *conn;
    struct nbd_request *next; /* in the pool, in the queue of replies */
    struct nbd_command command;
    int result;
    struct iovec data[NBD_SEGMENTS_MAX]; /* payload of the command or of its reply */
    int data_count;
    size_t data_bytes; /* what the segments have been made for */
    uint8_t head[40];  /* of the reply */
    unsigned head_bytes;
};

struct nbd_connection {
    struct nbd_server *server;
    struct stream *stream;
    unsigned number; /* for the log */
    /* server->lock: */
    struct list link;
    struct nbd_export *export;
    bool transmitting; /* replies in flight count: see nbd.c */
    atomic_bool closing;

    /* Handshake. */
    struct timer handshake_timer;
    bool no_zeroes, structured;
    struct nbd_export *allocation_of; /* base:allocation was asked for there; only compared */

    /* Transmission. */
    bool allocation;
    struct nbd_input input;
    struct nbd_request *pool, *idle;
    unsigned in_flight, executing; /* with a request object; with a coroutine */
    size_t bytes;                  /* that requests in flight hold */
    struct co_event changed;       /* for the reader: one has ended, or we are to close */
    struct nbd_request *replies, **replies_tail;
    bool writing;
    const char *send_failure; /* why no more replies are sent */
    struct iovec send[NBD_SEND_SEGMENTS];
};

/* nbd.c */
/* Takes the stream, also on failure: -EMFILE when there are too many clients, -ENOMEM. */
int nbd_accept(struct nbd_server *s, struct stream *stream);
/* Transmission begins: from now on we let it take its replies when we disconnect. */
void nbd_set_transmitting(struct nbd_connection *c);
/* Disconnects those attached to `e` (NULL: all) and waits until they have gone. */
void nbd_disconnect_all(struct nbd_server *s, const struct nbd_export *e);

/* nbd_export.c */
/* Attaches the connection to the export of that name ("" is the only one there is); false: there is
 * none. */
bool nbd_attach(struct nbd_connection *c, const struct nbd_string *name);
void nbd_detach(struct nbd_connection *c);
/* The device, for as long as nbd_export_leave has not been called, on the same worker. Waits while
 * the export is paused; not to be nested. */
struct blockdev *nbd_export_enter(struct nbd_export *e);
void nbd_export_leave(struct nbd_export *e);
/* Of a server that has no connections any more. */
void nbd_exports_fini(struct nbd_server *s);

/* nbd_handshake.c: NULL when an export is attached, else why the connection ends. */
const char *nbd_handshake(struct nbd_connection *c);
/* As an INFO_EXPORT tells it. */
uint16_t nbd_transmission_flags(const struct nbd_connection *c, const struct blockdev *d);

/* nbd_transmission.c: serves requests until the connection ends; all have been answered by then.
 * Why it ended. */
const char *nbd_transmission(struct nbd_connection *c);

/* nbd_input.c: 0 or -errno; -ENODATA: the peer has ended where something could begin, -EPIPE: in
 * the middle. */
int nbd_input_need(struct nbd_connection *c, size_t bytes, size_t ahead);
int nbd_input_read(struct nbd_connection *c, void *buf, size_t bytes);
int nbd_input_skip(struct nbd_connection *c, size_t bytes);

/* nbd_request.c */
int nbd_requests_init(struct nbd_connection *c);
void nbd_requests_fini(struct nbd_connection *c);
/* Waits until there is room for a request that holds `bytes`; NULL: the connection is to close. */
struct nbd_request *nbd_request_get(struct nbd_connection *c, size_t bytes);
/* Memory for its payload, aligned for the device. -ENOMEM. */
int nbd_request_allocate(struct nbd_request *r);
void nbd_request_put(struct nbd_request *r);
/* Waits until no request is left; when we are to close, no longer than replies take that nobody
 * reads. */
void nbd_requests_drain(struct nbd_connection *c);

/* nbd_reply.c: the request has ended. Sends what replies there are, unless somebody does. Takes
 * `r`. */
void nbd_reply(struct nbd_request *r);

#endif
