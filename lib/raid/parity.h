/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parity of a stripe: P is the xor of its data blocks, Q the sum of g^k * block k over GF(2^8)
 * (raid/gf256.h). Pure arithmetic on memory, by ISA-L with the widest instructions of the processor
 * (raid/parity_kernel.h). Any thread.
 *
 * The *exponent* k of a data block is its place in Q order, which raid/geometry.h tells: 0 to
 * data_count - 1, each once, in some layouts another order than that of the array's bytes. Where a
 * function takes all blocks of a stripe, they stand in Q order: block k has exponent k, P follows
 * as number data_count, and for RAID6 Q as data_count + 1.
 *
 * All blocks of a call have the same length, a multiple of PARITY_UNIT_BYTES. Any alignment works;
 * all on multiples of PARITY_ALIGN_BYTES is up to twice as fast. Blocks do not overlap.
 */
#ifndef ASHLAR_RAID_PARITY_H
#define ASHLAR_RAID_PARITY_H

#include <stddef.h>
#include <stdint.h>

#define PARITY_UNIT_BYTES   512u
#define PARITY_ALIGN_BYTES  64u
#define PARITY_BLOCKS_MAX   384u /* in one call: the data blocks of a stripe and P */
#define PARITY_Q_BLOCKS_MAX 255u /* data blocks whose factors differ */

/* dst = the xor of 1 to PARITY_BLOCKS_MAX blocks; may be one of them. */
void parity_xor(void *dst, const void *const *blocks, unsigned count, size_t bytes);

/* P and Q of a whole stripe: of 1 to PARITY_Q_BLOCKS_MAX data blocks in Q order. */
void parity_pq(void *p, void *q, const void *const *blocks, unsigned count, size_t bytes);

/*
 * What some of a stripe's data blocks bring to P and Q: partial parity, or that of a stripe whose
 * other blocks are zero. 1 to PARITY_BLOCKS_MAX blocks, each with its exponent, in any order; p or
 * q may be NULL (then not computed).
 */
void parity_partial(void *p, void *q, const void *const *blocks, const uint8_t *exponents,
    unsigned count, size_t bytes);

/*
 * Adds that to P and Q, or takes it away, which is the same: given the old and the new contents of
 * each block that changes, each with the block's exponent, it turns old parity into new.
 */
void parity_update(void *p, void *q, const void *const *blocks, const uint8_t *exponents,
    unsigned count, size_t bytes);

/*
 * Computes one or two missing blocks of a stripe from the others. blocks: the stripe in Q order,
 * with `parities` 1 (RAID5: one may be missing) or 2. missing: their numbers, which differ, in any
 * order; a missing block whose pointer is NULL is not computed. With one data block missing Q is
 * not looked at, with one of P and Q missing neither is the other.
 */
void parity_recover(void *const *blocks, unsigned data_count, unsigned parities,
    const unsigned *missing, unsigned missing_count, size_t bytes);

#define PARITY_FITS    (-1)
#define PARITY_UNKNOWN (-2)

/*
 * Whether the parity of a stripe fits its data. PARITY_FITS; the number of the one block that,
 * changed, would make it fit (RAID6 only); else PARITY_UNKNOWN: more than one is wrong, or RAID5.
 * That block is a guess: two wrong blocks may look like a third one.
 */
int parity_check(const void *const *blocks, unsigned data_count, unsigned parities, size_t bytes);

#endif
