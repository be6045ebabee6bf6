/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands one by one: what they do to the device, and how wrong ones are refused. */
#include "nbd_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "export/nbd_connection.h"

extern CU_TestInfo nbd_transmission_tests[];

static void fill(uint8_t *data, size_t length, unsigned seed)
{
    for (size_t i = 0; i < length; i++)
        data[i] = (uint8_t)((i + seed) * 2654435761u >> 24);
}

static int write_disk(
    struct peer_test *t, unsigned flags, uint64_t offset, const void *data, uint32_t length)
{
    peer_request(t, flags, NBD_CMD_WRITE, offset, offset, length);
    peer_send(t, data, length);
    return peer_simple(t, offset);
}

/* Lengths around those at which payloads go another way. */
static void read_and_write(void)
{
    static const uint32_t lengths[] = {512, 4096, 16 << 10, (16 << 10) + 512, 128 << 10, 1 << 20,
        (1 << 20) + 512, (3 << 20) + 512, 32 << 20};
    uint8_t *data = malloc(32 << 20), *back = malloc(32 << 20);
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        fill(data, lengths[i], i);
        CU_ASSERT_EQUAL(write_disk(&t, 0, 512 * i, data, lengths[i]), 0);
        peer_request(&t, 0, NBD_CMD_READ, i, 512 * i, lengths[i]);
        CU_ASSERT_EQUAL(peer_simple(&t, i), 0);
        CU_ASSERT(peer_receive(&t, back, lengths[i]));
        CU_ASSERT_EQUAL(memcmp(data, back, lengths[i]), 0);
    }
    peer_end(&t);
    free(data);
    free(back);
}

static void structured_read(void)
{
    uint8_t data[2048], payload[4096];
    struct peer_test t;
    uint32_t length;

    peer_begin(&t);
    peer_go(&t, "disk", true, false);
    fill(data, sizeof data, 1);
    CU_ASSERT_EQUAL(write_disk(&t, 0, 4096, data, sizeof data), 0);
    for (unsigned flags = 0; flags <= NBD_CMD_FLAG_DF; flags += NBD_CMD_FLAG_DF) {
        peer_request(&t, flags, NBD_CMD_READ, 8, 4096, sizeof data);
        CU_ASSERT_EQUAL(peer_chunk(&t, 8, payload, &length), NBD_CHUNK_OFFSET_DATA);
        CU_ASSERT_EQUAL(length, 8 + sizeof data);
        CU_ASSERT_EQUAL(get_be64(payload), 4096);
        CU_ASSERT_EQUAL(memcmp(payload + 8, data, sizeof data), 0);
    }
    peer_end(&t);
}

