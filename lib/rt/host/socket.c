/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses of Unix sockets, and waiting for one to become ready, with a time limit: the timer
 * takes the poll back. All of it lives on the waiting coroutine's stack. */
#include "rt/host/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/list.h"
#include "rt/engine.h"
#include "rt/worker.h"

struct wait {
    struct io_poll poll;
    struct timer timer;
    struct co *waiter;
};

int socket_address(const char *path, struct sockaddr_un *addr, struct error *err)
{
    if (strlen(path) >= sizeof addr->sun_path)
        return error_set(err, ENAMETOOLONG, "%s is too long for a socket: at most %zu bytes", path,
            sizeof addr->sun_path - 1);
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(addr->sun_path, path);
    return 0;
}

static void ready(struct io_poll *p)
{
    struct wait *w = container_of(p, struct wait, poll);

    timer_cancel(&w->timer);
    co_wake(w->waiter);
}

static void late(struct timer *t)
{
    struct engine *e = engine_self();

    e->ops->poll_cancel(e, &container_of(t, struct wait, timer)->poll);
}

int socket_wait(int fd, unsigned events, uint64_t timeout_ns)
{
    struct engine *e = engine_self();
    struct wait w = {
        .poll = {.fd = fd, .events = events, .done = ready},
        .timer = {.fn = late},
        .waiter = co_self(),
    };

    e->ops->poll_add(e, &w.poll);
    if (timeout_ns)
        timer_arm(&w.timer, rt_now_ns() + timeout_ns);
    co_suspend("socket");
    if (w.poll.result >= 0)
        return 0;
    return w.poll.result == -ECANCELED ? -ETIMEDOUT : w.poll.result;
}
