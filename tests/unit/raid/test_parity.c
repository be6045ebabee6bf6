/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that raid/parity.h offers, with each kernel, against parity computed here byte by byte
 * from the field's definition: all numbers of data blocks up to 40 and some large ones, all pairs
 * of missing blocks, all wrong blocks, and blocks of any alignment.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/gf256.h"
#include "raid/parity.h"
#include "raid/parity_kernel.h"

extern CU_TestInfo parity_tests[];
int parity_suite_init(void), parity_suite_clean(void);

#define BLOCKS     (PARITY_BLOCKS_MAX + 8)
#define BYTES      (3 * 8192 + 512) /* several pieces and a rest */
#define SLOT_BYTES (BYTES + 256)
#define GUARD      0xa5

static const struct parity_kernel *const kernels[] = {
#ifdef HAVE_ISAL
    &parity_isal,
#endif
    &parity_portable,
};

static const unsigned sizes[] = {512, 8192, BYTES}, offsets[] = {0, 32, 16, 1};

/* Blocks between guards, so that no byte too many is written. */
static uint8_t *memory;

static void *block(unsigned i, unsigned offset)
{
    return memory + (size_t)i * SLOT_BYTES + 64 + offset;
}

static void fill(unsigned count, unsigned offset, size_t bytes)
{
    static uint32_t x = 12345;

    memset(memory, GUARD, (size_t)BLOCKS * SLOT_BYTES);
    for (unsigned i = 0; i < count; i++)
        for (size_t at = 0; at < bytes; at++)
            ((uint8_t *)block(i, offset))[at] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
}

static void take(void **blocks, unsigned count, unsigned offset)
{
    for (unsigned i = 0; i < count; i++)
        blocks[i] = block(i, offset);
}

static bool guarded(unsigned count, unsigned offset, size_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *b = block(i, offset);
        for (const uint8_t *at = memory + (size_t)i * SLOT_BYTES; at < b; at++)
            if (*at != GUARD)
                return false;
        for (const uint8_t *at = b + bytes; at < memory + (size_t)(i + 1) * SLOT_BYTES; at++)
            if (*at != GUARD)
                return false;
    }
    return true;
}

/* The field's definition. */
static uint8_t slow_multiply(uint8_t a, uint8_t b)
{
    unsigned product = 0, shifted = a;

    for (; b; b >>= 1, shifted = shifted << 1 ^ (shifted & 0x80 ? 0x11d : 0))
        if (b & 1)
            product ^= shifted;
    return (uint8_t)product;
}

static uint8_t slow_power(unsigned exponent)
{
    uint8_t power = 1;

    while (exponent-- > 0)
        power = slow_multiply(power, 2);
    return power;
}

static void slow_pq(uint8_t *p, uint8_t *q, void *const *blocks, const uint8_t *exponents,
    unsigned count, size_t bytes)
{
    memset(p, 0, bytes);
    memset(q, 0, bytes);
    for (unsigned i = 0; i < count; i++) {
        uint8_t factor = slow_power(exponents[i]), products[256];
        for (unsigned b = 0; b < 256; b++)
            products[b] = slow_multiply(factor, (uint8_t)b);
        for (size_t at = 0; at < bytes; at++) {
            p[at] ^= ((uint8_t *)blocks[i])[at];
            q[at] ^= products[((uint8_t *)blocks[i])[at]];
        }
    }
}

static bool same(const void *a, const void *b, size_t bytes)
{
    return memcmp(a, b, bytes) == 0;
}

static void test_field(void)
{
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            uint8_t product = slow_multiply((uint8_t)a, (uint8_t)b);
            CU_ASSERT_EQUAL_FATAL(gf256_multiply((uint8_t)a, (uint8_t)b), product);
            if (b)
                CU_ASSERT_EQUAL_FATAL(gf256_divide(product, (uint8_t)b), a);
        }
    }
    for (unsigned k = 0; k < 2 * GF256_ORDER; k++) {
        CU_ASSERT_EQUAL(gf256_power(k), slow_power(k));
        CU_ASSERT_EQUAL(gf256_logarithm(slow_power(k)), k % GF256_ORDER);
    }
}

