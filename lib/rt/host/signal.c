/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A signalfd, polled by the engine of the worker that waits. */
#include "rt/signal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/list.h"
#include "rt/engine.h"
#include "rt/worker.h"

struct signals {
    int fd;
    struct io_poll poll;
    struct co *waiter;
};

int signals_open(struct signals **signals, const int *numbers)
{
    struct signals *s = calloc(1, sizeof *s);
    sigset_t set;

    if (!s)
        return -ENOMEM;
    sigemptyset(&set);
    for (; *numbers; numbers++)
        sigaddset(&set, *numbers);
    s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0) {
        int rc = -errno;

        free(s);
        return rc;
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    *signals = s;
    return 0;
}

static void readable(struct io_poll *p)
{
    co_wake(container_of(p, struct signals, poll)->waiter);
}

int signals_next(struct signals *s)
{
    struct signalfd_siginfo info;

    while (read(s->fd, &info, sizeof info) != sizeof info) {
        struct engine *e = engine_self();

        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        s->waiter = co_self();
        s->poll = (struct io_poll){.fd = s->fd, .events = EPOLLIN, .done = readable};
        e->ops->poll_add(e, &s->poll);
        co_suspend("a signal");
    }
    return (int)info.ssi_signo;
}

void signals_close(struct signals *s)
{
    close(s->fd);
    free(s);
}
