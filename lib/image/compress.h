/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Clusters, compressed and back: zlib (a raw deflate stream, window of 4 KiB) or zstd (one frame),
 * as QEMU does it. Pure, may be called from any thread. */
#ifndef ASHLAR_IMAGE_COMPRESS_H
#define ASHLAR_IMAGE_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "image/header.h"

/* Fills `to` wholly from the stream at `from`, which may be followed by other bytes. -EIO: it is
 * damaged or gives too little. -ENOMEM. */
int cluster_unpack(enum qcow2_compression how, uint8_t *to, size_t to_bytes, const uint8_t *from,
    size_t from_bytes);
/* *length: bytes in `to`. -ENOSPC: it does not fit in to_bytes (so that is less than from_bytes for
 * what shall become smaller). -ENOMEM. */
int cluster_pack(enum qcow2_compression how, uint8_t *to, size_t to_bytes, size_t *length,
    const uint8_t *from, size_t from_bytes);

#endif
