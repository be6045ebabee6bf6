/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LVM2's checksum: CRC-32 as zlib has it, but for the start value and the inversions. Source: LVM2
 * lib/misc/crc.c, INITIAL_CRC. */
#ifndef ASHLAR_LVM_CRC_H
#define ASHLAR_LVM_CRC_H

#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#define LVM_CRC_INITIAL 0xf597a6cfu

/* May be continued: crc is what came before, LVM_CRC_INITIAL at first. */
static inline uint32_t lvm_crc(uint32_t crc, const void *buf, size_t length)
{
    return (uint32_t)crc32_z(crc ^ ~0u, buf, length) ^ ~0u;
}

#endif
