/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/load.h"

#include <errno.h>
#include <string.h>

#include "../rt/run.h"
#include "block/fault.h"
#include "block/member.h"
#include "disk.h"
#include "unit.h"

#define MiB (UINT64_C(1) << 20)

static struct blockdev *target(uint64_t size_bytes)
{
    struct blockdev *d = NULL;

    CU_ASSERT_EQUAL(member_memory("memory", size_bytes, 512, &d), 0);
    disk_fill(d, 9);
    return d;
}

struct shown {
    uint64_t done, total;
    bool stop_reading_back;
};

static bool show(void *arg, uint64_t done, uint64_t total)
{
    struct shown *s = arg;

    CU_ASSERT(done >= s->done && done <= total);
    s->done = done;
    s->total = total;
    return !s->stop_reading_back || done <= total / 2;
}

static void verified(void)
{
    struct blockdev *from = disk_sparse(7 * MiB + 512, 512), *to = target(9 * MiB);
    uint8_t digest[DIGEST_BYTES];
    struct shown shown = {0};
    struct load_plan plan = {.from = from,
        .to = to,
        .verify = true,
        .sha256 = digest,
        .progress = show,
        .progress_arg = &shown};
    struct error err = {0};

    CU_ASSERT_EQUAL(digest_disk(from, from->size_bytes, digest, NULL, NULL, NULL), 0);
    CU_ASSERT_EQUAL(load_disk(&plan, &err), 0);
    CU_ASSERT_EQUAL(shown.total, 2 * from->size_bytes);
    CU_ASSERT_EQUAL(shown.done, 2 * from->size_bytes);
    digest[5] ^= 1;
    shown = (struct shown){0};
    CU_ASSERT_EQUAL(load_disk(&plan, &err), -EILSEQ);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the content has another SHA-256: "));
    plan.sha256 = NULL;
    shown = (struct shown){.stop_reading_back = true};
    CU_ASSERT_EQUAL(load_disk(&plan, &err), -ECANCELED);
    plan.verify = false;
    shown = (struct shown){0};
    CU_ASSERT_EQUAL(load_disk(&plan, &err), 0);
    CU_ASSERT_EQUAL(shown.total, from->size_bytes);
    blockdev_close(from);
    blockdev_close(to);
}

/* A device that acknowledges what it has not done. */
struct liar {
    struct blockdev dev;
    struct blockdev *below;
};

static int read_liar(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    return blockdev_readv(container_of(d, struct liar, dev)->below, iov, iov_count, offset, 0);
}

static int write_liar(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    if (offset == 3 * MiB)
        return 0;
    return blockdev_writev(container_of(d, struct liar, dev)->below, iov, iov_count, offset, flags);
}

static const struct blockdev_ops liar_ops = {.read = read_liar, .write = write_liar};

static void lost_write(void)
{
    struct blockdev *from = disk_sparse(8 * MiB, 512);
    struct liar liar = {.below = target(8 * MiB)};
    struct load_plan plan = {.from = from, .to = &liar.dev};
    struct error err = {0};

    CU_ASSERT_EQUAL(blockdev_init(&liar.dev, &liar_ops, "liar", 8 * MiB), 0);
    CU_ASSERT_EQUAL(load_disk(&plan, &err), 0);
    plan.verify = true;
    CU_ASSERT_EQUAL(load_disk(&plan, &err), -EILSEQ);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "what was written, read back, has"));
    blockdev_close(liar.below);
    blockdev_fini(&liar.dev);
    blockdev_close(from);
}

#define RUN(fn)                                                                                    \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
RUN(verified)
RUN(lost_write)

CU_TestInfo load_tests[] = {{"checksums, right and wrong", test_verified},
    {"a write that was lost is found", test_lost_write}, CU_TEST_INFO_NULL};
