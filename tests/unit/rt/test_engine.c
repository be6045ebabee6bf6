/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ios, polls and interrupts through the engine that ASHLAR_ENGINE names. io_setup of libaio is
 * replaced by one that can be made to refuse.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/engine.h"
#include "rt/sync.h"
#include "run.h"
#include "scratch.h"

extern CU_TestInfo engine_tests[];

#define BLOCK 4096

/* What the host has left of fs.aio-max-nr. */
static int aio_left = 1 << 16;

int io_setup(int maxevents, io_context_t *ctxp)
{
    if (maxevents > aio_left)
        return -EAGAIN;
    return syscall(SYS_io_setup, maxevents, ctxp) < 0 ? -errno : 0;
}

static struct file *open_new(const char *dir, uint64_t size_bytes)
{
    struct file *file = NULL;

    CU_ASSERT_EQUAL(file_open(scratch_path(dir, "file"), FILE_CREATE, &file, NULL), 0);
    CU_ASSERT_EQUAL(file_resize(file, size_bytes), 0);
    return file;
}

static int transfer(struct file *file, enum io_kind kind, void *buf, size_t length, uint64_t offset)
{
    struct iovec iov = {buf, length};
    struct io io = {.kind = kind, .file = file, .iov = &iov, .iov_count = 1, .offset = offset};

    return io_run(&io);
}

static int range(
    struct file *file, enum io_kind kind, unsigned flags, uint64_t offset, uint64_t length)
{
    struct io io = {.kind = kind, .flags = flags, .file = file, .offset = offset, .length = length};

    return io_run(&io);
}

/* True when `length` bytes from `offset` on all are `value`. */
static bool holds(struct file *file, uint64_t offset, size_t length, unsigned char value)
{
    unsigned char *buf = io_buffer_get(length);
    bool ok = transfer(file, IO_READ, buf, length, offset) == 0;

    for (size_t i = 0; ok && i < length; i++)
        ok = buf[i] == value;
    io_buffer_put(buf, length);
    return ok;
}

static void fill(struct file *file, uint64_t offset, size_t length, unsigned char value)
{
    unsigned char *buf = io_buffer_get(length);

    memset(buf, value, length);
    CU_ASSERT_EQUAL(transfer(file, IO_WRITE, buf, length, offset), 0);
    io_buffer_put(buf, length);
}

static void co_one_each(void *dir)
{
    struct file *file = open_new(dir, 1 << 20);

    fill(file, 8192, 65536, 0xa5);
    CU_ASSERT_TRUE(holds(file, 0, 8192, 0));
    CU_ASSERT_TRUE(holds(file, 8192, 65536, 0xa5));
    CU_ASSERT_TRUE(holds(file, 8192 + 65536, 4096, 0));
    CU_ASSERT_EQUAL(range(file, IO_SYNC, 0, 0, 0), 0);
    file_close(file);
}

static void test_one_each(void)
{
    scratch_run_each(co_one_each);
}

static void co_durable(void *dir)
{
    struct file *file = open_new(dir, 1 << 20);
    void *buf = io_buffer_get(BLOCK);
    struct iovec iov = {memset(buf, 3, BLOCK), BLOCK};
    struct io io = {.kind = IO_WRITE, .flags = IO_FUA, .file = file, .iov = &iov, .iov_count = 1};

    CU_ASSERT_EQUAL(io_run(&io), 0);
    CU_ASSERT_TRUE(holds(file, 0, BLOCK, 3));
    io_buffer_put(buf, BLOCK);
    file_close(file);
}

static void test_durable(void)
{
    scratch_run_each(co_durable);
}

/* Segments of all sizes, some empty, in one transfer. */
static void co_scattered(void *dir)
{
    struct file *file = open_new(dir, 1 << 20);
    unsigned char *buf = io_buffer_get(64 * 2 * BLOCK), *back = io_buffer_get(64 * 2 * BLOCK);
    struct iovec iov[64];
    struct io io = {.kind = IO_WRITE, .file = file, .iov = iov, .iov_count = 64, .offset = BLOCK};
    size_t length = 0;

    for (unsigned i = 0; i < 64; i++) {
        iov[i] = (struct iovec){buf + i * 2 * BLOCK, i % 3 * BLOCK};
        memset(iov[i].iov_base, (int)i + 1, iov[i].iov_len);
        length += iov[i].iov_len;
    }
    CU_ASSERT_EQUAL(io_run(&io), 0);
    CU_ASSERT_EQUAL(transfer(file, IO_READ, back, length, BLOCK), 0);
    for (unsigned i = 0, at = 0; i < 64; at += iov[i++].iov_len)
        CU_ASSERT_EQUAL(memcmp(back + at, iov[i].iov_base, iov[i].iov_len), 0);
    io_buffer_put(buf, 64 * 2 * BLOCK);
    io_buffer_put(back, 64 * 2 * BLOCK);
    file_close(file);
}

