/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/iov.h"

#include <assert.h>
#include <string.h>

size_t iov_length(const struct iovec *iov, int count)
{
    size_t length = 0;

    for (int i = 0; i < count; i++)
        length += iov[i].iov_len;
    return length;
}

int iov_slice(
    struct iovec *dst, const struct iovec *src, int src_count, size_t offset, size_t length)
{
    int used = 0;

    for (int i = 0; length; i++) {
        assert(i < src_count);
        if (offset >= src[i].iov_len) {
            offset -= src[i].iov_len;
            continue;
        }
        size_t n = src[i].iov_len - offset;
        if (n > length)
            n = length;
        dst[used++] = (struct iovec){(char *)src[i].iov_base + offset, n};
        length -= n;
        offset = 0;
    }
    return used;
}

/* Calls for each piece of the range; `done` is how many bytes came before it. */
#define for_each_piece(piece, done, iov, count, offset, length)                                    \
    for (size_t pos = 0, done = 0, i_ = 0; i_ < (size_t)(count) && done < (length);                \
         pos += (iov)[i_++].iov_len)                                                               \
        for (struct iovec piece = piece_of(&(iov)[i_], pos, offset, length, done); piece.iov_len;  \
             done += piece.iov_len, piece.iov_len = 0)

static struct iovec piece_of(
    const struct iovec *v, size_t pos, size_t offset, size_t length, size_t done)
{
    size_t skip = offset + done > pos ? offset + done - pos : 0;
    size_t n = skip < v->iov_len ? v->iov_len - skip : 0;

    if (n > length - done)
        n = length - done;
    return (struct iovec){(char *)v->iov_base + skip, n};
}

void iov_copy_to(const struct iovec *iov, int count, size_t offset, const void *from, size_t length)
{
    for_each_piece(piece, done, iov, count, offset, length)
        memcpy(piece.iov_base, (const char *)from + done, piece.iov_len);
}

void iov_copy_from(void *to, const struct iovec *iov, int count, size_t offset, size_t length)
{
    for_each_piece(piece, done, iov, count, offset, length)
        memcpy((char *)to + done, piece.iov_base, piece.iov_len);
}

void iov_zero(const struct iovec *iov, int count, size_t offset, size_t length)
{
    for_each_piece(piece, done, iov, count, offset, length)
        memset(piece.iov_base, 0, piece.iov_len);
}
