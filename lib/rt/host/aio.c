/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine on libaio and epoll, for hosts that refuse io_uring. One context a worker, used by its
 * thread alone (interrupt excepted).
 *
 * What is submitted waits in a queue until the turn, which hands it to the kernel in batches, waits
 * in epoll and calls `done` for what has ended. Completions and interrupts are writes to eventfds
 * that epoll watches edge-triggered, so that they are never read.
 *
 * Where a file does not do direct I/O (info.direct is false) the kernel runs reads and writes to
 * their end inside io_submit: the worker waits for the page cache then, which is slower, never
 * wrong. What has no asynchronous form here (fallocate, BLKDISCARD) goes to a helper thread.
 */
#include "rt/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/host/file.h"
#include "rt/host/step.h"
#include "rt/worker.h"

#define IN_FLIGHT_MAX 512
#define IN_FLIGHT_MIN 32
#define BATCH         64

struct aio {
    struct engine engine;
    io_context_t context;
    unsigned in_flight, in_flight_max; /* ios that the kernel has, and may have */
    struct io_fifo queued, ended;
    struct list polls_ended;
    int epoll_fd, event_fd, wake_fd;
};

static struct aio *aio_of(struct engine *e)
{
    return container_of(e, struct aio, engine);
}

static void aio_destroy(struct engine *e)
{
    struct aio *a = aio_of(e);
    int fds[] = {a->epoll_fd, a->event_fd, a->wake_fd};

    if (a->context)
        io_destroy(a->context);
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(a);
}