static void test_scattered(void)
{
    scratch_run_each(co_scattered);
}

static void co_past_the_end(void *dir)
{
    struct file *file = open_new(dir, 64 * 1024);
    void *buf = io_buffer_get(8192);

    CU_ASSERT_EQUAL(transfer(file, IO_READ, buf, 8192, 64 * 1024), -EIO);
    CU_ASSERT_EQUAL(transfer(file, IO_READ, buf, 8192, 64 * 1024 - 4096), -EIO);
    CU_ASSERT_EQUAL(transfer(file, IO_READ, buf, 8192, 64 * 1024 - 8192), 0);
    CU_ASSERT_EQUAL(file_resize(file, 64 * 1024 - 100), 0);
    CU_ASSERT_EQUAL(transfer(file, IO_READ, buf, 8192, 64 * 1024 - 8192), -EIO);
    io_buffer_put(buf, 8192);
    file_close(file);
}

static void test_past_the_end(void)
{
    scratch_run_each(co_past_the_end);
}

/* The kernel cuts the write short at the limit; what is past it fails. */
static void co_file_size_limit(void *dir)
{
    struct rlimit before, limit = {32768, 32768};
    struct file *file = open_new(dir, 0);
    void *buf = io_buffer_get(65536);

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
    CU_ASSERT_EQUAL(transfer(file, IO_WRITE, memset(buf, 9, 65536), 65536, 0), -EFBIG);
    CU_ASSERT_EQUAL(transfer(file, IO_WRITE, buf, 32768, 0), 0);
    setrlimit(RLIMIT_FSIZE, &before);
    CU_ASSERT_TRUE(holds(file, 0, 32768, 9));
    io_buffer_put(buf, 65536);
    file_close(file);
}

static void test_file_size_limit(void)
{
    scratch_run_each(co_file_size_limit);
}

static void co_read_only(void *dir)
{
    struct file *file = open_new(dir, BLOCK), *reader = NULL;
    void *buf = io_buffer_get(BLOCK);

    CU_ASSERT_EQUAL(file_open(scratch_path(dir, "file"), FILE_READ_ONLY, &reader, NULL), 0);
    CU_ASSERT_EQUAL(transfer(reader, IO_WRITE, memset(buf, 1, BLOCK), BLOCK, 0), -EBADF);
    CU_ASSERT_EQUAL(transfer(reader, IO_READ, buf, BLOCK, 0), 0);
    CU_ASSERT_EQUAL(range(reader, IO_DISCARD, 0, 0, BLOCK), -EBADF);
    io_buffer_put(buf, BLOCK);
    file_close(reader);
    file_close(file);
}

static void test_read_only(void)
{
    scratch_run_each(co_read_only);
}

static void co_zeroes(void *dir)
{
    static const unsigned flags[] = {0, IO_MAY_UNMAP, IO_FAST | IO_MAY_UNMAP};
    struct file *file = open_new(dir, 4 << 20);

    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) {
        fill(file, 0, 2 << 20, 0xee);
        CU_ASSERT_EQUAL(range(file, IO_WRITE_ZEROES, flags[i], 4096, 1 << 20), 0);
        CU_ASSERT_TRUE(holds(file, 0, 4096, 0xee));
        CU_ASSERT_TRUE(holds(file, 4096, 1 << 20, 0));
        CU_ASSERT_TRUE(holds(file, 4096 + (1 << 20), 4096, 0xee));
    }
    fill(file, 0, 65536, 0xee);
    CU_ASSERT_EQUAL(range(file, IO_DISCARD, 0, 4096, 8192), 0);
    CU_ASSERT_TRUE(holds(file, 4096, 8192, 0));
    CU_ASSERT_TRUE(holds(file, 12288, 4096, 0xee));
    file_close(file);
}

static void test_zeroes(void)
{
    scratch_run_each(co_zeroes);
}

#define MANY 10000

struct many {
    struct wait_group *group;
    struct io io;
    struct iovec iov;
};

static void one_done(struct io *io)
{
    struct many *m = container_of(io, struct many, io);

    wait_group_done(m->group);
}

static void run_many(struct many *many, struct file *file, enum io_kind kind)
{
    struct wait_group group;

    wait_group_init(&group);
    wait_group_add(&group, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        many[i].group = &group;
        many[i].io = (struct io){.kind = kind,
            .file = file,
            .iov = &many[i].iov,
            .iov_count = 1,
            .offset = (uint64_t)(i * 7919 % MANY) * 4096,
            .result = 77,
            .done = one_done};
        io_start(&many[i].io);
        CU_ASSERT_EQUAL(group.pending, MANY); /* done is never called inside */
    }
    wait_group_wait(&group);
    for (unsigned i = 0; i < MANY; i++)
        if (many[i].io.result)
            CU_FAIL("an io failed");
}

