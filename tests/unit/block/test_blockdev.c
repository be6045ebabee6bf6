/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "strict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/fault.h"
#include "block/member.h"

extern CU_TestInfo blockdev_tests[];

#define MIB (1u << 20)

/* Random operations against a flat copy. */

struct shape {
    uint32_t block_bytes, align_bytes;
    uint64_t boundary_bytes, max_bytes;
    uint32_t capabilities;
};

static const struct shape shapes[] = {
    {512, 1, 0, 0, BLOCK_CAN_FUA | BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST},
    {512, 1, 0, 0, 0},
    {512, 1, 7 * 512, 0, BLOCK_CAN_DISCARD},
    {512, 512, 3 * 512, 0, BLOCK_CAN_FUA | BLOCK_CAN_DISCARD},
    {512, 4096, 0, 1700, BLOCK_CAN_FUA},
    {4096, 1, 5 * 4096, 8192, BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST},
    {4096, 512, 64 << 10, 0, BLOCK_CAN_FUA},
};

#define MODEL_BYTES (256u << 10)

struct trial {
    struct strict *s;
    char *model, *buf;
    uint64_t seed;
};

static unsigned below(struct trial *t, unsigned limit)
{
    return random_below(&t->seed, limit);
}

/* Cuts buf[0, length) into segments, some empty, many or few. */
static int cut_randomly(struct trial *t, char *buf, size_t length, struct iovec *iov, int max)
{
    unsigned longest = (unsigned[]){3, 100, 512, 5000, MODEL_BYTES}[below(t, 5)];
    int n = 0;

    while (length && n < max - 1) {
        size_t take = MIN(length, below(t, longest + 1));

        iov[n++] = (struct iovec){buf, take};
        buf += take;
        length -= take;
    }
    iov[n++] = (struct iovec){buf, length};
    return n;
}

static void fill(struct trial *t, char *buf, size_t length)
{
    for (size_t i = 0; i < length; i++)
        buf[i] = (char)below(t, 255) | 1;
}

static void random_transfer(struct trial *t, uint64_t offset, uint64_t length)
{
    struct iovec iov[300];
    char *buf = t->buf + (below(t, 3) ? 0 : below(t, 600));
    int n = cut_randomly(t, buf, length, iov, 300);

    if (below(t, 2)) {
        CU_ASSERT_EQUAL(blockdev_readv(&t->s->dev, iov, n, offset, 0), 0);
        CU_ASSERT(!memcmp(buf, t->model + offset, length));
        return;
    }
    fill(t, buf, length);
    CU_ASSERT_EQUAL(blockdev_writev(&t->s->dev, iov, n, offset, below(t, 3) ? 0 : BLOCK_FUA), 0);
    memcpy(t->model + offset, buf, length);
}

static void random_bytes(struct trial *t)
{
    uint64_t offset = below(t, MODEL_BYTES),
             length = below(t, (unsigned)(MODEL_BYTES - offset) + 1);

    if (below(t, 2)) {
        CU_ASSERT_EQUAL(blockdev_read_bytes(&t->s->dev, t->buf, offset, length), 0);
        CU_ASSERT(!memcmp(t->buf, t->model + offset, length));
        return;
    }
    fill(t, t->buf, length);
    CU_ASSERT_EQUAL(blockdev_write_bytes(&t->s->dev, t->buf, offset, length, 0), 0);
    memcpy(t->model + offset, t->buf, length);
}

static void random_op(struct trial *t)
{
    uint32_t block = t->s->dev.logical_block_bytes;
    unsigned blocks = MODEL_BYTES / block, first = below(t, blocks);
    uint64_t offset = (uint64_t)first * block;
    uint64_t length =
        (uint64_t)below(t, below(t, 2) ? MIN(9u, blocks - first + 1) : blocks - first + 1) * block;

    switch (below(t, 8)) {
    case 0:
        CU_ASSERT_EQUAL(blockdev_write_zeroes(
                            &t->s->dev, offset, length, below(t, 2) ? BLOCK_MAY_UNMAP : BLOCK_FUA),
            0);
        memset(t->model + offset, 0, length);
        break;
    case 1:
        CU_ASSERT_EQUAL(blockdev_discard(&t->s->dev, offset, length), 0);
        if (t->s->dev.capabilities & BLOCK_CAN_DISCARD && t->s->mode != STRICT_BARE)
            memset(t->model + offset, 0, length);
        break;
    case 2:
        random_bytes(t);
        break;
    default:
        random_transfer(t, offset, length);
    }
}

