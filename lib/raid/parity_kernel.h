/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What computes parity: a table of functions under raid/parity.c, once on ISA-L and once in plain
 * C. Seen only by raid/parity*.c, tests and benchmarks.
 *
 * All take pieces of `bytes`, a multiple of PARITY_UNIT_BYTES and at most INT_MAX, and pointers of
 * any alignment. Blocks do not overlap, but dst of sum may be one of its sources.
 */
#ifndef ASHLAR_RAID_PARITY_KERNEL_H
#define ASHLAR_RAID_PARITY_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARITY_ROWS_MAX 2u

struct parity_kernel {
    const char *name;
    /* dst = the sum of 1 to PARITY_BLOCKS_MAX sources. */
    void (*sum)(void *dst, const void *const *sources, unsigned count, size_t bytes);
    /* p = the sum of 1 to PARITY_Q_BLOCKS_MAX sources, q = the sum of g^k * sources[k]. */
    void (*pq)(void *p, void *q, const void *const *sources, unsigned count, size_t bytes);
    /* dst[row] = the sum of factors[row][i] * sources[i], or with `add` += that; 1 to
     * PARITY_ROWS_MAX rows, 1 to PARITY_BLOCKS_MAX sources. */
    void (*combine)(void *const *dst, const uint8_t *const *factors, unsigned rows,
        const void *const *sources, unsigned count, size_t bytes, bool add);
};

extern const struct parity_kernel parity_isal, parity_portable;

/* From now on all parity is computed with it. Not while another thread computes. */
void parity_use(const struct parity_kernel *kernel);

#endif
