/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/stream.h"
#include "rt/sync.h"
#include "scratch.h"

extern CU_TestInfo stream_tests[];

#define SHARE_BYTES (32u << 20)

static int write_all(struct stream *s, const void *buf, size_t length)
{
    struct iovec iov = {(void *)buf, length};

    return stream_write(s, &iov, 1, 0);
}

/* The byte at a place of the stream of test data. */
static unsigned char byte_at(size_t at)
{
    return (unsigned char)(at * 31 + (at >> 12));
}

struct sender {
    struct stream *stream;
    int result;
    struct wait_group group;
};

static void send_data(void *arg)
{
    struct sender *sender = arg;
    unsigned char *buf = malloc(300000);
    size_t at = 0, piece = 1;

    while (at < SHARE_BYTES) {
        struct iovec iov[3];
        size_t n = MIN(piece, SHARE_BYTES - at);

        for (size_t i = 0; i < n; i++)
            buf[i] = byte_at(at + i);
        iov[0] = (struct iovec){buf, n / 3};
        iov[1] = (struct iovec){buf, 0};
        iov[2] = (struct iovec){buf + n / 3, n - n / 3};
        sender->result |= stream_write(sender->stream, iov, 3, 0);
        at += n;
        piece = (piece * 7 + 13) % 300000;
    }
    stream_shutdown(sender->stream);
    free(buf);
    wait_group_done(&sender->group);
}

static void receive_data(struct stream *s)
{
    unsigned char *buf = malloc(200000);
    size_t at = 0, piece = 1;
    ssize_t n;

    while ((n = stream_read(s, buf, piece, 200000)) > 0) {
        CU_ASSERT_TRUE((size_t)n >= piece || at + (size_t)n == SHARE_BYTES);
        for (ssize_t i = 0; i < n; i++)
            if (buf[i] != byte_at(at + (size_t)i))
                CU_FAIL("another byte was sent");
        at += (size_t)n;
        piece = (piece * 5 + 17) % 200000;
    }
    CU_ASSERT_EQUAL(n, 0);
    CU_ASSERT_EQUAL(at, SHARE_BYTES);
    free(buf);
}

static void transfer(struct worker *where)
{
    struct sender sender = {0};
    struct stream *mine;

    CU_ASSERT_EQUAL(stream_pair(&mine, &sender.stream), 0);
    stream_set_buffers(mine, 1 << 20);
    wait_group_init(&sender.group);
    wait_group_add(&sender.group, 1);
    CU_ASSERT_EQUAL(worker_start(where, "sender", send_data, &sender), 0);
    receive_data(mine);
    wait_group_wait(&sender.group);
    CU_ASSERT_EQUAL(sender.result, 0);
    stream_close(sender.stream);
    stream_close(mine);
}

static void co_transfer(void *arg)
{
    struct worker *other = NULL;

    transfer(worker_self());
    CU_ASSERT_EQUAL(worker_create(&other, "other", NULL), 0);
    transfer(other);
    worker_destroy(other);
}

static void test_transfer(void)
{
    scratch_run(co_transfer);
}

static void co_ends(void *arg)
{
    struct stream *a, *b;
    char buf[16];

    CU_ASSERT_EQUAL(stream_pair(&a, &b), 0);
    CU_ASSERT_EQUAL(write_all(a, "12345", 5), 0);
    stream_close(a);
    CU_ASSERT_EQUAL(write_all(b, "x", 1), -EPIPE);
    /* Less than asked for, since the peer has ended. */
    CU_ASSERT_EQUAL(stream_read(b, buf, 10, 16), 5);
    CU_ASSERT_EQUAL(memcmp(buf, "12345", 5), 0);
    CU_ASSERT_EQUAL(stream_read(b, buf, 10, 16), 0);
    stream_close(b);
}

static void test_ends(void)
{
    scratch_run(co_ends);
}

/* A peer that dies with our data unread resets the connection. */
static void co_reset(void *arg)
{
    struct stream *a, *b;
    char buf[16];
    ssize_t n;

    CU_ASSERT_EQUAL(stream_pair(&a, &b), 0);
    CU_ASSERT_EQUAL(write_all(a, "12345", 5), 0);
    stream_close(b);
    n = stream_read(a, buf, 1, 16);
    CU_ASSERT_TRUE(n == 0 || n == -ECONNRESET);
    CU_ASSERT_EQUAL(write_all(a, "12345", 5), -EPIPE);
    stream_close(a);
}

static void test_reset(void)
{
    scratch_run(co_reset);
}

