/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAID5 and RAID6 under load, beside their bare members in the same run: whole stripes, one worker
 * and two; small writes with the log against the write hole and without, and what they ask of the
 * members; reads while a member lacks. On memory members, where rates are by CPU time, or on files
 * in a directory, where they are by the clock.
 * Run by hand: build/tests/bench/bench_stripes [DIRECTORY [DATA PARITY]]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "block/member.h"
#include "raid/array_private.h"
#include "raid/layout.h"
#include "raid/parity_log.h"

#define ROUNDS              5u
#define CHUNK_BYTES         (64u << 10)
#define MEMBERS_MAX         12u
#define MEMORY_MEMBER_BYTES (64u << 20)
#define FILE_MEMBER_BYTES   (128u << 20)
#define SMALL_BYTES         4096u
#define SEQUENTIAL_BYTES    (1u << 20)
#define WORKERS             2u
#define DEPTH               32u

static const char *directory;
static unsigned only_data, only_parity; /* 0: all shapes */

/* --- loads --- */

struct load {
    struct blockdev *devs[MEMBERS_MAX]; /* taken in turn */
    unsigned dev_count;
    enum block_kind kind;
    uint64_t bytes, count; /* of a request; how many */
    bool random;
    unsigned workers, depth; /* depth: of each worker */
    /* Below: while it runs. */
    _Atomic uint64_t next;
    struct wait_group runners;
};

struct rate {
    double ns; /* of a request: of CPU on memory, else on the clock */
    double clock_ns;
};

static void must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", strerror(-rc));
        exit(1);
    }
}

static double clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void run_request(struct load *l, uint64_t i, void *buf)
{
    struct blockdev *d = l->devs[i % l->dev_count];
    uint64_t slots = d->size_bytes / l->bytes, n = i / l->dev_count;
    uint64_t slot = (l->random ? n * UINT64_C(0x9e3779b97f4a7c15) >> 20 : n) % slots;
    struct iovec iov = {buf, l->bytes};

    if (l->kind == BLOCK_READ)
        must(blockdev_readv(d, &iov, 1, slot * l->bytes, 0));
    else
        must(blockdev_writev(d, &iov, 1, slot * l->bytes, BLOCK_STABLE));
}

static void run_requests(void *arg)
{
    struct load *l = arg;
    void *buf = aligned_alloc(4096, l->bytes);
    uint64_t i;

    if (!buf)
        must(-ENOMEM);
    memset(buf, 'x', l->bytes);
    while ((i = atomic_fetch_add(&l->next, 1)) < l->count)
        run_request(l, i, buf);
    free(buf);
    wait_group_done(&l->runners);
}

static struct rate run_load(struct load *l)
{
    struct worker *workers[WORKERS] = {worker_self()};
    double cpu, clock;

    for (unsigned w = 1; w < l->workers; w++)
        must(worker_create(&workers[w], "load", NULL));
    atomic_store(&l->next, 0);
    wait_group_init(&l->runners);
    wait_group_add(&l->runners, l->workers * l->depth);
    cpu = cpu_ns();
    clock = clock_ns();
    for (unsigned i = 0; i < l->workers * l->depth; i++)
        must(worker_start(workers[i % l->workers], "load", run_requests, l));
    wait_group_wait(&l->runners);
    cpu = (cpu_ns() - cpu) / (double)l->count;
    clock = (clock_ns() - clock) / (double)l->count;
    for (unsigned w = 1; w < l->workers; w++)
        worker_destroy(workers[w]);
    return (struct rate){directory ? clock : cpu, clock};
}

static int compare_doubles(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return a < b ? -1 : a > b;
}

/* The median. */
static struct rate measure(struct load l)
{
    double ns[ROUNDS], clock[ROUNDS];

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct rate r = run_load(&l);
        ns[i] = r.ns;
        clock[i] = r.clock_ns;
    }
    qsort(ns, ROUNDS, sizeof *ns, compare_doubles);
    qsort(clock, ROUNDS, sizeof *clock, compare_doubles);
    return (struct rate){ns[ROUNDS / 2], clock[ROUNDS / 2]};
}