/* Many requests in one send: they are parsed from one buffer, and end in one. */
static void pipelined(void)
{
    enum { COUNT = 300, BYTES = 4096 };
    uint8_t *stream = calloc(COUNT, NBD_REQUEST_BYTES + BYTES), *at = stream;
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    for (unsigned i = 0; i < COUNT; i++) {
        put_be32(at, NBD_REQUEST_MAGIC);
        put_be16(at + 6, NBD_CMD_WRITE);
        put_be64(at + 8, 7);
        put_be64(at + 16, i * BYTES);
        put_be32(at + 24, BYTES);
        memset(at + NBD_REQUEST_BYTES, (int)i, BYTES);
        at += NBD_REQUEST_BYTES + BYTES;
    }
    peer_send(&t, stream, (size_t)(at - stream));
    for (unsigned i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL(peer_simple(&t, 7), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        peer_request(&t, 0, NBD_CMD_READ, i, i * BYTES, 512);
        CU_ASSERT_EQUAL(peer_simple(&t, i), 0);
        CU_ASSERT(peer_receive(&t, stream, 512));
        CU_ASSERT_EQUAL(stream[0], (uint8_t)i);
        CU_ASSERT_EQUAL(stream[511], (uint8_t)i);
    }
    peer_end(&t);
    free(stream);
}

/* The last operation that reached the device. */
static struct fault_record last(struct peer_test *t)
{
    struct fault_record records[8] = {0};
    unsigned n = fault_log(t->disk, records, 8);

    fault_log_clear(t->disk);
    return n && n <= 8 ? records[n - 1] : (struct fault_record){.kind = BLOCK_KINDS};
}

static int simple(struct peer_test *t, unsigned flags, unsigned type, uint64_t at, uint32_t length)
{
    fault_log_clear(t->disk);
    peer_request(t, flags, type, 5, at, length);
    return peer_simple(t, 5);
}

static void what_reaches_the_device(void)
{
    uint8_t data[512] = {1};
    struct peer_test t;

    peer_begin(&t);
    t.disk->capabilities |= BLOCK_CAN_ZERO_FAST | BLOCK_CAN_FUA;
    peer_go(&t, "disk", false, false);
    fault_log_clear(t.disk);
    CU_ASSERT_EQUAL(write_disk(&t, 0, 0, data, 512), 0);
    CU_ASSERT_EQUAL(last(&t).flags, BLOCK_STABLE);
    CU_ASSERT_EQUAL(write_disk(&t, NBD_CMD_FLAG_FUA, 0, data, 512), 0);
    CU_ASSERT_EQUAL(last(&t).flags, BLOCK_STABLE | BLOCK_FUA);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_FLUSH, 0, 0), 0);
    CU_ASSERT_EQUAL(last(&t).kind, BLOCK_FLUSH);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_TRIM, 512, 1024), 0);
    CU_ASSERT_EQUAL(last(&t).kind, BLOCK_DISCARD);
    CU_ASSERT_EQUAL(simple(&t, NBD_CMD_FLAG_FUA, NBD_CMD_TRIM, 512, 1024), 0);
    CU_ASSERT_EQUAL(last(&t).kind, BLOCK_FLUSH);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_WRITE_ZEROES, 0, DISK_BYTES), 0);
    CU_ASSERT_EQUAL(last(&t).flags, BLOCK_MAY_UNMAP);
    CU_ASSERT_EQUAL(simple(&t, NBD_CMD_FLAG_NO_HOLE, NBD_CMD_WRITE_ZEROES, 0, 512), 0);
    CU_ASSERT_EQUAL(last(&t).flags, 0);
    CU_ASSERT_EQUAL(simple(&t, NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_WRITE_ZEROES, 0, 512), 0);
    CU_ASSERT_EQUAL(last(&t).flags, BLOCK_MAY_UNMAP | BLOCK_FAST);
    t.disk->capabilities &= ~BLOCK_CAN_ZERO_FAST;
    CU_ASSERT_EQUAL(simple(&t, NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_WRITE_ZEROES, 0, 512), EOPNOTSUPP);
    peer_end(&t);
}

/* Of each the connection survives, and a payload is thrown away. */
static void refusals(void)
{
    static const struct {
        unsigned flags, type;
        uint64_t offset;
        uint32_t length;
        int error;
    } rows[] = {
        {0, NBD_CMD_READ, DISK_BYTES, 512, EINVAL},
        {0, NBD_CMD_READ, DISK_BYTES - 512, 1024, EINVAL},
        {0, NBD_CMD_READ, UINT64_MAX - 511, 512, EINVAL},
        {0, NBD_CMD_READ, 0, 0, EINVAL},
        {0, NBD_CMD_READ, 1, 512, EINVAL},
        {0, NBD_CMD_READ, 0, 511, EINVAL},
        {0, NBD_CMD_READ, 0, (32u << 20) + 512, EINVAL},
        {NBD_CMD_FLAG_DF, NBD_CMD_READ, 0, 512, EINVAL},
        {NBD_CMD_FLAG_NO_HOLE, NBD_CMD_READ, 0, 512, EINVAL},
        {0, NBD_CMD_WRITE, DISK_BYTES, 512, ENOSPC},
        {0, NBD_CMD_WRITE, DISK_BYTES - 512, 4096, ENOSPC},
        {0, NBD_CMD_WRITE, 7, 512, EINVAL},
        {0, NBD_CMD_WRITE, 0, 513, EINVAL},
        {0, NBD_CMD_WRITE, 0, (32u << 20) + 512, EINVAL},
        {1u << 9, NBD_CMD_WRITE, 0, 512, EINVAL},
        {0, NBD_CMD_WRITE_ZEROES, DISK_BYTES - 512, 1024, ENOSPC},
        {0, NBD_CMD_WRITE_ZEROES, 0, 1, EINVAL},
        {NBD_CMD_FLAG_REQ_ONE, NBD_CMD_WRITE_ZEROES, 0, 512, EINVAL},
        {0, NBD_CMD_TRIM, DISK_BYTES - 512, 1024, EINVAL},
        {0, NBD_CMD_TRIM, 0, 100, EINVAL},
        {NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_TRIM, 0, 512, EINVAL},
        {0, NBD_CMD_FLUSH, 512, 512, EINVAL},
        {0, NBD_CMD_BLOCK_STATUS, 0, 512, EINVAL},
        {0, NBD_CMD_CACHE, 0, 512, EINVAL},
        {0, 8, 0, 512, EINVAL},
        {0, 0xffff, 0, 512, EINVAL},
    };
    uint8_t *payload = malloc(33 << 20);
    struct fault_record record;
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    memset(payload, 0xff, 33 << 20);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        peer_request(&t, rows[i].flags, rows[i].type, i, rows[i].offset, rows[i].length);
        if (rows[i].type == NBD_CMD_WRITE)
            peer_send(&t, payload, rows[i].length);
        CU_ASSERT_EQUAL(peer_simple(&t, i), rows[i].error);
    }
    CU_ASSERT_EQUAL(fault_log(t.disk, &record, 1), 0);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_FLUSH, 0, 0), 0);
    peer_end(&t);
    free(payload);
}

