/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd_peer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/member.h"
#include "export/nbd_connection.h"

void peer_begin(struct peer_test *t)
{
    struct nbd_params params = {.path = t->socket,
        .mode = 0600,
        .owner = (uid_t)-1,
        .group = (gid_t)-1,
        .workers = &t->crew.workers[1],
        .worker_count = 1,
        .clients_max = CLIENTS_MAX};
    struct blockdev *memory;

    memset(t, 0, sizeof *t);
    crew_start(&t->crew, 2);
    snprintf(t->socket, sizeof t->socket, "/tmp/test-nbd.%d", (int)getpid());
    CU_ASSERT_EQUAL(member_memory("memory", DISK_BYTES, 512, &memory), 0);
    CU_ASSERT_EQUAL(fault_create(memory, &t->disk), 0);
    CU_ASSERT_EQUAL(nbd_server_start(&t->server, &params, NULL), 0);
    CU_ASSERT_EQUAL(nbd_server_add(t->server, "disk", t->disk, false, NULL), 0);
}

void peer_end(struct peer_test *t)
{
    if (t->stream)
        stream_close(t->stream);
    nbd_server_stop(t->server);
    CU_ASSERT_EQUAL(atomic_load(&t->disk->users), 0);
    blockdev_close(t->disk);
    crew_end(&t->crew);
}

int peer_connect(struct peer_test *t)
{
    struct stream *theirs;

    if (t->stream)
        stream_close(t->stream);
    CU_ASSERT_EQUAL(stream_pair(&t->stream, &theirs), 0);
    return nbd_accept(t->server, theirs);
}

void peer_send(struct peer_test *t, const void *data, size_t length)
{
    struct iovec iov = {(void *)(uintptr_t)data, length};

    stream_write(t->stream, &iov, 1, 0);
}

bool peer_receive(struct peer_test *t, void *data, size_t length)
{
    return !length || stream_read(t->stream, data, length, length) == (ssize_t)length;
}

bool peer_ended(struct peer_test *t)
{
    char byte;

    return stream_read(t->stream, &byte, 1, 1) <= 0;
}

void peer_greet(struct peer_test *t, uint32_t flags)
{
    uint8_t greeting[NBD_GREETING_BYTES], answer[4];

    CU_ASSERT_EQUAL(peer_connect(t), 0);
    CU_ASSERT(peer_receive(t, greeting, sizeof greeting));
    CU_ASSERT_EQUAL(get_be64(greeting), NBD_MAGIC);
    CU_ASSERT_EQUAL(get_be64(greeting + 8), NBD_OPTION_MAGIC);
    CU_ASSERT_EQUAL(get_be16(greeting + 16), 3);
    put_be32(answer, flags);
    peer_send(t, answer, sizeof answer);
}

void peer_option(struct peer_test *t, uint32_t option, const void *data, uint32_t length)
{
    uint8_t head[NBD_OPTION_BYTES];

    put_be64(head, NBD_OPTION_MAGIC);
    put_be32(head + 8, option);
    put_be32(head + 12, length);
    peer_send(t, head, sizeof head);
    peer_send(t, data, length);
}

static bool receive_payload(struct peer_test *t, void *payload, uint32_t length)
{
    uint8_t unwanted[4096];

    if (length > sizeof unwanted && !payload)
        return false;
    return peer_receive(t, payload ? payload : unwanted, length);
}

uint32_t peer_reply(struct peer_test *t, uint32_t option, void *payload, uint32_t *length)
{
    uint8_t head[NBD_OPTION_REPLY_BYTES];
    uint32_t bytes;

    if (!peer_receive(t, head, sizeof head) || get_be64(head) != NBD_OPTION_REPLY_MAGIC ||
        get_be32(head + 8) != option)
        return 0;
    bytes = get_be32(head + 16);
    if (length)
        *length = bytes;
    return receive_payload(t, payload, bytes) ? get_be32(head + 12) : 0;
}

static uint8_t *put_string(uint8_t *at, const char *text)
{
    put_be32(at, (uint32_t)strlen(text));
    memcpy(at + 4, text, strlen(text));
    return at + 4 + strlen(text);
}

uint32_t peer_go_data(uint8_t *data, const char *name)
{
    uint8_t *at = put_string(data, name);

    put_be16(at, 0);
    return (uint32_t)(at + 2 - data);
}

uint32_t peer_meta_data(uint8_t *data, const char *name, const char *query)
{
    uint8_t *at = put_string(data, name);

    put_be32(at, query ? 1 : 0);
    at += 4;
    if (query)
        at = put_string(at, query);
    return (uint32_t)(at - data);
}

void peer_go(struct peer_test *t, const char *name, bool structured, bool allocation)
{
    uint8_t data[256];

    peer_greet(t, NBD_HANDSHAKE_FIXED | NBD_HANDSHAKE_NO_ZEROES);
    if (structured) {
        peer_option(t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        CU_ASSERT_EQUAL(peer_reply(t, NBD_OPT_STRUCTURED_REPLY, NULL, NULL), NBD_REP_ACK);
    }
    if (allocation) {
        peer_option(
            t, NBD_OPT_SET_META_CONTEXT, data, peer_meta_data(data, name, NBD_CONTEXT_ALLOCATION));
        CU_ASSERT_EQUAL(peer_reply(t, NBD_OPT_SET_META_CONTEXT, NULL, NULL), NBD_REP_META_CONTEXT);
        CU_ASSERT_EQUAL(peer_reply(t, NBD_OPT_SET_META_CONTEXT, NULL, NULL), NBD_REP_ACK);
    }
    peer_option(t, NBD_OPT_GO, data, peer_go_data(data, name));
    CU_ASSERT_EQUAL(peer_reply(t, NBD_OPT_GO, NULL, NULL), NBD_REP_INFO);
    CU_ASSERT_EQUAL(peer_reply(t, NBD_OPT_GO, NULL, NULL), NBD_REP_INFO);
    CU_ASSERT_EQUAL(peer_reply(t, NBD_OPT_GO, NULL, NULL), NBD_REP_ACK);
}

void peer_request(struct peer_test *t, unsigned flags, unsigned type, uint64_t cookie,
    uint64_t offset, uint32_t length)
{
    uint8_t request[NBD_REQUEST_BYTES];

    put_be32(request, NBD_REQUEST_MAGIC);
    put_be16(request + 4, (uint16_t)flags);
    put_be16(request + 6, (uint16_t)type);
    put_be64(request + 8, cookie);
    put_be64(request + 16, offset);
    put_be32(request + 24, length);
    peer_send(t, request, sizeof request);
}

int peer_simple(struct peer_test *t, uint64_t cookie)
{
    uint8_t head[NBD_SIMPLE_REPLY_BYTES];

    if (!peer_receive(t, head, sizeof head) || get_be32(head) != NBD_SIMPLE_REPLY_MAGIC ||
        get_be64(head + 8) != cookie)
        return -1;
    return (int)get_be32(head + 4);
}

int peer_chunk(struct peer_test *t, uint64_t cookie, void *payload, uint32_t *length)
{
    uint8_t head[NBD_CHUNK_BYTES];

    if (!peer_receive(t, head, sizeof head) || get_be32(head) != NBD_CHUNK_MAGIC ||
        get_be16(head + 4) != NBD_CHUNK_FLAG_DONE || get_be64(head + 8) != cookie)
        return -1;
    if (length)
        *length = get_be32(head + 16);
    return receive_payload(t, payload, get_be32(head + 16)) ? get_be16(head + 6) : -1;
}