/* --- arrays --- */

struct rig {
    unsigned data, parity, count;
    struct blockdev *members[MEMBERS_MAX];
    struct array *array;
    uint64_t row_bytes;
};

static struct blockdev *open_member(unsigned i)
{
    struct blockdev *d;
    char path[256];
    int fd;

    if (!directory) {
        snprintf(path, sizeof path, "m%u", i);
        must(member_memory(path, MEMORY_MEMBER_BYTES, 512, &d));
        return d;
    }
    snprintf(path, sizeof path, "%s/ashlar-bench-%u", directory, i);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, FILE_MEMBER_BYTES))
        must(-EIO);
    close(fd);
    must(member_open(path, 0, &d, NULL));
    unlink(path);
    return d;
}

static void rig_open(struct rig *r, unsigned data, unsigned parity)
{
    *r = (struct rig){.data = data,
        .parity = parity,
        .count = data + parity,
        .row_bytes = (uint64_t)data * CHUNK_BYTES};
    for (unsigned i = 0; i < r->count; i++)
        r->members[i] = open_member(i);
}

static void rig_create(struct rig *r)
{
    struct array_params params = {.name = "bench",
        .level = r->parity == 1 ? 5 : 6,
        .layout = RAID5_LAYOUT_LEFT_SYMMETRIC,
        .chunk_bytes = CHUNK_BYTES,
        .assume_clean = true};

    must(array_create(&r->array, &params, r->members, r->count, NULL, 0, NULL));
    array_start(r->array);
}

static uint64_t count_member_ops(const struct rig *r)
{
    uint64_t ops = 0;

    for (unsigned i = 0; i < r->count; i++) {
        struct blockdev_stats stats;
        blockdev_stats(r->members[i], &stats);
        ops += stats.ops[BLOCK_READ] + stats.ops[BLOCK_WRITE];
    }
    return ops;
}

static struct load on_members(const struct rig *r, enum block_kind kind, uint64_t bytes)
{
    struct load l = {.dev_count = r->count, .kind = kind, .bytes = bytes, .workers = 1, .depth = 1};

    memcpy(l.devs, r->members, sizeof l.devs);
    l.count = r->count * r->members[0]->size_bytes / bytes;
    return l;
}

static struct load on_array(const struct rig *r, enum block_kind kind, uint64_t bytes)
{
    struct blockdev *d = array_blockdev(r->array);

    return (struct load){.devs = {d},
        .dev_count = 1,
        .kind = kind,
        .bytes = bytes,
        .count = d->size_bytes / bytes,
        .workers = 1,
        .depth = 1};
}

static struct load small(const struct rig *r, enum block_kind kind, unsigned depth)
{
    struct load l = on_array(r, kind, SMALL_BYTES);

    l.random = true;
    l.depth = depth;
    l.count = !directory ? 100000 : depth == 1 ? 2000 : 20000;
    return l;
}

/* --- what is measured --- */

/* Of all members at once; `bare`: GB/s. */
static double bare_rate(const struct rig *r, enum block_kind kind)
{
    struct load l = on_members(r, kind, directory ? SEQUENTIAL_BYTES : CHUNK_BYTES);

    l.depth = directory ? r->count : 1;
    return (double)l.bytes / measure(l).ns;
}

static void report_sequential(const struct rig *r, const char *what, enum block_kind kind,
    uint64_t bytes, unsigned depth, double bare)
{
    struct load l = on_array(r, kind, bytes);
    double share = bare * r->data / r->count, rate, ops;
    uint64_t before;

    l.depth = depth;
    before = count_member_ops(r);
    rate = (double)bytes / measure(l).ns;
    ops = (double)(count_member_ops(r) - before) / ((double)l.count * ROUNDS);
    printf("  %-42s %7.2f GB/s, %3.0f%% of the members' %.2f; %.2f member I/Os\n", what, rate,
        100 * rate / share, share, ops);
}