static void co_stalled(void *arg)
{
    char *data = calloc(1, 16 << 20);
    struct iovec iov = {data, 16 << 20};
    struct stream *a, *b;

    CU_ASSERT_EQUAL(stream_pair(&a, &b), 0);
    CU_ASSERT_EQUAL(stream_write(a, &iov, 1, 20000000), -ETIMEDOUT);
    /* What the kernel has taken can be read, and then there is room again. */
    CU_ASSERT_TRUE(stream_read(b, data, 1, 16 << 20) > 0);
    CU_ASSERT_EQUAL(write_all(a, "x", 1), 0);
    stream_close(a);
    stream_close(b);
    free(data);
}

static void test_stalled(void)
{
    scratch_run(co_stalled);
}

struct blocked {
    struct stream *stream;
    struct listener *listener;
    ssize_t result;
    struct wait_group group;
};

static void read_blocked(void *arg)
{
    struct blocked *b = arg;
    char buf[16];

    b->result = stream_read(b->stream, buf, 16, 16);
    wait_group_done(&b->group);
}

static void write_blocked(void *arg)
{
    struct blocked *b = arg;
    char *data = calloc(1, 16 << 20);

    b->result = write_all(b->stream, data, 16 << 20);
    free(data);
    wait_group_done(&b->group);
}

static void accept_blocked(void *arg)
{
    struct blocked *b = arg;

    b->result = listener_accept(b->listener, &b->stream);
    wait_group_done(&b->group);
}

/* Lets a coroutine on another worker wait, then ends that from here. */
static void shut_down(struct worker *other, co_entry *entry, struct blocked *b, ssize_t want)
{
    b->result = 77;
    wait_group_init(&b->group);
    wait_group_add(&b->group, 1);
    CU_ASSERT_EQUAL(worker_start(other, "blocked", entry, b), 0);
    co_sleep_ns(5000000);
    if (b->stream)
        stream_shutdown(b->stream);
    else
        listener_shutdown(b->listener);
    wait_group_wait(&b->group);
    CU_ASSERT_EQUAL(b->result, want);
}

static void co_shutdown(void *dir)
{
    struct worker *other = NULL;
    struct blocked b = {0};
    struct stream *peer;

    CU_ASSERT_EQUAL(worker_create(&other, "other", NULL), 0);
    CU_ASSERT_EQUAL(stream_pair(&b.stream, &peer), 0);
    shut_down(other, read_blocked, &b, 0);
    stream_close(b.stream);
    stream_close(peer);
    CU_ASSERT_EQUAL(stream_pair(&b.stream, &peer), 0);
    shut_down(other, write_blocked, &b, -EPIPE);
    stream_close(b.stream);
    stream_close(peer);
    b.stream = NULL;
    CU_ASSERT_EQUAL(
        listener_open(scratch_path(dir, "sock"), 0600, (uid_t)-1, (gid_t)-1, &b.listener, NULL), 0);
    shut_down(other, accept_blocked, &b, -ECANCELED);
    listener_close(b.listener);
    worker_destroy(other);
}

static void test_shutdown(void)
{
    scratch_run_each(co_shutdown);
}

static int open_listener(const char *path, struct listener **l, struct error *err)
{
    return listener_open(path, 0620, (uid_t)-1, getgid(), l, err);
}

