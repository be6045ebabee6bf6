/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parity by ISA-L. xor_gen and pq_gen want two sources and all on multiples of 32 bytes (on some
 * processors they fault on others); its erasure coding takes everything, at half the speed.
 */
#include <assert.h>
#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>
#include <stdbool.h>
#include <string.h>

#include "base/arith.h"
#include "raid/gf256.h"
#include "raid/parity.h"
#include "raid/parity_kernel.h"

#define ISAL_ALIGN_BYTES 32u
#define TABLE_BYTES      32u /* that ISA-L makes of each factor */
#define BATCH            32u /* sources in one call, which bounds the tables */

static bool is_aligned(const void *block)
{
    return (uintptr_t)block % ISAL_ALIGN_BYTES == 0;
}

static bool all_aligned(const void *const *blocks, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!is_aligned(blocks[i]))
            return false;
    return true;
}

static void isal_sum(void *dst, const void *const *sources, unsigned count, size_t bytes)
{
    const void *vectors[PARITY_BLOCKS_MAX + 1];
    int rc;

    if (count == 1) {
        memmove(dst, sources[0], bytes);
        return;
    }
    if (!is_aligned(dst) || !all_aligned(sources, count)) {
        parity_portable.sum(dst, sources, count, bytes);
        return;
    }
    memcpy(vectors, sources, count * sizeof *vectors);
    vectors[count] = dst;
    rc = xor_gen((int)count + 1, (int)bytes, (void **)vectors);
    assert(rc == 0);
}

/* ISA-L's prototypes know no const. */
static void encode(void *const *dst, const uint8_t *const *factors, unsigned rows,
    const void *const *sources, unsigned count, size_t bytes)
{
    uint8_t batch[PARITY_ROWS_MAX * BATCH], tables[PARITY_ROWS_MAX * BATCH * TABLE_BYTES];

    for (unsigned row = 0; row < rows; row++)
        memcpy(batch + row * count, factors[row], count);
    ec_init_tables((int)count, (int)rows, batch, tables);
    ec_encode_data((int)bytes, (int)count, (int)rows, tables, (uint8_t **)sources, (uint8_t **)dst);
}

static void encode_more(void *const *dst, const uint8_t *const *factors, unsigned rows,
    const void *const *sources, unsigned i, size_t bytes)
{
    uint8_t column[PARITY_ROWS_MAX], tables[PARITY_ROWS_MAX * TABLE_BYTES];

    for (unsigned row = 0; row < rows; row++)
        column[row] = factors[row][i];
    ec_init_tables(1, (int)rows, column, tables);
    ec_encode_data_update(
        (int)bytes, 1, (int)rows, 0, tables, (uint8_t *)(uintptr_t)sources[i], (uint8_t **)dst);
}

static void isal_combine(void *const *dst, const uint8_t *const *factors, unsigned rows,
    const void *const *sources, unsigned count, size_t bytes, bool add)
{
    unsigned done = add ? 0 : MIN(count, BATCH);

    if (done)
        encode(dst, factors, rows, sources, done, bytes);
    for (; done < count; done++)
        encode_more(dst, factors, rows, sources, done, bytes);
}

static void combine_pq(void *p, void *q, const void *const *sources, unsigned count, size_t bytes)
{
    uint8_t ones[PARITY_Q_BLOCKS_MAX], powers[PARITY_Q_BLOCKS_MAX];

    memset(ones, 1, count);
    for (unsigned k = 0; k < count; k++)
        powers[k] = gf256_power(k);
    isal_combine((void *const[]){p, q}, (const uint8_t *const[]){ones, powers}, 2, sources, count,
        bytes, false);
}

static void isal_pq(void *p, void *q, const void *const *sources, unsigned count, size_t bytes)
{
    const void *vectors[PARITY_Q_BLOCKS_MAX + 2];
    int rc;

    if (count == 1 || !is_aligned(p) || !is_aligned(q) || !all_aligned(sources, count)) {
        combine_pq(p, q, sources, count, bytes);
        return;
    }
    memcpy(vectors, sources, count * sizeof *vectors);
    vectors[count] = p;
    vectors[count + 1] = q;
    rc = pq_gen((int)count + 2, (int)bytes, (void **)vectors);
    assert(rc == 0);
}

const struct parity_kernel parity_isal = {
    .name = "isa-l",
    .sum = isal_sum,
    .pq = isal_pq,
    .combine = isal_combine,
};
