/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "block/member.h"
#include "rt/sync.h"

extern CU_TestInfo member_tests[];

#define MIB (1u << 20)

static struct blockdev *open_member(const char *path, unsigned flags)
{
    struct blockdev *d = NULL;
    struct error err = {0};

    CU_ASSERT_EQUAL(member_open(path, flags, &d, &err), 0);
    CU_ASSERT_STRING_EQUAL(err.text, "");
    return d;
}

static void check_open_error(const char *path, int code, const char *text)
{
    struct blockdev *d = NULL;
    struct error err = {0};

    CU_ASSERT_EQUAL(member_open(path, 0, &d, &err), -code);
    CU_ASSERT_EQUAL(err.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, text));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
    CU_ASSERT_PTR_NULL(d);
}

static void open_errors(void)
{
    const char *path = scratch_file("member", MIB);
    struct blockdev *d;

    check_open_error(scratch_path("none"), ENOENT, "cannot open");
    check_open_error(scratch_path("."), EINVAL, "directory");
    check_open_error(scratch_file("small", 4095), EINVAL, "too small");
    d = open_member(path, 0);
    check_open_error(path, EBUSY, "in use");
    blockdev_close(d);
    blockdev_close(open_member(path, 0));
}

static void test_open_errors(void)
{
    run_in_rt(open_errors);
}

static void properties(void)
{
    struct blockdev *d = open_member(scratch_file("odd", MIB + 1000), 0);

    CU_ASSERT_STRING_EQUAL(d->name, scratch_path("odd"));
    CU_ASSERT_EQUAL(d->size_bytes, round_down(MIB + 1000, d->logical_block_bytes));
    CU_ASSERT(d->logical_block_bytes == 512 || d->logical_block_bytes == 4096);
    CU_ASSERT(d->physical_block_bytes >= d->logical_block_bytes);
    CU_ASSERT(d->capabilities & BLOCK_CAN_FUA);
    CU_ASSERT(!(d->capabilities & BLOCK_READ_ONLY));
    blockdev_close(d);
}

static void created(void)
{
    struct blockdev *d = open_member(scratch_path("created"), MEMBER_CREATE), *other = NULL;
    struct error err = {0};

    CU_ASSERT_EQUAL(d->size_bytes, 4096);
    blockdev_close(d);
    CU_ASSERT_EQUAL(member_open(scratch_path("created"), MEMBER_CREATE, &other, &err), -EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "there already"));
    blockdev_close(open_member(scratch_path("created"), 0));
}

static void test_created(void)
{
    run_in_rt(created);
}

static void padded(void)
{
    char bytes[8192], *buf = io_buffer_get(MIB);
    const char *path = scratch_file("padded", 0);
    struct blockdev *d;
    FILE *f = fopen(path, "w");

    memset(bytes, 'x', sizeof bytes);
    CU_ASSERT_EQUAL(fwrite(bytes, 1, 5001, f), 5001);
    fclose(f);
    d = open_member(path, MEMBER_READ_ONLY | MEMBER_PADDED);
    CU_ASSERT_EQUAL(d->size_bytes, round_up(5001, d->logical_block_bytes));
    memset(buf, 'y', MIB);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 0, d->size_bytes), 0);
    CU_ASSERT_EQUAL(memcmp(buf, bytes, 5001), 0);
    for (uint64_t i = 5001; i < d->size_bytes; i++)
        CU_ASSERT_EQUAL(buf[i], 0);
    CU_ASSERT_EQUAL(buf[d->size_bytes], 'y');
    CU_ASSERT_EQUAL(blockdev_read_bytes(d, buf, d->size_bytes - 1, 1), 0);
    CU_ASSERT_EQUAL(buf[0], 0);
    /* It was longer when it was opened: no padding, but an error. */
    CU_ASSERT_EQUAL(truncate(path, 4500), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 0, d->size_bytes), -EIO);
    blockdev_close(d);
    io_buffer_put(buf, MIB);
}

