/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "export/nbd_protocol.h"

extern CU_TestInfo nbd_protocol_tests[];

static void test_request(void)
{
    static const uint8_t bytes[NBD_REQUEST_BYTES] = {0x25, 0x60, 0x95, 0x13, 0x00, 0x01, 0x00, 0x06,
        1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0x10, 0, 0, 0x20, 0, 0x80, 0, 0, 1};
    uint8_t wrong[NBD_REQUEST_BYTES];
    struct nbd_command c;

    CU_ASSERT(nbd_request_decode(&c, bytes));
    CU_ASSERT_EQUAL(c.flags, NBD_CMD_FLAG_FUA);
    CU_ASSERT_EQUAL(c.type, NBD_CMD_WRITE_ZEROES);
    CU_ASSERT_EQUAL(c.cookie, UINT64_C(0x0102030405060708));
    CU_ASSERT_EQUAL(c.offset, UINT64_C(0x1000002000));
    CU_ASSERT_EQUAL(c.length, 0x80000001u);
    for (unsigned i = 0; i < 4; i++) {
        memcpy(wrong, bytes, sizeof wrong);
        wrong[i] ^= 1;
        CU_ASSERT_FALSE(nbd_request_decode(&c, wrong));
    }
}

static void test_replies(void)
{
    static const uint8_t simple[] = {0x67, 0x44, 0x66, 0x98, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9};
    static const uint8_t chunk[] = {
        0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 6};
    static const uint8_t option[] = {
        0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0x80, 0, 0, 6, 0, 0, 0, 2};
    uint8_t buf[32];

    nbd_simple_reply_encode(buf, 9, 5);
    CU_ASSERT_EQUAL(memcmp(buf, simple, sizeof simple), 0);
    nbd_chunk_encode(buf, NBD_CHUNK_ERROR, 9, 6);
    CU_ASSERT_EQUAL(memcmp(buf, chunk, sizeof chunk), 0);
    nbd_option_reply_encode(buf, NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, 2);
    CU_ASSERT_EQUAL(memcmp(buf, option, sizeof option), 0);
}

static void test_errors(void)
{
    static const struct {
        int rc;
        uint32_t error;
    } rows[] = {{0, 0}, {-EPERM, 1}, {-EIO, 5}, {-ENOMEM, 12}, {-EINVAL, 22}, {-ENOSPC, 28},
        {-EOVERFLOW, 75}, {-EOPNOTSUPP, 95}, {-ESHUTDOWN, 108}, {-EROFS, 1}, {-EFBIG, 28},
        {-EDQUOT, 28}, {-ENXIO, 5}, {-EBADMSG, 5}};

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        CU_ASSERT_EQUAL(nbd_error(rows[i].rc), rows[i].error);
}

/* Each length but the right one contradicts what the data say. */
static void test_go_lengths(void)
{
    static const uint8_t data[] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 2, 0, 3, 0, 1, 0};
    uint8_t long_name[8] = {0, 0, 0x10, 1};
    struct nbd_go go;

    for (size_t length = 0; length <= sizeof data; length++)
        CU_ASSERT_EQUAL(nbd_go_decode(&go, data, length), length == 14);
    CU_ASSERT(nbd_go_decode(&go, data, 14));
    CU_ASSERT(nbd_string_is(&go.name, "disk"));
    CU_ASSERT(nbd_go_wants(&go, NBD_INFO_BLOCK_SIZE));
    CU_ASSERT(nbd_go_wants(&go, NBD_INFO_NAME));
    CU_ASSERT_FALSE(nbd_go_wants(&go, NBD_INFO_DESCRIPTION));
    CU_ASSERT_FALSE(nbd_go_decode(&go, long_name, sizeof long_name));
}

static void test_meta_lengths(void)
{
    static const uint8_t data[] = {
        0, 0, 0, 1, 'd', 0, 0, 0, 2, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 9};
    const uint8_t *at;
    struct nbd_meta meta;
    struct nbd_string query;

    for (size_t length = 0; length <= sizeof data; length++)
        CU_ASSERT_EQUAL(nbd_meta_decode(&meta, data, length), length == 19);
    CU_ASSERT(nbd_meta_decode(&meta, data, 19));
    CU_ASSERT(nbd_string_is(&meta.name, "d"));
    CU_ASSERT_EQUAL(meta.query_count, 2);
    at = meta.queries;
    query = nbd_meta_query(&at);
    CU_ASSERT(nbd_string_is(&query, "ab"));
    query = nbd_meta_query(&at);
    CU_ASSERT(nbd_string_is(&query, ""));
}

CU_TestInfo nbd_protocol_tests[] = {
    {"request", test_request},
    {"replies", test_replies},
    {"errors", test_errors},
    {"go_lengths", test_go_lengths},
    {"meta_lengths", test_meta_lengths},
    CU_TEST_INFO_NULL,
};
