/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine on io_uring: one ring a worker, used by its thread alone (interrupt excepted).
 *
 * What is submitted waits in a queue until the turn, which fills the submission queue from it,
 * enters the kernel once and calls `done` for what has ended. Ios in flight are bounded so that
 * their completions always fit the ring; what is above the bound stays queued.
 *
 * An interrupt is a write to an eventfd, which is watched by a multishot poll and never read: each
 * write is one more event.
 *
 * Completions are told apart by the low bits of user_data: an io, a poll, the eventfd, or nothing
 * of interest.
 */
#include "rt/engine.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/host/file.h"
#include "rt/host/step.h"
#include "rt/worker.h"

#define SUBMISSIONS   256
#define IN_FLIGHT_MAX 2048
/* The rest is for polls; should those be more, the kernel keeps their completions aside. */
#define COMPLETIONS (2 * IN_FLIGHT_MAX)

enum tag { TAG_IO, TAG_POLL, TAG_WAKE, TAG_NONE, TAG_MASK = 3 };

struct uring {
    struct engine engine;
    struct io_uring ring;
    unsigned in_flight; /* ios that the kernel has */
    struct io_fifo queued, ended;
    struct list polls_queued, polls_cancelled; /* to be asked for, to be taken back */
    struct list polls_ended;
    int wake_fd;
    bool wake_armed;
};

static struct uring *uring_of(struct engine *e)
{
    return container_of(e, struct uring, engine);
}

static int ring_create(struct io_uring *ring)
{
    /* From the newest to the oldest kernel; without any of them a completion may cost an
     * interprocessor interrupt. */
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int rc = -EINVAL;

    for (unsigned i = 0; i < ARRAY_LEN(flags) && rc == -EINVAL; i++) {
        struct io_uring_params p = {
            .flags = flags[i] | IORING_SETUP_CQSIZE, .cq_entries = COMPLETIONS};

        rc = io_uring_queue_init_params(SUBMISSIONS, ring, &p);
    }
    if (rc < 0)
        return rc;
    /* Linux 5.13: the first with multishot polls. */
    if (!(ring->features & IORING_FEAT_RSRC_TAGS)) {
        io_uring_queue_exit(ring);
        return -ENOSYS;
    }
    /* Saves looking up the descriptor at each turn; not vital. */
    io_uring_register_ring_fd(ring);
    return 0;
}

static int uring_create(struct engine **e)
{
    struct uring *u = calloc(1, sizeof *u);
    int rc;

    if (!u)
        return -ENOMEM;
    u->engine.ops = &engine_uring;
    io_fifo_init(&u->queued);
    io_fifo_init(&u->ended);
    list_init(&u->polls_queued);
    list_init(&u->polls_cancelled);
    list_init(&u->polls_ended);
    u->wake_fd = eventfd(0, EFD_CLOEXEC);
    rc = u->wake_fd < 0 ? -errno : ring_create(&u->ring);
    if (rc < 0) {
        if (u->wake_fd >= 0)
            close(u->wake_fd);
        free(u);
        return rc;
    }
    *e = &u->engine;
    return 0;
}

static void uring_destroy(struct engine *e)
{
    struct uring *u = uring_of(e);

    io_uring_queue_exit(&u->ring);
    close(u->wake_fd);
    free(u);
}

static void uring_poll_add(struct engine *e, struct io_poll *p)
{
    p->registered = false;
    list_append(&uring_of(e)->polls_queued, &p->link);
}

static void uring_poll_cancel(struct engine *e, struct io_poll *p)
{
    struct uring *u = uring_of(e);

    list_remove(&p->link);
    list_append(p->registered ? &u->polls_cancelled : &u->polls_ended, &p->link);
}

