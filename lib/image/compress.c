/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clusters, compressed and back, by zlib and libzstd. A call keeps no state and takes its working
 * memory (at most some hundred KiB, with zstd a few MiB) only while it runs.
 *
 * The entry tells a compressed cluster's length in sectors of 512 bytes, so a stream is followed by
 * up to 511 bytes of something else: unpacking ends when the cluster is full.
 */
#include "image/compress.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* As QEMU writes it: without header and checksum, distances of up to 4 KiB. */
#define DEFLATE_WINDOW_BITS (-12)
#define DEFLATE_MEM_LEVEL   9

static int inflate_cluster(uint8_t *to, size_t to_bytes, const uint8_t *from, size_t from_bytes)
{
    z_stream stream = {.next_in = (Bytef *)from,
        .avail_in = (uInt)from_bytes,
        .next_out = to,
        .avail_out = (uInt)to_bytes};
    int ended;

    if (inflateInit2(&stream, DEFLATE_WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    ended = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    if (ended == Z_MEM_ERROR)
        return -ENOMEM;
    /* Z_BUF_ERROR: the cluster was full before the mark of the stream's end was read. */
    return (ended == Z_STREAM_END || ended == Z_BUF_ERROR) && stream.avail_out == 0 ? 0 : -EIO;
}

static int deflate_cluster(
    uint8_t *to, size_t to_bytes, size_t *length, const uint8_t *from, size_t from_bytes)
{
    z_stream stream = {.next_in = (Bytef *)from,
        .avail_in = (uInt)from_bytes,
        .next_out = to,
        .avail_out = (uInt)to_bytes};
    int ended;

    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, DEFLATE_WINDOW_BITS,
            DEFLATE_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    ended = deflate(&stream, Z_FINISH);
    deflateEnd(&stream);
    if (ended != Z_STREAM_END)
        return -ENOSPC;
    *length = to_bytes - stream.avail_out;
    return 0;
}

static int zstd_unpack(uint8_t *to, size_t to_bytes, const uint8_t *from, size_t from_bytes)
{
    ZSTD_inBuffer in = {.src = from, .size = from_bytes};
    ZSTD_outBuffer out = {.dst = to, .size = to_bytes};
    ZSTD_DStream *stream = ZSTD_createDStream();
    size_t more = 1;

    if (!stream)
        return -ENOMEM;
    /* As a stream, because where the frame ends is not known. Each round moves on, or it is over.
     */
    while (out.pos < out.size && !ZSTD_isError(more)) {
        size_t in_before = in.pos, out_before = out.pos;

        more = ZSTD_decompressStream(stream, &out, &in);
        if (in.pos == in_before && out.pos == out_before)
            break;
    }
    ZSTD_freeDStream(stream);
    /* 0: the frame's end, its checksum included. More than 0: it would have given more bytes. */
    return out.pos == out.size && more == 0 ? 0 : -EIO;
}

static int zstd_pack(
    uint8_t *to, size_t to_bytes, size_t *length, const uint8_t *from, size_t from_bytes)
{
    size_t written = ZSTD_compress(to, to_bytes, from, from_bytes, ZSTD_CLEVEL_DEFAULT);

    if (ZSTD_isError(written))
        return ZSTD_getErrorCode(written) == ZSTD_error_memory_allocation ? -ENOMEM : -ENOSPC;
    *length = written;
    return 0;
}

int cluster_unpack(enum qcow2_compression how, uint8_t *to, size_t to_bytes, const uint8_t *from,
    size_t from_bytes)
{
    return how == QCOW2_ZSTD ? zstd_unpack(to, to_bytes, from, from_bytes)
                             : inflate_cluster(to, to_bytes, from, from_bytes);
}

int cluster_pack(enum qcow2_compression how, uint8_t *to, size_t to_bytes, size_t *length,
    const uint8_t *from, size_t from_bytes)
{
    return how == QCOW2_ZSTD ? zstd_pack(to, to_bytes, length, from, from_bytes)
                             : deflate_cluster(to, to_bytes, length, from, from_bytes);
}
