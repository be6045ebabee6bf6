/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of an io against a kernel that answers as it likes. */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/iov.h"
#include "rt/host/file.h"
#include "rt/host/step.h"

extern CU_TestInfo step_tests[];

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO  (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

static struct file buffered = {.fd = 5, .info = {.logical_block_bytes = 512}};
static struct file disk = {
    .fd = 6, .info = {.logical_block_bytes = 512, .block_device = true, .direct = true}};

/* Writes through the steps into `medium`, at most `most` bytes at a time. */
static void transfer(struct io *io, unsigned char *medium, size_t most)
{
    bool ended = step_first(io);

    while (!ended) {
        struct step s;
        size_t n;

        step_next(io, &s);
        CU_ASSERT_EQUAL(s.call, STEP_WRITE);
        n = MIN(most, iov_length(s.iov, s.iov_count));
        iov_copy_from(medium + s.offset, s.iov, s.iov_count, 0, n);
        ended = step_end(io, (int64_t)n);
    }
}

static void test_short_transfers(void)
{
    unsigned char data[1000], medium[1100];
    struct iovec iov[] = {
        {data, 1}, {data + 1, 0}, {data + 1, 511}, {data + 512, 88}, {data + 600, 400}};

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + i / 256);
    for (size_t most = 1; most <= sizeof data; most++) {
        struct io io = {.kind = IO_WRITE,
            .file = &buffered,
            .iov = iov,
            .iov_count = 5,
            .offset = 100,
            .result = 77};

        memset(medium, 0, sizeof medium);
        transfer(&io, medium, most);
        CU_ASSERT_EQUAL(io.result, 0);
        CU_ASSERT_EQUAL(memcmp(medium + 100, data, sizeof data), 0);
    }
}

/* What becomes of an io whose first step is answered with `res`: the result, or 1 for another
 * step. */
static int answered(enum io_kind kind, struct file *file, int64_t res)
{
    unsigned char data[4096];
    struct iovec iov = {data, sizeof data};
    struct io io = {.kind = kind, .file = file, .iov = &iov, .iov_count = 1, .length = sizeof data};

    CU_ASSERT_FALSE(step_first(&io));
    return step_end(&io, res) ? io.result : 1;
}

