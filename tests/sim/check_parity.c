/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_parity.h"

#include <stddef.h>
#include <string.h>

#define INVERSE 254u /* the power that is the inverse: there are 255 that are not zero */

/* --- GF(2^8) --- */

static uint8_t multiply(uint8_t x, uint8_t y)
{
    unsigned product = 0, shifted = x;

    for (; y; y >>= 1, shifted = shifted << 1 ^ (shifted & 0x80 ? 0x11d : 0))
        if (y & 1)
            product ^= shifted;
    return (uint8_t)product;
}

static uint8_t power(uint8_t x, unsigned n)
{
    uint8_t product = 1;

    while (n--)
        product = multiply(product, x);
    return product;
}

/* Each of the eight bytes times 2. */
static uint64_t twice(uint64_t x)
{
    uint64_t high = x & UINT64_C(0x8080808080808080);

    return (x & UINT64_C(0x7f7f7f7f7f7f7f7f)) << 1 ^ (high >> 7) * 0x1d;
}

static void scale(uint8_t *bytes, uint8_t factor, uint64_t length)
{
    uint8_t table[256];

    for (unsigned x = 0; x < sizeof table; x++)
        table[x] = multiply((uint8_t)x, factor);
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = table[bytes[i]];
}

static void add(uint8_t *to, const uint8_t *from, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        to[i] ^= from[i];
}

static void add_twice(uint8_t *to, const uint8_t *from, uint64_t length)
{
    uint64_t x, y;

    for (uint64_t i = 0; i < length; i += sizeof x) {
        memcpy(&x, to + i, sizeof x);
        memcpy(&y, from + i, sizeof y);
        x = twice(x) ^ y;
        memcpy(to + i, &x, sizeof x);
    }
}

/* --- stripes --- */

static unsigned data_count(const struct check_layout *l)
{
    return l->disks - l->parity;
}

/* Roles of the data, the highest power first. */
static void sort_by_power(
    const struct check_layout *l, const struct check_stripe *s, unsigned roles[CHECK_ROLES_MAX])
{
    for (unsigned i = 0; i < data_count(l); i++)
        roles[data_count(l) - 1 - s->powers[s->data[i]]] = s->data[i];
}

static void make_q(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t *const *blocks, uint8_t *q, uint64_t length)
{
    static const uint8_t zeros[CHECK_PARITY_BYTES];
    unsigned roles[CHECK_ROLES_MAX];

    sort_by_power(l, s, roles);
    memset(q, 0, length);
    for (unsigned i = 0; i < data_count(l); i++)
        add_twice(q, blocks[roles[i]] ? blocks[roles[i]] : zeros, length);
}

void check_parity_make(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t *const *blocks, uint8_t *p, uint8_t *q, uint64_t length)
{
    if (p)
        memset(p, 0, length);
    for (unsigned i = 0; p && i < data_count(l); i++)
        if (blocks[s->data[i]])
            add(p, blocks[s->data[i]], length);
    if (q)
        make_q(l, s, blocks, q, length);
}

/* What two missing blocks are, from the sums that are missing in P and Q: x + y = p and
 * 2^a x + 2^b y = q, so x = (q + 2^b p) / (2^a + 2^b). */
static void solve_two(
    uint8_t *x, uint8_t *y, uint8_t a, uint8_t b, uint8_t *p, const uint8_t *q, uint64_t length)
{
    memcpy(x, p, length);
    memcpy(y, p, length);
    scale(x, b, length);
    add(x, q, length);
    scale(x, power(a ^ b, INVERSE), length);
    add(y, x, length);
}

static void solve_data(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t *const *blocks, uint8_t *const *missing, const unsigned *roles, unsigned count,
    uint64_t length)
{
    static _Thread_local uint8_t p[CHECK_PARITY_BYTES], q[CHECK_PARITY_BYTES];
    uint8_t a = power(2, s->powers[roles[0]]);

    check_parity_make(l, s, blocks, p, l->parity == 2 ? q : NULL, length);
    if (blocks[s->p])
        add(p, blocks[s->p], length);
    if (l->parity == 2 && blocks[s->q])
        add(q, blocks[s->q], length);
    if (count == 2) {
        solve_two(missing[0], missing[1], a, power(2, s->powers[roles[1]]), p, q, length);
    } else if (blocks[s->p]) {
        memcpy(missing[0], p, length);
    } else {
        memcpy(missing[0], q, length);
        scale(missing[0], power(a, INVERSE), length);
    }
}

void check_parity_solve(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t **blocks, uint8_t (*room)[CHECK_PARITY_BYTES], uint64_t length)
{
    unsigned roles[2], count = 0;
    uint8_t *missing[2];

    for (unsigned i = 0; i < data_count(l); i++)
        if (!blocks[s->data[i]]) {
            roles[count] = s->data[i];
            missing[count++] = *room++;
        }
    if (count)
        solve_data(l, s, blocks, missing, roles, count, length);
    for (unsigned i = 0; i < count; i++)
        blocks[roles[i]] = missing[i];
    if (!blocks[s->p]) {
        check_parity_make(l, s, blocks, *room, NULL, length);
        blocks[s->p] = *room++;
    }
    if (l->parity == 2 && !blocks[s->q]) {
        check_parity_make(l, s, blocks, NULL, *room, length);
        blocks[s->q] = *room;
    }
}

static uint64_t first_difference(const uint8_t *x, const uint8_t *y, uint64_t length)
{
    uint64_t at = 0;

    if (memcmp(x, y, length) == 0)
        return length;
    while (x[at] == y[at])
        at++;
    return at;
}

uint64_t check_parity_fits(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t *const *blocks, uint64_t length)
{
    static _Thread_local uint8_t p[CHECK_PARITY_BYTES], q[CHECK_PARITY_BYTES];
    uint64_t at, at_q;

    check_parity_make(l, s, blocks, p, l->parity == 2 ? q : NULL, length);
    at = first_difference(p, blocks[s->p], length);
    at_q = l->parity == 2 ? first_difference(q, blocks[s->q], length) : length;
    return at < at_q ? at : at_q;
}
