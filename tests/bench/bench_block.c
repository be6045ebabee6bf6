/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the wrapper of block devices costs, on a memory member that stays in cache: nanoseconds per
 * operation, the best of five rounds, and the same bytes copied without it. Run by hand:
 * build/tests/bench/bench_block
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/member.h"
#include "rt/worker.h"

#define ROUNDS       5
#define DEVICE_BYTES (256u << 10)
#define REQUEST      4096u

static struct blockdev *member, *mirror;
static char *buf, *plain;

static void must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", strerror(-rc));
        exit(1);
    }
}

static uint64_t offset_of(unsigned i)
{
    return (uint64_t)i * REQUEST % (DEVICE_BYTES / 2);
}

static void copies(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        memcpy(buf, plain + offset_of(i), REQUEST);
        __asm__ volatile("" : : "r"(buf) : "memory");
    }
}

static void reads(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_read(member, buf, offset_of(i), REQUEST));
}

static void writes(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_write(member, buf, offset_of(i), REQUEST, BLOCK_STABLE));
}

static void fua_writes(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_write(member, buf, offset_of(i), REQUEST, BLOCK_FUA));
}

static void small_reads(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_read(member, buf, offset_of(i), 512));
}

static void mirrored_writes(unsigned count)
{
    struct iovec v = {buf, REQUEST};

    for (unsigned i = 0; i < count; i++) {
        struct block_op ops[2];

        for (unsigned m = 0; m < 2; m++)
            ops[m] = (struct block_op){.kind = BLOCK_WRITE,
                .dev = m ? mirror : member,
                .iov = &v,
                .iov_count = 1,
                .offset = offset_of(i)};
        must(blockdev_run(ops, 2));
    }
}

static void split_reads(unsigned count)
{
    member->boundary_bytes = REQUEST / 4;
    reads(count);
    member->boundary_bytes = 0;
}

static void bounced_reads(unsigned count)
{
    member->memory_align_bytes = 4096;
    buf += 2000; /* far from where a load seems to depend on the last store, modulo 4096 */
    reads(count);
    buf -= 2000;
    member->memory_align_bytes = 1;
}

static void flushes(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        must(blockdev_flush(member));
}

static const struct {
    const char *what;
    void (*fn)(unsigned count);
} cases[] = {
    {"copy of 4 KiB without a device", copies},
    {"read of 4 KiB", reads},
    {"write of 4 KiB", writes},
    {"write of 4 KiB, FUA emulated", fua_writes},
    {"read of 512 bytes", small_reads},
    {"write of 4 KiB to two members at once", mirrored_writes},
    {"read of 4 KiB in 4 pieces", split_reads},
    {"read of 4 KiB, bounced", bounced_reads},
    {"flush", flushes},
};

static void measure(const char *what, void (*fn)(unsigned count), unsigned count)
{
    double best = 0;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start_ns = rt_now_ns();
        double each_ns;

        fn(count);
        each_ns = (double)(rt_now_ns() - start_ns) / count;
        if (!i || each_ns < best)
            best = each_ns;
    }
    printf("%-44s %9.1f ns\n", what, best);
}

static void run(void *arg)
{
    must(member_memory("member", DEVICE_BYTES, 512, &member));
    must(member_memory("mirror", DEVICE_BYTES, 512, &mirror));
    member->capabilities &= ~BLOCK_CAN_FUA;
    must(blockdev_write(member, plain, 0, DEVICE_BYTES, 0));
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        measure(cases[i].what, cases[i].fn, 1000000);
    blockdev_close(member);
    blockdev_close(mirror);
}

int main(void)
{
    struct error err = {0};

    buf = aligned_alloc(4096, 2 * 4096);
    plain = aligned_alloc(4096, DEVICE_BYTES);
    if (!buf || !plain)
        return 1;
    memset(plain, 'x', DEVICE_BYTES);
    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    must(rt_main(run, NULL));
    free(plain);
    free(buf);
    return 0;
}
