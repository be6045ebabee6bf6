/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an array costs beside the copying, on memory members, in CPU time: nanoseconds of a 4 KiB
 * read and of a mirrored write; of RAID5 and RAID6 the rate at which whole stripes are written one
 * after the other, what a small write asks of the members, and reads while a member lacks.
 * Run by hand: build/tests/bench/bench_array [mirror|parity]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/member.h"
#include "raid/array.h"
#include "raid/layout.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define ROUNDS       5
#define OPERATIONS   1000000u
#define MEMBER_BYTES (64u << 20)
#define REQUEST      4096u
#define SPAN         256u /* requests: what is touched stays in cache */
#define STEP         (40 * REQUEST)

static char *buf;
static struct blockdev *dev;

static void must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", strerror(-rc));
        exit(1);
    }
}

/* Jumps about, over all members. */
static uint64_t offset_of(unsigned i)
{
    return (uint64_t)(i * 7 % SPAN) * STEP;
}

static void reads(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_read(dev, buf, offset_of(i), REQUEST));
}

static void stable_writes(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_write(dev, buf, offset_of(i), REQUEST, BLOCK_STABLE));
}

static void writes(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_write(dev, buf, offset_of(i), REQUEST, 0));
}

static double cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void measure(const char *array, const char *what, void (*fn)(unsigned count))
{
    double best = 0;

    for (int i = 0; i < ROUNDS; i++) {
        double start = cpu_ns(), each;

        fn(OPERATIONS);
        each = (cpu_ns() - start) / OPERATIONS;
        best = !i || each < best ? each : best;
    }
    printf("%-16s %-28s %8.0f ns\n", array, what, best);
}

static void measure_device(const char *name)
{
    writes(SPAN);
    measure(name, "read of 4 KiB", reads);
    measure(name, "write, buffer stable", stable_writes);
    measure(name, "write, copied first", writes);
}

static void measure_array(const char *name, int level, uint32_t layout, unsigned count)
{
    struct array_params params = {
        .name = "bench", .level = level, .layout = layout, .assume_clean = true};
    struct blockdev *members[4];
    struct array *a;

    for (unsigned i = 0; i < count; i++)
        must(member_memory("member", MEMBER_BYTES, 512, &members[i]));
    must(array_create(&a, &params, members, count, NULL, 0, NULL));
    array_start(a);
    dev = array_blockdev(a);
    measure_device(name);
    must(array_stop(a, NULL));
}

/* --- RAID5 and RAID6 --- */

#define CHUNK_BYTES      (64u << 10)
#define PARITY_MEMBERS   12u
#define STRIPES          (4u << 10) /* written by a round */
#define SMALL_OPERATIONS 200000u
#define DEPTH            32u

struct parity_array {
    struct array *array;
    struct blockdev *members[PARITY_MEMBERS];
    unsigned data, parity;
    uint64_t stripe_bytes;
    char *stripe;
};

static void parity_create(struct parity_array *p, unsigned data, unsigned parity)
{
    struct array_params params = {.name = "bench",
        .level = parity == 1 ? 5 : 6,
        .layout = RAID5_LAYOUT_LEFT_SYMMETRIC,
        .chunk_bytes = CHUNK_BYTES,
        .assume_clean = true};

    *p = (struct parity_array){.data = data, .parity = parity, .stripe_bytes = data * CHUNK_BYTES};
    for (unsigned i = 0; i < data + parity; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", i);
        must(member_memory(name, MEMBER_BYTES, 512, &p->members[i]));
    }
    must(array_create(&p->array, &params, p->members, data + parity, NULL, 0, NULL));
    array_start(p->array);
    dev = array_blockdev(p->array);
    p->stripe = aligned_alloc(4096, p->stripe_bytes);
    if (!p->stripe)
        must(-ENOMEM);
    memset(p->stripe, 'x', p->stripe_bytes);
}

static void parity_end(struct parity_array *p)
{
    must(array_stop(p->array, NULL));
    free(p->stripe);
}

static uint64_t member_ops(const struct parity_array *p)
{
    uint64_t ops = 0;

    for (unsigned i = 0; i < p->data + p->parity; i++) {
        struct blockdev_stats stats;
        blockdev_stats(p->members[i], &stats);
        ops += stats.ops[BLOCK_READ] + stats.ops[BLOCK_WRITE];
    }
    return ops;
}