static void random_trial(enum strict_mode mode, const struct shape *shape, uint64_t seed)
{
    struct trial t = {.s = strict_create(mode, MODEL_BYTES), .seed = seed};

    t.model = calloc(1, MODEL_BYTES);
    t.buf = aligned_alloc(4096, MODEL_BYTES + 4096);
    t.s->dev.logical_block_bytes = shape->block_bytes;
    t.s->dev.memory_align_bytes = shape->align_bytes;
    t.s->dev.boundary_bytes = shape->boundary_bytes;
    t.s->dev.max_transfer_bytes = shape->max_bytes;
    t.s->dev.capabilities = shape->capabilities;
    for (unsigned i = 0; i < 60; i++)
        random_op(&t);
    CU_ASSERT(!memcmp(t.s->bytes, t.model, MODEL_BYTES));
    CU_ASSERT_EQUAL(t.s->violations, 0);
    CU_ASSERT_EQUAL(t.s->in_flight, 0);
    free(t.buf);
    free(t.model);
    blockdev_close(&t.s->dev);
}

static void random_ops(void)
{
    for (enum strict_mode mode = 0; mode < STRICT_MODES; mode++)
        for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
            random_trial(mode, &shapes[i], 1 + mode * 100 + i);
}

static void test_random_ops(void)
{
    run_in_rt(random_ops);
}

/* Refusals. */

static void check_refused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    char *buf = calloc(1, 8192);

    CU_ASSERT_EQUAL(blockdev_read(d, buf, offset, length), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, offset, length, 0), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_discard(d, offset, length), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, offset, length, 0), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_extents(d, offset, length, NULL), -EINVAL);
    free(buf);
}

static void refusals(void)
{
    struct strict *s = strict_create(STRICT_LEAF_NOW, 64 << 10);
    struct blockdev *d = &s->dev;
    struct blockdev_stats stats;
    char buf[512];

    check_refused(d, 1, 512);
    check_refused(d, 512, 511);
    check_refused(d, 64 << 10, 512);
    check_refused(d, (64 << 10) - 512, 1024);
    check_refused(d, UINT64_MAX - 511, 1024);
    CU_ASSERT_EQUAL(blockdev_extents(d, 512, 0, NULL), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_read_bytes(d, buf, (64 << 10) - 1, 2), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_write_bytes(d, buf, UINT64_MAX, 2, 0), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_readv(d, &(struct iovec){buf, 512}, 1, 0, BLOCK_FUA), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 0, 512, BLOCK_FAST), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 0, 512, 1u << 30), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 0, 512, BLOCK_STABLE), -EINVAL);
    for (unsigned k = 0; k < BLOCK_KINDS; k++)
        CU_ASSERT_EQUAL(s->calls[k], 0);
    blockdev_stats(d, &stats);
    CU_ASSERT_EQUAL(stats.errors, 24);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 64 << 10, 0), 0);
    blockdev_close(d);
}

static void test_refusals(void)
{
    run_in_rt(refusals);
}

static void read_only(void)
{
    struct strict *s = strict_create(STRICT_LEAF_NOW, 64 << 10);
    char buf[512] = "";

    s->dev.capabilities = BLOCK_READ_ONLY | BLOCK_CAN_DISCARD;
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 512, 0), -EROFS);
    CU_ASSERT_EQUAL(blockdev_write_bytes(&s->dev, buf, 1, 2, 0), -EROFS);
    CU_ASSERT_EQUAL(blockdev_discard(&s->dev, 0, 512), -EROFS);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 0, 512, 0), -EROFS);
    CU_ASSERT_EQUAL(blockdev_read(&s->dev, buf, 0, 512), 0);
    CU_ASSERT_EQUAL(blockdev_flush(&s->dev), 0);
    blockdev_close(&s->dev);
}

static void test_read_only(void)
{
    run_in_rt(read_only);
}

/* What a layer lacks. */

static bool all_zero(const char *bytes, size_t length)
{
    return !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
}