static void co_accept(void *dir)
{
    const char *path = scratch_path(dir, "sock");
    struct stream *client = NULL, *server = NULL;
    struct listener *l = NULL;
    struct peer peer = {0};
    struct stat st;
    char buf[4];

    CU_ASSERT_EQUAL(open_listener(path, &l, NULL), 0);
    CU_ASSERT_EQUAL(lstat(path, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0620);
    CU_ASSERT_EQUAL(stream_connect(path, &client, NULL), 0);
    CU_ASSERT_EQUAL(listener_accept(l, &server), 0);
    stream_peer(server, &peer);
    CU_ASSERT_EQUAL(peer.pid, getpid());
    CU_ASSERT_EQUAL(peer.uid, getuid());
    CU_ASSERT_EQUAL(peer.gid, getgid());
    CU_ASSERT_EQUAL(write_all(client, "ping", 4), 0);
    CU_ASSERT_EQUAL(stream_read(server, buf, 4, 4), 4);
    CU_ASSERT_EQUAL(memcmp(buf, "ping", 4), 0);
    stream_close(client);
    stream_close(server);
    listener_close(l);
    CU_ASSERT_NOT_EQUAL(lstat(path, &st), 0);
}

static void test_accept(void)
{
    scratch_run_each(co_accept);
}

/* While the process may open nothing more, a client waits; then it is served. */
static void co_shortage(void *dir)
{
    const char *path = scratch_path(dir, "sock");
    struct rlimit before, limit;
    struct stream *client = NULL;
    struct blocked b = {.result = 77};

    CU_ASSERT_EQUAL(open_listener(path, &b.listener, NULL), 0);
    CU_ASSERT_EQUAL(stream_connect(path, &client, NULL), 0);
    getrlimit(RLIMIT_NOFILE, &before);
    limit = (struct rlimit){3, before.rlim_max};
    wait_group_init(&b.group);
    wait_group_add(&b.group, 1);
    setrlimit(RLIMIT_NOFILE, &limit);
    CU_ASSERT_EQUAL(co_start("blocked", accept_blocked, &b), 0);
    co_sleep_ns(5000000);
    CU_ASSERT_EQUAL(b.result, 77);
    setrlimit(RLIMIT_NOFILE, &before);
    wait_group_wait(&b.group);
    CU_ASSERT_EQUAL(b.result, 0);
    stream_close(b.stream);
    stream_close(client);
    listener_close(b.listener);
}

static void test_shortage(void)
{
    scratch_run_each(co_shortage);
}

/* A socket file that nobody listens on, as a killed daemon leaves it. */
static void leave_stale(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(addr.sun_path, path);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    CU_ASSERT_EQUAL(listen(fd, 1), 0);
    close(fd);
}

static void co_occupied(void *dir)
{
    const char *path = scratch_path(dir, "sock"), *file = scratch_path(dir, "file");
    struct listener *l = NULL, *other = NULL;
    struct error err = {0};
    struct stat st;

    leave_stale(path);
    CU_ASSERT_EQUAL(open_listener(path, &l, &err), 0);
    CU_ASSERT_EQUAL(open_listener(path, &other, &err), -EADDRINUSE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
    CU_ASSERT_EQUAL(symlink("absent", file), 0);
    CU_ASSERT_EQUAL(open_listener(file, &other, &err), -EEXIST);
    CU_ASSERT_EQUAL(open_listener(scratch_path(dir, "absent/sock"), &other, &err), -ENOENT);
    CU_ASSERT_PTR_NULL(other);
    /* Only one's own socket is removed. */
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(open_listener(path, &other, &err), 0);
    listener_close(l);
    CU_ASSERT_EQUAL(lstat(path, &st), 0);
    listener_close(other);
    CU_ASSERT_NOT_EQUAL(lstat(path, &st), 0);
}

static void test_occupied(void)
{
    scratch_run_each(co_occupied);
}

static void co_no_connection(void *dir)
{
    struct stream *s = NULL;
    struct error err = {0};
    char path[200];

    CU_ASSERT_EQUAL(stream_connect(scratch_path(dir, "absent"), &s, &err), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "absent"));
    leave_stale(scratch_path(dir, "stale"));
    CU_ASSERT_EQUAL(stream_connect(scratch_path(dir, "stale"), &s, &err), -ECONNREFUSED);
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    CU_ASSERT_EQUAL(stream_connect(path, &s, &err), -ENAMETOOLONG);
    CU_ASSERT_PTR_NULL(s);
}

static void test_no_connection(void)
{
    scratch_run_each(co_no_connection);
}

static void co_adopt(void *dir)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = scratch_path(dir, "sock");
    struct stream *client = NULL, *server = NULL;
    struct listener *l = NULL;
    struct error err = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(addr.sun_path, path);
    CU_ASSERT_EQUAL(listener_adopt(fd, &l, &err), -EINVAL);
    CU_ASSERT_EQUAL(listener_adopt(999, &l, &err), -EBADF);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    CU_ASSERT_EQUAL(listen(fd, 1), 0);
    CU_ASSERT_EQUAL(listener_adopt(fd, &l, &err), 0);
    CU_ASSERT_EQUAL(stream_connect(path, &client, NULL), 0);
    CU_ASSERT_EQUAL(listener_accept(l, &server), 0);
    stream_close(client);
    stream_close(server);
    listener_close(l);
    /* systemd made it, systemd removes it. */
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
}

static void test_adopt(void)
{
    scratch_run_each(co_adopt);
}

CU_TestInfo stream_tests[] = {
    {"bytes arrive in order", test_transfer},
    {"the peer ends", test_ends},
    {"the peer resets", test_reset},
    {"a peer that does not read is given up", test_stalled},
    {"waits are ended from another worker", test_shutdown},
    {"a connection is accepted", test_accept},
    {"a shortage of descriptors passes", test_shortage},
    {"stale, live and foreign socket files", test_occupied},
    {"no connection", test_no_connection},
    {"a descriptor is taken over", test_adopt},
    CU_TEST_INFO_NULL,
};
