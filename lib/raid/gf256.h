/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The field that RAID6 computes in: GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d),
 * in which addition is xor and the element 2, called g, generates all but 0: g^255 = 1. Pure.
 */
#ifndef ASHLAR_RAID_GF256_H
#define ASHLAR_RAID_GF256_H

#include <stdint.h>

#define GF256_ORDER 255u /* powers of g that differ */

/* g to the power of any exponent. */
uint8_t gf256_power(unsigned exponent);
/* The exponent, below GF256_ORDER, of a, which is not 0. */
unsigned gf256_logarithm(uint8_t a);
uint8_t gf256_multiply(uint8_t a, uint8_t b);
/* b is not 0. */
uint8_t gf256_divide(uint8_t a, uint8_t b);

#endif
