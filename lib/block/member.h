/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Members: the leaves. A file or block device through the engine, or memory for tests and
 * benchmarks. Concurrent flushes of one member share device flushes: those that arrive while one
 * runs share the next.
 */
#ifndef ASHLAR_BLOCK_MEMBER_H
#define ASHLAR_BLOCK_MEMBER_H

#include "base/error.h"
#include "block/blockdev.h"

#define MEMBER_READ_ONLY 1u
#define MEMBER_CREATE    2u /* a new regular file, mode 0600, of 4096 bytes: -EEXIST */
#define MEMBER_PADDED                                                                              \
    4u /* with READ_ONLY: a file that does not end with a block is filled up with zeros */

/* Opens it exclusively (see FILE_EXCLUSIVE); at least 4096 bytes long, rounded down to its logical
 * blocks. */
int member_open(const char *path, unsigned flags, struct blockdev **d, struct error *err);
/* Of a regular file opened so: longer (with zeros) or shorter. Nothing is in flight beyond the new
 * end; in a coroutine. -ENOSPC, -EFBIG, -EOPNOTSUPP: a block device. */
int member_resize(struct blockdev *d, uint64_t size_bytes);
/* Zero-filled memory; logical_block_bytes 512 or 4096. Operations end before start returns. */
int member_memory(
    const char *name, uint64_t size_bytes, uint32_t logical_block_bytes, struct blockdev **d);

#endif