/* Errors of reads and of block status are chunks then, and DF has a meaning. */
static void structured_refusals(void)
{
    uint8_t payload[4096];
    struct peer_test t;
    uint32_t length;

    peer_begin(&t);
    peer_go(&t, "disk", true, false);
    peer_request(&t, 0, NBD_CMD_READ, 1, DISK_BYTES, 512);
    CU_ASSERT_EQUAL(peer_chunk(&t, 1, payload, &length), NBD_CHUNK_ERROR);
    CU_ASSERT_EQUAL(length, 6);
    CU_ASSERT_EQUAL(get_be32(payload), EINVAL);
    CU_ASSERT_EQUAL(get_be16(payload + 4), 0);
    peer_request(&t, NBD_CMD_FLAG_DF, NBD_CMD_READ, 2, 0, (32u << 20) + 512);
    CU_ASSERT_EQUAL(peer_chunk(&t, 2, payload, &length), NBD_CHUNK_ERROR);
    CU_ASSERT_EQUAL(get_be32(payload), EOVERFLOW);
    peer_request(&t, 0, NBD_CMD_BLOCK_STATUS, 3, 0, 512);
    CU_ASSERT_EQUAL(peer_chunk(&t, 3, payload, &length), NBD_CHUNK_ERROR);
    CU_ASSERT_EQUAL(get_be32(payload), EINVAL);
    CU_ASSERT_EQUAL(simple(&t, NBD_CMD_FLAG_DF, NBD_CMD_WRITE_ZEROES, 0, 512), EINVAL);
    peer_end(&t);
}

static void read_only(void)
{
    uint8_t data[512] = {0};
    struct peer_test t;

    peer_begin(&t);
    CU_ASSERT_EQUAL(nbd_server_add(t.server, "ro", t.disk, true, NULL), 0);
    peer_go(&t, "ro", false, false);
    CU_ASSERT_EQUAL(write_disk(&t, 0, 0, data, 512), EPERM);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_TRIM, 0, 512), EPERM);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_WRITE_ZEROES, 0, 512), EPERM);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_FLUSH, 0, 0), 0);
    peer_request(&t, 0, NBD_CMD_READ, 1, 0, 512);
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    CU_ASSERT(peer_receive(&t, data, 512));
    peer_end(&t);
}

static void failing_device(void)
{
    static const enum block_kind kinds[] = {
        BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES};
    uint8_t data[512] = {0};
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    for (unsigned i = 0; i < 5; i++)
        fault_add(t.disk, &(struct fault_rule){.kind = kinds[i], .error = i ? -EIO : -ENOMEM});
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_READ, 0, 512), ENOMEM);
    CU_ASSERT_EQUAL(write_disk(&t, 0, 0, data, 512), EIO);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_FLUSH, 0, 0), EIO);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_TRIM, 0, 512), EIO);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_WRITE_ZEROES, 0, 512), EIO);
    fault_clear(t.disk);
    CU_ASSERT_EQUAL(write_disk(&t, 0, 0, data, 512), 0);
    peer_end(&t);
}

