/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Coroutines read, write, zero, discard and flush at random; those whose sectors overlap take
 * turns, so each sector's history is a sequence and every read has one right answer. Neighbours in
 * a cluster do not wait for one another: that is what the image has to bear.
 *
 * What each sector may hold stands in a file that is mapped, for whoever looks at the image after
 * this process was killed. It has four numbers a sector, little-endian, one array after the other:
 * the last operation begun, acknowledged and durable, and the last that zeroes begun, each as twice
 * the operation's number, plus 1 for zeros; 0: as in the raw file. A sector holds what is durable
 * or something begun later.
 */
#include "parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "rt/sync.h"

#define SECTOR_BYTES   512
#define TRANSFER_BYTES (2u << 20)
#define SNAPSHOT_OPS   200 /* between two */
#define COMPACT_OPS    100
#define SNAPSHOTS      3 /* at a time */

typedef _Atomic uint64_t number;

struct parallel {
    const struct parallel_plan *plan;
    uint64_t sectors;
    uint8_t *raw;
    number *begun, *acked, *durable, *zeroed; /* one mapping */
    struct range_lock lock;
    number clock; /* of operations */
    atomic_bool failed;
    struct error err;
    struct wait_group running;
};

/* One coroutine's. */
struct guest {
    struct parallel *p;
    uint64_t random;
    uint8_t *buf;
};

struct span {
    uint64_t first, count; /* sectors */
    struct range_holder holder;
};

