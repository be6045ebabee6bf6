/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything is a sum of blocks times factors. What runs over blocks more than once goes piece by
 * piece, so that the second time they are in the processor's first cache.
 */
#include "raid/parity.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/arith.h"
#include "raid/gf256.h"
#include "raid/parity_kernel.h"

#define PIECE_BYTES       8192u
#define CHECK_PIECE_BYTES 4096u /* two of them on the stack */

#ifdef HAVE_ISAL
static const struct parity_kernel *kernel = &parity_isal;
#else
static const struct parity_kernel *kernel = &parity_portable;
#endif

void parity_use(const struct parity_kernel *other)
{
    kernel = other;
}

static void check_lengths(unsigned count, unsigned max, size_t bytes)
{
    assert(count >= 1 && count <= max);
    assert(bytes % PARITY_UNIT_BYTES == 0);
}

static void *shifted(void *block, size_t offset)
{
    return block ? (uint8_t *)block + offset : NULL;
}

static void shift(const void **pieces, const void *const *blocks, unsigned count, size_t offset)
{
    for (unsigned i = 0; i < count; i++)
        pieces[i] = (const uint8_t *)blocks[i] + offset;
}

void parity_xor(void *dst, const void *const *blocks, unsigned count, size_t bytes)
{
    const void *pieces[PARITY_BLOCKS_MAX];

    check_lengths(count, PARITY_BLOCKS_MAX, bytes);
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        shift(pieces, blocks, count, at);
        kernel->sum(shifted(dst, at), pieces, count, MIN(bytes - at, (size_t)PIECE_BYTES));
    }
}

void parity_pq(void *p, void *q, const void *const *blocks, unsigned count, size_t bytes)
{
    const void *pieces[PARITY_Q_BLOCKS_MAX];

    check_lengths(count, PARITY_Q_BLOCKS_MAX, bytes);
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        shift(pieces, blocks, count, at);
        kernel->pq(
            shifted(p, at), shifted(q, at), pieces, count, MIN(bytes - at, (size_t)PIECE_BYTES));
    }
}

/* dst[row] = or += the sum of factors[row][i] * blocks[i]; a row whose dst is NULL is left out. */
static void combine(void *const *dst, const uint8_t *const *factors, unsigned rows,
    const void *const *blocks, unsigned count, size_t bytes, bool add)
{
    const void *pieces[PARITY_BLOCKS_MAX];
    const uint8_t *wanted[PARITY_ROWS_MAX];
    void *at_dst[PARITY_ROWS_MAX];

    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        unsigned used = 0;
        for (unsigned row = 0; row < rows; row++) {
            if (!dst[row])
                continue;
            at_dst[used] = shifted(dst[row], at);
            wanted[used++] = factors[row];
        }
        shift(pieces, blocks, count, at);
        kernel->combine(
            at_dst, wanted, used, pieces, count, MIN(bytes - at, (size_t)PIECE_BYTES), add);
    }
}

static void weigh(void *p, void *q, const void *const *blocks, const uint8_t *exponents,
    unsigned count, size_t bytes, bool add)
{
    uint8_t ones[PARITY_BLOCKS_MAX], powers[PARITY_BLOCKS_MAX];

    check_lengths(count, PARITY_BLOCKS_MAX, bytes);
    memset(ones, 1, count);
    for (unsigned i = 0; i < count; i++)
        powers[i] = gf256_power(exponents[i]);
    combine((void *const[]){p, q}, (const uint8_t *const[]){ones, powers}, 2, blocks, count, bytes,
        add);
}

void parity_partial(void *p, void *q, const void *const *blocks, const uint8_t *exponents,
    unsigned count, size_t bytes)
{
    if (q)
        weigh(p, q, blocks, exponents, count, bytes, false);
    else
        parity_xor(p, blocks, count, bytes);
}

void parity_update(void *p, void *q, const void *const *blocks, const uint8_t *exponents,
    unsigned count, size_t bytes)
{
    const void *with_p[PARITY_BLOCKS_MAX] = {p};

    if (q) {
        weigh(p, q, blocks, exponents, count, bytes, true);
        return;
    }
    check_lengths(count, PARITY_BLOCKS_MAX - 1, bytes);
    memcpy(with_p + 1, blocks, count * sizeof *blocks);
    parity_xor(p, with_p, count + 1, bytes);
}

/*
 * With A the sum of P and all data blocks that are there, and B that of Q and g^k * block k (each
 * without its parity when that is missing), any missing block is c * A + d * B.
 */
struct solution {
    uint8_t c, d;
};

/* Two data blocks, from A = a + b and B = g^a * a + g^b * b. */
static void solve_two_data(struct solution *s, unsigned a, unsigned b)
{
    uint8_t sum = gf256_power(a) ^ gf256_power(b);

    s[0] = (struct solution){gf256_divide(gf256_power(b), sum), gf256_divide(1, sum)};
    s[1] = (struct solution){s[0].c ^ 1, s[0].d};
}

/* For blocks a < b, or one block a == b; p is the number of P. */
static void solve(struct solution *s, unsigned a, unsigned b, unsigned p)
{
    uint8_t inverse = gf256_divide(1, gf256_power(a));

    if (a == b) {
        s[0] = s[1] = a > p ? (struct solution){0, 1} : (struct solution){1, 0};
    } else if (a == p) {
        s[0] = (struct solution){1, 0};
        s[1] = (struct solution){0, 1};
    } else if (b == p) {
        s[0] = (struct solution){0, inverse};
        s[1] = (struct solution){1, inverse};
    } else if (b > p) {
        s[0] = (struct solution){1, 0};
        s[1] = (struct solution){gf256_power(a), 1};
    } else {
        solve_two_data(s, a, b);
    }
}

