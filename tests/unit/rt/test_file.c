/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/io.h"
#include "scratch.h"

extern CU_TestInfo file_tests[];

static void make_file(const char *path, off_t size)
{
    int fd = open(path, O_RDWR | O_CREAT, 0644);

    CU_ASSERT_EQUAL(ftruncate(fd, size), 0);
    close(fd);
}

static void co_info(void *dir)
{
    const char *path = scratch_path(dir, "file");
    struct file *file = NULL;
    const struct file_info *info;

    make_file(path, 1000 * 1000);
    CU_ASSERT_EQUAL(file_open(path, 0, &file, NULL), 0);
    info = file_info(file);
    CU_ASSERT_EQUAL(info->size_bytes, 1000 * 1000);
    CU_ASSERT_FALSE(info->block_device);
    CU_ASSERT_TRUE(info->logical_block_bytes == 512 || info->logical_block_bytes == 4096);
    CU_ASSERT_TRUE(info->physical_block_bytes >= info->logical_block_bytes);
    CU_ASSERT_TRUE(is_power_of_2(info->memory_align_bytes));
    CU_ASSERT_TRUE(info->memory_align_bytes <= 4096);
    CU_ASSERT_TRUE(info->can_discard && info->can_zero);
    printf("(%s: %s, logical %u, memory %u) ", (char *)dir, info->direct ? "direct" : "cached",
        info->logical_block_bytes, info->memory_align_bytes);
    file_close(file);
}

static void test_info(void)
{
    scratch_run_each(co_info);
}

static void co_create_resize(void *dir)
{
    const char *path = scratch_path(dir, "new");
    struct file *file = NULL, *other = NULL;
    struct stat st;

    CU_ASSERT_EQUAL(file_open(path, FILE_CREATE, &file, NULL), 0);
    CU_ASSERT_EQUAL(stat(path, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
    CU_ASSERT_EQUAL(file_info(file)->size_bytes, 0);
    CU_ASSERT_EQUAL(file_open(path, 0, &other, NULL), 0);
    CU_ASSERT_EQUAL(file_resize(file, 5 << 20), 0);
    CU_ASSERT_EQUAL(file_info(file)->size_bytes, 5 << 20);
    CU_ASSERT_EQUAL(file_info(other)->size_bytes, 0);
    CU_ASSERT_EQUAL(file_refresh(other), 0);
    CU_ASSERT_EQUAL(file_info(other)->size_bytes, 5 << 20);
    CU_ASSERT_EQUAL(file_resize(file, UINT64_MAX), -EFBIG);
    CU_ASSERT_EQUAL(file_info(file)->size_bytes, 5 << 20);
    file_close(file);
    file_close(other);
}

static void test_create_resize(void)
{
    scratch_run_each(co_create_resize);
}

/* The error carries the code and names the path; nothing is opened. */
static void refused(const char *path, unsigned flags, int code, const char *reason)
{
    struct error err = {0};
    struct file *file = NULL;

    CU_ASSERT_EQUAL(file_open(path, flags, &file, &err), -code);
    CU_ASSERT_EQUAL(err.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, reason));
    CU_ASSERT_PTR_NULL(file);
}

static void co_refused(void *dir)
{
    const char *fifo = scratch_path(dir, "fifo");

    CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0);
    refused(dir, 0, EINVAL, "a directory");
    refused(fifo, 0, EINVAL, "a named pipe");
    refused("/dev/null", 0, EINVAL, "a character device");
    refused(scratch_path(dir, "absent"), 0, ENOENT, "No such file");
    refused(scratch_path(dir, "absent/file"), FILE_CREATE, ENOENT, "No such file");
    refused(scratch_path(fifo, "file"), FILE_CREATE, ENOTDIR, "Not a directory");
    refused(fifo, FILE_CREATE, EEXIST, "there already");
    make_file(scratch_path(dir, "full"), 5000);
    refused(scratch_path(dir, "full"), FILE_CREATE, EEXIST, "there already");
    CU_ASSERT_EQUAL(symlink("nowhere", scratch_path(dir, "dangling")), 0);
    refused(scratch_path(dir, "dangling"), FILE_CREATE, EEXIST, "File exists");
}