static void test_padded(void)
{
    run_in_rt(padded);
}

static void test_properties(void)
{
    run_in_rt(properties);
}

static void read_only(void)
{
    const char *path = scratch_file("read-only", MIB);
    struct blockdev *d = open_member(path, MEMBER_READ_ONLY);
    struct blockdev *again = open_member(path, MEMBER_READ_ONLY);
    char buf[4096];

    CU_ASSERT(d->capabilities & BLOCK_READ_ONLY);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 0, 4096), 0);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 0, 4096, 0), -EROFS);
    check_open_error(path, EBUSY, "in use");
    blockdev_close(again);
    blockdev_close(d);
}

static void test_read_only(void)
{
    run_in_rt(read_only);
}

/* Reads and writes of any memory, compared with the file as others see it. */

#define MODEL_BYTES (512u << 10)

static void random_transfers(struct blockdev *d, char *model, char *buf)
{
    uint64_t seed = 42;
    uint32_t block = d->logical_block_bytes;

    for (unsigned n = 0; n < 200; n++) {
        unsigned first = random_below(&seed, MODEL_BYTES / block);
        uint64_t offset = (uint64_t)first * block;
        uint64_t length = (1 + random_below(&seed, MIN(64u, MODEL_BYTES / block - first))) * block;
        char *at = buf + random_below(&seed, 2) * random_below(&seed, 700);
        size_t cut = random_below(&seed, (unsigned)length);
        struct iovec iov[2] = {{at, cut}, {at + cut, length - cut}};

        if (random_below(&seed, 2)) {
            CU_ASSERT_EQUAL(blockdev_readv(d, iov, 2, offset, 0), 0);
            CU_ASSERT(!memcmp(at, model + offset, length));
            continue;
        }
        memset(at, (int)n, length);
        CU_ASSERT_EQUAL(blockdev_writev(d, iov, 2, offset, n % 5 ? 0 : BLOCK_FUA), 0);
        memset(model + offset, (int)n, length);
    }
}

static void transfers(void)
{
    const char *path = scratch_file("data", MODEL_BYTES);
    struct blockdev *d = open_member(path, 0);
    char *model = calloc(1, MODEL_BYTES), *buf = malloc(MODEL_BYTES + 4096);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    random_transfers(d, model, buf);
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    CU_ASSERT_EQUAL(pread(fd, buf, MODEL_BYTES, 0), MODEL_BYTES);
    CU_ASSERT(!memcmp(buf, model, MODEL_BYTES));
    close(fd);
    free(buf);
    free(model);
    blockdev_close(d);
}

static void test_transfers(void)
{
    run_in_rt(transfers);
}

/* Space. */

static void write_filled(struct blockdev *d, uint64_t offset, uint64_t length)
{
    char *buf = malloc(length);

    memset(buf, 'x', length);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, offset, length, 0), 0);
    free(buf);
}

static bool all_are(struct blockdev *d, uint64_t offset, uint64_t length, char c)
{
    char *buf = malloc(length);
    bool all =
        !blockdev_read(d, buf, offset, length) && buf[0] == c && !memcmp(buf, buf + 1, length - 1);

    free(buf);
    return all;
}

static long blocks_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? -1 : (long)st.st_blocks;
}

static void discards(void)
{
    const char *path = scratch_file("discard", 4 * MIB);
    struct blockdev *d = open_member(path, 0);
    long before;

    write_filled(d, 0, 4 * MIB);
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    before = blocks_of(path);
    CU_ASSERT_EQUAL(blockdev_discard(d, MIB, 2 * MIB), 0);
    if (d->capabilities & BLOCK_CAN_DISCARD) {
        CU_ASSERT(all_are(d, MIB, 2 * MIB, 0));
        CU_ASSERT_EQUAL(before - blocks_of(path), 2 * MIB / 512);
    }
    CU_ASSERT(all_are(d, 0, MIB, 'x'));
    CU_ASSERT(all_are(d, 3 * MIB, MIB, 'x'));
    blockdev_close(d);
}