static int watch(int epoll_fd, int fd, uint32_t events, void *ptr)
{
    struct epoll_event ev = {.events = events, .data.ptr = ptr};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* The whole host shares fs.aio-max-nr: where that has nearly been taken, a worker does with less.
 */
static int set_up_context(struct aio *a)
{
    int rc;

    a->in_flight_max = 2 * IN_FLIGHT_MAX;
    do {
        a->in_flight_max /= 2;
        rc = io_setup((int)a->in_flight_max, &a->context);
    } while (rc == -EAGAIN && a->in_flight_max > IN_FLIGHT_MIN);
    return rc;
}

static int aio_open(struct aio *a)
{
    struct epoll_event ev;
    int rc;

    a->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    a->event_fd = eventfd(0, EFD_CLOEXEC);
    a->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (a->epoll_fd < 0 || a->event_fd < 0 || a->wake_fd < 0)
        return -errno;
    rc = set_up_context(a);
    if (!rc)
        rc = watch(a->epoll_fd, a->event_fd, EPOLLIN | EPOLLET, NULL);
    if (!rc)
        rc = watch(a->epoll_fd, a->wake_fd, EPOLLIN | EPOLLET, NULL);
    /* Linux 5.11. */
    if (!rc && epoll_pwait2(a->epoll_fd, &ev, 1, &(struct timespec){0}, NULL) < 0)
        rc = -errno;
    return rc;
}

static int aio_create(struct engine **e)
{
    struct aio *a = calloc(1, sizeof *a);
    int rc;

    if (!a)
        return -ENOMEM;
    a->engine.ops = &engine_aio;
    a->epoll_fd = a->event_fd = a->wake_fd = -1;
    io_fifo_init(&a->queued);
    io_fifo_init(&a->ended);
    list_init(&a->polls_ended);
    rc = aio_open(a);
    if (rc < 0) {
        aio_destroy(&a->engine);
        return rc;
    }
    *e = &a->engine;
    return 0;
}

static void aio_interrupt(struct engine *e)
{
    struct aio *a = aio_of(e);

    /* Fails only when the counter is full, after 2^64 interrupts. */
    (void)!write(a->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void ask(struct aio *a, struct io *io);

static void io_ended(struct aio *a, struct io *io, int64_t res)
{
    if (step_end(io, res))
        io->done(io);
    else
        ask(a, io);
}

static void run_offloaded(void *io)
{
    io_ended(aio_of(engine_self()), io, rt_offload(step_run, io));
}

/* Queues it for the turn, except what needs a helper thread. */
static void ask(struct aio *a, struct io *io)
{
    struct step s;

    step_next(io, &s);
    if (s.call != STEP_FALLOCATE && s.call != STEP_DISCARD) {
        io_fifo_push(&a->queued, io);
    } else if (co_start("fallocate", run_offloaded, io) < 0) {
        io->result = -ENOMEM;
        io_fifo_push(&a->ended, io);
    }
}

static void aio_submit(struct engine *e, struct io *io)
{
    struct aio *a = aio_of(e);

    if (step_first(io))
        io_fifo_push(&a->ended, io);
    else
        ask(a, io);
}

static void prepare(struct aio *a, struct io *io, struct iocb *cb)
{
    struct step s;

    step_next(io, &s);
    if (s.call == STEP_SYNC)
        io_prep_fdsync(cb, s.fd);
    else if (s.call == STEP_READ && s.iov_count == 1)
        io_prep_pread(cb, s.fd, s.iov->iov_base, s.iov->iov_len, (long long)s.offset);
    else if (s.call == STEP_READ)
        io_prep_preadv(cb, s.fd, s.iov, s.iov_count, (long long)s.offset);
    else if (s.iov_count == 1)
        io_prep_pwrite(cb, s.fd, s.iov->iov_base, s.iov->iov_len, (long long)s.offset);
    else
        io_prep_pwritev(cb, s.fd, s.iov, s.iov_count, (long long)s.offset);
    if (s.call == STEP_WRITE)
        cb->aio_rw_flags = (unsigned)s.rw_flags;
    io_set_eventfd(cb, a->event_fd);
    cb->data = io;
}

/* One batch; false when there was nothing to submit or the kernel takes no more now. */
static bool submit_batch(struct aio *a)
{
    struct iocb cbs[BATCH], *list[BATCH];
    struct io *io = a->queued.head;
    int count = 0, taken;

    for (; io && count < BATCH && a->in_flight + (unsigned)count < a->in_flight_max;
         io = io->next) {
        prepare(a, io, &cbs[count]);
        list[count] = &cbs[count];
        count++;
    }
    taken = count ? io_submit(a->context, count, list) : -EAGAIN;
    for (int i = 0; i < taken; i++)
        io_fifo_pop(&a->queued);
    if (taken > 0)
        a->in_flight += (unsigned)taken;
    if (taken >= 0 || taken == -EAGAIN || taken == -EINTR)
        return taken > 0;
    /* The error is the first one's. */
    io = io_fifo_pop(&a->queued);
    io->result = taken;
    io_fifo_push(&a->ended, io);
    return true;
}

/* Calls done for what has ended; returns how many. */
static unsigned reap(struct aio *a)
{
    struct io_event events[BATCH];
    unsigned sum = 0;
    int count;

    do {
        count = io_getevents(a->context, 0, BATCH, events, &(struct timespec){0});
        for (int i = 0; i < count; i++) {
            a->in_flight--;
            io_ended(a, events[i].data, (long)events[i].res);
            sum++;
        }
    } while (count == BATCH);
    return sum;
}

static void poll_ended(struct aio *a, struct io_poll *p, int result)
{
    list_remove(&p->link);
    p->result = result;
    list_append(&a->polls_ended, &p->link);
}

/* epoll knows a descriptor only once: a second poll of it is given a duplicate. */
static void aio_poll_add(struct engine *e, struct io_poll *p)
{
    struct aio *a = aio_of(e);
    int rc;

    list_init(&p->link);
    p->registered = p->fd;
    rc = watch(a->epoll_fd, p->fd, p->events, p);
    if (rc == -EEXIST) {
        p->registered = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
        rc = p->registered < 0 ? -errno : watch(a->epoll_fd, p->registered, p->events, p);
        if (rc < 0 && p->registered >= 0)
            close(p->registered);
    }
    if (rc < 0) {
        p->registered = -1;
        poll_ended(a, p, rc);
    }
}

static void unregister(struct aio *a, struct io_poll *p)
{
    if (p->registered < 0)
        return;
    epoll_ctl(a->epoll_fd, EPOLL_CTL_DEL, p->registered, NULL);
    if (p->registered != p->fd)
        close(p->registered);
    p->registered = -1;
}

static void aio_poll_cancel(struct engine *e, struct io_poll *p)
{
    unregister(aio_of(e), p);
    poll_ended(aio_of(e), p, -ECANCELED);
}

/* Calls no done, so that a poll among the events can not be gone when its turn comes. */
static void wait_events(struct aio *a, uint64_t timeout_ns)
{
    struct timespec ts = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    struct epoll_event events[BATCH];
    int count =
        epoll_pwait2(a->epoll_fd, events, BATCH, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);

    for (int i = 0; i < count; i++) {
        struct io_poll *p = events[i].data.ptr;

        if (!p) /* an eventfd */
            continue;
        unregister(a, p);
        poll_ended(a, p, (int)events[i].events);
    }
}

/* Calls done for polls, and for ios that ended without the kernel. */
static void end_queued(struct aio *a)
{
    struct list polls = LIST_INIT(polls), *link;
    struct io_fifo ios = a->ended;
    struct io *io;

    if (ios.head) {
        io_fifo_init(&a->ended);
        while ((io = io_fifo_pop(&ios)))
            io->done(io);
    }
    list_splice(&polls, &a->polls_ended);
    while ((link = list_first(&polls))) {
        struct io_poll *p = container_of(link, struct io_poll, link);

        list_remove(link);
        p->done(p);
    }
}

static void aio_turn(struct engine *e, uint64_t timeout_ns)
{
    struct aio *a = aio_of(e);

    while (submit_batch(a))
        ;
    if (reap(a) || a->ended.head || !list_empty(&a->polls_ended))
        timeout_ns = 0;
    /* The kernel had no memory for a single one: try again. */
    if (a->queued.head && !a->in_flight)
        timeout_ns = MIN(timeout_ns, (uint64_t)1000000);
    wait_events(a, timeout_ns);
    reap(a);
    end_queued(a);
}

const struct engine_ops engine_aio = {
    .name = "aio",
    .create = aio_create,
    .submit = aio_submit,
    .poll_add = aio_poll_add,
    .poll_cancel = aio_poll_cancel,
    .turn = aio_turn,
    .interrupt = aio_interrupt,
    .destroy = aio_destroy,
};