static void report_scaling(const struct rig *r, const char *what, struct load one)
{
    struct load two = one;
    double alone, both;

    two.workers = WORKERS;
    alone = measure(one).clock_ns;
    both = measure(two).clock_ns;
    printf("  %-42s %7.2f times one worker's rate\n", what, alone / both);
}

static void report_small(
    const struct rig *r, const char *what, struct load l, double *ns, double *ops)
{
    uint64_t before = count_member_ops(r);

    *ns = measure(l).ns;
    *ops = (double)(count_member_ops(r) - before) / ((double)l.count * ROUNDS);
    printf("  %-42s %7.0f ns, %.2f member I/Os\n", what, *ns, *ops);
}

/* In turns, with the log and without. */
static void report_log(struct rig *r, unsigned depth)
{
    struct parity_log *log = r->array->log;
    double with, without, ops;
    char what[64];

    snprintf(what, sizeof what, "write of 4 KiB at depth %u", depth);
    report_small(r, what, small(r, BLOCK_WRITE, depth), &with, &ops);
    r->array->log = NULL;
    snprintf(what, sizeof what, "  without the log");
    report_small(r, what, small(r, BLOCK_WRITE, depth), &without, &ops);
    r->array->log = log;
    printf("  %-42s %7.2f of the rate without\n", "  with the log", without / with);
}

static void report_reads(struct rig *r)
{
    double whole, degraded, ops;

    report_small(r, "read of 4 KiB at depth 32", small(r, BLOCK_READ, DEPTH), &whole, &ops);
    must(array_fail(r->array, r->members[1]->name, NULL));
    report_small(r, "  while a member lacks", small(r, BLOCK_READ, DEPTH), &degraded, &ops);
    printf("  %-42s %7.2f of the rate\n", "  that is", whole / degraded);
}

static void report(unsigned data, unsigned parity)
{
    double bare_write, bare_read;
    struct rig r;

    rig_open(&r, data, parity);
    printf("raid%u %u+%u\n", parity + 4, data, parity);
    bare_write = bare_rate(&r, BLOCK_WRITE);
    bare_read = bare_rate(&r, BLOCK_READ);
    rig_create(&r);
    if (directory) {
        report_sequential(&r, "writes of 1 MiB in sequence, depth 16", BLOCK_WRITE,
            SEQUENTIAL_BYTES, 16, bare_write);
        report_sequential(&r, "reads of 1 MiB in sequence, depth 16", BLOCK_READ, SEQUENTIAL_BYTES,
            16, bare_read);
    } else {
        report_sequential(&r, "whole stripes in sequence", BLOCK_WRITE, r.row_bytes, 1, bare_write);
        report_scaling(&r, "whole stripes by two workers", on_array(&r, BLOCK_WRITE, r.row_bytes));
        report_scaling(&r, "writes of 4 KiB by two workers", small(&r, BLOCK_WRITE, DEPTH));
        report_scaling(&r, "reads of 4 KiB by two workers", small(&r, BLOCK_READ, DEPTH));
    }
    report_log(&r, 1);
    report_log(&r, DEPTH);
    report_reads(&r);
    must(array_stop(r.array, NULL));
}

static void run(void *arg)
{
    static const struct {
        unsigned data, parity;
    } shapes[] = {{3, 1}, {4, 1}, {6, 2}, {10, 2}};

    if (only_data) {
        report(only_data, only_parity);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
        report(shapes[i].data, shapes[i].parity);
}

int main(int argc, char **argv)
{
    struct error err = {0};

    directory = argc > 1 ? argv[1] : NULL;
    if (argc > 3) {
        only_data = (unsigned)atoi(argv[2]);
        only_parity = (unsigned)atoi(argv[3]);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    must(rt_main(run, NULL));
    return 0;
}
