/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The NBD protocol as bytes: constants and codecs, no I/O. All numbers are big-endian. Source:
 * doc/proto.md of the NetworkBlockDevice project; the names are the protocol's.
 */
#ifndef ASHLAR_DAEMON_EXPORT_NBD_PROTOCOL_H
#define ASHLAR_DAEMON_EXPORT_NBD_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Handshake. Server: magic, option magic, u16 flags. Client: u32 flags, then options: option magic,
 * u32 option, u32 length, data. */
#define NBD_MAGIC              UINT64_C(0x4e42444d41474943)
#define NBD_OPTION_MAGIC       UINT64_C(0x49484156454f5054)
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_GREETING_BYTES     18
#define NBD_OPTION_BYTES       16
#define NBD_OPTION_REPLY_BYTES 20
/* The same bits for both sides. */
#define NBD_HANDSHAKE_FIXED     1u
#define NBD_HANDSHAKE_NO_ZEROES 2u
#define NBD_NAME_MAX            4096

enum nbd_option_type {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
    NBD_OPT_EXTENDED_HEADERS = 11
};

#define NBD_REP_ACK          1u
#define NBD_REP_SERVER       2u
#define NBD_REP_INFO         3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_ERR          (1u << 31)
#define NBD_REP_ERR_UNSUP    (NBD_REP_ERR | 1)
#define NBD_REP_ERR_INVALID  (NBD_REP_ERR | 3)
#define NBD_REP_ERR_UNKNOWN  (NBD_REP_ERR | 6)
#define NBD_REP_ERR_TOO_BIG  (NBD_REP_ERR | 9)

enum nbd_info { NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE };

/* Transmission flags. */
#define NBD_FLAG_HAS_FLAGS    (1u << 0)
#define NBD_FLAG_READ_ONLY    (1u << 1)
#define NBD_FLAG_FLUSH        (1u << 2)
#define NBD_FLAG_FUA          (1u << 3)
#define NBD_FLAG_ROTATIONAL   (1u << 4)
#define NBD_FLAG_TRIM         (1u << 5)
#define NBD_FLAG_WRITE_ZEROES (1u << 6)
#define NBD_FLAG_DF           (1u << 7)
#define NBD_FLAG_MULTI_CONN   (1u << 8)
#define NBD_FLAG_FAST_ZERO    (1u << 11)

/* Transmission. */
#define NBD_REQUEST_MAGIC      0x25609513u
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698u
#define NBD_CHUNK_MAGIC        0x668e33efu
#define NBD_REQUEST_BYTES      28
#define NBD_SIMPLE_REPLY_BYTES 16
#define NBD_CHUNK_BYTES        20

enum nbd_command_type {
    NBD_CMD_READ,
    NBD_CMD_WRITE,
    NBD_CMD_DISC,
    NBD_CMD_FLUSH,
    NBD_CMD_TRIM,
    NBD_CMD_CACHE,
    NBD_CMD_WRITE_ZEROES,
    NBD_CMD_BLOCK_STATUS
};

#define NBD_CMD_FLAG_FUA       (1u << 0)
#define NBD_CMD_FLAG_NO_HOLE   (1u << 1)
#define NBD_CMD_FLAG_DF        (1u << 2)
#define NBD_CMD_FLAG_REQ_ONE   (1u << 3)
#define NBD_CMD_FLAG_FAST_ZERO (1u << 4)

#define NBD_CHUNK_FLAG_DONE    1u
#define NBD_CHUNK_OFFSET_DATA  1u
#define NBD_CHUNK_BLOCK_STATUS 5u
#define NBD_CHUNK_ERROR        0x8001u

/* base:allocation; the id is ours to choose. */
#define NBD_CONTEXT_ALLOCATION "base:allocation"
#define NBD_ALLOCATION_ID      1u
#define NBD_STATE_HOLE         1u
#define NBD_STATE_ZERO         2u

struct nbd_option {
    uint32_t type, length;
};
/* Of NBD_OPTION_BYTES. False: wrong magic. */
bool nbd_option_decode(struct nbd_option *o, const uint8_t *buf);
void nbd_option_reply_encode(uint8_t *buf, uint32_t option, uint32_t type, uint32_t length);

/* A piece of the option's data; not terminated. */
struct nbd_string {
    const char *text;
    size_t length;
};
bool nbd_string_is(const struct nbd_string *s, const char *text);

/* Data of INFO and GO. */
struct nbd_go {
    struct nbd_string name;
    const uint8_t *infos; /* u16 each */
    unsigned info_count;
};
/* False: lengths that contradict each other, or a name that is too long. */
bool nbd_go_decode(struct nbd_go *go, const uint8_t *data, size_t length);
bool nbd_go_wants(const struct nbd_go *go, enum nbd_info info);

/* Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
struct nbd_meta {
    struct nbd_string name;
    const uint8_t *queries; /* for nbd_meta_query */
    uint32_t query_count;
};
/* False as above: then all queries are known to be whole. */
bool nbd_meta_decode(struct nbd_meta *meta, const uint8_t *data, size_t length);
/* The query at *at, which moves to the next; for at most query_count calls. */
struct nbd_string nbd_meta_query(const uint8_t **at);

struct nbd_command {
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t length;
};
/* Of NBD_REQUEST_BYTES. False: wrong magic. */
bool nbd_request_decode(struct nbd_command *c, const uint8_t *buf);
void nbd_simple_reply_encode(uint8_t *buf, uint64_t cookie, uint32_t error);
/* `length` is that of the payload, which follows. */
void nbd_chunk_encode(uint8_t *buf, uint16_t type, uint64_t cookie, uint32_t length);
/* The protocol's number for 0 or -errno. */
uint32_t nbd_error(int rc);

#endif
