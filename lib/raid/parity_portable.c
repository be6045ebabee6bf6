/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parity in plain C with the compiler's vectors, for builds without ISA-L and for tests to compare
 * with. Q by Horner's rule: from the last block to the first, multiply by g and add.
 */
#include "raid/parity_kernel.h"

/* Of any alignment. PARITY_UNIT_BYTES is a multiple of its size. */
typedef uint8_t vector __attribute__((vector_size(16), aligned(1), may_alias));
typedef int8_t signed_vector __attribute__((vector_size(16), aligned(1), may_alias));

static vector load(const void *block, size_t at)
{
    return *(const vector *)((const uint8_t *)block + at);
}

static void store(void *block, size_t at, vector v)
{
    *(vector *)((uint8_t *)block + at) = v;
}

/* g times each byte: shifted left, and the polynomial taken off where a bit fell out. */
static vector doubled(vector v)
{
    vector overflows = (vector)((signed_vector)v < 0);

    return (v + v) ^ (overflows & 0x1d);
}

static void portable_sum(void *dst, const void *const *sources, unsigned count, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += sizeof(vector)) {
        vector sum = load(sources[0], at);
        for (unsigned i = 1; i < count; i++)
            sum ^= load(sources[i], at);
        store(dst, at, sum);
    }
}

static void portable_pq(void *p, void *q, const void *const *sources, unsigned count, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += sizeof(vector)) {
        vector sum = load(sources[count - 1], at), weighted = sum;
        for (unsigned i = count - 1; i-- > 0;) {
            vector source = load(sources[i], at);
            sum ^= source;
            weighted = doubled(weighted) ^ source;
        }
        store(p, at, sum);
        store(q, at, weighted);
    }
}

static vector times(vector v, uint8_t factor)
{
    vector sum = {0};

    for (; factor; factor >>= 1, v = doubled(v))
        if (factor & 1)
            sum ^= v;
    return sum;
}

static void portable_combine(void *const *dst, const uint8_t *const *factors, unsigned rows,
    const void *const *sources, unsigned count, size_t bytes, bool add)
{
    for (unsigned row = 0; row < rows; row++) {
        for (size_t at = 0; at < bytes; at += sizeof(vector)) {
            vector sum = {0};
            if (add)
                sum = load(dst[row], at);
            for (unsigned i = 0; i < count; i++)
                sum ^= times(load(sources[i], at), factors[row][i]);
            store(dst[row], at, sum);
        }
    }
}

const struct parity_kernel parity_portable = {
    .name = "portable",
    .sum = portable_sum,
    .pq = portable_pq,
    .combine = portable_combine,
};
