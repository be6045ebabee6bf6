/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How fast parity is computed: GB/s of data, for common shapes, with blocks that are in the
 * processor's second cache and with blocks that come from memory. Run by hand:
 * build/tests/bench/bench_parity [portable]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arith.h"
#include "raid/parity.h"
#include "raid/parity_kernel.h"

#define ROUNDS      5
#define BLOCK_BYTES (64u << 10)
#define FAR_BYTES   (512u << 20) /* that the blocks are spread over */
#define ROUND_BYTES (1u << 30)   /* of data */
#define MEMBERS_MAX 12u

struct shape {
    unsigned data, parities;
};

static uint8_t *memory;
/* a stripe's blocks: the data, P, Q, and the old data */
static void *blocks[2 * MEMBERS_MAX];

static void take_stripe(const struct shape *s, unsigned stripe, size_t block_bytes)
{
    unsigned count = 2 * s->data + s->parities;

    for (unsigned i = 0; i < count; i++)
        blocks[i] = memory + ((size_t)stripe * count + i) * block_bytes;
}

static void full(const struct shape *s, size_t bytes)
{
    const void *const *data = (const void *const *)blocks;

    if (s->parities == 1)
        parity_xor(blocks[s->data], data, s->data, bytes);
    else
        parity_pq(blocks[s->data], blocks[s->data + 1], data, s->data, bytes);
}

/* One block changes: its new contents count as data. */
static void update(const struct shape *s, size_t bytes)
{
    const void *old_and_new[] = {blocks[0], blocks[s->data + s->parities]};
    const uint8_t exponents[] = {0, 0};

    parity_update(blocks[s->data], s->parities == 1 ? NULL : blocks[s->data + 1], old_and_new,
        exponents, 2, bytes);
}

static void recover(const struct shape *s, size_t bytes)
{
    const unsigned missing[] = {0, 1};

    parity_recover(blocks, s->data, s->parities, missing, s->parities, bytes);
}

static void check(const struct shape *s, size_t bytes)
{
    const void *const *stripe = (const void *const *)blocks;

    if (parity_check(stripe, s->data, s->parities, bytes) == PARITY_FITS)
        return;
    fprintf(stderr, "parity does not fit\n");
    exit(1);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double measure(void (*fn)(const struct shape *s, size_t bytes), const struct shape *s,
    unsigned data, unsigned stripes, size_t bytes)
{
    unsigned count = (unsigned)(ROUND_BYTES / bytes / data);
    double best = 0;

    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds(), rate;
        for (unsigned i = 0; i < count; i++) {
            take_stripe(s, i % stripes, bytes);
            fn(s, bytes);
        }
        rate = (double)count * data * (double)bytes / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

static void measure_shape(const struct shape *s, const char *where, size_t bytes, unsigned stripes)
{
    printf("%2u+%u %4zuK %-10s", s->data, s->parities, bytes >> 10, where);
    printf(" %8.1f", measure(full, s, s->data, stripes, bytes));
    printf(" %8.1f", measure(check, s, s->data, stripes, bytes));
    printf(" %8.1f", measure(recover, s, s->data, stripes, bytes));
    printf(" %8.1f\n", measure(update, s, 1, stripes, bytes));
}

int main(int argc, char **argv)
{
    static const struct shape shapes[] = {{3, 1}, {4, 1}, {6, 2}, {10, 2}};

    if (argc > 1 && !strcmp(argv[1], "portable"))
        parity_use(&parity_portable);
    memory = aligned_alloc(4096, FAR_BYTES);
    if (!memory)
        return 1;
    for (size_t i = 0; i < FAR_BYTES; i++)
        memory[i] = (uint8_t)(i * 2654435761u >> 13);
    printf("GB/s of data        %10s %8s %8s %8s\n", "generate", "check", "recover", "update");
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        unsigned far = FAR_BYTES / BLOCK_BYTES / (2 * shapes[i].data + shapes[i].parities);
        measure_shape(&shapes[i], "in cache", 4096, 1);
        measure_shape(&shapes[i], "in cache", 16384, 1);
        measure_shape(&shapes[i], "of memory", BLOCK_BYTES, far);
    }
    free(memory);
    return 0;
}