static void emulations(void)
{
    struct strict *s = strict_create(STRICT_BARE, 16 * MIB);
    struct block_extent e;
    char *buf = malloc(MIB);

    memset(s->bytes, 'x', 16 * MIB);
    memset(buf, 'y', MIB);
    CU_ASSERT_EQUAL(blockdev_flush(&s->dev), 0);
    CU_ASSERT_EQUAL(blockdev_discard(&s->dev, 0, MIB), 0);
    CU_ASSERT_EQUAL(s->bytes[0], 'x');
    CU_ASSERT_EQUAL(blockdev_extents(&s->dev, 512, MIB, &e), 0);
    CU_ASSERT_EQUAL(e.length, MIB);
    CU_ASSERT_EQUAL(e.flags, 0);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 0, MIB, BLOCK_FAST), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(s->bytes[0], 'x');
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 512, 10 * MIB, 0), 0);
    CU_ASSERT_EQUAL(s->bytes[511], 'x');
    CU_ASSERT_EQUAL(s->bytes[512 + 10 * MIB], 'x');
    CU_ASSERT(all_zero(s->bytes + 512, 10 * MIB));
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, MIB, BLOCK_FUA), 0);
    CU_ASSERT_EQUAL(s->fua_calls, 0);
    CU_ASSERT_EQUAL(s->violations, 0);
    free(buf);
    blockdev_close(&s->dev);
}

static void test_emulations(void)
{
    run_in_rt(emulations);
}

static void zeroes_refused_below(void)
{
    struct strict *s = strict_create(STRICT_LAYER, MIB);

    memset(s->bytes, 'x', MIB);
    s->dev.capabilities = BLOCK_CAN_ZERO_FAST;
    s->zeroes_error = -EOPNOTSUPP;
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 0, 4096, BLOCK_FAST), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(s->bytes[0], 'x');
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 0, 4096, 0), 0);
    CU_ASSERT_EQUAL(s->bytes[0], 0);
    CU_ASSERT_EQUAL(s->bytes[4096], 'x');
    s->zeroes_error = -EIO;
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 4096, 4096, 0), -EIO);
    CU_ASSERT_EQUAL(s->bytes[4096], 'x');
    blockdev_close(&s->dev);
}

static void test_zeroes_refused_below(void)
{
    run_in_rt(zeroes_refused_below);
}

static void fua(void)
{
    struct strict *s = strict_create(STRICT_LEAF_NOW, MIB);
    char *buf = calloc(1, MIB);

    s->dev.capabilities = BLOCK_CAN_FUA;
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 4096, BLOCK_FUA), 0);
    CU_ASSERT_EQUAL(s->fua_calls, 1);
    CU_ASSERT_EQUAL(s->calls[BLOCK_FLUSH], 0);
    s->dev.boundary_bytes = 4096;
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 16384, BLOCK_FUA), 0);
    CU_ASSERT_EQUAL(s->fua_calls, 1);
    CU_ASSERT_EQUAL(s->calls[BLOCK_FLUSH], 1);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 0, 4096, BLOCK_FUA), 0);
    CU_ASSERT_EQUAL(s->calls[BLOCK_FLUSH], 2);
    s->dev.capabilities = 0;
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 4096, BLOCK_FUA), 0);
    CU_ASSERT_EQUAL(s->fua_calls, 1);
    CU_ASSERT_EQUAL(s->calls[BLOCK_FLUSH], 3);
    s->write_error = -EIO;
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 4096, BLOCK_FUA), -EIO);
    CU_ASSERT_EQUAL(s->calls[BLOCK_FLUSH], 3);
    free(buf);
    blockdev_close(&s->dev);
}

static void test_fua(void)
{
    run_in_rt(fua);
}

/* Pieces and batches run side by side; the first failure is told. */

static void side_by_side(void)
{
    for (enum strict_mode mode = STRICT_LEAF_LATER; mode <= STRICT_LAYER; mode++) {
        struct strict *s = strict_create(mode, MIB);
        char *buf = calloc(1, MIB);

        s->dev.boundary_bytes = 4096;
        CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 512, 64 << 10, 0), 0);
        CU_ASSERT_EQUAL(s->calls[BLOCK_WRITE], 17);
        CU_ASSERT_EQUAL(s->in_flight_max, 16);
        s->write_error = -ENOSPC;
        s->fail_after = 5;
        CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 64 << 10, 0), -ENOSPC);
        CU_ASSERT_EQUAL(s->in_flight, 0);
        free(buf);
        blockdev_close(&s->dev);
    }
}

