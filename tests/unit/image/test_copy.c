/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "block/fault.h"
#include "block/member.h"
#include "disk.h"
#include "unit.h"

#define MiB (UINT64_C(1) << 20)

static struct blockdev *memory(uint64_t size_bytes, uint32_t block_bytes)
{
    struct blockdev *d = NULL;

    CU_ASSERT_EQUAL(member_memory("memory", size_bytes, block_bytes, &d), 0);
    return d;
}

static bool same(struct blockdev *a, struct blockdev *b)
{
    uint8_t x[DIGEST_BYTES], y[DIGEST_BYTES];

    CU_ASSERT_EQUAL(digest_disk(a, a->size_bytes, x, NULL, NULL, NULL), 0);
    CU_ASSERT_EQUAL(digest_disk(b, b->size_bytes, y, NULL, NULL, NULL), 0);
    return !memcmp(x, y, DIGEST_BYTES);
}

static void copies(void)
{
    struct blockdev *from = disk_sparse(37 * MiB + 4096, 512), *to = memory(37 * MiB + 4096, 512);
    struct digest digest;
    struct copy_plan plan = {.from = from, .to = to, .digest = &digest};
    uint8_t read[DIGEST_BYTES], is[DIGEST_BYTES];

    disk_fill(to, 9);
    digest_init(&digest);
    CU_ASSERT_EQUAL(copy_disk(&plan, NULL), 0);
    CU_ASSERT(same(from, to));
    digest_end(&digest, read);
    CU_ASSERT_EQUAL(digest_disk(to, to->size_bytes, is, NULL, NULL, NULL), 0);
    CU_ASSERT_EQUAL(memcmp(read, is, sizeof is), 0);
    blockdev_close(from);
    blockdev_close(to);
}

static void copies_to_larger_blocks(void)
{
    /* Ends inside a block of the target, which is larger, too. */
    struct blockdev *from = disk_sparse(3 * MiB + 1536, 512), *to = memory(5 * MiB, 4096);
    struct blockdev *wanted = memory(5 * MiB, 4096);
    uint8_t *bytes = calloc(1, 5 * MiB);

    disk_fill(to, 9);
    CU_ASSERT_EQUAL(blockdev_read(from, bytes, 0, 3 * MiB + 1536), 0);
    CU_ASSERT_EQUAL(blockdev_write(wanted, bytes, 0, 5 * MiB, 0), 0);
    CU_ASSERT_EQUAL(copy_disk(&(struct copy_plan){.from = from, .to = to}, NULL), 0);
    CU_ASSERT(same(wanted, to));
    free(bytes);
    blockdev_close(from);
    blockdev_close(to);
    blockdev_close(wanted);
}

/* Nothing is written where the target says it has zeros, and no zeros as data. */
static void leaves_zeros(void)
{
    struct blockdev *from = disk_sparse(32 * MiB, 512), *to = disk_sparse(32 * MiB, 512);
    uint64_t bytes[BLOCK_KINDS] = {0};
    struct fault_record records[64];
    unsigned n;

    CU_ASSERT_EQUAL(fault_create(to, &to), 0);
    CU_ASSERT_EQUAL(blockdev_write_zeros(from, DISK_DATA_AT + 64 * 1024, 64 * 1024, 0), 0);
    CU_ASSERT_EQUAL(copy_disk(&(struct copy_plan){.from = from, .to = to}, NULL), 0);
    n = fault_log(to, records, 64);
    CU_ASSERT(n <= 64);
    for (unsigned i = 0; i < n; i++)
        bytes[records[i].kind] += records[i].length;
    CU_ASSERT_EQUAL(bytes[BLOCK_WRITE], disk_data_bytes(32 * MiB) - 64 * 1024);
    CU_ASSERT_EQUAL(bytes[BLOCK_WRITE_ZEROES], 64 * 1024);
    CU_ASSERT(same(from, to));
    blockdev_close(from);
    blockdev_close(to);
}

static void too_small(void)
{
    struct blockdev *from = memory(2 * MiB, 512), *to = memory(2 * MiB - 512, 512);
    struct error err = {0};

    CU_ASSERT_EQUAL(copy_disk(&(struct copy_plan){.from = from, .to = to}, &err), -EFBIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "2097152 bytes, memory only 2096640"));
    blockdev_close(from);
    blockdev_close(to);
}

static void fails_at(bool read, uint64_t offset)
{
    struct blockdev *from = disk_sparse(32 * MiB, 512), *to = memory(32 * MiB, 512);
    struct fault_rule rule = {.kind = read ? BLOCK_READ : BLOCK_WRITE,
        .offset = offset,
        .length = 512,
        .error = -ENODATA};
    struct error err = {0};

    CU_ASSERT_EQUAL(fault_create(from, &from), 0);
    CU_ASSERT_EQUAL(fault_create(to, &to), 0);
    fault_add(read ? from : to, &rule);
    CU_ASSERT_EQUAL(copy_disk(&(struct copy_plan){.from = from, .to = to}, &err), -ENODATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, read ? "cannot read" : "cannot write"));
    blockdev_close(from);
    blockdev_close(to);
}

static void failures(void)
{
    fails_at(true, DISK_DATA_AT);
    fails_at(false, DISK_DATA_AT);
    fails_at(true, 31 * MiB);
    fails_at(false, 31 * MiB);
}

static bool stop_half_way(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *last = arg;

    CU_ASSERT(done >= *last && done <= total);
    *last = done;
    return done < total / 2;
}

static void stopped(void)
{
    struct blockdev *from = memory(32 * MiB, 512), *to = memory(32 * MiB, 512);
    uint64_t done = 0;
    struct copy_plan plan = {
        .from = from, .to = to, .progress = stop_half_way, .progress_arg = &done};

    CU_ASSERT_EQUAL(copy_disk(&plan, NULL), -ECANCELED);
    CU_ASSERT(done >= 16 * MiB && done < 32 * MiB);
    blockdev_close(from);
    blockdev_close(to);
}

static void digest_known(void)
{
    struct blockdev *d = memory(4 * MiB, 512);
    uint8_t digest[DIGEST_BYTES], parsed[DIGEST_BYTES];
    char text[DIGEST_TEXT];

    CU_ASSERT_EQUAL(digest_disk(d, d->size_bytes, digest, NULL, NULL, NULL), 0);
    digest_format(digest, text);
    CU_ASSERT_STRING_EQUAL(
        text, "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8");
    CU_ASSERT(digest_parse(parsed, text));
    CU_ASSERT_EQUAL(memcmp(parsed, digest, sizeof digest), 0);
    text[0] = 'B';
    CU_ASSERT(digest_parse(parsed, text));
    CU_ASSERT_EQUAL(memcmp(parsed, digest, sizeof digest), 0);
    text[3] = 'g';
    CU_ASSERT_FALSE(digest_parse(parsed, text));
    text[3] = '\0';
    CU_ASSERT_FALSE(digest_parse(parsed, text));
    blockdev_close(d);
}

#define RUN(fn)                                                                                    \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
RUN(copies)
RUN(copies_to_larger_blocks)
RUN(leaves_zeros)
RUN(too_small)
RUN(failures)
RUN(stopped)
RUN(digest_known)

CU_TestInfo copy_tests[] = {{"a disk with holes", test_copies},
    {"onto larger blocks, and zeros behind", test_copies_to_larger_blocks},
    {"zeros that are there already", test_leaves_zeros},
    {"a target that is too small", test_too_small}, {"failures end it", test_failures},
    {"stopped by its progress", test_stopped}, {"a known checksum", test_digest_known},
    CU_TEST_INFO_NULL};