/* Far more than the kernel takes at a time. */
static void co_many(void *dir)
{
    struct file *file = open_new(dir, (uint64_t)MANY * 4096);
    struct many *many = calloc(MANY, sizeof *many);
    unsigned char *memory = io_buffer_get((size_t)MANY * 4096);

    for (unsigned i = 0; i < MANY; i++) {
        many[i].iov = (struct iovec){memory + (size_t)i * 4096, 4096};
        memset(many[i].iov.iov_base, (int)i, 4096);
        memcpy(many[i].iov.iov_base, &i, sizeof i);
    }
    run_many(many, file, IO_WRITE);
    memset(memory, 0, (size_t)MANY * 4096);
    run_many(many, file, IO_READ);
    for (unsigned i = 0; i < MANY; i++) {
        unsigned char *p = many[i].iov.iov_base;

        CU_ASSERT_EQUAL(memcmp(p, &i, sizeof i), 0);
        CU_ASSERT_EQUAL(p[4095], (unsigned char)i);
    }
    io_buffer_put(memory, (size_t)MANY * 4096);
    free(many);
    file_close(file);
}

static void test_many(void)
{
    scratch_run_each(co_many);
}

#define SHARERS       4
#define SHARER_BLOCKS 200

struct sharer {
    struct file *file;
    unsigned number, failures;
    struct wait_group *group;
};

static void write_share(void *arg)
{
    struct sharer *s = arg;
    unsigned char *buf = io_buffer_get(BLOCK);

    memset(buf, (int)s->number + 1, BLOCK);
    for (unsigned i = 0; i < SHARER_BLOCKS; i++) {
        uint64_t offset = (i * SHARERS + s->number) * BLOCK;

        s->failures += transfer(s->file, IO_WRITE, buf, BLOCK, offset) != 0;
    }
    io_buffer_put(buf, BLOCK);
    wait_group_done(s->group);
}

/* Workers use one file at the same time. */
static void co_shared(void *dir)
{
    struct file *file = open_new(dir, SHARERS * SHARER_BLOCKS * BLOCK);
    struct sharer sharers[SHARERS];
    struct wait_group group;
    struct crew crew;

    crew_start(&crew, SHARERS);
    wait_group_init(&group);
    wait_group_add(&group, SHARERS);
    for (unsigned i = 0; i < SHARERS; i++) {
        sharers[i] = (struct sharer){file, i, 0, &group};
        CU_ASSERT_EQUAL(worker_start(crew.workers[i], "sharer", write_share, &sharers[i]), 0);
    }
    wait_group_wait(&group);
    crew_end(&crew);
    for (unsigned i = 0; i < SHARERS * SHARER_BLOCKS; i++)
        CU_ASSERT_TRUE(holds(file, i * BLOCK, BLOCK, (unsigned char)(i % SHARERS + 1)));
    CU_ASSERT_EQUAL(sharers[0].failures + sharers[1].failures + sharers[2].failures, 0);
    file_close(file);
}

static void test_shared(void)
{
    scratch_run_each(co_shared);
}

static void co_empty(void *dir)
{
    struct file *file = open_new(dir, BLOCK);
    struct wait_group group;
    struct many m = {
        .group = &group, .io = {.kind = IO_READ, .file = file, .result = 77, .done = one_done}};

    wait_group_init(&group);
    wait_group_add(&group, 1);
    io_start(&m.io);
    CU_ASSERT_EQUAL(m.io.result == 77 || m.io.result == 0, true);
    CU_ASSERT_EQUAL(group.pending, 1);
    wait_group_wait(&group);
    CU_ASSERT_EQUAL(m.io.result, 0);
    file_close(file);
}

static void test_empty(void)
{
    scratch_run_each(co_empty);
}

struct polled {
    struct io_poll poll;
    struct wait_group *group;
};

static void poll_done(struct io_poll *p)
{
    wait_group_done(container_of(p, struct polled, poll)->group);
}

static void poll_start(struct polled *p, struct wait_group *group, int fd, unsigned events)
{
    struct engine *e = engine_self();

    *p = (struct polled){{.fd = fd, .events = events, .result = 77, .done = poll_done}, group};
    wait_group_add(group, 1);
    e->ops->poll_add(e, &p->poll);
}