static void test_refused(void)
{
    scratch_run_each(co_refused);
}

static void co_exclusive(void *dir)
{
    const char *path = scratch_path(dir, "file");
    struct file *file = NULL, *other = NULL;

    make_file(path, 4096);
    CU_ASSERT_EQUAL(file_open(path, FILE_EXCLUSIVE, &file, NULL), 0);
    refused(path, FILE_EXCLUSIVE, EBUSY, "in use");
    refused(path, FILE_EXCLUSIVE | FILE_READ_ONLY, EBUSY, "in use");
    CU_ASSERT_EQUAL(file_open(path, 0, &other, NULL), 0);
    file_close(other);
    file_close(file);
    CU_ASSERT_EQUAL(file_open(path, FILE_EXCLUSIVE | FILE_READ_ONLY, &file, NULL), 0);
    CU_ASSERT_EQUAL(file_open(path, FILE_EXCLUSIVE | FILE_READ_ONLY, &other, NULL), 0);
    refused(path, FILE_EXCLUSIVE, EBUSY, "in use");
    file_close(other);
    file_close(file);
}

static void test_exclusive(void)
{
    scratch_run_each(co_exclusive);
}

static void extent(struct file *file, uint64_t offset, uint64_t want_length, bool want_hole)
{
    uint64_t length = 0;
    bool hole = !want_hole;

    CU_ASSERT_EQUAL(file_next_extent(file, offset, &length, &hole), 0);
    CU_ASSERT_EQUAL(length, want_length);
    CU_ASSERT_EQUAL(hole, want_hole);
}

static void co_extents(void *dir)
{
    const char *path = scratch_path(dir, "file");
    uint64_t length = 77;
    struct file *file = NULL;
    bool hole = true;
    int fd;

    make_file(path, 1 << 20);
    fd = open(path, O_WRONLY);
    for (unsigned i = 0; i < 65536; i += 4096)
        CU_ASSERT_EQUAL(pwrite(fd, path, 64, 262144 + i), 64);
    close(fd);
    CU_ASSERT_EQUAL(file_open(path, 0, &file, NULL), 0);
    extent(file, 0, 262144, true);
    extent(file, 4096, 262144 - 4096, true);
    extent(file, 262144, 65536, false);
    extent(file, 262144 + 65536, (1 << 20) - 262144 - 65536, true);
    CU_ASSERT_EQUAL(file_next_extent(file, 1 << 20, &length, &hole), -ENXIO);
    CU_ASSERT_EQUAL(file_next_extent(file, UINT64_MAX, &length, &hole), -ENXIO);
    CU_ASSERT_EQUAL(length, 77);
    file_close(file);
}

static void test_extents(void)
{
    scratch_run_each(co_extents);
}

struct loop {
    int fd;
    char path[32];
};

/* The next free one, unless another process is faster. */
static int loop_configure(struct loop *loop, const struct loop_config *config)
{
    int number, rc, control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

    number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
    if (control >= 0)
        close(control);
    snprintf(loop->path, sizeof loop->path, "/dev/loop%d", number);
    loop->fd = number < 0 ? -1 : open(loop->path, O_RDWR | O_CLOEXEC);
    if (loop->fd < 0)
        return -ENODEV;
    rc = ioctl(loop->fd, LOOP_CONFIGURE, config) < 0 ? -errno : 0;
    if (rc < 0)
        close(loop->fd);
    return rc;
}

/* False, said on standard output, where there are no loop devices for us. */
static bool loop_attach(struct loop *loop, const char *backing, unsigned block_bytes)
{
    struct loop_config config = {.block_size = block_bytes};
    int rc = -EBUSY, fd = open(backing, O_RDWR | O_CLOEXEC);

    config.fd = (uint32_t)fd;
    for (unsigned tries = 0; tries < 20 && rc == -EBUSY; tries++)
        rc = loop_configure(loop, &config);
    close(fd);
    if (rc < 0)
        printf("(skipped: no loop device: %s) ", strerror(-rc));
    return rc == 0;
}

