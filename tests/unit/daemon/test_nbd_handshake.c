/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

extern CU_TestInfo nbd_handshake_tests[];

#define FLAGS (NBD_HANDSHAKE_FIXED | NBD_HANDSHAKE_NO_ZEROES)

static const unsigned disk_flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_FLUSH | NBD_FLAG_FUA |
                                   NBD_FLAG_MULTI_CONN | NBD_FLAG_WRITE_ZEROES |
                                   NBD_FLAG_FAST_ZERO | NBD_FLAG_TRIM;

static void flags_unknown(void)
{
    struct peer_test t;

    peer_begin(&t);
    peer_greet(&t, FLAGS | 4);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
}

static void export_name(void)
{
    uint8_t answer[134];
    struct peer_test t;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_EXPORT_NAME, "disk", 4);
    CU_ASSERT(peer_receive(&t, answer, 10));
    CU_ASSERT_EQUAL(get_be64(answer), DISK_BYTES);
    CU_ASSERT_EQUAL(get_be16(answer + 8), disk_flags);
    peer_request(&t, 0, NBD_CMD_FLUSH, 1, 0, 0);
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    CU_ASSERT_EQUAL(nbd_server_clients(t.server, "disk"), 1);

    peer_greet(&t, NBD_HANDSHAKE_FIXED);
    peer_option(&t, NBD_OPT_EXPORT_NAME, "", 0);
    CU_ASSERT(peer_receive(&t, answer, 134));
    CU_ASSERT_EQUAL(get_be64(answer), DISK_BYTES);
    for (unsigned i = 10; i < 134; i++)
        CU_ASSERT_EQUAL(answer[i], 0);

    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_EXPORT_NAME, "none", 4);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
}

static void abort_option(void)
{
    struct peer_test t;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_ABORT, NULL, 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_ABORT, NULL, NULL), NBD_REP_ACK);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
}

static void list(void)
{
    uint8_t payload[4096];
    struct peer_test t;
    uint32_t length;

    peer_begin(&t);
    CU_ASSERT_EQUAL(nbd_server_add(t.server, "vg/other", t.disk, true, NULL), 0);
    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_LIST, "x", 1);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_LIST, NULL, NULL), NBD_REP_ERR_INVALID);
    peer_option(&t, NBD_OPT_LIST, NULL, 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_LIST, payload, &length), NBD_REP_SERVER);
    CU_ASSERT_EQUAL(length, 8);
    CU_ASSERT_EQUAL(memcmp(payload, "\0\0\0\4disk", 8), 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_LIST, payload, &length), NBD_REP_SERVER);
    CU_ASSERT_EQUAL(memcmp(payload, "\0\0\0\10vg/other", 12), 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_LIST, NULL, NULL), NBD_REP_ACK);
    peer_end(&t);
}

static void unsupported(void)
{
    static const uint32_t options[] = {NBD_OPT_STARTTLS, NBD_OPT_EXTENDED_HEADERS, 4, 77, 0};
    struct peer_test t;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    for (unsigned i = 0; i < 5; i++) {
        peer_option(&t, options[i], "data", 4);
        CU_ASSERT_EQUAL(peer_reply(&t, options[i], NULL, NULL), NBD_REP_ERR_UNSUP);
    }
    peer_end(&t);
}

static void info_and_go(void)
{
    static const uint8_t asks_name[] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 1, 0, NBD_INFO_NAME};
    uint8_t payload[4096];
    struct peer_test t;
    uint32_t length;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_INFO, asks_name, sizeof asks_name);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_INFO, payload, &length), NBD_REP_INFO);
    CU_ASSERT_EQUAL(length, 12);
    CU_ASSERT_EQUAL(get_be16(payload), NBD_INFO_EXPORT);
    CU_ASSERT_EQUAL(get_be64(payload + 2), DISK_BYTES);
    CU_ASSERT_EQUAL(get_be16(payload + 10), disk_flags);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_INFO, payload, &length), NBD_REP_INFO);
    CU_ASSERT_EQUAL(length, 14);
    CU_ASSERT_EQUAL(get_be16(payload), NBD_INFO_BLOCK_SIZE);
    CU_ASSERT_EQUAL(get_be32(payload + 2), 512);
    CU_ASSERT_EQUAL(get_be32(payload + 6), 4096);
    CU_ASSERT_EQUAL(get_be32(payload + 10), 32u << 20);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_INFO, payload, &length), NBD_REP_INFO);
    CU_ASSERT_EQUAL(length, 6);
    CU_ASSERT_EQUAL(memcmp(payload, "\0\1disk", 6), 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_INFO, NULL, NULL), NBD_REP_ACK);
    /* Looking attaches nobody. */
    CU_ASSERT_EQUAL(nbd_server_clients(t.server, "disk"), 0);

    peer_option(&t, NBD_OPT_GO, payload, peer_go_data(payload, "none"));
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_GO, NULL, NULL), NBD_REP_ERR_UNKNOWN);
    for (uint32_t i = 0; i < sizeof asks_name; i++) {
        peer_option(&t, NBD_OPT_GO, asks_name, i);
        CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_GO, NULL, NULL), NBD_REP_ERR_INVALID);
    }
    peer_option(&t, NBD_OPT_GO, payload, peer_go_data(payload, ""));
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_GO, NULL, NULL), NBD_REP_INFO);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_GO, NULL, NULL), NBD_REP_ACK);
    CU_ASSERT_EQUAL(nbd_server_clients(t.server, "disk"), 1);
    peer_end(&t);
}