/* A reader and a writer wait for one socket. */
static void co_two_polls(void *arg)
{
    struct wait_group reads, writes;
    struct polled in, out;
    int fds[2];

    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    wait_group_init(&reads);
    wait_group_init(&writes);
    poll_start(&in, &reads, fds[0], EPOLLIN);
    poll_start(&out, &writes, fds[0], EPOLLOUT);
    wait_group_wait(&writes);
    CU_ASSERT_EQUAL(out.poll.result, EPOLLOUT);
    co_yield ();
    CU_ASSERT_EQUAL(in.poll.result, 77);
    CU_ASSERT_EQUAL(write(fds[1], "x", 1), 1);
    wait_group_wait(&reads);
    CU_ASSERT_TRUE(in.poll.result & EPOLLIN);
    close(fds[0]);
    close(fds[1]);
}

static void test_two_polls(void)
{
    scratch_run(co_two_polls);
}

static void co_poll_cancel(void *arg)
{
    struct engine *e = engine_self();
    struct wait_group group;
    struct polled p;
    int fds[2];

    CU_ASSERT_EQUAL(pipe(fds), 0);
    wait_group_init(&group);
    /* Before the kernel knows of it, and after. */
    poll_start(&p, &group, fds[0], EPOLLIN);
    e->ops->poll_cancel(e, &p.poll);
    CU_ASSERT_EQUAL(group.pending, 1); /* done is not called inside */
    wait_group_wait(&group);
    CU_ASSERT_EQUAL(p.poll.result, -ECANCELED);
    poll_start(&p, &group, fds[0], EPOLLIN);
    co_sleep_ns(1000000);
    CU_ASSERT_EQUAL(p.poll.result, 77);
    e->ops->poll_cancel(e, &p.poll);
    wait_group_wait(&group);
    CU_ASSERT_EQUAL(p.poll.result, -ECANCELED);
    /* Ready at the same time: either is right, once. */
    poll_start(&p, &group, fds[0], EPOLLIN);
    co_sleep_ns(1000000);
    CU_ASSERT_EQUAL(write(fds[1], "x", 1), 1);
    e->ops->poll_cancel(e, &p.poll);
    wait_group_wait(&group);
    CU_ASSERT_TRUE(p.poll.result == -ECANCELED || p.poll.result & EPOLLIN);
    close(fds[0]);
    close(fds[1]);
}

static void test_poll_cancel(void)
{
    scratch_run(co_poll_cancel);
}

static void co_poll_bad(void *arg)
{
    struct wait_group group;
    struct polled p;

    wait_group_init(&group);
    poll_start(&p, &group, 999, EPOLLIN);
    wait_group_wait(&group);
    CU_ASSERT_EQUAL(p.poll.result, -EBADF);
}

static void test_poll_bad(void)
{
    scratch_run(co_poll_bad);
}

/* More than the kernel is asked at a time, half of them taken back. */
static void co_many_polls(void *arg)
{
    struct polled *polls = calloc(500, sizeof *polls);
    struct engine *e = engine_self();
    struct wait_group group;
    int fds[2];

    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    wait_group_init(&group);
    for (unsigned i = 0; i < 500; i++)
        poll_start(&polls[i], &group, fds[0], EPOLLIN);
    co_sleep_ns(1000000);
    for (unsigned i = 0; i < 500; i += 2)
        e->ops->poll_cancel(e, &polls[i].poll);
    co_sleep_ns(1000000);
    CU_ASSERT_EQUAL(write(fds[1], "x", 1), 1);
    wait_group_wait(&group);
    for (unsigned i = 0; i < 500; i++)
        CU_ASSERT_EQUAL(polls[i].poll.result, i % 2 ? EPOLLIN : -ECANCELED);
    close(fds[0]);
    close(fds[1]);
    free(polls);
}

static void test_many_polls(void)
{
    scratch_run(co_many_polls);
}

static void co_with_little_left(void *dir)
{
    struct crew crew;

    aio_left = 40;
    crew_start(&crew, 2);
    if (crew.count == 2)
        CU_ASSERT_EQUAL(worker_call(crew.workers[1], "many", co_many, dir), 0);
    crew_end(&crew);
    aio_left = 1 << 16;
}

static void test_with_little_left(void)
{
    scratch_run_each(co_with_little_left);
}

CU_TestInfo engine_tests[] = {
    {"a write is read back", test_one_each},
    {"a durable write", test_durable},
    {"scattered memory", test_scattered},
    {"reading past the end fails", test_past_the_end},
    {"writing past the limit fails", test_file_size_limit},
    {"a read-only file is not changed", test_read_only},
    {"zeroes and discards", test_zeroes},
    {"ten thousand in flight", test_many},
    {"workers share a file", test_shared},
    {"a host with few asynchronous requests left", test_with_little_left},
    {"an empty io ends later all the same", test_empty},
    {"two polls of one descriptor", test_two_polls},
    {"polls are cancelled", test_poll_cancel},
    {"a poll of no descriptor fails", test_poll_bad},
    {"many polls", test_many_polls},
    CU_TEST_INFO_NULL,
};
