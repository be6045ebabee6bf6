/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams over Unix sockets. The descriptors do not block: a call tries first, and only when the
 * kernel has nothing (or no room) asks the engine to tell when it has, and waits.
 *
 * shutdown(2) from any thread ends whoever waits: the descriptor becomes ready, and the call tried
 * again finds the end (read) or EPIPE (write).
 *
 * What can fail: the peer goes away (end of the stream, -EPIPE) or stops reading (-ETIMEDOUT, if
 * the writer set a time).
 */
#include "rt/stream.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/host/socket.h"
#include "rt/worker.h"

struct stream {
    int fd;
    struct peer peer;
};

int stream_adopt(int fd, struct stream **s)
{
    struct stream *new = calloc(1, sizeof *new);
    struct ucred cred;
    socklen_t length = sizeof cred;

    if (!new) {
        close(fd);
        return -ENOMEM;
    }
    new->fd = fd;
    if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
        new->peer = (struct peer){cred.pid, cred.uid, cred.gid};
    *s = new;
    return 0;
}

int stream_connect(const char *path, struct stream **s, struct error *err)
{
    struct sockaddr_un addr;
    int fd, rc = socket_address(path, &addr, err);

    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "cannot make a socket: %s", strerror(errno));
    while (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        rc = errno;
        /* The listener's queue is full: a Unix socket has no way to wait for room. */
        if (rc == EAGAIN || rc == EINTR) {
            co_sleep_ns(1000000);
            continue;
        }
        close(fd);
        return error_set(err, rc, "cannot connect to %s: %s", path, strerror(rc));
    }
    rc = stream_adopt(fd, s);
    return rc < 0 ? error_set(err, -rc, "out of memory") : 0;
}

int stream_pair(struct stream **a, struct stream **b)
{
    struct stream *first;
    int fds[2], rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    rc = stream_adopt(fds[0], &first);
    if (rc < 0) {
        close(fds[1]);
        return rc;
    }
    rc = stream_adopt(fds[1], b);
    if (rc < 0)
        stream_close(first);
    else
        *a = first;
    return rc;
}

void stream_peer(const struct stream *s, struct peer *peer)
{
    *peer = s->peer;
}

void stream_set_buffers(struct stream *s, unsigned bytes)
{
    int value = (int)MIN(bytes, (unsigned)INT_MAX / 2);

    /* The first pair goes beyond the system's limit, with the privilege for it. */
    if (setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &value, sizeof value) < 0)
        setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &value, sizeof value);
    if (setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &value, sizeof value) < 0)
        setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &value, sizeof value);
}

ssize_t stream_read(struct stream *s, void *buf, size_t min, size_t max)
{
    size_t got = 0;

    do {
        ssize_t n = recv(s->fd, (char *)buf + got, max - got, 0);
        int rc;

        if (n == 0)
            break;
        if (n > 0) {
            got += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        rc = socket_wait(s->fd, EPOLLIN, 0);
        if (rc < 0)
            return rc;
    } while (got < min);
    return (ssize_t)got;
}

/* Moves the head of the list past `n` bytes and what is empty. */
static void advance(struct iovec **iov, int *iov_count, size_t n)
{
    while (*iov_count && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        ++*iov;
        --*iov_count;
    }
    if (n) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

int stream_write(struct stream *s, struct iovec *iov, int iov_count, uint64_t stall_ns)
{
    bool late = false;

    advance(&iov, &iov_count, 0);
    while (iov_count) {
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)MIN(iov_count, IOV_MAX)};
        ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
        int rc;

        if (n >= 0) {
            advance(&iov, &iov_count, (size_t)n);
            late = false;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return errno == ECONNRESET ? -EPIPE : -errno;
        if (late)
            return -ETIMEDOUT;
        /* A socket becomes ready when most of its buffer is free: when it is late there may be room
         * all the same, which counts. */
        rc = socket_wait(s->fd, EPOLLOUT, stall_ns);
        late = rc == -ETIMEDOUT;
        if (rc < 0 && !late)
            return rc;
    }
    return 0;
}

void stream_shutdown(struct stream *s)
{
    shutdown(s->fd, SHUT_RDWR);
}

void stream_shutdown_read(struct stream *s)
{
    shutdown(s->fd, SHUT_RD);
}

void stream_close(struct stream *s)
{
    close(s->fd);
    free(s);
}