/* Nanoseconds of a stripe; `span` of them are written over and over. */
static double write_stripes(const struct parity_array *p, unsigned span)
{
    double best = 0;

    for (int round = 0; round < ROUNDS; round++) {
        double start = cpu_ns(), each;

        for (unsigned i = 0; i < STRIPES; i++)
            must(blockdev_write(
                dev, p->stripe, i % span * p->stripe_bytes, p->stripe_bytes, BLOCK_STABLE));
        each = (cpu_ns() - start) / STRIPES;
        best = !round || each < best ? each : best;
    }
    return best;
}

static void measure_stripes(const struct parity_array *p, const char *what, unsigned span)
{
    uint64_t ops = member_ops(p);
    double ns = write_stripes(p, span);

    printf("  %-30s %8.2f GB/s, %.2f member I/Os each\n", what, (double)p->stripe_bytes / ns,
        (double)(member_ops(p) - ops) / (ROUNDS * STRIPES));
}

/* One of several that write small blocks all over the array at once. */
struct writer {
    uint64_t next, step, count;
    struct wait_group *group;
};

static void write_small(void *arg)
{
    struct writer *w = arg;
    uint64_t blocks = dev->size_bytes / REQUEST;

    for (uint64_t i = 0; i < w->count; i++, w->next += w->step)
        must(blockdev_write(dev, buf, w->next * 7919 % blocks * REQUEST, REQUEST, BLOCK_STABLE));
    wait_group_done(w->group);
}

static void measure_small_writes(const struct parity_array *p, unsigned depth)
{
    uint64_t ops = member_ops(p);
    struct writer writers[DEPTH];
    struct wait_group group;
    double start = cpu_ns();

    wait_group_init(&group);
    wait_group_add(&group, depth);
    for (unsigned i = 0; i < depth; i++) {
        writers[i] = (struct writer){i, depth, SMALL_OPERATIONS / depth, &group};
        must(co_start("writer", write_small, &writers[i]));
    }
    wait_group_wait(&group);
    printf("  write of 4 KiB, %2u at once     %8.0f ns, %.2f member I/Os\n", depth,
        (cpu_ns() - start) / SMALL_OPERATIONS, (double)(member_ops(p) - ops) / SMALL_OPERATIONS);
}

/* Of all members alike. */
static void spread_reads(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_read(dev, buf, (uint64_t)(i * 7919u % 1024) * REQUEST, REQUEST));
}

static void measure_reads(const char *what)
{
    double best = 0;

    for (int round = 0; round < ROUNDS; round++) {
        double start = cpu_ns(), each;

        spread_reads(SMALL_OPERATIONS);
        each = (cpu_ns() - start) / SMALL_OPERATIONS;
        best = !round || each < best ? each : best;
    }
    printf("  %-30s %8.0f ns\n", what, best);
}

static void measure_parity(unsigned data, unsigned parity)
{
    struct parity_array p;

    parity_create(&p, data, parity);
    printf("raid%u %u+%u\n", parity + 4, data, parity);
    measure_stripes(&p, "whole stripes, in sequence", (unsigned)(dev->size_bytes / p.stripe_bytes));
    measure_stripes(&p, "one stripe, in cache", 1);
    measure_small_writes(&p, 1);
    measure_small_writes(&p, DEPTH);
    measure_reads("read of 4 KiB");
    must(array_fail(p.array, "m1", NULL));
    measure_reads("read of 4 KiB, a member lacks");
    parity_end(&p);
}

static void run_parity(void)
{
    measure_parity(3, 1);
    measure_parity(4, 1);
    measure_parity(6, 2);
    measure_parity(10, 2);
}

static void run_mirror(void)
{
    must(member_memory("member", MEMBER_BYTES, 512, &dev));
    measure_device("one member");
    blockdev_close(dev);
    measure_array("raid0 of 4", 0, 0, 4);
    measure_array("raid1 of 2", 1, 0, 2);
    measure_array("raid10 n2 of 4", 10, RAID10_LAYOUT_NEAR(2), 4);
}

static void run(void *arg)
{
    const char *only = arg;

    if (!only || !strcmp(only, "mirror"))
        run_mirror();
    if (!only || !strcmp(only, "parity"))
        run_parity();
}

int main(int argc, char **argv)
{
    struct error err = {0};

    buf = aligned_alloc(4096, REQUEST);
    if (!buf || rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    memset(buf, 'x', REQUEST);
    must(rt_main(run, argc > 1 ? argv[1] : NULL));
    free(buf);
    return 0;
}