static void test_side_by_side(void)
{
    run_in_rt(side_by_side);
}

#define BATCH 6

static void batch_of(struct strict *a, struct strict *b)
{
    static char buf[BATCH][4096];
    struct iovec iov[BATCH];
    struct block_op ops[BATCH];

    for (unsigned i = 0; i < BATCH; i++) {
        memset(buf[i], 'a' + (int)i, sizeof buf[i]);
        iov[i] = (struct iovec){buf[i], sizeof buf[i]};
        ops[i] = (struct block_op){.kind = BLOCK_WRITE,
            .dev = i % 2 ? &a->dev : &b->dev,
            .iov = &iov[i],
            .iov_count = 1,
            .offset = i * 4096};
    }
    ops[3].offset = 1;
    ops[4].kind = BLOCK_FLUSH;
    CU_ASSERT_EQUAL(blockdev_run(ops, BATCH), -EINVAL);
    for (unsigned i = 0; i < BATCH; i++)
        CU_ASSERT_EQUAL(ops[i].result, i == 3 ? -EINVAL : 0);
    CU_ASSERT_EQUAL(a->bytes[4096], 'b');
    CU_ASSERT_EQUAL(a->bytes[5 * 4096], 'f');
    CU_ASSERT_EQUAL(b->bytes[0], 'a');
    CU_ASSERT_EQUAL(b->bytes[2 * 4096], 'c');
    CU_ASSERT_EQUAL(b->calls[BLOCK_WRITE], 2);
    CU_ASSERT_EQUAL(b->calls[BLOCK_FLUSH], b->mode == STRICT_BARE ? 0 : 1);
    CU_ASSERT_EQUAL(a->calls[BLOCK_WRITE], 2);
}

static void batches(void)
{
    for (enum strict_mode mode = 0; mode < STRICT_MODES * STRICT_MODES; mode++) {
        struct strict *a = strict_create(mode % STRICT_MODES, MIB);
        struct strict *b = strict_create(mode / STRICT_MODES, MIB);

        batch_of(a, b);
        CU_ASSERT_EQUAL(a->violations + b->violations, 0);
        blockdev_close(&a->dev);
        blockdev_close(&b->dev);
    }
}

static void test_batches(void)
{
    run_in_rt(batches);
}

static void hints(void)
{
    struct strict *s = strict_create(STRICT_LAYER, MIB);
    struct block_extent e = {7, 7};

    CU_ASSERT_EQUAL(blockdev_extents(&s->dev, 4096, 65536, &e), 0);
    CU_ASSERT_EQUAL(s->asked_length, 65536);
    CU_ASSERT_EQUAL(e.length, 32768);
    CU_ASSERT_EQUAL(e.flags, EXTENT_HOLE);
    s->dev.boundary_bytes = 16384;
    CU_ASSERT_EQUAL(blockdev_extents(&s->dev, 20480, 65536, &e), 0);
    CU_ASSERT_EQUAL(s->asked_offset, 20480);
    CU_ASSERT_EQUAL(s->asked_length, 12288);
    s->extents_error = -EIO;
    CU_ASSERT_EQUAL(blockdev_extents(&s->dev, 0, 4096, &e), -EIO);
    CU_ASSERT_EQUAL(e.length, 6144);
    blockdev_unused(&s->dev, 4096, 65536);
    CU_ASSERT_EQUAL(s->asked_offset, 4096);
    CU_ASSERT_EQUAL(s->asked_length, 65536);
    blockdev_unused(&s->dev, 1, 512);
    blockdev_unused(&s->dev, MIB, 512);
    CU_ASSERT_EQUAL(s->asked_length, 65536);
    blockdev_close(&s->dev);
}

static void test_hints(void)
{
    run_in_rt(hints);
}