static uint64_t next_random(struct guest *g)
{
    uint64_t z = g->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t below(struct guest *g, uint64_t n)
{
    return next_random(g) % n;
}

void stamp_sectors(void *to, uint64_t stamp, uint64_t n, uint64_t count)
{
    uint8_t *at = to;

    for (; count--; n++)
        for (unsigned i = 0; i < SECTOR_BYTES; i += 16, at += 16) {
            put_le64(at, stamp);
            put_le64(at + 8, n);
        }
}

static void fail(struct parallel *p, int rc, const char *what, uint64_t sector)
{
    if (!atomic_exchange(&p->failed, true))
        error_set(&p->err, -rc, "%s at sector %llu of %s: %s", what, (unsigned long long)sector,
            p->plan->d->name, strerror(-rc));
}

/* Mostly a few sectors, often near one another, sometimes many clusters. */
static void choose_span(struct guest *g, struct span *s)
{
    static const unsigned longest[] = {1, 8, 8, 64, 256, 4096};
    struct parallel *p = g->p;
    uint64_t hot = MIN(p->sectors, (uint64_t)2048);

    s->count = 1 + below(g, MIN((uint64_t)longest[below(g, ARRAY_LEN(longest))], p->sectors));
    s->first = below(g, (below(g, 3) ? p->sectors : hot) - MIN(s->count, hot) + 1);
    if (below(g, 2))
        s->first = round_down(s->first, 8);
    s->count = MIN(s->count, p->sectors - s->first);
}

static void expected(const struct parallel *p, uint8_t *to, uint64_t sector)
{
    uint64_t value = atomic_load(&p->acked[sector]);

    if (!value)
        memcpy(to, p->raw + sector * SECTOR_BYTES, SECTOR_BYTES);
    else if (value & 1)
        memset(to, 0, SECTOR_BYTES);
    else
        stamp_sectors(to, value / 2, sector, 1);
}

static int read_span(struct guest *g, const struct span *s)
{
    return blockdev_read(g->p->plan->d, g->buf, s->first * SECTOR_BYTES, s->count * SECTOR_BYTES);
}

static void check_read(struct guest *g, const struct span *s)
{
    uint8_t right[SECTOR_BYTES];
    int rc = read_span(g, s);

    if (rc < 0)
        fail(g->p, rc, "read", s->first);
    for (uint64_t i = 0; !rc && i < s->count; i++) {
        expected(g->p, right, s->first + i);
        if (memcmp(right, g->buf + i * SECTOR_BYTES, SECTOR_BYTES)) {
            fail(g->p, -EILSEQ, "read of wrong data", s->first + i);
            return;
        }
    }
}

static void raise_to(number *n, uint64_t value)
{
    uint64_t old = atomic_load(n);

    while (old < value && !atomic_compare_exchange_weak(n, &old, value))
        ;
}

static void begin(struct parallel *p, const struct span *s, uint64_t value)
{
    for (uint64_t i = s->first; i < s->first + s->count; i++) {
        atomic_store(&p->begun[i], value);
        if (value & 1)
            atomic_store(&p->zeroed[i], value);
    }
}

static void acknowledge(struct parallel *p, const struct span *s, uint64_t value, bool durable)
{
    for (uint64_t i = s->first; i < s->first + s->count; i++) {
        atomic_store(&p->acked[i], value);
        if (durable)
            raise_to(&p->durable[i], value);
    }
}

static void write_span(struct guest *g, const struct span *s)
{
    uint64_t op = atomic_fetch_add(&g->p->clock, 1) + 1;
    bool fua = !below(g, 16);
    int rc;

    stamp_sectors(g->buf, op, s->first, s->count);
    begin(g->p, s, op * 2);
    rc = blockdev_write(g->p->plan->d, g->buf, s->first * SECTOR_BYTES, s->count * SECTOR_BYTES,
        fua ? BLOCK_FUA : 0);
    if (rc < 0)
        fail(g->p, rc, "write", s->first);
    else
        acknowledge(g->p, s, op * 2, fua);
}

static void zero_span(struct guest *g, const struct span *s)
{
    uint64_t value = (atomic_fetch_add(&g->p->clock, 1) + 1) * 2 + 1;
    int rc;

    begin(g->p, s, value);
    rc = blockdev_write_zeroes(g->p->plan->d, s->first * SECTOR_BYTES, s->count * SECTOR_BYTES,
        below(g, 2) ? BLOCK_MAY_UNMAP : 0);
    if (rc < 0)
        fail(g->p, rc, "zero", s->first);
    else
        acknowledge(g->p, s, value, false);
}

/* A sector discarded holds what it held, or zeros; a read tells. */
static void discard_span(struct guest *g, const struct span *s)
{
    uint64_t value = (atomic_fetch_add(&g->p->clock, 1) + 1) * 2 + 1;
    static const uint8_t zeros[SECTOR_BYTES];
    uint8_t before[SECTOR_BYTES];
    int rc;

    begin(g->p, s, value);
    rc = blockdev_discard(g->p->plan->d, s->first * SECTOR_BYTES, s->count * SECTOR_BYTES);
    if (!rc)
        rc = read_span(g, s);
    if (rc < 0)
        fail(g->p, rc, "discard", s->first);
    for (uint64_t i = 0; !rc && i < s->count; i++) {
        const uint8_t *found = g->buf + i * SECTOR_BYTES;

        expected(g->p, before, s->first + i);
        if (!memcmp(found, zeros, SECTOR_BYTES))
            atomic_store(&g->p->acked[s->first + i], value);
        else if (memcmp(found, before, SECTOR_BYTES))
            fail(g->p, -EILSEQ, "wrong data after a discard", s->first + i);
    }
}

/* What was acknowledged when it began is durable when it has ended. */
static void flush(struct guest *g)
{
    struct parallel *p = g->p;
    uint64_t *then = malloc(p->sectors * sizeof *then);
    int rc = then ? 0 : -ENOMEM;

    for (uint64_t i = 0; !rc && i < p->sectors; i++)
        then[i] = atomic_load(&p->acked[i]);
    if (!rc)
        rc = blockdev_flush(p->plan->d);
    for (uint64_t i = 0; !rc && i < p->sectors; i++)
        raise_to(&p->durable[i], then[i]);
    if (rc < 0)
        fail(p, rc, "flush", 0);
    free(then);
}

static void one_operation(struct guest *g)
{
    uint64_t kind = below(g, 100);
    bool reads = kind < 25;
    struct span s;

    if (kind >= 96) {
        flush(g);
        return;
    }
    choose_span(g, &s);
    range_lock_take(&g->p->lock, &s.holder, s.first, s.first + s.count, reads);
    if (reads)
        check_read(g, &s);
    else if (kind < 75)
        write_span(g, &s);
    else if (kind < 88)
        zero_span(g, &s);
    else
        discard_span(g, &s);
    range_lock_release(&g->p->lock, &s.holder);
}

static bool goes_on(struct parallel *p)
{
    return !atomic_load(&p->failed) && atomic_load(&p->clock) < p->plan->operations;
}

static void guest_entry(void *arg)
{
    struct guest *g = arg;
    struct parallel *p = g->p;

    g->buf = io_buffer_get(TRANSFER_BYTES);
    if (!g->buf)
        fail(p, -ENOMEM, "memory", 0);
    while (goes_on(p))
        one_operation(g);
    if (g->buf)
        io_buffer_put(g->buf, TRANSFER_BYTES);
    free(g);
    wait_group_done(&p->running);
}

static void *map_file(const char *path, int flags, uint64_t bytes)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
    void *at = MAP_FAILED;

    if (fd >= 0 && !ftruncate(fd, (off_t)bytes))
        at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return at == MAP_FAILED ? NULL : at;
}

static void copy_numbers(uint64_t *to, number *from, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        to[i] = atomic_load(&from[i]);
}

