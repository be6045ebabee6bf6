/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parity of RAID5 and RAID6: P is the sum of the data in GF(2^8) with the polynomial 0x11d, Q that
 * of each times 2 to its power (struct check_stripe). Arithmetic of our own, by the definition.
 *
 * Blocks are given by role, all of the same length, a multiple of 8.
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_PARITY_H
#define ASHLAR_TESTS_SIM_CHECK_PARITY_H

#include "check_layout.h"

#define CHECK_PARITY_BYTES (16u << 10) /* at once */

/* P and Q (NULL: not wanted) of the data; a block that is NULL counts as zeros. */
void check_parity_make(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t *const *blocks, uint8_t *p, uint8_t *q, uint64_t length);

/* Works out blocks that are NULL, at most as many as there is parity, at most CHECK_PARITY_BYTES:
 * into `room` for each, which they point to afterwards. */
void check_parity_solve(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t **blocks, uint8_t (*room)[CHECK_PARITY_BYTES], uint64_t length);

/* The first byte at which parity does not fit, or `length`. All are there. */
uint64_t check_parity_fits(const struct check_layout *l, const struct check_stripe *s,
    const uint8_t *const *blocks, uint64_t length);

#endif