static void default_export_of_several(void)
{
    struct peer_test t;
    uint8_t data[64];

    peer_begin(&t);
    CU_ASSERT_EQUAL(nbd_server_add(t.server, "other", t.disk, false, NULL), 0);
    CU_ASSERT_EQUAL(nbd_server_add(t.server, "other", t.disk, false, NULL), -EEXIST);
    CU_ASSERT_EQUAL(nbd_server_add(t.server, "", t.disk, false, NULL), -EINVAL);
    CU_ASSERT_EQUAL(nbd_server_exports(t.server), 2);
    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_GO, data, peer_go_data(data, ""));
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_GO, NULL, NULL), NBD_REP_ERR_UNKNOWN);
    CU_ASSERT_EQUAL(nbd_server_remove(t.server, "other"), 0);
    CU_ASSERT_EQUAL(nbd_server_remove(t.server, "other"), -ENOENT);
    CU_ASSERT_EQUAL(nbd_server_remove(t.server, ""), -ENOENT);
    peer_option(&t, NBD_OPT_GO, data, peer_go_data(data, ""));
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_GO, NULL, NULL), NBD_REP_INFO);
    peer_end(&t);
}

static void too_much_data(void)
{
    uint8_t *data = calloc(1, 1 << 20);
    struct peer_test t;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_GO, data, 1 << 20);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_GO, NULL, NULL), NBD_REP_ERR_TOO_BIG);
    peer_option(&t, NBD_OPT_STRUCTURED_REPLY, data, 1);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_STRUCTURED_REPLY, NULL, NULL), NBD_REP_ERR_INVALID);
    put_be64(data, NBD_OPTION_MAGIC);
    put_be32(data + 8, NBD_OPT_LIST);
    put_be32(data + 12, UINT32_MAX);
    peer_send(&t, data, NBD_OPTION_BYTES);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
    free(data);
}

static void meta_contexts(void)
{
    uint8_t data[256];
    struct peer_test t;
    uint32_t length;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    length = peer_meta_data(data, "disk", NBD_CONTEXT_ALLOCATION);
    peer_option(&t, NBD_OPT_SET_META_CONTEXT, data, length);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_SET_META_CONTEXT, NULL, NULL), NBD_REP_ERR_INVALID);
    peer_option(&t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_STRUCTURED_REPLY, NULL, NULL), NBD_REP_ACK);
    for (uint32_t i = 0; i < length; i++) {
        peer_option(&t, NBD_OPT_SET_META_CONTEXT, data, i);
        CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_SET_META_CONTEXT, NULL, NULL), NBD_REP_ERR_INVALID);
    }
    peer_option(&t, NBD_OPT_SET_META_CONTEXT, data, length);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_SET_META_CONTEXT, data, &length), NBD_REP_META_CONTEXT);
    CU_ASSERT_EQUAL(length, 19);
    CU_ASSERT_EQUAL(get_be32(data), NBD_ALLOCATION_ID);
    CU_ASSERT_EQUAL(memcmp(data + 4, "base:allocation", 15), 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_SET_META_CONTEXT, NULL, NULL), NBD_REP_ACK);
    peer_end(&t);
}

/* How many contexts the server tells before its ACK. */
static int contexts(struct peer_test *t, uint32_t option, const char *name, const char *query)
{
    uint8_t data[256];
    uint32_t type;
    int count = 0;

    peer_option(t, option, data, peer_meta_data(data, name, query));
    while ((type = peer_reply(t, option, NULL, NULL)) == NBD_REP_META_CONTEXT)
        count++;
    return type == NBD_REP_ACK ? count : -1;
}