/* The kernels themselves: every factor, one row and two, set and add. */
static void test_factors(void)
{
    uint8_t p[512], q[512], factors[2];

    for (unsigned f = 0; f < 256; f++) {
        void *dst[] = {block(1, 0), block(2, 0)};
        const void *source = block(0, 0);
        for (unsigned k = 0; k < ARRAY_LEN(kernels); k++) {
            fill(1, 0, sizeof p);
            factors[0] = (uint8_t)f;
            factors[1] = (uint8_t)(f * 7 + 3);
            const uint8_t *rows[] = {&factors[0], &factors[1]};
            for (size_t at = 0; at < sizeof p; at++) {
                p[at] = slow_multiply(((const uint8_t *)source)[at], factors[0]);
                q[at] = slow_multiply(((const uint8_t *)source)[at], factors[1]);
            }
            kernels[k]->combine(dst, rows, 2, &source, 1, sizeof p, false);
            CU_ASSERT_FATAL(same(p, dst[0], sizeof p) && same(q, dst[1], sizeof q));
            kernels[k]->combine(dst, rows + 1, 1, &source, 1, sizeof p, true);
            for (size_t at = 0; at < sizeof p; at++)
                p[at] ^= q[at];
            CU_ASSERT_FATAL(same(p, dst[0], sizeof p) && same(q, dst[1], sizeof q));
        }
    }
}

/* Calls fn with each kernel. */
static void with_kernels(void (*fn)(void))
{
    for (unsigned k = 0; k < ARRAY_LEN(kernels); k++) {
        parity_use(kernels[k]);
        fn();
    }
    parity_use(kernels[0]);
}

static void try_generate(unsigned count, unsigned offset, size_t bytes)
{
    static uint8_t p[BYTES], q[BYTES];
    uint8_t exponents[BLOCKS];
    void *b[BLOCKS];
    const void *const *data = (const void *const *)b;

    for (unsigned i = 0; i < BLOCKS; i++)
        exponents[i] = (uint8_t)(i % GF256_ORDER);
    fill(count, offset, bytes);
    take(b, BLOCKS, offset);
    slow_pq(p, q, b, exponents, count, bytes);
    parity_xor(b[count], data, count, bytes);
    CU_ASSERT_FATAL(same(b[count], p, bytes));
    parity_partial(b[count + 1], b[count + 2], data, exponents, count, bytes);
    CU_ASSERT_FATAL(same(b[count + 1], p, bytes) && same(b[count + 2], q, bytes));
    if (count <= PARITY_Q_BLOCKS_MAX) {
        parity_pq(b[count + 1], b[count + 3], data, count, bytes);
        CU_ASSERT_FATAL(same(b[count + 1], p, bytes) && same(b[count + 3], q, bytes));
    }
    parity_partial(b[count + 4], NULL, data, exponents, count, bytes);
    parity_partial(NULL, b[count + 5], data, exponents, count, bytes);
    CU_ASSERT_FATAL(same(b[count + 4], p, bytes) && same(b[count + 5], q, bytes));
    parity_xor(b[0], data, count, bytes);
    CU_ASSERT_FATAL(same(b[0], p, bytes));
    CU_ASSERT_FATAL(guarded(count + 6, offset, bytes));
}

static void generate(void)
{
    static const unsigned large[] = {63, 64, 65, 253, 255, 256, 383, 384};

    for (unsigned o = 0; o < ARRAY_LEN(offsets); o++) {
        for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
            for (unsigned count = 1; count <= 40; count++)
                try_generate(count, offsets[o], sizes[i]);
        for (unsigned i = 0; i < ARRAY_LEN(large); i++)
            try_generate(large[i], offsets[o], 512);
    }
}

static void test_generate(void)
{
    with_kernels(generate);
}