static int take_snapshot(struct parallel *p, const char *name, struct error *err)
{
    uint64_t bytes = 4 * p->sectors * sizeof(number), *then;
    char path[4096];
    int rc;

    snprintf(path, sizeof path, "%s.%s", p->plan->state, name);
    then = map_file(path, O_CREAT | O_TRUNC, bytes);
    if (!then)
        return error_set(err, errno, "cannot map %s", path);
    copy_numbers(then + 2 * p->sectors, p->acked, p->sectors);
    rc = p->plan->snapshot(name, true, err);
    copy_numbers(then, p->begun, p->sectors);
    copy_numbers(then + 3 * p->sectors, p->zeroed, p->sectors);
    munmap(then, bytes);
    return rc;
}

static int next_snapshot(struct parallel *p, unsigned round, struct error *err)
{
    char name[32];
    int rc = 0;

    if (round >= SNAPSHOTS) {
        snprintf(name, sizeof name, "p%u", round - SNAPSHOTS);
        rc = p->plan->snapshot(name, false, err);
    }
    snprintf(name, sizeof name, "p%u", round);
    return rc ? rc : take_snapshot(p, name, err);
}

static void pause_for(struct parallel *p, uint64_t operations)
{
    uint64_t due = atomic_load(&p->clock) + operations;

    while (goes_on(p) && atomic_load(&p->clock) < due)
        co_sleep_ns(1000000);
}

static void stop(struct parallel *p, const struct error *err)
{
    if (!atomic_exchange(&p->failed, true))
        p->err = *err;
}

static void snapshots_entry(void *arg)
{
    struct parallel *p = arg;
    struct error err = {0};

    for (unsigned round = 0; goes_on(p); round++) {
        if (next_snapshot(p, round, &err) < 0)
            stop(p, &err);
        pause_for(p, SNAPSHOT_OPS);
    }
    wait_group_done(&p->running);
}

static void compact_entry(void *arg)
{
    struct parallel *p = arg;
    struct error err = {0};

    while (goes_on(p)) {
        if (p->plan->compact(&err) < 0)
            stop(p, &err);
        pause_for(p, COMPACT_OPS);
    }
    wait_group_done(&p->running);
}

static void start_beside(struct parallel *p, const char *name, co_entry *entry)
{
    wait_group_add(&p->running, 1);
    if (co_start(name, entry, p) < 0)
        wait_group_done(&p->running);
}

static void start_guest(struct parallel *p, unsigned i)
{
    struct guest *g = malloc(sizeof *g);
    int rc = g ? 0 : -ENOMEM;

    wait_group_add(&p->running, 1);
    if (!rc) {
        *g = (struct guest){.p = p, .random = p->plan->seed * 1000003 + i};
        rc = worker_start(p->plan->workers[i % p->plan->worker_count], "guest", guest_entry, g);
    }
    if (rc < 0) {
        free(g);
        fail(p, rc, "memory", 0);
        wait_group_done(&p->running);
    }
}

static void run(struct parallel *p)
{
    wait_group_init(&p->running);
    range_lock_init(&p->lock, 7);
    for (unsigned i = 0; i < p->plan->coroutines; i++)
        start_guest(p, i);
    if (p->plan->snapshot)
        start_beside(p, "snapshots", snapshots_entry);
    if (p->plan->compact)
        start_beside(p, "compact", compact_entry);
    wait_group_wait(&p->running);
    for (uint64_t i = 0; !p->err.code && i < p->sectors; i++)
        expected(p, p->raw + i * SECTOR_BYTES, i);
}

int parallel_run(const struct parallel_plan *plan, struct error *err)
{
    uint64_t bytes = plan->d->size_bytes, sectors = bytes / SECTOR_BYTES;
    uint64_t state_bytes = 4 * sectors * sizeof(number);
    struct parallel *p = calloc(1, sizeof *p);
    uint8_t *raw = map_file(plan->raw, 0, bytes);
    number *state = map_file(plan->state, O_CREAT | O_TRUNC, state_bytes);
    int rc;

    if (!p || !raw || !state) {
        rc = error_set(err, errno, "cannot map the model: %s", strerror(errno));
    } else {
        *p = (struct parallel){.plan = plan, .sectors = sectors, .raw = raw, .begun = state};
        p->acked = state + sectors;
        p->durable = state + 2 * sectors;
        p->zeroed = state + 3 * sectors;
        run(p);
        rc = -p->err.code;
        if (rc < 0)
            *err = p->err;
    }
    if (raw)
        munmap(raw, bytes);
    if (state)
        munmap(state, state_bytes);
    free(p);
    return rc;
}
