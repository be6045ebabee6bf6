/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Byte-order accessors for codecs: on-disk and wire structures are read and written by offset,
 * never overlaid. */
#ifndef ASHLAR_BASE_BYTES_H
#define ASHLAR_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_ACCESSORS(order, bits)                                                               \
    static inline uint##bits##_t get_##order##bits(const void *p)                                  \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return order##bits##toh(v);                                                                \
    }                                                                                              \
    static inline void put_##order##bits(void *p, uint##bits##_t v)                                \
    {                                                                                              \
        v = hto##order##bits(v);                                                                   \
        memcpy(p, &v, sizeof v);                                                                   \
    }

BYTES_ACCESSORS(le, 16)
BYTES_ACCESSORS(le, 32)
BYTES_ACCESSORS(le, 64)
BYTES_ACCESSORS(be, 16)
BYTES_ACCESSORS(be, 32)
BYTES_ACCESSORS(be, 64)

#undef BYTES_ACCESSORS

#endif
