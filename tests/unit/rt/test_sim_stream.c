/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "rt/stream.h"
#include "rt/sync.h"
#include "sim.h"

extern CU_TestInfo sim_stream_tests[];

#define SHARE_BYTES (300u << 10)
#define PATH        "/run/sock"
#define NO_ID       ((uid_t)-1), ((gid_t)-1)

static char zeros[1 << 20];

static int write_all(struct stream *s, const void *buf, size_t length)
{
    struct iovec iov = {(void *)buf, length};

    return stream_write(s, &iov, 1, 0);
}

static unsigned char byte_at(size_t at)
{
    return (unsigned char)(at * 31 + (at >> 12));
}

/* What another worker does with a stream or listener, and what came of it. */
struct other {
    struct worker *worker;
    struct stream *stream;
    struct listener *listener;
    ssize_t result;
    struct wait_group group;
};

static void begin(struct other *o, co_entry *entry)
{
    if (!o->worker)
        CHECK(worker_create(&o->worker, "other", NULL) == 0);
    o->result = 77;
    wait_group_init(&o->group);
    wait_group_add(&o->group, 1);
    CHECK(worker_start(o->worker, "other", entry, o) == 0);
}

static ssize_t end(struct other *o)
{
    wait_group_wait(&o->group);
    return o->result;
}

static void send_share(void *arg)
{
    struct other *o = arg;
    unsigned char *buf = malloc(50000);
    size_t at = 0, piece = 1;

    while (at < SHARE_BYTES) {
        size_t n = MIN(piece, SHARE_BYTES - at);
        struct iovec iov[] = {{buf, n / 3}, {buf, 0}, {buf + n / 3, n - n / 3}};

        for (size_t i = 0; i < n; i++)
            buf[i] = byte_at(at + i);
        CHECK(stream_write(o->stream, iov, 3, 0) == 0);
        at += n;
        piece = (piece * 7 + 13) % 50000;
    }
    free(buf);
    stream_shutdown(o->stream);
    wait_group_done(&o->group);
}

static void transfer(void *arg)
{
    struct other o = {0};
    struct stream *mine;
    unsigned char *buf = malloc(50000);
    size_t at = 0, piece = 1, reads_short = 0;
    ssize_t n;

    CHECK(stream_pair(&mine, &o.stream) == 0);
    begin(&o, send_share);
    while ((n = stream_read(mine, buf, piece, 50000)) > 0) {
        CHECK((size_t)n >= piece || at + (size_t)n == SHARE_BYTES);
        reads_short += n < 50000;
        for (ssize_t i = 0; i < n; i++)
            CHECK(buf[i] == byte_at(at + (size_t)i));
        at += (size_t)n;
        piece = (piece * 5 + 17) % 50000;
    }
    CHECK(n == 0 && at == SHARE_BYTES && reads_short);
    CHECK(end(&o) == 77);
    stream_close(o.stream);
    stream_close(mine);
    worker_destroy(o.worker);
    free(buf);
}

static void test_transfer(void)
{
    sim_check_each(transfer);
}

static void ends(void *arg)
{
    struct stream *a, *b;
    char buf[16];

    CHECK(stream_pair(&a, &b) == 0);
    CHECK(write_all(a, "12345", 5) == 0);
    stream_close(a);
    CHECK(write_all(b, "x", 1) == -EPIPE);
    CHECK(stream_read(b, buf, 10, 16) == 5);
    CHECK(!memcmp(buf, "12345", 5));
    CHECK(stream_read(b, buf, 10, 16) == 0);
    stream_close(b);
}

static void test_ends(void)
{
    sim_check_each(ends);
}

static void reset(void *arg)
{
    struct stream *a, *b;
    char buf[16];

    CHECK(stream_pair(&a, &b) == 0);
    CHECK(write_all(a, "12345", 5) == 0);
    CHECK(write_all(b, "67", 2) == 0);
    stream_close(b);
    CHECK(stream_read(a, buf, 2, 16) == 2);
    CHECK(stream_read(a, buf, 1, 16) == -ECONNRESET);
    CHECK(stream_read(a, buf, 1, 16) == 0);
    CHECK(write_all(a, "12345", 5) == -EPIPE);
    stream_close(a);
}

static void test_reset(void)
{
    sim_check_each(reset);
}