static uint8_t factor_of(const struct solution *s, unsigned block, unsigned p)
{
    if (block == p)
        return s->c;
    if (block > p)
        return s->d;
    return s->c ^ gf256_multiply(s->d, gf256_power(block));
}

/* The rows to compute, and what each is a sum of. */
struct recovery {
    void *dst[PARITY_ROWS_MAX];
    struct solution solutions[PARITY_ROWS_MAX];
    unsigned rows;
    const void *sources[PARITY_BLOCKS_MAX];
    uint8_t factors[PARITY_ROWS_MAX][PARITY_BLOCKS_MAX];
    unsigned count; /* of sources */
};

static void want(struct recovery *r, void *dst, const struct solution *s)
{
    if (!dst)
        return;
    r->dst[r->rows] = dst;
    r->solutions[r->rows++] = *s;
}

static void add_source(struct recovery *r, const void *block, unsigned number, unsigned p)
{
    bool used = false;

    for (unsigned row = 0; row < r->rows; row++) {
        r->factors[row][r->count] = factor_of(&r->solutions[row], number, p);
        used |= r->factors[row][r->count] != 0;
    }
    if (used)
        r->sources[r->count++] = block;
}

static bool is_plain_sum(const struct recovery *r)
{
    return r->rows == 1 && r->solutions[0].c == 1 && r->solutions[0].d == 0;
}

void parity_recover(void *const *blocks, unsigned data_count, unsigned parities,
    const unsigned *missing, unsigned missing_count, size_t bytes)
{
    unsigned a = MIN(missing[0], missing[missing_count - 1]);
    unsigned b = MAX(missing[0], missing[missing_count - 1]);
    struct solution s[2];
    struct recovery r;

    assert(missing_count >= 1 && missing_count <= parities && parities <= 2);
    check_lengths(data_count, parities == 1 ? PARITY_BLOCKS_MAX - 1 : PARITY_Q_BLOCKS_MAX, bytes);
    r.rows = r.count = 0;
    solve(s, a, b, data_count);
    want(&r, blocks[a], &s[0]);
    if (b != a)
        want(&r, blocks[b], &s[1]);
    for (unsigned i = 0; i < data_count + parities; i++)
        if (i != a && i != b)
            add_source(&r, blocks[i], i, data_count);
    if (is_plain_sum(&r))
        parity_xor(r.dst[0], r.sources, r.count, bytes);
    else if (a == data_count && r.rows == 2)
        parity_pq(r.dst[0], r.dst[1], r.sources, r.count, bytes);
    else if (r.rows)
        combine(r.dst, (const uint8_t *const[]){r.factors[0], r.factors[1]}, r.rows, r.sources,
            r.count, bytes, false);
}

/* Which block explains what is wrong with one byte of P and Q. */
static int culprit(uint8_t wrong_p, uint8_t wrong_q, unsigned data_count)
{
    unsigned k;

    if (!wrong_p && !wrong_q)
        return PARITY_FITS;
    if (!wrong_q)
        return (int)data_count;
    if (!wrong_p)
        return (int)data_count + 1;
    k = gf256_logarithm(gf256_divide(wrong_q, wrong_p));
    return k < data_count ? (int)k : PARITY_UNKNOWN;
}

static int agreed(int culprit_so_far, int another)
{
    if (culprit_so_far == another || another == PARITY_FITS)
        return culprit_so_far;
    return culprit_so_far == PARITY_FITS ? another : PARITY_UNKNOWN;
}

static int check_piece(
    const void *const *pieces, unsigned data_count, unsigned parities, size_t bytes)
{
    _Alignas(PARITY_ALIGN_BYTES) uint8_t p[CHECK_PIECE_BYTES], q[CHECK_PIECE_BYTES];
    const uint8_t *its_p = pieces[data_count], *its_q = pieces[data_count + parities - 1];
    int found = PARITY_FITS;

    if (parities == 1) {
        kernel->sum(p, pieces, data_count, bytes);
        return memcmp(p, its_p, bytes) ? PARITY_UNKNOWN : PARITY_FITS;
    }
    kernel->pq(p, q, pieces, data_count, bytes);
    if (!memcmp(p, its_p, bytes) && !memcmp(q, its_q, bytes))
        return PARITY_FITS;
    for (size_t i = 0; i < bytes; i++)
        found = agreed(found, culprit(p[i] ^ its_p[i], q[i] ^ its_q[i], data_count));
    return found;
}

int parity_check(const void *const *blocks, unsigned data_count, unsigned parities, size_t bytes)
{
    const void *pieces[PARITY_BLOCKS_MAX];
    int found = PARITY_FITS;

    assert(parities == 1 || parities == 2);
    check_lengths(data_count, parities == 1 ? PARITY_BLOCKS_MAX - 1 : PARITY_Q_BLOCKS_MAX, bytes);
    for (size_t at = 0; at < bytes && found != PARITY_UNKNOWN; at += CHECK_PIECE_BYTES) {
        size_t piece = MIN(bytes - at, (size_t)CHECK_PIECE_BYTES);
        shift(pieces, blocks, data_count + parities, at);
        found = agreed(found, check_piece(pieces, data_count, parities, piece));
    }
    return found;
}