static void test_discards(void)
{
    run_in_rt(discards);
}

static void zeroes(void)
{
    const char *path = scratch_file("zeroes", 4 * MIB);
    struct blockdev *d = open_member(path, 0);
    long before;

    write_filled(d, 0, 4 * MIB);
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    before = blocks_of(path);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 4096, 8192, BLOCK_FUA), 0);
    CU_ASSERT(all_are(d, 4096, 8192, 0));
    CU_ASSERT_EQUAL(blocks_of(path), before);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, MIB, MIB, BLOCK_MAY_UNMAP), 0);
    CU_ASSERT(all_are(d, MIB, MIB, 0));
    if (d->capabilities & BLOCK_CAN_ZERO_FAST) {
        CU_ASSERT_EQUAL(before - blocks_of(path), MIB / 512);
        CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 2 * MIB, MIB, BLOCK_MAY_UNMAP | BLOCK_FAST), 0);
        CU_ASSERT(all_are(d, 2 * MIB, MIB, 0));
    }
    CU_ASSERT(all_are(d, 0, 4096, 'x'));
    CU_ASSERT(all_are(d, 3 * MIB, MIB, 'x'));
    blockdev_close(d);
}

static void test_zeroes(void)
{
    run_in_rt(zeroes);
}

/* Where the file system can neither punch nor go around the page cache. */
static void on_ramfs(void)
{
    const char *mount = scratch_path("ramfs");
    struct blockdev *d;

    if (!scratch_run("mkdir %s && mount -t ramfs ramfs %s", mount, mount)) {
        scratch_skip("ramfs cannot be mounted here");
        return;
    }
    d = open_member(scratch_file("ramfs/member", MIB), 0);
    CU_ASSERT_EQUAL(d->memory_align_bytes, 1);
    CU_ASSERT(!(d->capabilities & (BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST)));
    write_filled(d, 0, MIB);
    CU_ASSERT_EQUAL(blockdev_discard(d, 0, 4096), 0);
    CU_ASSERT(all_are(d, 0, 4096, 'x'));
    d->capabilities |= BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST;
    CU_ASSERT_EQUAL(blockdev_discard(d, 0, 4096), 0);
    CU_ASSERT(!(d->capabilities & BLOCK_CAN_DISCARD));
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 0, 4096, BLOCK_MAY_UNMAP | BLOCK_FAST), -EOPNOTSUPP);
    CU_ASSERT(all_are(d, 0, 4096, 'x'));
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 0, 4096, 0), 0);
    CU_ASSERT(all_are(d, 0, 4096, 0));
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    blockdev_close(d);
    CU_ASSERT(scratch_run("umount %s", mount));
}

static void test_on_ramfs(void)
{
    run_in_rt(on_ramfs);
}

static void extents(void)
{
    struct blockdev *d = open_member(scratch_file("sparse", 4 * MIB), 0);
    struct block_extent e = {0};

    write_filled(d, MIB, MIB);
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    CU_ASSERT_EQUAL(blockdev_extents(d, 0, 4 * MIB, &e), 0);
    CU_ASSERT_EQUAL(e.length, MIB);
    CU_ASSERT_EQUAL(e.flags, EXTENT_ZERO | EXTENT_HOLE);
    CU_ASSERT_EQUAL(blockdev_extents(d, 8192, 4096, &e), 0);
    CU_ASSERT_EQUAL(e.length, 4096);
    CU_ASSERT_EQUAL(e.flags, EXTENT_ZERO | EXTENT_HOLE);
    CU_ASSERT_EQUAL(blockdev_extents(d, MIB + 4096, 3 * MIB - 4096, &e), 0);
    CU_ASSERT_EQUAL(e.length, MIB - 4096);
    CU_ASSERT_EQUAL(e.flags, 0);
    CU_ASSERT_EQUAL(blockdev_extents(d, 2 * MIB, 2 * MIB, &e), 0);
    CU_ASSERT_EQUAL(e.length, 2 * MIB);
    CU_ASSERT_EQUAL(e.flags, EXTENT_ZERO | EXTENT_HOLE);
    blockdev_close(d);
}

