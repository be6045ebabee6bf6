/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listeners on Unix sockets. Opening: bind, set mode and owner, then listen: until then the kernel
 * refuses whoever connects, so nobody slips in while the file has the wrong mode. Runs on a helper
 * thread, for the file system may be slow.
 *
 * The file is removed on close only when it is still the one we made: a successor may have put its
 * own there.
 */
#include "rt/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt/host/socket.h"
#include "rt/worker.h"

/* Descriptors or memory are short: others may give some back meanwhile. */
#define SHORTAGE_PAUSE_NS 100000000

struct listener {
    int fd;
    _Atomic bool shut;
    bool made; /* the socket file; then st_dev and st_ino of it */
    dev_t dev;
    ino_t ino;
    struct sockaddr_un addr;
};

struct opening {
    struct listener *l;
    mode_t mode;
    uid_t owner;
    gid_t group;
    struct error *err;
};

/* 0 when nobody answers there, and nothing is there any more. */
static int remove_stale(const struct sockaddr_un *addr, struct error *err)
{
    const char *path = addr->sun_path;
    struct stat st;
    int fd, rc;

    if (lstat(path, &st) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, errno, "cannot listen on %s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return error_set(
            err, EEXIST, "cannot listen on %s: something else than a socket is there", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "cannot make a socket: %s", strerror(errno));
    rc = connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 ? errno : 0;
    close(fd);
    if (rc != ECONNREFUSED && rc != ENOENT)
        return error_set(err, EADDRINUSE, "cannot listen on %s: somebody else does", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set(
            err, errno, "cannot remove the stale socket %s: %s", path, strerror(errno));
    return 0;
}

static int bind_and_listen(struct opening *o)
{
    struct listener *l = o->l;
    const char *path = l->addr.sun_path;
    struct stat st;

    if (bind(l->fd, (struct sockaddr *)&l->addr, sizeof l->addr) < 0)
        return error_set(o->err, errno, "cannot bind %s: %s", path, strerror(errno));
    if (lstat(path, &st) < 0)
        return error_set(o->err, errno, "cannot look at %s: %s", path, strerror(errno));
    l->made = true;
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if (chmod(path, o->mode) < 0)
        return error_set(o->err, errno, "cannot set the mode of %s: %s", path, strerror(errno));
    if ((o->owner != (uid_t)-1 || o->group != (gid_t)-1) && lchown(path, o->owner, o->group) < 0)
        return error_set(o->err, errno, "cannot give %s to its owner: %s", path, strerror(errno));
    if (listen(l->fd, SOMAXCONN) < 0)
        return error_set(o->err, errno, "cannot listen on %s: %s", path, strerror(errno));
    return 0;
}

static int open_blocking(void *arg)
{
    struct opening *o = arg;
    int rc = remove_stale(&o->l->addr, o->err);

    if (rc < 0)
        return rc;
    o->l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (o->l->fd < 0)
        return error_set(o->err, errno, "cannot make a socket: %s", strerror(errno));
    return bind_and_listen(o);
}

int listener_open(
    const char *path, mode_t mode, uid_t owner, gid_t group, struct listener **l, struct error *err)
{
    struct opening o = {calloc(1, sizeof **l), mode, owner, group, err};
    int rc;

    if (!o.l)
        return error_set(err, ENOMEM, "out of memory");
    o.l->fd = -1;
    rc = socket_address(path, &o.l->addr, err);
    if (!rc)
        rc = rt_offload(open_blocking, &o);
    if (rc < 0)
        listener_close(o.l);
    else
        *l = o.l;
    return rc;
}

int listener_adopt(int fd, struct listener **l, struct error *err)
{
    struct listener *new;
    int listening = 0, domain = 0, type = 0, flags = fcntl(fd, F_GETFL);
    socklen_t length = sizeof(int);

    if (flags < 0)
        return error_set(err, errno, "descriptor %d: %s", fd, strerror(errno));
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
    if (!listening || domain != AF_UNIX || type != SOCK_STREAM)
        return error_set(err, EINVAL, "descriptor %d is no listening Unix stream socket", fd);
    new = calloc(1, sizeof *new);
    if (!new)
        return error_set(err, ENOMEM, "out of memory");
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    new->fd = fd;
    *l = new;
    return 0;
}

static bool short_of_something(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

int listener_accept(struct listener *l, struct stream **s)
{
    while (!l->shut) {
        int rc = 0, fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            return stream_adopt(fd, s);
        if (errno == EAGAIN)
            rc = socket_wait(l->fd, EPOLLIN, 0);
        else if (short_of_something(errno))
            co_sleep_ns(SHORTAGE_PAUSE_NS);
        else if (errno != EINTR && errno != ECONNABORTED && errno != EINVAL)
            return -errno;
        if (rc < 0)
            return rc;
    }
    return -ECANCELED;
}

void listener_shutdown(struct listener *l)
{
    l->shut = true; /* accept4 does not tell: EAGAIN, and the descriptor polls as ready */
    shutdown(l->fd, SHUT_RDWR);
}

void listener_close(struct listener *l)
{
    struct stat st;

    if (l->made && !lstat(l->addr.sun_path, &st) && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->addr.sun_path);
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}
