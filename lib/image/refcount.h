/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcounts in a refcount block: pure. A block is one cluster of big-endian numbers of 1 << order
 * bits; those below a byte stand least significant first. Entries of the refcount table: bits 9..63
 * a block's offset, 0: all its refcounts are 0.
 */
#ifndef ASHLAR_IMAGE_REFCOUNT_H
#define ASHLAR_IMAGE_REFCOUNT_H

#include <stdint.h>

#define QCOW2_REFTABLE_RESERVED UINT64_C(0x1ff)

/* The largest that fits. */
static inline uint64_t refcount_max(unsigned order)
{
    return order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;
}

uint64_t refcount_get(const uint8_t *block, unsigned order, uint64_t index);
/* value <= refcount_max(order). */
void refcount_set(uint8_t *block, unsigned order, uint64_t index, uint64_t value);

#endif