static void loop_detach(struct loop *loop)
{
    CU_ASSERT_EQUAL(ioctl(loop->fd, LOOP_CLR_FD), 0);
    close(loop->fd);
}

static int run(struct file *file, enum io_kind kind, unsigned flags, void *buf, uint64_t length)
{
    struct iovec iov = {buf, length};
    struct io io = {.kind = kind,
        .flags = flags,
        .file = file,
        .iov = &iov,
        .iov_count = 1,
        .offset = 65536,
        .length = length};

    return io_run(&io);
}

static void check_device(struct file *file)
{
    unsigned char *buf = io_buffer_get(65536);

    memset(buf, 0x5a, 65536);
    CU_ASSERT_EQUAL(run(file, IO_WRITE, IO_FUA, buf, 65536), 0);
    CU_ASSERT_EQUAL(run(file, IO_SYNC, 0, NULL, 0), 0);
    /* In this order: a loop device forgets how to zero once its file system has refused the second
     * way, as tmpfs does. */
    CU_ASSERT_EQUAL(run(file, IO_WRITE_ZEROES, IO_FAST | IO_MAY_UNMAP, NULL, 4096), 0);
    CU_ASSERT_EQUAL(run(file, IO_WRITE_ZEROES, IO_FAST, NULL, 8192), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(run(file, IO_WRITE_ZEROES, 0, NULL, 8192), 0);
    CU_ASSERT_EQUAL(run(file, IO_READ, 0, buf, 65536), 0);
    CU_ASSERT_EQUAL(buf[0] | buf[8191], 0);
    CU_ASSERT_EQUAL(buf[8192], 0x5a);
    CU_ASSERT_EQUAL(run(file, IO_DISCARD, 0, NULL, 32768), 0);
    CU_ASSERT_EQUAL(run(file, IO_READ, 0, buf, 65536), 0);
    CU_ASSERT_EQUAL(buf[0] | buf[32767], 0);
    CU_ASSERT_EQUAL(buf[32768], 0x5a);
    io_buffer_put(buf, 65536);
}

static void block_device(const char *dir, unsigned block_bytes)
{
    const char *backing = scratch_path(dir, "backing");
    struct file *file = NULL;
    struct loop loop;
    uint64_t length;
    bool hole;

    make_file(backing, 8 << 20);
    if (!loop_attach(&loop, backing, block_bytes))
        return;
    CU_ASSERT_EQUAL(file_open(loop.path, FILE_EXCLUSIVE, &file, NULL), 0);
    CU_ASSERT_TRUE(file_info(file)->block_device);
    CU_ASSERT_TRUE(file_info(file)->direct);
    CU_ASSERT_EQUAL(file_info(file)->size_bytes, 8 << 20);
    CU_ASSERT_EQUAL(file_info(file)->logical_block_bytes, block_bytes);
    CU_ASSERT_TRUE(file_info(file)->can_discard && file_info(file)->can_zero);
    refused(loop.path, FILE_EXCLUSIVE, EBUSY, "in use");
    CU_ASSERT_EQUAL(file_resize(file, 4096), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(file_next_extent(file, 0, &length, &hole), -EOPNOTSUPP);
    check_device(file);
    make_file(backing, 16 << 20);
    CU_ASSERT_EQUAL(ioctl(loop.fd, LOOP_SET_CAPACITY), 0);
    CU_ASSERT_EQUAL(file_refresh(file), 0);
    CU_ASSERT_EQUAL(file_info(file)->size_bytes, 16 << 20);
    file_close(file);
    loop_detach(&loop);
}

static void co_block_devices(void *dir)
{
    block_device(dir, 512);
    block_device(dir, 4096);
}

static void test_block_devices(void)
{
    scratch_run_each(co_block_devices);
}

CU_TestInfo file_tests[] = {
    {"what is known of a file", test_info},
    {"files are made and resized", test_create_resize},
    {"what is no storage is refused", test_refused},
    {"exclusive use", test_exclusive},
    {"data and holes", test_extents},
    {"block devices", test_block_devices},
    CU_TEST_INFO_NULL,
};