static void counts(void)
{
    struct strict *s = strict_create(STRICT_LAYER, MIB);
    struct blockdev_stats stats;
    char *buf = calloc(1, 16384);

    s->dev.boundary_bytes = 4096;
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 16384, 0), 0);
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 4096, BLOCK_BACKGROUND), 0);
    CU_ASSERT_EQUAL(blockdev_read(&s->dev, buf, 0, 512), 0);
    CU_ASSERT_EQUAL(blockdev_flush(&s->dev), 0);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(&s->dev, 0, 4096, BLOCK_FAST), -EOPNOTSUPP);
    s->write_error = -EIO;
    CU_ASSERT_EQUAL(blockdev_write(&s->dev, buf, 0, 16384, 0), -EIO);
    blockdev_stats(&s->dev, &stats);
    CU_ASSERT_EQUAL(stats.ops[BLOCK_WRITE], 1);
    CU_ASSERT_EQUAL(stats.bytes[BLOCK_WRITE], 16384);
    CU_ASSERT_EQUAL(stats.ops[BLOCK_READ], 1);
    CU_ASSERT_EQUAL(stats.bytes[BLOCK_READ], 512);
    CU_ASSERT_EQUAL(stats.ops[BLOCK_FLUSH], 1);
    CU_ASSERT_EQUAL(stats.errors, 1);
    free(buf);
    blockdev_close(&s->dev);
}

static void test_counts(void)
{
    run_in_rt(counts);
}

/* In any kind of operation, for a while. */
static void patience(void)
{
    struct blockdev *memory, *d;
    char buf[4096] = "";

    CU_ASSERT_EQUAL(member_memory("memory", MIB, 512, &memory), 0);
    CU_ASSERT_EQUAL(fault_create(memory, &d), 0);
    for (enum block_kind kind = BLOCK_READ; kind < BLOCK_KINDS; kind++) {
        struct fault_rule rule = {.kind = kind, .times = 3, .error = -ENOMEM};
        struct iovec iov = {buf, sizeof buf};
        struct block_op op = {.kind = kind, .dev = d, .iov = &iov, .iov_count = 1};

        if (kind == BLOCK_DISCARD || kind == BLOCK_WRITE_ZEROES)
            op.length = sizeof buf;
        fault_add(d, &rule);
        CU_ASSERT_EQUAL(blockdev_run(&op, 1), -ENOMEM);
        op.flags = BLOCK_PATIENT;
        CU_ASSERT_EQUAL(blockdev_run(&op, 1), 0);
        CU_ASSERT_EQUAL(blockdev_run(&op, 1), 0);
        fault_clear(d);
        rule.error = -EIO;
        fault_add(d, &rule);
        CU_ASSERT_EQUAL(blockdev_run(&op, 1), -EIO);
        fault_clear(d);
    }
    blockdev_close(d);
}

static void test_patience(void)
{
    run_in_rt(patience);
}

static void uses(void)
{
    struct strict *s = strict_create(STRICT_LAYER, MIB);

    CU_ASSERT_EQUAL(blockdev_use(&s->dev, false), 0);
    CU_ASSERT_EQUAL(blockdev_use(&s->dev, false), 0);
    CU_ASSERT_EQUAL(blockdev_use(&s->dev, true), -EBUSY);
    blockdev_unuse(&s->dev);
    CU_ASSERT_EQUAL(blockdev_use(&s->dev, true), -EBUSY);
    blockdev_unuse(&s->dev);
    CU_ASSERT_EQUAL(blockdev_use(&s->dev, true), 0);
    CU_ASSERT_EQUAL(blockdev_use(&s->dev, true), -EBUSY);
    CU_ASSERT_EQUAL(blockdev_use(&s->dev, false), -EBUSY);
    blockdev_unuse(&s->dev);
    CU_ASSERT_EQUAL(s->dev.users, 0);
    blockdev_close(&s->dev);
}

static void test_uses(void)
{
    run_in_rt(uses);
}

CU_TestInfo blockdev_tests[] = {
    {"random operations against a flat copy", test_random_ops},
    {"refusals", test_refusals},
    {"a read-only device", test_read_only},
    {"what a layer lacks", test_emulations},
    {"write_zeroes refused by the layer", test_zeroes_refused_below},
    {"FUA", test_fua},
    {"pieces run side by side", test_side_by_side},
    {"batches over two devices", test_batches},
    {"extents and unused", test_hints},
    {"counts", test_counts},
    {"who is patient waits for memory", test_patience},
    {"users", test_uses},
    CU_TEST_INFO_NULL,
};