static void test_answers(void)
{
    CU_ASSERT_EQUAL(answered(IO_READ, &buffered, 4096), 0);
    CU_ASSERT_EQUAL(answered(IO_READ, &buffered, 512), 1);
    CU_ASSERT_EQUAL(answered(IO_READ, &buffered, 100), 1);
    CU_ASSERT_EQUAL(answered(IO_READ, &buffered, 0), -EIO);
    CU_ASSERT_EQUAL(answered(IO_READ, &buffered, -EIO), -EIO);
    CU_ASSERT_EQUAL(answered(IO_READ, &buffered, -EINTR), 1);
    CU_ASSERT_EQUAL(answered(IO_READ, &buffered, -EAGAIN), 1);
    CU_ASSERT_EQUAL(answered(IO_READ, &disk, 512), 1);
    CU_ASSERT_EQUAL(answered(IO_READ, &disk, 100), -EIO);
    CU_ASSERT_EQUAL(answered(IO_WRITE, &disk, 0), -EIO);
    CU_ASSERT_EQUAL(answered(IO_WRITE, &disk, -ENOSPC), -ENOSPC);
    CU_ASSERT_EQUAL(answered(IO_SYNC, &disk, 0), 0);
    CU_ASSERT_EQUAL(answered(IO_SYNC, &disk, -EIO), -EIO);
    CU_ASSERT_EQUAL(answered(IO_SYNC, &disk, -EINTR), 1);
    CU_ASSERT_EQUAL(answered(IO_DISCARD, &disk, -EOPNOTSUPP), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(answered(IO_DISCARD, &buffered, 0), 0);
    CU_ASSERT_EQUAL(answered(IO_WRITE_ZEROES, &buffered, -ENOSPC), -ENOSPC);
}

static void test_nothing_to_do(void)
{
    struct io write = {.kind = IO_WRITE, .file = &disk, .result = 77};
    struct io discard = {.kind = IO_DISCARD, .file = &disk, .result = 77};

    CU_ASSERT_TRUE(step_first(&write));
    CU_ASSERT_EQUAL(write.result, 0);
    CU_ASSERT_TRUE(step_first(&discard));
    CU_ASSERT_EQUAL(discard.result, 0);
}

static void test_durable_write(void)
{
    struct iovec iov = {&iov, 8};
    struct io io = {.kind = IO_WRITE, .flags = IO_FUA, .file = &disk, .iov = &iov, .iov_count = 1};
    struct step s;

    CU_ASSERT_FALSE(step_first(&io));
    step_next(&io, &s);
    CU_ASSERT_EQUAL(s.rw_flags, RWF_DSYNC);
}

static void test_discard(void)
{
    struct io io = {.kind = IO_DISCARD, .file = &disk, .offset = 4096, .length = 8192};
    struct step s;

    CU_ASSERT_FALSE(step_first(&io));
    step_next(&io, &s);
    CU_ASSERT_EQUAL(s.call, STEP_DISCARD);
    CU_ASSERT_EQUAL(s.offset, 4096);
    CU_ASSERT_EQUAL(s.length, 8192);
    io.file = &buffered;
    step_next(&io, &s);
    CU_ASSERT_EQUAL(s.call, STEP_FALLOCATE);
    CU_ASSERT_EQUAL(s.mode, PUNCH);
}

/* Which ways of zeroing are tried, when each is refused: 'p'unch, 'z'ero range, 'w'rite. */
static const char *ways(struct file *file, unsigned flags)
{
    static char tried[8];
    struct io io = {.kind = IO_WRITE_ZEROES, .flags = flags, .file = file, .length = 1 << 20};
    bool ended = step_first(&io);
    struct step s;
    char *p = tried;

    while (!ended) {
        step_next(&io, &s);
        if (s.call == STEP_WRITE) {
            *p++ = 'w';
            break;
        }
        *p++ = s.mode == PUNCH ? 'p' : s.mode == ZERO ? 'z' : '?';
        ended = step_end(&io, -EOPNOTSUPP);
    }
    *p = '\0';
    if (ended)
        CU_ASSERT_EQUAL(io.result, -EOPNOTSUPP);
    return tried;
}

static void test_ways_of_zeroing(void)
{
    CU_ASSERT_STRING_EQUAL(ways(&buffered, 0), "zw");
    CU_ASSERT_STRING_EQUAL(ways(&buffered, IO_MAY_UNMAP), "pzw");
    CU_ASSERT_STRING_EQUAL(ways(&buffered, IO_FAST), "z");
    CU_ASSERT_STRING_EQUAL(ways(&buffered, IO_FAST | IO_MAY_UNMAP), "pz");
    CU_ASSERT_STRING_EQUAL(ways(&disk, 0), "zw");
    CU_ASSERT_STRING_EQUAL(ways(&disk, IO_MAY_UNMAP), "pzw");
    CU_ASSERT_STRING_EQUAL(ways(&disk, IO_FAST), "");
    CU_ASSERT_STRING_EQUAL(ways(&disk, IO_FAST | IO_MAY_UNMAP), "p");
}

static void test_written_zeros(void)
{
    struct io io = {
        .kind = IO_WRITE_ZEROES, .file = &disk, .offset = 512, .length = (5 << 20) + 512};
    uint64_t at = 512;
    bool ended = step_first(&io);
    struct step s;

    CU_ASSERT_FALSE(ended);
    CU_ASSERT_FALSE(step_end(&io, -EOPNOTSUPP));
    while (!ended) {
        step_next(&io, &s);
        CU_ASSERT_EQUAL(s.call, STEP_WRITE);
        CU_ASSERT_EQUAL(s.offset, at);
        CU_ASSERT_EQUAL(s.iov_count, 1);
        CU_ASSERT_EQUAL(*(unsigned char *)s.iov->iov_base, 0);
        at += s.iov->iov_len;
        ended = step_end(&io, (int64_t)s.iov->iov_len);
    }
    CU_ASSERT_EQUAL(io.result, 0);
    CU_ASSERT_EQUAL(at, io.offset + io.length);
}

/* What is only a copy has been done when the first step would be asked for. */
static void test_quick(void)
{
    struct file memory = {.in_memory = true, .info = {.logical_block_bytes = 512}};
    unsigned char data[8192] = {1, 2, 3}, back[8192];
    struct iovec iov = {data, sizeof data};
    struct io io = {.kind = IO_WRITE, .file = &memory, .iov = &iov, .iov_count = 1, .offset = 4096};

    memory.fd = memfd_create("test", MFD_CLOEXEC);
    CU_ASSERT_TRUE(step_first(&io));
    CU_ASSERT_EQUAL(io.result, 0);
    io.kind = IO_SYNC;
    CU_ASSERT_TRUE(step_first(&io));
    CU_ASSERT_EQUAL(io.result, 0);
    io.kind = IO_READ;
    iov.iov_base = back;
    CU_ASSERT_TRUE(step_first(&io));
    CU_ASSERT_EQUAL(io.result, 0);
    CU_ASSERT_EQUAL(memcmp(data, back, sizeof data), 0);
    io.offset = 8192;
    CU_ASSERT_TRUE(step_first(&io));
    CU_ASSERT_EQUAL(io.result, -EIO);
    iov.iov_len = 64 << 20;
    CU_ASSERT_FALSE(step_first(&io));
    close(memory.fd);
}

static void test_fifo(void)
{
    struct io ios[3] = {{.offset = 0}, {.offset = 1}, {.offset = 2}};
    struct io_fifo f;

    io_fifo_init(&f);
    CU_ASSERT_PTR_NULL(io_fifo_pop(&f));
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 3; i++)
            io_fifo_push(&f, &ios[i]);
        for (unsigned i = 0; i < 3; i++)
            CU_ASSERT_PTR_EQUAL(io_fifo_pop(&f), &ios[i]);
        CU_ASSERT_PTR_NULL(io_fifo_pop(&f));
    }
}

CU_TestInfo step_tests[] = {
    {"short transfers are continued", test_short_transfers},
    {"what each answer leads to", test_answers},
    {"nothing to do ends at once", test_nothing_to_do},
    {"a durable write says so", test_durable_write},
    {"discards of files and disks", test_discard},
    {"ways of zeroing", test_ways_of_zeroing},
    {"zeros are written in pieces", test_written_zeros},
    {"copies in memory are done at once", test_quick},
    {"the queue keeps its order", test_fifo},
    CU_TEST_INFO_NULL,
};
