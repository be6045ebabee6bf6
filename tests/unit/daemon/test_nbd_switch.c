/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another device for an export, under its clients. */
#include "nbd_peer.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "block/member.h"
#include "export/nbd_connection.h"

extern CU_TestInfo nbd_switch_tests[];

#define BYTES 4096

static const struct fault_rule hold_writes = {.kind = BLOCK_WRITE, .hold = true};

static struct blockdev *other_disk(uint64_t size_bytes, uint32_t block_bytes)
{
    struct blockdev *d;

    CU_ASSERT_EQUAL(member_memory("other", size_bytes, block_bytes, &d), 0);
    return d;
}

static void send_write(struct peer_test *t, uint64_t cookie, uint64_t offset, int byte)
{
    uint8_t data[BYTES];

    memset(data, byte, sizeof data);
    peer_request(t, 0, NBD_CMD_WRITE, cookie, offset, BYTES);
    peer_send(t, data, sizeof data);
}

static int byte_at(struct blockdev *d, uint64_t offset)
{
    uint8_t data[BYTES] = {0};

    CU_ASSERT_EQUAL(blockdev_read(d, data, offset, BYTES), 0);
    return data[0];
}

struct pause {
    struct peer_test *t;
    bool paused;
    struct wait_group ended;
};

static void run_pause(void *arg)
{
    struct pause *p = arg;

    CU_ASSERT_EQUAL(nbd_server_pause(p->t->server, "disk"), 0);
    p->paused = true;
    wait_group_done(&p->ended);
}

/* The former device has them when the pause has begun; what comes then is for the other. */
static void requests_in_flight(void)
{
    struct peer_test t;
    struct pause p = {.t = &t};
    struct blockdev *other = other_disk(DISK_BYTES, 512);

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    fault_add(t.disk, &hold_writes);
    send_write(&t, 1, 0, 'a');
    fault_wait_held(t.disk, 1);
    wait_group_init(&p.ended);
    wait_group_add(&p.ended, 1);
    CU_ASSERT_EQUAL(co_start("pause", run_pause, &p), 0);
    co_sleep_ns(1000000);
    CU_ASSERT(!p.paused);
    send_write(&t, 2, 0, 'b');
    fault_clear(t.disk);
    fault_release(t.disk);
    wait_group_wait(&p.ended);
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    CU_ASSERT_EQUAL(byte_at(t.disk, 0), 'a');
    CU_ASSERT_EQUAL(nbd_server_switch(t.server, "disk", other, NULL), 0);
    CU_ASSERT_EQUAL(atomic_load(&t.disk->users), 0);
    nbd_server_resume(t.server, "disk");
    CU_ASSERT_EQUAL(peer_simple(&t, 2), 0);
    CU_ASSERT_EQUAL(byte_at(t.disk, 0), 'a');
    CU_ASSERT_EQUAL(byte_at(other, 0), 'b');
    peer_end(&t);
    CU_ASSERT_EQUAL(atomic_load(&other->users), 0);
    blockdev_close(other);
}

/* Requests that waited outside go on in any order: the cookies' bits. */
static unsigned replies(struct peer_test *t, unsigned count)
{
    uint8_t head[NBD_SIMPLE_REPLY_BYTES];
    unsigned cookies = 0;

    for (unsigned i = 0; i < count && peer_receive(t, head, sizeof head); i++)
        if (get_be32(head) == NBD_SIMPLE_REPLY_MAGIC && !get_be32(head + 4))
            cookies |= 1u << get_be64(head + 8);
    return cookies;
}

