/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/refcount.h"

#include <assert.h>

#include "base/bytes.h"

uint64_t refcount_get(const uint8_t *block, unsigned order, uint64_t index)
{
    switch (order) {
    case 3:
        return block[index];
    case 4:
        return get_be16(block + index * 2);
    case 5:
        return get_be32(block + index * 4);
    case 6:
        return get_be64(block + index * 8);
    default: {
        uint64_t bit = index << order;

        return block[bit / 8] >> bit % 8 & refcount_max(order);
    }
    }
}

static void set_bits(uint8_t *byte, unsigned order, unsigned shift, uint64_t value)
{
    unsigned mask = (unsigned)refcount_max(order) << shift;

    *byte = (uint8_t)((*byte & ~mask) | (unsigned)value << shift);
}

void refcount_set(uint8_t *block, unsigned order, uint64_t index, uint64_t value)
{
    assert(value <= refcount_max(order));
    switch (order) {
    case 3:
        block[index] = (uint8_t)value;
        break;
    case 4:
        put_be16(block + index * 2, (uint16_t)value);
        break;
    case 5:
        put_be32(block + index * 4, (uint32_t)value);
        break;
    case 6:
        put_be64(block + index * 8, value);
        break;
    default: {
        uint64_t bit = index << order;

        set_bits(block + bit / 8, order, bit % 8, value);
    }
    }
}