static void test_extents(void)
{
    run_in_rt(extents);
}

/* A block device of 4096-byte blocks. */
static void on_loop(void)
{
    struct block_extent e;
    struct blockdev *d;
    char loop[32];

    if (!scratch_loop(scratch_file("backing", 4 * MIB), "-b 4096", loop))
        return;
    d = open_member(loop, 0);
    CU_ASSERT_EQUAL(d->logical_block_bytes, 4096);
    CU_ASSERT_EQUAL(d->size_bytes, 4 * MIB);
    check_open_error(loop, EBUSY, "in use");
    write_filled(d, 0, 4 * MIB);
    CU_ASSERT_EQUAL(blockdev_read(d, &e, 512, 512), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, MIB, MIB, BLOCK_MAY_UNMAP | BLOCK_FUA), 0);
    CU_ASSERT(all_are(d, MIB, MIB, 0));
    CU_ASSERT_EQUAL(blockdev_discard(d, 2 * MIB, MIB), 0);
    CU_ASSERT(all_are(d, 3 * MIB, MIB, 'x'));
    CU_ASSERT_EQUAL(blockdev_extents(d, MIB, MIB, &e), 0);
    CU_ASSERT_EQUAL(e.length, MIB);
    CU_ASSERT_EQUAL(e.flags, 0);
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    blockdev_close(d);
    CU_ASSERT(scratch_run("losetup -d %s", loop));
}

static void test_on_loop(void)
{
    run_in_rt(on_loop);
}

/* A write that the device below the file refuses: past the end of a file cut off meanwhile. */
static void cut_off(void)
{
    const char *path = scratch_file("cut", MIB);
    struct blockdev *d = open_member(path, 0);
    struct blockdev_stats stats;
    char *buf = calloc(1, 8192);

    CU_ASSERT_EQUAL(truncate(path, MIB / 2), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, MIB / 2 - 4096, 8192), -EIO);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, MIB / 2 - 4096, 4096), 0);
    blockdev_stats(d, &stats);
    CU_ASSERT_EQUAL(stats.errors, 1);
    free(buf);
    blockdev_close(d);
}

static void test_cut_off(void)
{
    run_in_rt(cut_off);
}

/* Many at once on several workers, each in its own part of one member. */

#define PART_BYTES (64u << 10)

struct writer {
    struct blockdev *d;
    struct wait_group *group;
    unsigned part, wrong;
};

static void write_and_check(void *arg)
{
    struct writer *w = arg;
    uint64_t base = w->part * PART_BYTES, seed = w->part + 1;
    char *buf = malloc(PART_BYTES), *model = calloc(1, PART_BYTES);

    for (unsigned n = 0; n < 50; n++) {
        uint64_t at = random_below(&seed, 15) * 4096, length = (1 + random_below(&seed, 1)) * 4096;

        memset(model + at, (int)(n + w->part), length);
        if (blockdev_write(w->d, model + at, base + at, length, 0) ||
            (n % 10 == 0 && blockdev_flush(w->d)))
            w->wrong++;
    }
    if (blockdev_read(w->d, buf, base, PART_BYTES) || memcmp(buf, model, PART_BYTES))
        w->wrong++;
    free(model);
    free(buf);
    wait_group_done(w->group);
}

