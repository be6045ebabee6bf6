/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files and sockets as the engine serves them. An `io` is one operation in flight: memory of its
 * owner until `done` is called, on the worker that started it, from the worker's loop (it must
 * not wait). What is started is gathered and goes to the kernel in one batch when the worker has
 * nothing else to run.
 *
 * Engines: io_uring, libaio with epoll, and the simulator, which knows files by name only.
 */
#ifndef ASHLAR_RT_IO_H
#define ASHLAR_RT_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

struct file;

enum io_kind {
    IO_READ,        /* iov at offset */
    IO_WRITE,       /* iov at offset; flags: IO_FUA */
    IO_SYNC,        /* data and the size that reading it needs: fdatasync */
    IO_DISCARD,     /* offset, length: contents become undefined or zero; space is given back */
    IO_WRITE_ZEROES /* offset, length; flags: IO_MAY_UNMAP, IO_FAST (refuse with -EOPNOTSUPP rather
                       than write) */
};
#define IO_FUA       1u
#define IO_MAY_UNMAP 2u
#define IO_FAST      4u

struct io {
    enum io_kind kind;
    unsigned flags;
    struct file *file;
    const struct iovec
        *iov; /* stays valid until done; addresses aligned to file_info.memory_align_bytes */
    int iov_count;
    uint64_t offset, length;
    int result; /* 0 or -errno: short transfers have been continued by the engine; reading past the
                   end is -EIO */
    void (*done)(struct io *io);
    uint64_t ended_bytes; /* of a read: what has been read, also when the result is -EIO */
    /* Below: the engine's. */
    struct io *next;
    uint64_t total_bytes;
    unsigned attempt;
};

/* Any number may be in flight for a file, on any workers. */
void io_start(struct io *io);
/* Starts it and waits; returns io->result. */
int io_run(struct io *io);

struct file_info {
    uint64_t size_bytes;
    bool block_device;
    bool direct; /* O_DIRECT took effect */
    bool rotational;
    unsigned logical_block_bytes,
        physical_block_bytes; /* offsets and lengths are multiples of the former */
    unsigned memory_align_bytes;
    unsigned optimal_io_bytes;  /* 0: unknown */
    bool can_discard, can_zero; /* can_zero: with IO_MAY_UNMAP, without moving the bytes */
};

#define FILE_READ_ONLY 1u
#define FILE_EXCLUSIVE                                                                             \
    2u /* O_EXCL on block devices; an open-file-description lock on files: -EBUSY when held        \
          elsewhere */
#define FILE_CREATE 4u /* a new regular file, mode 0600: -EEXIST when anything is there */

/* Opens a regular file or block device, direct when it can be. May wait. The error names the path.
 */
int file_open(const char *path, unsigned flags, struct file **file, struct error *err);
const struct file_info *file_info(const struct file *file);
/* Reads the size again (a grown disk); 0 or -errno. */
int file_refresh(struct file *file);
/* Regular files only. */
int file_resize(struct file *file, uint64_t size_bytes);
/* Nothing is in flight. */
void file_close(struct file *file);
/* Next range of a file that is data or a hole, from `offset`: -EOPNOTSUPP where the file system
 * cannot tell. */
int file_next_extent(struct file *file, uint64_t offset, uint64_t *length_bytes, bool *hole);

/* Memory for direct I/O: aligned to 4096, pooled per worker by power-of-two size up to 2 MiB; NULL
 * when out of memory. */
void *io_buffer_get(size_t bytes);
void io_buffer_put(void *buf, size_t bytes);

#endif