static void half_closed(void *arg)
{
    struct stream *a, *b;
    char buf[16];

    CHECK(stream_pair(&a, &b) == 0);
    CHECK(write_all(b, "12345", 5) == 0);
    stream_shutdown_read(a);
    CHECK(write_all(b, "x", 1) == -EPIPE);
    CHECK(stream_read(a, buf, 5, 16) == 5);
    CHECK(stream_read(a, buf, 1, 16) == 0);
    CHECK(write_all(a, "reply", 5) == 0);
    CHECK(stream_read(b, buf, 5, 16) == 5);
    stream_close(a);
    stream_close(b);
}

static void test_half_closed(void)
{
    sim_check_each(half_closed);
}

/* Not before its time, and the time starts again whenever the peer has taken something. */
static void stalled(void *arg)
{
    struct iovec iov = {zeros, sizeof zeros};
    uint64_t begun_ns = rt_now_ns();
    struct stream *a, *b;

    CHECK(stream_pair(&a, &b) == 0);
    CHECK(stream_write(a, &iov, 1, 1000000000) == -ETIMEDOUT);
    CHECK(rt_now_ns() >= begun_ns + 1000000000);
    CHECK(stream_read(b, zeros, 1, sizeof zeros) > 0);
    CHECK(write_all(a, "x", 1) == 0);
    stream_close(a);
    stream_close(b);
}

static void test_stalled(void)
{
    sim_check_each(stalled);
}

static void read_slowly(void *arg)
{
    struct other *o = arg;
    char *buf = malloc(sizeof zeros);
    size_t left = sizeof zeros / 4;

    while (left) {
        ssize_t n;

        co_sleep_ns(900000000);
        n = stream_read(o->stream, buf, 1, left);
        CHECK(n > 0);
        left -= (size_t)n;
    }
    free(buf);
    wait_group_done(&o->group);
}

static void slow(void *arg)
{
    struct iovec iov = {zeros, sizeof zeros / 4};
    struct other o = {0};
    struct stream *mine;

    CHECK(stream_pair(&mine, &o.stream) == 0);
    begin(&o, read_slowly);
    CHECK(stream_write(mine, &iov, 1, 1000000000) == 0);
    end(&o);
    stream_close(o.stream);
    stream_close(mine);
    worker_destroy(o.worker);
}

static void test_slow(void)
{
    sim_check_each(slow);
}

static void read_blocked(void *arg)
{
    struct other *o = arg;
    char buf[16];

    o->result = stream_read(o->stream, buf, 16, 16);
    wait_group_done(&o->group);
}

static void write_blocked(void *arg)
{
    struct other *o = arg;

    o->result = write_all(o->stream, zeros, sizeof zeros);
    wait_group_done(&o->group);
}

static void accept_one(void *arg)
{
    struct other *o = arg;

    o->result = listener_accept(o->listener, &o->stream);
    wait_group_done(&o->group);
}

static void shut_down(struct other *o, co_entry *entry, ssize_t want)
{
    struct stream *peer;

    CHECK(stream_pair(&o->stream, &peer) == 0);
    begin(o, entry);
    co_sleep_ns(1000000);
    CHECK(o->result == 77);
    stream_shutdown(o->stream);
    CHECK(end(o) == want);
    stream_close(o->stream);
    stream_close(peer);
}

static void shutdowns(void *arg)
{
    struct other o = {0};

    shut_down(&o, read_blocked, 0);
    shut_down(&o, write_blocked, -EPIPE);
    CHECK(listener_open(PATH, 0600, NO_ID, &o.listener, NULL) == 0);
    begin(&o, accept_one);
    co_sleep_ns(1000000);
    CHECK(o.result == 77);
    listener_shutdown(o.listener);
    CHECK(end(&o) == -ECANCELED);
    listener_close(o.listener);
    worker_destroy(o.worker);
}

static void test_shutdowns(void)
{
    sim_check_each(shutdowns);
}

static void accepts(void *arg)
{
    struct stream *client;
    struct other o = {0};
    struct peer peer;
    char buf[4];

    CHECK(listener_open(PATH, 0600, NO_ID, &o.listener, NULL) == 0);
    begin(&o, accept_one);
    CHECK(stream_connect(PATH, &client, NULL) == 0);
    CHECK(end(&o) == 0);
    stream_peer(o.stream, &peer);
    CHECK(peer.uid == 0 && peer.gid == 0 && peer.pid > 0);
    CHECK(write_all(client, "ping", 4) == 0);
    CHECK(stream_read(o.stream, buf, 4, 4) == 4);
    CHECK(!memcmp(buf, "ping", 4));
    stream_close(client);
    stream_close(o.stream);
    listener_close(o.listener);
    worker_destroy(o.worker);
}

static void test_accepts(void)
{
    sim_check_each(accepts);
}

