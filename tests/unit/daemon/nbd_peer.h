/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other side for the suites of the NBD server: bytes made by hand over a pair of streams. The
 * server's connections run on a worker of their own, the test on the main one.
 */
#ifndef ASHLAR_TESTS_NBD_PEER_H
#define ASHLAR_TESTS_NBD_PEER_H

#include "../rt/run.h"

#include "block/fault.h"
#include "export/nbd.h"
#include "export/nbd_protocol.h"
#include "rt/stream.h"

/* A test that runs as the main coroutine. */
#define IN_RT(name)                                                                                \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        run_in_rt(name);                                                                           \
    }

#define DISK_BYTES  (64u << 20)
#define CLIENTS_MAX 4

/* Serves "disk", which is memory below a device that goes wrong on demand. */
struct peer_test {
    struct crew crew;
    struct nbd_server *server;
    struct blockdev *disk;
    struct stream *stream; /* the client's end */
    char socket[64];
};
void peer_begin(struct peer_test *t);
/* Closes the client's end, stops the server: hangs when a connection does not end. */
void peer_end(struct peer_test *t);

/* A new connection (closes the one before); 0 or what nbd_accept returned. */
int peer_connect(struct peer_test *t);
/* The same, and the greetings. */
void peer_greet(struct peer_test *t, uint32_t flags);
/* The same, and the options up to GO of that export. */
void peer_go(struct peer_test *t, const char *name, bool structured, bool allocation);

void peer_send(struct peer_test *t, const void *data, size_t length);
/* False: the server has ended before. */
bool peer_receive(struct peer_test *t, void *data, size_t length);
/* The server has ended the connection, and there is nothing before that. */
bool peer_ended(struct peer_test *t);

void peer_option(struct peer_test *t, uint32_t option, const void *data, uint32_t length);
/* Receives a reply to that option; its payload (at most 4096 bytes) is in `payload`, its length in
 * *length; both may be NULL. The reply's type, 0 when it is malformed. */
uint32_t peer_reply(struct peer_test *t, uint32_t option, void *payload, uint32_t *length);
/* Data of INFO and GO without info requests. Returns its length. */
uint32_t peer_go_data(uint8_t *data, const char *name);
/* Data of LIST and SET_META_CONTEXT; query NULL: none. */
uint32_t peer_meta_data(uint8_t *data, const char *name, const char *query);

void peer_request(struct peer_test *t, unsigned flags, unsigned type, uint64_t cookie,
    uint64_t offset, uint32_t length);
/* Receives a simple reply to that request; its error, or -1 when it is something else. */
int peer_simple(struct peer_test *t, uint64_t cookie);
/* Receives a final chunk; its type, or -1. Payload as for peer_reply. */
int peer_chunk(struct peer_test *t, uint64_t cookie, void *payload, uint32_t *length);

#endif