static void many_workers(void)
{
    struct blockdev *d = open_member(scratch_file("many", 16 * PART_BYTES), 0);
    struct writer writers[16];
    struct wait_group group;
    struct crew crew;

    crew_start(&crew, 3);
    wait_group_init(&group);
    for (unsigned i = 0; i < 16; i++) {
        writers[i] = (struct writer){d, &group, i, 0};
        wait_group_add(&group, 1);
        CU_ASSERT_EQUAL(
            worker_start(crew.workers[i % 3], "writer", write_and_check, &writers[i]), 0);
    }
    wait_group_wait(&group);
    for (unsigned i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(writers[i].wrong, 0);
    crew_end(&crew);
    blockdev_close(d);
}

static void test_many_workers(void)
{
    run_in_rt(many_workers);
}

/* Memory. */

static void memory(void)
{
    struct blockdev *d = NULL;

    CU_ASSERT_EQUAL(member_memory("m", 4096, 1024, &d), -EINVAL);
    CU_ASSERT_EQUAL(member_memory("m", 0, 512, &d), -EINVAL);
    CU_ASSERT_EQUAL(member_memory("m", 4096 + 512, 4096, &d), -EINVAL);
    CU_ASSERT_EQUAL(member_memory("m", UINT64_C(16) << 30, 4096, &d), 0);
    CU_ASSERT(all_are(d, (UINT64_C(16) << 30) - 4096, 4096, 0));
    blockdev_close(d);
    CU_ASSERT_EQUAL(member_memory("m", MIB, 512, &d), 0);
    write_filled(d, 0, MIB);
    CU_ASSERT_EQUAL(blockdev_discard(d, 512, 10240), 0);
    CU_ASSERT(all_are(d, 0, 512, 'x'));
    CU_ASSERT(all_are(d, 512, 10240, 0));
    CU_ASSERT(all_are(d, 10752, MIB - 10752, 'x'));
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, MIB - 1024, 512, BLOCK_FAST | BLOCK_FUA), 0);
    CU_ASSERT(all_are(d, MIB - 1024, 512, 0));
    CU_ASSERT(all_are(d, MIB - 512, 512, 'x'));
    blockdev_close(d);
}

static void test_memory(void)
{
    run_in_rt(memory);
}

static void resizes(void)
{
    struct blockdev *d = open_member(scratch_file("grows", MIB), 0);
    uint32_t block = d->logical_block_bytes;
    char buf[4096];

    memset(buf, 'x', sizeof buf);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 2 * MIB, sizeof buf, 0), -EINVAL);
    CU_ASSERT_EQUAL(member_resize(d, 3 * MIB + 1), 0);
    CU_ASSERT_EQUAL(d->size_bytes, 3 * MIB);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, 2 * MIB, sizeof buf, 0), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 3 * MIB - block, block), 0);
    CU_ASSERT_EQUAL(buf[0], 0);
    CU_ASSERT_EQUAL(member_resize(d, MIB), 0);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, MIB, block), -EINVAL);
    CU_ASSERT_EQUAL(member_resize(d, UINT64_MAX), -EFBIG);
    CU_ASSERT_EQUAL(d->size_bytes, MIB);
    blockdev_close(d);
}

static void test_resizes(void)
{
    run_in_rt(resizes);
}

CU_TestInfo member_tests[] = {
    {"what cannot be opened", test_open_errors},
    {"properties", test_properties},
    {"a new file", test_created},
    {"filled up to a block", test_padded},
    {"read-only members exclude writers only", test_read_only},
    {"transfers of any memory", test_transfers},
    {"discard gives space back", test_discards},
    {"write_zeroes keeps space or gives it back", test_zeroes},
    {"a file system that lacks what it can", test_on_ramfs},
    {"extents", test_extents},
    {"a block device of 4096-byte blocks", test_on_loop},
    {"a file cut off", test_cut_off},
    {"a file made longer and shorter", test_resizes},
    {"one member on several workers", test_many_workers},
    {"memory", test_memory},
    CU_TEST_INFO_NULL,
};
