/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How connections end: clients that break the rules or leave, exports that are removed, servers
 * that stop; with requests in flight. peer_end hangs when a connection does not end.
 */
#include "nbd_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "export/nbd_connection.h"

extern CU_TestInfo nbd_end_tests[];

static const struct fault_rule hold_reads = {.kind = BLOCK_READ, .hold = true};
static const struct fault_rule hold_writes = {.kind = BLOCK_WRITE, .hold = true};

static void disc(void)
{
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    peer_request(&t, 0, NBD_CMD_FLUSH, 1, 0, 0);
    peer_request(&t, 0, NBD_CMD_DISC, 2, 0, 0);
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
}

static void wrong_magic(void)
{
    uint8_t request[NBD_REQUEST_BYTES] = {0x25, 0x60, 0x95, 0x12};
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    peer_request(&t, 0, NBD_CMD_FLUSH, 1, 0, 0);
    peer_send(&t, request, sizeof request);
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
}

static void absurd_write(void)
{
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    peer_request(&t, 0, NBD_CMD_WRITE, 1, 0, NBD_PAYLOAD_MAX + 512);
    CU_ASSERT(peer_ended(&t));
    peer_end(&t);
}

/* Cut anywhere, a write leaves nothing behind and changes nothing. */
static void half_a_request(void)
{
    static const size_t cuts[] = {1, 4, 27, 28, 29, 28 + 511, 28 + 4096, 28 + 65535};
    uint8_t *bytes = calloc(1, NBD_REQUEST_BYTES + 65536);
    struct fault_record record;
    struct peer_test t;

    put_be32(bytes, NBD_REQUEST_MAGIC);
    put_be16(bytes + 6, NBD_CMD_WRITE);
    put_be32(bytes + 24, 65536);
    for (unsigned i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        peer_begin(&t);
        peer_go(&t, "disk", false, false);
        peer_send(&t, bytes, cuts[i]);
        stream_close(t.stream);
        t.stream = NULL;
        nbd_server_remove(t.server, "disk");
        CU_ASSERT_EQUAL(fault_log(t.disk, &record, 1), 0);
        peer_end(&t);
    }
    free(bytes);
}

static void release_all(struct peer_test *t)
{
    fault_clear(t->disk);
    fault_release(t->disk);
}

/* The client goes while its requests are on the device. */
static void leaves_with_requests_in_flight(void)
{
    uint8_t data[4096] = {0};
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    fault_add(t.disk, &hold_reads);
    fault_add(t.disk, &hold_writes);
    peer_request(&t, 0, NBD_CMD_READ, 1, 0, 4096);
    peer_request(&t, 0, NBD_CMD_WRITE, 2, 0, 4096);
    peer_send(&t, data, sizeof data);
    fault_wait_held(t.disk, 2);
    stream_close(t.stream);
    t.stream = NULL;
    CU_ASSERT_EQUAL(nbd_server_clients(t.server, "disk"), 1);
    release_all(&t);
    peer_end(&t);
}

struct removal {
    struct peer_test *t;
    int result;
    struct wait_group ended;
};

static void run_removal(void *arg)
{
    struct removal *r = arg;

    r->result = nbd_server_remove(r->t->server, "disk");
    wait_group_done(&r->ended);
}

/* What is in flight is answered, what comes then is not, and others stay. */
static void removed_with_requests_in_flight(void)
{
    struct stream *other;
    struct peer_test t;
    struct removal r = {.t = &t, .result = 1};

    peer_begin(&t);
    CU_ASSERT_EQUAL(nbd_server_add(t.server, "other", t.disk, false, NULL), 0);
    peer_go(&t, "other", false, false);
    other = t.stream;
    t.stream = NULL;
    peer_go(&t, "disk", false, false);
    fault_add(t.disk, &hold_reads);
    peer_request(&t, 0, NBD_CMD_READ, 1, 0, 512);
    fault_wait_held(t.disk, 1);
    wait_group_init(&r.ended);
    wait_group_add(&r.ended, 1);
    CU_ASSERT_EQUAL(co_start("removal", run_removal, &r), 0);
    co_sleep_ns(1000000);
    CU_ASSERT_EQUAL(r.result, 1);
    CU_ASSERT_EQUAL(nbd_server_exports(t.server), 1);
    release_all(&t);
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    CU_ASSERT(peer_receive(&t, (uint8_t[512]){0}, 512));
    CU_ASSERT(peer_ended(&t));
    wait_group_wait(&r.ended);
    CU_ASSERT_EQUAL(r.result, 0);
    stream_close(t.stream);
    t.stream = other;
    peer_request(&t, 0, NBD_CMD_FLUSH, 3, 0, 0);
    CU_ASSERT_EQUAL(peer_simple(&t, 3), 0);
    peer_end(&t);
}

