/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic on scatter lists. No list longer than IOV_SEGMENTS_MAX ever reaches a layer: the
 * wrapper splits there. */
#ifndef ASHLAR_BASE_IOV_H
#define ASHLAR_BASE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

#define IOV_SEGMENTS_MAX 64

size_t iov_length(const struct iovec *iov, int count);

/*
 * dst := bytes [offset, offset + length) of src, without copying data. dst has room for src_count
 * segments, which is always enough. Returns the number of segments used. The range lies within src.
 */
int iov_slice(
    struct iovec *dst, const struct iovec *src, int src_count, size_t offset, size_t length);

/* Copy between a scatter list (from `offset` on) and flat memory; the range lies within the list.
 */
void iov_copy_to(
    const struct iovec *iov, int count, size_t offset, const void *from, size_t length);
void iov_copy_from(void *to, const struct iovec *iov, int count, size_t offset, size_t length);
void iov_zero(const struct iovec *iov, int count, size_t offset, size_t length);

#endif