static void resized_device(void)
{
    uint8_t data[512] = {0};
    struct peer_test t;

    peer_begin(&t);
    atomic_store(&t.disk->size_bytes, DISK_BYTES / 2);
    peer_go(&t, "disk", false, false);
    CU_ASSERT_EQUAL(write_disk(&t, 0, DISK_BYTES / 2, data, 512), ENOSPC);
    atomic_store(&t.disk->size_bytes, DISK_BYTES);
    CU_ASSERT_EQUAL(write_disk(&t, 0, DISK_BYTES / 2, data, 512), 0);
    atomic_store(&t.disk->size_bytes, DISK_BYTES / 2);
    CU_ASSERT_EQUAL(simple(&t, 0, NBD_CMD_READ, DISK_BYTES / 2, 512), EINVAL);
    peer_end(&t);
}

/* A device of which each odd MiB is a hole; told in pieces of 64 KiB. Half of the others are data
 * of a backing. */
static int patchy_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    uint64_t piece = (64u << 10) - offset % (64u << 10);

    *extent = (struct block_extent){
        piece < length ? piece : length, offset >> 20 & 1   ? EXTENT_ZERO | EXTENT_HOLE
                                         : offset >> 16 & 1 ? EXTENT_HOLE
                                                            : 0};
    return 0;
}

static void patchy_close(struct blockdev *d)
{
    blockdev_fini(d);
}

static void block_status(void)
{
    static const struct blockdev_ops ops = {.extents = patchy_extents, .close = patchy_close};
    uint8_t payload[8192];
    struct blockdev patchy;
    struct peer_test t;
    uint32_t length;

    peer_begin(&t);
    CU_ASSERT_EQUAL(blockdev_init(&patchy, &ops, "patchy", UINT64_C(4) << 30), 0);
    CU_ASSERT_EQUAL(nbd_server_add(t.server, "patchy", &patchy, false, NULL), 0);
    peer_go(&t, "patchy", true, true);

    peer_request(&t, 0, NBD_CMD_BLOCK_STATUS, 1, 512 << 10, 2 << 20);
    CU_ASSERT_EQUAL(peer_chunk(&t, 1, payload, &length), NBD_CHUNK_BLOCK_STATUS);
    CU_ASSERT_EQUAL(length, 4 + 3 * 8);
    CU_ASSERT_EQUAL(get_be32(payload), NBD_ALLOCATION_ID);
    CU_ASSERT_EQUAL(get_be32(payload + 4), 512 << 10);
    CU_ASSERT_EQUAL(get_be32(payload + 8), 0);
    CU_ASSERT_EQUAL(get_be32(payload + 12), 1 << 20);
    CU_ASSERT_EQUAL(get_be32(payload + 16), NBD_STATE_HOLE | NBD_STATE_ZERO);
    CU_ASSERT_EQUAL(get_be32(payload + 20), 512 << 10);

    peer_request(&t, NBD_CMD_FLAG_REQ_ONE, NBD_CMD_BLOCK_STATUS, 2, 0, 2 << 20);
    CU_ASSERT_EQUAL(peer_chunk(&t, 2, payload, &length), NBD_CHUNK_BLOCK_STATUS);
    CU_ASSERT_EQUAL(length, 4 + 8);
    CU_ASSERT_EQUAL(get_be32(payload + 4), 1 << 20);

    /* More extents than one reply takes: the client asks again from there. */
    peer_request(&t, 0, NBD_CMD_BLOCK_STATUS, 3, 0, 0xfffffe00u);
    CU_ASSERT_EQUAL(peer_chunk(&t, 3, payload, &length), NBD_CHUNK_BLOCK_STATUS);
    CU_ASSERT_EQUAL(length, 4 + 512 * 8);

    CU_ASSERT_EQUAL(nbd_server_remove(t.server, "patchy"), 0);
    blockdev_close(&patchy);
    peer_end(&t);
}

IN_RT(read_and_write)
IN_RT(structured_read)
IN_RT(pipelined)
IN_RT(what_reaches_the_device)
IN_RT(refusals)
IN_RT(structured_refusals)
IN_RT(read_only)
IN_RT(failing_device)
IN_RT(resized_device)
IN_RT(block_status)

CU_TestInfo nbd_transmission_tests[] = {
    {"read_and_write", test_read_and_write},
    {"structured_read", test_structured_read},
    {"pipelined", test_pipelined},
    {"what_reaches_the_device", test_what_reaches_the_device},
    {"refusals", test_refusals},
    {"structured_refusals", test_structured_refusals},
    {"read_only", test_read_only},
    {"failing_device", test_failing_device},
    {"resized_device", test_resized_device},
    {"block_status", test_block_status},
    CU_TEST_INFO_NULL,
};