/* More requests than are admitted: the rest waits in the socket. */
static void admission_by_number(void)
{
    enum { COUNT = NBD_IN_FLIGHT_MAX + 50 };
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    fault_add(t.disk, &hold_reads);
    for (unsigned i = 0; i < COUNT; i++)
        peer_request(&t, 0, NBD_CMD_READ, 9, 512 * i, 512);
    fault_wait_held(t.disk, NBD_IN_FLIGHT_MAX);
    co_sleep_ns(5000000);
    CU_ASSERT_EQUAL(fault_log(t.disk, NULL, 0), 0);
    release_all(&t);
    for (unsigned i = 0; i < COUNT; i++) {
        CU_ASSERT_EQUAL(peer_simple(&t, 9), 0);
        CU_ASSERT(peer_receive(&t, (uint8_t[512]){0}, 512));
    }
    peer_end(&t);
}

static void send_reads(struct peer_test *t, unsigned count, uint32_t length)
{
    for (unsigned i = 0; i < count; i++)
        peer_request(t, 0, NBD_CMD_READ, 9, 0, length);
}

static void admission_by_bytes(void)
{
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    fault_add(t.disk, &hold_reads);
    send_reads(&t, 40, 2 << 20);
    fault_wait_held(t.disk, NBD_TRANSFER_MAX / (2 << 20));
    co_sleep_ns(5000000);
    release_all(&t);
    CU_ASSERT_EQUAL(peer_simple(&t, 9), 0);
    peer_end(&t);
}

/* Stopping does not wait for it. */
static void never_reads_its_replies(void)
{
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    send_reads(&t, 300, 1 << 20);
    CU_ASSERT_EQUAL(nbd_server_remove(t.server, "disk"), 0);
    peer_end(&t);
}

/* Closing while the reader waits for room. */
static void stopped_when_full(void)
{
    struct peer_test t;
    struct removal r = {.t = &t, .result = 1};

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    fault_add(t.disk, &hold_reads);
    send_reads(&t, NBD_IN_FLIGHT_MAX + 50, 512);
    fault_wait_held(t.disk, NBD_IN_FLIGHT_MAX);
    wait_group_init(&r.ended);
    wait_group_add(&r.ended, 1);
    CU_ASSERT_EQUAL(co_start("removal", run_removal, &r), 0);
    co_sleep_ns(1000000);
    release_all(&t);
    for (unsigned i = 0; i < NBD_IN_FLIGHT_MAX; i++) {
        CU_ASSERT_EQUAL(peer_simple(&t, 9), 0);
        CU_ASSERT(peer_receive(&t, (uint8_t[512]){0}, 512));
    }
    CU_ASSERT(peer_ended(&t));
    wait_group_wait(&r.ended);
    peer_end(&t);
}

/* It does not read, and the device has not answered yet when the export is removed. */
static void slow_device_and_unread_replies(void)
{
    struct peer_test t;
    struct removal r = {.t = &t, .result = 1};

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    fault_add(t.disk, &hold_reads);
    send_reads(&t, 16, 2 << 20);
    fault_wait_held(t.disk, 16);
    wait_group_init(&r.ended);
    wait_group_add(&r.ended, 1);
    CU_ASSERT_EQUAL(co_start("removal", run_removal, &r), 0);
    co_sleep_ns(1000000);
    release_all(&t);
    wait_group_wait(&r.ended);
    CU_ASSERT_EQUAL(r.result, 0);
    peer_end(&t);
}

IN_RT(disc)
IN_RT(wrong_magic)
IN_RT(absurd_write)
IN_RT(half_a_request)
IN_RT(leaves_with_requests_in_flight)
IN_RT(removed_with_requests_in_flight)
IN_RT(admission_by_number)
IN_RT(admission_by_bytes)
IN_RT(never_reads_its_replies)
IN_RT(stopped_when_full)
IN_RT(slow_device_and_unread_replies)

CU_TestInfo nbd_end_tests[] = {
    {"disc", test_disc},
    {"wrong_magic", test_wrong_magic},
    {"absurd_write", test_absurd_write},
    {"half_a_request", test_half_a_request},
    {"leaves_with_requests_in_flight", test_leaves_with_requests_in_flight},
    {"removed_with_requests_in_flight", test_removed_with_requests_in_flight},
    {"admission_by_number", test_admission_by_number},
    {"admission_by_bytes", test_admission_by_bytes},
    {"never_reads_its_replies", test_never_reads_its_replies},
    {"stopped_when_full", test_stopped_when_full},
    {"slow_device_and_unread_replies", test_slow_device_and_unread_replies},
    CU_TEST_INFO_NULL,
};
