/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of an io; see step.h. The state between steps is in the io: ended_bytes of total_bytes
 * are behind us, and `attempt` counts the ways of zeroing that have been refused.
 *
 * What may go wrong: EINTR and EAGAIN ask again; a short transfer continues where it stopped; one
 * that makes no progress is -EIO (the end of the file). A way of zeroing that is not supported
 * leads to the next, the last of which writes zeros.
 */
#include "rt/host/step.h"

#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/iov.h"
#include "rt/host/file.h"

/* See is_quick. */
#define QUICK_BYTES (1 << 20)

enum zeroes_attempt { ZEROES_UNMAP, ZEROES_KEEP, ZEROES_WRITE };

/* Never written: the kernel's zero page all over. */
static _Alignas(4096) unsigned char zeros[256 << 10];

/* On a block device ZEROES_KEEP makes the kernel write when the device has no command for it. */
static bool attempt_allowed(const struct io *io, unsigned attempt)
{
    if (!(io->flags & IO_FAST))
        return true;
    return attempt == ZEROES_UNMAP || (attempt == ZEROES_KEEP && !io->file->info.block_device);
}

static bool end(struct io *io, int result)
{
    io->result = result;
    return true;
}

/* Asks and waits, until the io has ended. */
static bool run_all(struct io *io)
{
    while (!step_end(io, step_run(io)))
        ;
    return true;
}

/* A copy within memory that takes less time than handing it over: io_uring would give it to a
 * kernel thread. */
static bool is_quick(const struct io *io)
{
    return io->file->in_memory && io->total_bytes <= QUICK_BYTES &&
           (io->kind == IO_READ || io->kind == IO_WRITE || io->kind == IO_SYNC);
}

bool step_first(struct io *io)
{
    if (io->kind == IO_READ || io->kind == IO_WRITE)
        io->total_bytes = iov_length(io->iov, io->iov_count);
    else
        io->total_bytes = io->kind == IO_SYNC ? 0 : io->length;
    io->ended_bytes = 0;
    io->attempt = io->flags & IO_MAY_UNMAP ? ZEROES_UNMAP : ZEROES_KEEP;
    if (io->kind != IO_SYNC && !io->total_bytes)
        return end(io, 0);
    if (io->kind == IO_WRITE_ZEROES && !attempt_allowed(io, io->attempt))
        return end(io, -EOPNOTSUPP);
    return is_quick(io) && run_all(io);
}

/* Continues in the midst of a segment with the rest of that segment, so that the caller's list need
 * not be copied. */
static void transfer_next(const struct io *io, struct step *s)
{
    const struct iovec *iov = io->iov;
    uint64_t skip = io->ended_bytes;

    while (skip >= iov->iov_len)
        skip -= iov++->iov_len;
    s->call = io->kind == IO_READ ? STEP_READ : STEP_WRITE;
    s->rw_flags = io->flags & IO_FUA ? RWF_DSYNC : 0;
    s->iov = iov;
    s->iov_count = MIN(io->iov_count - (int)(iov - io->iov), IOV_MAX);
    if (skip) {
        s->one = (struct iovec){(char *)iov->iov_base + skip, iov->iov_len - skip};
        s->iov = &s->one;
        s->iov_count = 1;
    }
}

static void zeroes_next(const struct io *io, struct step *s)
{
    s->call = STEP_FALLOCATE;
    s->mode = FALLOC_FL_KEEP_SIZE;
    if (io->attempt == ZEROES_UNMAP)
        s->mode |= FALLOC_FL_PUNCH_HOLE;
    else
        s->mode |= FALLOC_FL_ZERO_RANGE;
    if (io->attempt == ZEROES_WRITE) {
        s->call = STEP_WRITE;
        s->rw_flags = 0;
        s->one = (struct iovec){zeros, MIN(s->length, sizeof zeros)};
        s->iov = &s->one;
        s->iov_count = 1;
    }
}

void step_next(const struct io *io, struct step *s)
{
    s->fd = io->file->fd;
    s->offset = io->offset + io->ended_bytes;
    s->length = io->total_bytes - io->ended_bytes;
    switch (io->kind) {
    case IO_READ:
    case IO_WRITE:
        transfer_next(io, s);
        break;
    case IO_SYNC:
        s->call = STEP_SYNC;
        break;
    case IO_DISCARD:
        s->call = io->file->info.block_device ? STEP_DISCARD : STEP_FALLOCATE;
        s->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        break;
    case IO_WRITE_ZEROES:
        zeroes_next(io, s);
        break;
    }
}

static bool transfer_end(struct io *io, int64_t res)
{
    if (res <= 0)
        return end(io, res ? (int)res : -EIO);
    io->ended_bytes += (uint64_t)res;
    if (io->ended_bytes == io->total_bytes)
        return end(io, 0);
    /* A direct transfer that stops inside a block has met the end, and could not go on from there.
     */
    if (io->file->info.direct && io->ended_bytes % io->file->info.logical_block_bytes)
        return end(io, -EIO);
    return false;
}

static bool zeroes_end(struct io *io, int64_t res)
{
    if (io->attempt == ZEROES_WRITE)
        return transfer_end(io, res);
    if (res != -EOPNOTSUPP)
        return end(io, (int)res);
    return attempt_allowed(io, ++io->attempt) ? false : end(io, -EOPNOTSUPP);
}

bool step_end(struct io *io, int64_t res)
{
    if (res == -EINTR || res == -EAGAIN)
        return false;
    switch (io->kind) {
    case IO_READ:
    case IO_WRITE:
        return transfer_end(io, res);
    case IO_WRITE_ZEROES:
        return zeroes_end(io, res);
    default:
        return end(io, (int)res);
    }
}

int step_run(void *io)
{
    uint64_t range[2];
    struct step s;
    ssize_t res;

    step_next(io, &s);
    range[0] = s.offset;
    range[1] = s.length;
    switch (s.call) {
    case STEP_READ:
        res = preadv(s.fd, s.iov, s.iov_count, (off_t)s.offset);
        break;
    case STEP_WRITE:
        res = pwritev2(s.fd, s.iov, s.iov_count, (off_t)s.offset, s.rw_flags);
        break;
    case STEP_SYNC:
        res = fdatasync(s.fd);
        break;
    case STEP_FALLOCATE:
        res = fallocate(s.fd, s.mode, (off_t)s.offset, (off_t)s.length);
        break;
    default:
        res = ioctl(s.fd, BLKDISCARD, range);
        break;
    }
    return res < 0 ? -errno : (int)res;
}