static void meta_queries(void)
{
    const uint32_t list_meta = NBD_OPT_LIST_META_CONTEXT, set_meta = NBD_OPT_SET_META_CONTEXT;
    struct peer_test t;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    peer_option(&t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    CU_ASSERT_EQUAL(peer_reply(&t, NBD_OPT_STRUCTURED_REPLY, NULL, NULL), NBD_REP_ACK);
    CU_ASSERT_EQUAL(contexts(&t, list_meta, "disk", NULL), 1);
    CU_ASSERT_EQUAL(contexts(&t, list_meta, "disk", "base:"), 1);
    CU_ASSERT_EQUAL(contexts(&t, list_meta, "disk", "base:allocation"), 1);
    CU_ASSERT_EQUAL(contexts(&t, list_meta, "disk", "qemu:dirty-bitmap:x"), 0);
    CU_ASSERT_EQUAL(contexts(&t, list_meta, "none", NULL), -1);
    CU_ASSERT_EQUAL(contexts(&t, set_meta, "disk", NULL), 0);
    CU_ASSERT_EQUAL(contexts(&t, set_meta, "disk", "base:"), 0);
    CU_ASSERT_EQUAL(contexts(&t, set_meta, "disk", "base:allocatio"), 0);
    CU_ASSERT_EQUAL(contexts(&t, set_meta, "", "base:allocation"), 1);
    peer_end(&t);
}

static void wrong_magic_of_an_option(void)
{
    uint8_t option[NBD_OPTION_BYTES] = {0};
    struct peer_test t;

    peer_begin(&t);
    peer_greet(&t, FLAGS);
    peer_send(&t, option, sizeof option);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
}

/* Whatever a client leaves unfinished, the server gets rid of it: peer_end would hang. */
static void half_a_handshake(void)
{
    static const uint8_t bytes[] = {0, 0, 0, 3, 'I', 'H', 'A', 'V', 'E', 'O', 'P', 'T', 0, 0, 0, 7,
        0, 0, 0, 10, 0, 0, 0, 4, 'd', 'i', 's', 'k', 0};
    struct peer_test t;

    for (size_t length = 0; length <= sizeof bytes; length++) {
        peer_begin(&t);
        CU_ASSERT_EQUAL(peer_connect(&t), 0);
        peer_send(&t, bytes, length);
        peer_end(&t);
    }
}

static void clients_max(void)
{
    struct stream *others[CLIENTS_MAX];
    struct peer_test t;

    peer_begin(&t);
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        peer_go(&t, "disk", false, false);
        others[i] = t.stream;
        t.stream = NULL;
    }
    CU_ASSERT_EQUAL(nbd_server_clients(t.server, "disk"), CLIENTS_MAX);
    CU_ASSERT_EQUAL(peer_connect(&t), -EMFILE);
    CU_ASSERT(peer_ended(&t));
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        stream_close(others[i]);
    peer_end(&t);
}

static void over_the_socket(void)
{
    uint8_t greeting[NBD_GREETING_BYTES];
    struct peer_test t;

    peer_begin(&t);
    CU_ASSERT_EQUAL(stream_connect(t.socket, &t.stream, NULL), 0);
    CU_ASSERT(peer_receive(&t, greeting, sizeof greeting));
    peer_end(&t);
    CU_ASSERT_NOT_EQUAL(access(t.socket, F_OK), 0);
}

IN_RT(flags_unknown)
IN_RT(export_name)
IN_RT(abort_option)
IN_RT(list)
IN_RT(unsupported)
IN_RT(info_and_go)
IN_RT(default_export_of_several)
IN_RT(too_much_data)
IN_RT(meta_contexts)
IN_RT(meta_queries)
IN_RT(wrong_magic_of_an_option)
IN_RT(half_a_handshake)
IN_RT(clients_max)
IN_RT(over_the_socket)

CU_TestInfo nbd_handshake_tests[] = {
    {"flags_unknown", test_flags_unknown},
    {"export_name", test_export_name},
    {"abort", test_abort_option},
    {"list", test_list},
    {"unsupported", test_unsupported},
    {"info_and_go", test_info_and_go},
    {"default_export_of_several", test_default_export_of_several},
    {"too_much_data", test_too_much_data},
    {"meta_contexts", test_meta_contexts},
    {"meta_queries", test_meta_queries},
    {"wrong_magic_of_an_option", test_wrong_magic_of_an_option},
    {"half_a_handshake", test_half_a_handshake},
    {"clients_max", test_clients_max},
    {"over_the_socket", test_over_the_socket},
    CU_TEST_INFO_NULL,
};