/* The first `changed` blocks of a stripe get new contents. */
static void try_update(unsigned count, unsigned changed, unsigned offset)
{
    static uint8_t p[8192], q[8192];
    uint8_t exponents[BLOCKS];
    void *b[BLOCKS], *new_data[BLOCKS];
    const void *changes[BLOCKS];
    unsigned at = count + 2;

    fill(count + 2 + changed, offset, sizeof p);
    take(b, BLOCKS, offset);
    for (unsigned i = 0; i < count; i++)
        exponents[i] = (uint8_t)(count - 1 - i);
    slow_pq(b[count], b[count + 1], b, exponents, count, sizeof p);
    memcpy(new_data, b, sizeof b);
    for (unsigned i = 0; i < changed; i++)
        new_data[i] = b[at + i];
    slow_pq(p, q, new_data, exponents, count, sizeof p);
    uint8_t of_changes[BLOCKS];
    for (unsigned i = 0; i < changed; i++) {
        changes[2 * i] = b[i];
        changes[2 * i + 1] = new_data[i];
        of_changes[2 * i] = of_changes[2 * i + 1] = exponents[i];
    }
    void *p2 = b[at + changed], *q2 = b[at + changed + 1];
    memcpy(p2, b[count], sizeof p);
    memcpy(q2, b[count + 1], sizeof q);
    parity_update(b[count], b[count + 1], changes, of_changes, 2 * changed, sizeof p);
    CU_ASSERT_FATAL(same(b[count], p, sizeof p) && same(b[count + 1], q, sizeof q));
    parity_update(p2, NULL, changes, of_changes, 2 * changed, sizeof p);
    parity_update(NULL, q2, changes, of_changes, 2 * changed, sizeof p);
    CU_ASSERT_FATAL(same(p2, p, sizeof p) && same(q2, q, sizeof q));
    CU_ASSERT_FATAL(guarded(at + changed + 2, offset, sizeof p));
}

static void update(void)
{
    for (unsigned o = 0; o < ARRAY_LEN(offsets); o++)
        for (unsigned count = 1; count <= 12; count++)
            for (unsigned changed = 1; changed <= count; changed++)
                try_update(count, changed, offsets[o]);
    try_update(200, 180, 0);
}

static void test_update(void)
{
    with_kernels(update);
}

/* `b`: a whole stripe. The missing ones come into fresh blocks; what is not to be looked at is not
 * there at all; `skip` is not asked for. */
static void try_recover(void *const *b, unsigned count, unsigned parities, const unsigned *missing,
    unsigned missing_count, unsigned skip, size_t bytes)
{
    void *stripe[BLOCKS];
    unsigned p = count, q = count + 1, fresh = count + 2;
    bool only_one = missing_count == 1;

    memcpy(stripe, b, (count + parities) * sizeof *b);
    if (only_one && parities == 2)
        stripe[missing[0] == q ? p : q] = NULL;
    for (unsigned i = 0; i < missing_count; i++) {
        stripe[missing[i]] = missing[i] == skip ? NULL : b[fresh + i];
        memset(b[fresh + i], 0x77, bytes);
    }
    parity_recover(stripe, count, parities, missing, missing_count, bytes);
    for (unsigned i = 0; i < missing_count; i++)
        if (missing[i] != skip)
            CU_ASSERT_FATAL(same(b[fresh + i], b[missing[i]], bytes));
}

static void make_stripe(void **b, unsigned count, unsigned offset, size_t bytes)
{
    uint8_t exponents[BLOCKS];

    for (unsigned i = 0; i < count; i++)
        exponents[i] = (uint8_t)i;
    fill(count, offset, bytes);
    take(b, BLOCKS, offset);
    slow_pq(b[count], b[count + 1], b, exponents, count, bytes);
}

static void recover_all(unsigned count, unsigned offset, size_t bytes, unsigned step)
{
    void *b[BLOCKS];
    unsigned blocks = count + 2;

    make_stripe(b, count, offset, bytes);
    for (unsigned x = 0; x < blocks; x += x + step < count ? step : 1) {
        try_recover(b, count, 2, &x, 1, blocks, bytes);
        if (x <= count)
            try_recover(b, count, 1, &x, 1, blocks, bytes);
        for (unsigned y = 0; y < blocks; y += y + step < count ? step : 1) {
            const unsigned missing[] = {x, y};
            if (x == y)
                continue;
            try_recover(b, count, 2, missing, 2, blocks, bytes);
            try_recover(b, count, 2, missing, 2, y, bytes);
        }
    }
    CU_ASSERT_FATAL(guarded(count + 4, offset, bytes));
}

static void recover(void)
{
    for (unsigned count = 1; count <= 12; count++)
        for (unsigned o = 0; o < ARRAY_LEN(offsets); o++)
            recover_all(count, offsets[o], count == 5 ? BYTES : 512, 1);
    recover_all(40, 0, 512, 3);
    recover_all(253, 0, 512, 50);
    recover_all(255, 0, 512, 50);
}