static void uring_interrupt(struct engine *e)
{
    struct uring *u = uring_of(e);

    /* Fails only when the counter is full, after 2^64 interrupts. */
    (void)!write(u->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void ask(struct uring *u, struct io *io);

static void io_ended(struct uring *u, struct io *io, int64_t res)
{
    if (step_end(io, res))
        io->done(io);
    else
        ask(u, io);
}

static void run_offloaded(void *io)
{
    io_ended(uring_of(engine_self()), io, rt_offload(step_run, io));
}

/* Queues it for the turn. Only the ioctl has no asynchronous form on the kernels we run on. */
static void ask(struct uring *u, struct io *io)
{
    if (io->kind != IO_DISCARD || !io->file->info.block_device) {
        io_fifo_push(&u->queued, io);
    } else if (co_start("discard", run_offloaded, io) < 0) {
        io->result = -ENOMEM;
        io_fifo_push(&u->ended, io);
    }
}

static void uring_submit(struct engine *e, struct io *io)
{
    struct uring *u = uring_of(e);

    if (step_first(io))
        io_fifo_push(&u->ended, io);
    else
        ask(u, io);
}

static void sqe_set(struct io_uring_sqe *sqe, const void *object, enum tag tag)
{
    io_uring_sqe_set_data64(sqe, (uintptr_t)object | tag);
}

static void prepare_io(struct io_uring_sqe *sqe, const struct step *s)
{
    const struct iovec *v = s->iov;

    if (s->call == STEP_READ && s->iov_count == 1)
        io_uring_prep_read(sqe, s->fd, v->iov_base, (unsigned)MIN(v->iov_len, 1u << 30), s->offset);
    else if (s->call == STEP_READ)
        io_uring_prep_readv(sqe, s->fd, v, (unsigned)s->iov_count, s->offset);
    else if (s->call == STEP_WRITE && s->iov_count == 1)
        io_uring_prep_write(
            sqe, s->fd, v->iov_base, (unsigned)MIN(v->iov_len, 1u << 30), s->offset);
    else if (s->call == STEP_WRITE)
        io_uring_prep_writev(sqe, s->fd, v, (unsigned)s->iov_count, s->offset);
    else if (s->call == STEP_SYNC)
        io_uring_prep_fsync(sqe, s->fd, IORING_FSYNC_DATASYNC);
    else
        io_uring_prep_fallocate(sqe, s->fd, s->mode, (off_t)s->offset, (off_t)s->length);
    if (s->call == STEP_READ || s->call == STEP_WRITE)
        sqe->rw_flags = s->rw_flags;
}

static void prepare_ios(struct uring *u)
{
    struct io_uring_sqe *sqe;

    while (u->queued.head && u->in_flight < IN_FLIGHT_MAX && (sqe = io_uring_get_sqe(&u->ring))) {
        struct io *io = io_fifo_pop(&u->queued);
        struct step s;

        step_next(io, &s);
        prepare_io(sqe, &s);
        sqe_set(sqe, io, TAG_IO);
        u->in_flight++;
    }
}

static struct io_poll *first_poll(struct list *polls)
{
    struct io_poll *p = container_of(polls->next, struct io_poll, link);

    list_remove(&p->link);
    return p;
}

static void prepare_polls(struct uring *u)
{
    struct io_uring_sqe *sqe;
    struct io_poll *p;

    if (!u->wake_armed && (sqe = io_uring_get_sqe(&u->ring))) {
        io_uring_prep_poll_multishot(sqe, u->wake_fd, POLLIN);
        sqe_set(sqe, NULL, TAG_WAKE);
        u->wake_armed = true;
    }
    /* Before the new ones: a poll's memory may be used for another as soon as it has ended. */
    while (!list_empty(&u->polls_cancelled) && (sqe = io_uring_get_sqe(&u->ring))) {
        p = first_poll(&u->polls_cancelled);
        io_uring_prep_poll_remove(sqe, (uintptr_t)p | TAG_POLL);
        sqe_set(sqe, NULL, TAG_NONE);
    }
    while (!list_empty(&u->polls_queued) && (sqe = io_uring_get_sqe(&u->ring))) {
        p = first_poll(&u->polls_queued);
        io_uring_prep_poll_add(sqe, p->fd, p->events);
        sqe_set(sqe, p, TAG_POLL);
        p->registered = true;
    }
}

/* Fills the submission queue; true when it was too short. */
static bool prepare(struct uring *u)
{
    prepare_polls(u);
    prepare_ios(u);
    return !io_uring_sq_space_left(&u->ring);
}

/* Completions wait for us to enter the kernel. */
static bool kernel_calls(const struct uring *u)
{
    return __atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED) &
           (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Failures (-EINTR, -ETIME, -EAGAIN for want of memory) need no care: what was not taken stays in
 * the submission queue for the next turn. */
static void enter(struct uring *u, uint64_t timeout_ns)
{
    struct __kernel_timespec ts = {
        (int64_t)(timeout_ns / 1000000000), (int64_t)(timeout_ns % 1000000000)};
    struct io_uring_cqe *cqe;

    if (io_uring_cq_ready(&u->ring))
        timeout_ns = 0;
    if (timeout_ns)
        io_uring_submit_and_wait_timeout(
            &u->ring, &cqe, 1, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
    else if (io_uring_sq_ready(&u->ring) || kernel_calls(u))
        io_uring_submit_and_get_events(&u->ring);
}

static void poll_ended(struct io_poll *p, int result)
{
    list_remove(&p->link);
    p->result = result;
    p->done(p);
}

static void reap_one(struct uring *u, const struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    void *object = (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);

    switch (data & TAG_MASK) {
    case TAG_IO:
        u->in_flight--;
        io_ended(u, object, cqe->res);
        break;
    case TAG_POLL:
        poll_ended(object, cqe->res);
        break;
    case TAG_WAKE:
        u->wake_armed = cqe->flags & IORING_CQE_F_MORE;
        break;
    }
}

static void reap(struct uring *u)
{
    unsigned head, count = 0;
    struct io_uring_cqe *cqe;

    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        reap_one(u, cqe);
        count++;
    }
    io_uring_cq_advance(&u->ring, count);
}

/* What ended without the kernel. */
static void end_queued(struct uring *u)
{
    struct list polls = LIST_INIT(polls), *link;
    struct io_fifo ios = u->ended;
    struct io *io;

    if (ios.head) {
        io_fifo_init(&u->ended);
        while ((io = io_fifo_pop(&ios)))
            io->done(io);
    }
    list_splice(&polls, &u->polls_ended);
    while ((link = list_first(&polls)))
        poll_ended(container_of(link, struct io_poll, link), -ECANCELED);
}

static void uring_turn(struct engine *e, uint64_t timeout_ns)
{
    struct uring *u = uring_of(e);
    bool ended = u->ended.head || !list_empty(&u->polls_ended);

    while (prepare(u) && io_uring_submit(&u->ring) > 0)
        ;
    enter(u, ended ? 0 : timeout_ns);
    reap(u);
    end_queued(u);
}

const struct engine_ops engine_uring = {
    .name = "uring",
    .create = uring_create,
    .submit = uring_submit,
    .poll_add = uring_poll_add,
    .poll_cancel = uring_poll_cancel,
    .turn = uring_turn,
    .interrupt = uring_interrupt,
    .destroy = uring_destroy,
};
