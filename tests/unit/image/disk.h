/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk in memory that tells its holes, for the tests of copying. */
#ifndef ASHLAR_TESTS_IMAGE_DISK_H
#define ASHLAR_TESTS_IMAGE_DISK_H

#include "block/blockdev.h"

/* Alternates, from its beginning, between a hole of DISK_DATA_AT bytes and as much data, in which
 * no two sectors are the same; where data ends inside, so does the disk. */
#define DISK_DATA_AT (UINT64_C(1) << 20)
struct blockdev *disk_sparse(uint64_t size_bytes, uint32_t logical_block_bytes);
uint64_t disk_data_bytes(uint64_t size_bytes);
/* All of it, with something that differs by `seed`. */
void disk_fill(struct blockdev *d, unsigned seed);

#endif