static void test_recover(void)
{
    with_kernels(recover);
}

static void recover_widest_raid5(void)
{
    void *b[BLOCKS];
    unsigned count = PARITY_BLOCKS_MAX - 1;

    fill(count, 0, 512);
    take(b, BLOCKS, 0);
    parity_xor(b[count], (const void *const *)b, count, 512);
    for (unsigned x = 0; x <= count; x += 383)
        try_recover(b, count, 1, &x, 1, BLOCKS, 512);
    CU_ASSERT_EQUAL(parity_check((const void *const *)b, count, 1, 512), PARITY_FITS);
}

static void test_recover_widest(void)
{
    with_kernels(recover_widest_raid5);
}

/* `from` to `to` of a block are inverted, or put right again. */
static void spoil(void *b, size_t from, size_t to)
{
    for (size_t at = from; at < to; at++)
        ((uint8_t *)b)[at] ^= (uint8_t)(at % 255 + 1);
}

static void check_stripe(unsigned count, unsigned offset, size_t bytes)
{
    void *b[BLOCKS];
    const void *const *stripe = (const void *const *)b;

    make_stripe(b, count, offset, bytes);
    CU_ASSERT_EQUAL_FATAL(parity_check(stripe, count, 1, bytes), PARITY_FITS);
    CU_ASSERT_EQUAL_FATAL(parity_check(stripe, count, 2, bytes), PARITY_FITS);
    for (unsigned x = 0; x < count + 2; x++) {
        const size_t ranges[][2] = {{0, bytes}, {0, 1}, {bytes - 1, bytes}, {bytes / 2, bytes}};
        for (unsigned r = 0; r < ARRAY_LEN(ranges); r++) {
            spoil(b[x], ranges[r][0], ranges[r][1]);
            CU_ASSERT_EQUAL_FATAL(parity_check(stripe, count, 2, bytes), (int)x);
            CU_ASSERT_EQUAL_FATAL(
                parity_check(stripe, count, 1, bytes), x <= count ? PARITY_UNKNOWN : PARITY_FITS);
            spoil(b[x], ranges[r][0], ranges[r][1]);
        }
        for (unsigned y = 0; y < count + 2; y++) {
            if (x == y)
                continue;
            spoil(b[x], 0, 1);
            spoil(b[y], bytes - 1, bytes);
            CU_ASSERT_EQUAL_FATAL(parity_check(stripe, count, 2, bytes), PARITY_UNKNOWN);
            spoil(b[x], 0, 1);
            spoil(b[y], bytes - 1, bytes);
        }
    }
}

/* Both parities wrong in the way of a block that the stripe does not have. */
static void check_no_such_block(void)
{
    void *b[BLOCKS];
    unsigned count = 4;

    make_stripe(b, count, 0, 512);
    ((uint8_t *)b[count])[100] ^= 1;
    ((uint8_t *)b[count + 1])[100] ^= gf256_power(3);
    CU_ASSERT_EQUAL(parity_check((const void *const *)b, count, 2, 512), 3);
    ((uint8_t *)b[count + 1])[100] ^= gf256_power(3) ^ gf256_power(4);
    CU_ASSERT_EQUAL(parity_check((const void *const *)b, count, 2, 512), PARITY_UNKNOWN);
}

static void check(void)
{
    for (unsigned count = 1; count <= 10; count++)
        for (unsigned o = 0; o < ARRAY_LEN(offsets); o++)
            check_stripe(count, offsets[o], count == 3 ? BYTES : 512);
    check_stripe(60, 0, 512);
    check_no_such_block();
}

static void test_check(void)
{
    with_kernels(check);
}

int parity_suite_init(void)
{
    memory = aligned_alloc(64, (size_t)BLOCKS * SLOT_BYTES);
    return memory ? 0 : 1;
}

int parity_suite_clean(void)
{
    free(memory);
    return 0;
}

CU_TestInfo parity_tests[] = {
    {"the field", test_field},
    {"every factor", test_factors},
    {"P and Q, of whole stripes and of parts", test_generate},
    {"new parity from what changes", test_update},
    {"any one or two missing blocks", test_recover},
    {"the widest RAID5", test_recover_widest},
    {"which block is wrong", test_check},
    CU_TEST_INFO_NULL,
};
