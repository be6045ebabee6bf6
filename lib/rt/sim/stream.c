/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams of the simulator: a connection is two pipes in the machine's memory, and ends with it.
 * They behave as Unix sockets do on the host (host/stream.c): what was sent before an end can still
 * be read; who closes with unread data resets the other; a pipe that one side has shut takes no
 * more. The pipes are of several sizes, and a transfer moves as much as it can or, at random, less.
 *
 * A connection belongs to its two streams, and goes with the second. Its spinlock guards it;
 * whoever waits has cleared the pipe's event under the lock, so that no change is missed.
 *
 * What can fail: the peer goes away (end of the stream, -ECONNRESET, -EPIPE) or stops reading
 * (-ETIMEDOUT, if the writer set a time).
 */
#include "rt/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "rt/sim/sim.h"
#include "rt/sim/stream.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define PIPE_BYTES_MIN 512u
#define PIPE_BYTES_MAX (64u << 10)

/* One direction. */
struct pipe {
    size_t room_bytes, start, used_bytes;
    bool shut;                       /* nothing more is taken */
    bool reset;                      /* what was to be read is lost with the peer; told once */
    struct co_event filled, drained; /* also set by an end */
    unsigned char data[PIPE_BYTES_MAX];
};

struct connection {
    struct spinlock lock;
    unsigned open_sides;
    struct pipe pipes[2]; /* pipes[n] is read by side n */
};

struct stream {
    struct connection *connection;
    unsigned side;
};

static struct pipe *incoming(struct stream *s)
{
    return &s->connection->pipes[s->side];
}

static struct pipe *outgoing(struct stream *s)
{
    return &s->connection->pipes[!s->side];
}

static void pipe_init(struct pipe *p)
{
    struct sim_random *random = &sim->random[SIM_SCHEDULE];

    p->room_bytes = PIPE_BYTES_MIN << sim_below(random, 8);
    co_event_init(&p->filled);
    co_event_init(&p->drained);
}

static void pipe_shut(struct pipe *p)
{
    p->shut = true;
    co_event_set(&p->filled);
    co_event_set(&p->drained);
}

/* How much of `bytes`, which is not 0, goes at once. */
static size_t portion(size_t bytes)
{
    struct sim_random *random = &sim->random[SIM_SCHEDULE];

    return sim_one_in(random, 4) ? 1 + (size_t)sim_below(random, bytes) : bytes;
}

static size_t pipe_take(struct pipe *p, unsigned char *to, size_t max)
{
    size_t bytes = portion(MIN(max, p->used_bytes)), head = MIN(bytes, PIPE_BYTES_MAX - p->start);

    memcpy(to, p->data + p->start, head);
    memcpy(to + head, p->data, bytes - head);
    p->start = (p->start + bytes) % PIPE_BYTES_MAX;
    p->used_bytes -= bytes;
    co_event_set(&p->drained);
    return bytes;
}

static size_t pipe_put(struct pipe *p, const unsigned char *from, size_t max)
{
    size_t end = (p->start + p->used_bytes) % PIPE_BYTES_MAX;
    size_t bytes = portion(MIN(max, p->room_bytes - p->used_bytes));
    size_t head = MIN(bytes, PIPE_BYTES_MAX - end);

    memcpy(p->data + end, from, head);
    memcpy(p->data, from + head, bytes - head);
    p->used_bytes += bytes;
    co_event_set(&p->filled);
    return bytes;
}

int stream_pair(struct stream **a, struct stream **b)
{
    struct connection *c = calloc(1, sizeof *c);
    struct stream *streams[2] = {malloc(sizeof **a), malloc(sizeof **b)};

    if (!c || !streams[0] || !streams[1]) {
        free(c);
        free(streams[0]);
        free(streams[1]);
        return -ENOMEM;
    }
    c->open_sides = 2;
    for (unsigned side = 0; side < 2; side++) {
        pipe_init(&c->pipes[side]);
        *streams[side] = (struct stream){c, side};
    }
    *a = streams[0];
    *b = streams[1];
    return 0;
}

void stream_peer(const struct stream *s, struct peer *peer)
{
    *peer = (struct peer){.pid = SIM_PEER_PID};
}

void stream_set_buffers(struct stream *s, unsigned bytes)
{
}

/* Bytes moved; 0 at the end or when there is nothing yet, which `ended` tells apart. */
static ssize_t read_some(struct stream *s, void *buf, size_t max, bool *ended)
{
    struct pipe *p = incoming(s);
    ssize_t n = 0;

    spin_lock(&s->connection->lock);
    if (p->used_bytes) {
        n = (ssize_t)pipe_take(p, buf, max);
    } else if (p->reset) {
        p->reset = false;
        n = -ECONNRESET;
    } else if (p->shut) {
        *ended = true;
    } else {
        co_event_clear(&p->filled);
    }
    spin_unlock(&s->connection->lock);
    return n;
}

ssize_t stream_read(struct stream *s, void *buf, size_t min, size_t max)
{
    size_t got = 0;
    bool ended = max == 0;

    while (!ended) {
        ssize_t n = read_some(s, (char *)buf + got, max - got, &ended);

        if (n < 0)
            return n;
        got += (size_t)n;
        if (got && got >= min)
            break;
        if (n == 0 && !ended)
            co_event_wait(&incoming(s)->filled);
    }
    return (ssize_t)got;
}

static ssize_t write_some(struct stream *s, const void *buf, size_t max)
{
    struct pipe *p = outgoing(s);
    ssize_t n = 0;

    spin_lock(&s->connection->lock);
    if (p->shut)
        n = -EPIPE;
    else if (p->used_bytes < p->room_bytes)
        n = (ssize_t)pipe_put(p, buf, max);
    else
        co_event_clear(&p->drained);
    spin_unlock(&s->connection->lock);
    return n;
}

static int write_buffer(struct stream *s, const char *buf, size_t length, uint64_t stall_ns)
{
    while (length) {
        ssize_t n = write_some(s, buf, length);

        if (n < 0)
            return (int)n;
        buf += n;
        length -= (size_t)n;
        if (n)
            continue;
        if (!stall_ns)
            co_event_wait(&outgoing(s)->drained);
        else if (!co_event_wait_until(&outgoing(s)->drained, rt_now_ns() + stall_ns))
            return -ETIMEDOUT;
    }
    return 0;
}

int stream_write(struct stream *s, struct iovec *iov, int iov_count, uint64_t stall_ns)
{
    int rc = 0;

    for (int i = 0; i < iov_count && !rc; i++)
        rc = write_buffer(s, iov[i].iov_base, iov[i].iov_len, stall_ns);
    return rc;
}

void stream_shutdown(struct stream *s)
{
    spin_lock(&s->connection->lock);
    pipe_shut(incoming(s));
    pipe_shut(outgoing(s));
    spin_unlock(&s->connection->lock);
}

void stream_shutdown_read(struct stream *s)
{
    spin_lock(&s->connection->lock);
    pipe_shut(incoming(s));
    spin_unlock(&s->connection->lock);
}

void stream_reset(struct stream *s)
{
    spin_lock(&s->connection->lock);
    outgoing(s)->reset = true;
    spin_unlock(&s->connection->lock);
    stream_close(s);
}

void stream_close(struct stream *s)
{
    struct connection *c = s->connection;
    bool last;

    spin_lock(&c->lock);
    if (incoming(s)->used_bytes)
        outgoing(s)->reset = true;
    pipe_shut(incoming(s));
    pipe_shut(outgoing(s));
    last = --c->open_sides == 0;
    spin_unlock(&c->lock);
    if (last)
        free(c);
    free(s);
}