static void back_and_forth(void)
{
    enum { ROUNDS = 50 };
    struct peer_test t;
    struct blockdev *other = other_disk(DISK_BYTES, 512), *disks[2];

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    disks[0] = t.disk;
    disks[1] = other;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < 8; k++)
            send_write(&t, k, BYTES * k, (int)i);
        CU_ASSERT_EQUAL(nbd_server_pause(t.server, "disk"), 0);
        CU_ASSERT_EQUAL(nbd_server_switch(t.server, "disk", disks[(i + 1) % 2], NULL), 0);
        nbd_server_resume(t.server, "disk");
        CU_ASSERT_EQUAL(replies(&t, 8), 0xff);
        for (unsigned k = 0; k < 8; k++)
            CU_ASSERT(
                byte_at(disks[0], BYTES * k) == (int)i || byte_at(disks[1], BYTES * k) == (int)i);
    }
    peer_end(&t);
    blockdev_close(other);
}

static int try_switch(struct peer_test *t, struct blockdev *d)
{
    int rc;

    CU_ASSERT_EQUAL(nbd_server_pause(t->server, "disk"), 0);
    rc = nbd_server_switch(t->server, "disk", d, NULL);
    nbd_server_resume(t->server, "disk");
    return rc;
}

/* What clients know of the disk would not hold. */
static void other_shape(void)
{
    struct blockdev *shorter = other_disk(DISK_BYTES - 4096, 512);
    struct blockdev *coarser = other_disk(DISK_BYTES, 4096);
    struct blockdev *same = other_disk(DISK_BYTES, 512);
    struct peer_test t;

    peer_begin(&t);
    peer_go(&t, "disk", false, false);
    CU_ASSERT_EQUAL(try_switch(&t, shorter), -EINVAL);
    CU_ASSERT_EQUAL(try_switch(&t, coarser), -EINVAL);
    same->capabilities |= BLOCK_READ_ONLY;
    CU_ASSERT_EQUAL(try_switch(&t, same), -EINVAL);
    same->capabilities &= ~BLOCK_READ_ONLY;
    CU_ASSERT_EQUAL(blockdev_use(same, true), 0);
    CU_ASSERT_EQUAL(try_switch(&t, same), -EBUSY);
    blockdev_unuse(same);
    CU_ASSERT_EQUAL(nbd_server_pause(t.server, "none"), -ENOENT);
    CU_ASSERT_EQUAL(nbd_server_switch(t.server, "none", same, NULL), -ENOENT);
    send_write(&t, 1, 0, 'x');
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    CU_ASSERT_EQUAL(byte_at(t.disk, 0), 'x');
    peer_end(&t);
    blockdev_close(shorter);
    blockdev_close(coarser);
    blockdev_close(same);
}

/* The trim that was told of does nothing then, and zeroes are written. */
static void less_capable(void)
{
    struct blockdev *other = other_disk(DISK_BYTES, 512);
    struct peer_test t;

    peer_begin(&t);
    t.disk->capabilities |= BLOCK_CAN_DISCARD;
    peer_go(&t, "disk", false, false);
    CU_ASSERT_EQUAL(blockdev_write(other, memset((uint8_t[BYTES]){0}, 'y', BYTES), 0, BYTES, 0), 0);
    other->capabilities = 0;
    CU_ASSERT_EQUAL(try_switch(&t, other), 0);
    peer_request(&t, 0, NBD_CMD_TRIM, 1, BYTES, BYTES);
    CU_ASSERT_EQUAL(peer_simple(&t, 1), 0);
    peer_request(&t, NBD_CMD_FLAG_FUA, NBD_CMD_WRITE_ZEROES, 2, 0, BYTES);
    CU_ASSERT_EQUAL(peer_simple(&t, 2), 0);
    CU_ASSERT_EQUAL(byte_at(other, 0), 0);
    peer_end(&t);
    blockdev_close(other);
}

IN_RT(requests_in_flight)
IN_RT(back_and_forth)
IN_RT(other_shape)
IN_RT(less_capable)

CU_TestInfo nbd_switch_tests[] = {
    {"requests_in_flight", test_requests_in_flight},
    {"back_and_forth", test_back_and_forth},
    {"other_shape", test_other_shape},
    {"less_capable", test_less_capable},
    CU_TEST_INFO_NULL,
};
