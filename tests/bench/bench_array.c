/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an array costs beside the copying: CPU nanoseconds of a 4 KiB read and of a mirrored write,
 * on memory members. Run by hand: build/tests/bench/bench_array
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/member.h"
#include "raid/array.h"
#include "raid/layout.h"
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

static void run(void *arg)
{
    must(member_memory("member", MEMBER_BYTES, 512, &dev));
    measure_device("one member");
    blockdev_close(dev);
    measure_array("raid0 of 4", 0, 0, 4);
    measure_array("raid1 of 2", 1, 0, 2);
    measure_array("raid10 n2 of 4", 10, RAID10_LAYOUT_NEAR(2), 4);
}

int main(void)
{
    struct error err = {0};

    buf = aligned_alloc(4096, REQUEST);
    if (!buf || rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    memset(buf, 'x', REQUEST);
    must(rt_main(run, NULL));
    free(buf);
    return 0;
}