#define CLIENTS 12

static void accept_late(void *arg)
{
    struct other *o = arg;

    for (unsigned i = 0; i < CLIENTS; i++) {
        unsigned char number;

        co_sleep_ns(10000000);
        CHECK(listener_accept(o->listener, &o->stream) == 0);
        CHECK(stream_read(o->stream, &number, 1, 1) == 1);
        CHECK(number == i);
        stream_close(o->stream);
    }
    wait_group_done(&o->group);
}

/* More clients than the queue holds wait, and are served in order. */
static void queue_is_full(void *arg)
{
    struct stream *clients[CLIENTS];
    struct other o = {0};

    CHECK(listener_open(PATH, 0600, NO_ID, &o.listener, NULL) == 0);
    begin(&o, accept_late);
    for (unsigned char i = 0; i < CLIENTS; i++) {
        CHECK(stream_connect(PATH, &clients[i], NULL) == 0);
        CHECK(write_all(clients[i], &i, 1) == 0);
    }
    end(&o);
    for (unsigned i = 0; i < CLIENTS; i++)
        stream_close(clients[i]);
    listener_close(o.listener);
    worker_destroy(o.worker);
}

static void test_queue_is_full(void)
{
    sim_check_each(queue_is_full);
}

/* Clients that were never accepted are reset. */
static void never_accepted(void *arg)
{
    struct listener *l;
    struct stream *s;
    char buf[1];

    CHECK(listener_open(PATH, 0600, NO_ID, &l, NULL) == 0);
    CHECK(stream_connect(PATH, &s, NULL) == 0);
    listener_close(l);
    CHECK(stream_read(s, buf, 1, 1) == -ECONNRESET);
    stream_close(s);
}

static void test_never_accepted(void)
{
    sim_check_each(never_accepted);
}

static void occupied(void *arg)
{
    struct listener *l, *other = NULL;
    struct stream *s = NULL;
    struct error err = {0};

    CHECK(listener_open(PATH, 0600, NO_ID, &l, &err) == 0);
    CHECK(listener_open(PATH, 0600, NO_ID, &other, &err) == -EADDRINUSE);
    CHECK(strstr(err.text, PATH));
    listener_shutdown(l);
    CHECK(stream_connect(PATH, &s, &err) == -ECONNREFUSED);
    CHECK(listener_open(PATH, 0600, NO_ID, &other, &err) == 0);
    listener_close(l);
    CHECK(stream_connect(PATH, &s, &err) == 0);
    stream_close(s);
    listener_close(other);
    CHECK(stream_connect(PATH, &s, &err) == -ENOENT);
    CHECK(strstr(err.text, PATH));
}

static void test_occupied(void)
{
    sim_check_each(occupied);
}

static void refused(void *arg)
{
    struct listener *l = NULL;
    struct stream *s = NULL;
    struct error err = {0};
    char path[200];

    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    CHECK(stream_connect(path, &s, &err) == -ENAMETOOLONG);
    CHECK(listener_open(path, 0600, NO_ID, &l, &err) == -ENAMETOOLONG);
    CHECK(listener_adopt(3, &l, &err) == -EBADF);
    CHECK(*err.text && !s && !l);
}

static void test_refused(void)
{
    sim_check_each(refused);
}

static void listen_and_die(void *arg)
{
    struct listener *l;

    CHECK(listener_open(PATH, 0600, NO_ID, &l, NULL) == 0);
    sim_power_cut(true);
}

static void connect_to_dead(void *arg)
{
    struct stream *s;

    CHECK(stream_connect(PATH, &s, NULL) == -ENOENT);
}

static void test_end_with_the_machine(void)
{
    sim_reset(1);
    CU_ASSERT_EQUAL(sim_live(listen_and_die, NULL), SIM_KILLED);
    sim_check(connect_to_dead, NULL);
}

CU_TestInfo sim_stream_tests[] = {
    {"bytes arrive in order", test_transfer},
    {"the peer ends", test_ends},
    {"the peer resets", test_reset},
    {"one direction ends", test_half_closed},
    {"a peer that does not read is given up", test_stalled},
    {"a slow peer is not given up", test_slow},
    {"waits are ended from another worker", test_shutdowns},
    {"a connection is accepted", test_accepts},
    {"the queue is full", test_queue_is_full},
    {"what is never accepted is reset", test_never_accepted},
    {"live and stale listeners", test_occupied},
    {"what is refused", test_refused},
    {"listeners end with the machine", test_end_with_the_machine},
    CU_TEST_INFO_NULL,
};
