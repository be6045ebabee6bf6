/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be known of a file or block device before the first io: sizes, alignment, what it can do
 * without moving bytes. Runs on a helper thread. Asks the kernel (statx, ioctls, sysfs), and tries
 * where it does not say, without changing anything.
 *
 * Direct I/O on a regular file asks for an alignment of its file system's choosing. Up to 4096 it
 * is reported as the logical block size; above that, or where direct I/O is refused, the page cache
 * is used.
 */
#include "rt/host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/arith.h"

#define SECTOR_BYTES     512
#define DIRECT_ALIGN_MAX 4096

/* A number from the queue directory of the disk that `dev` is or is a partition of; 0 when there is
 * none. */
static unsigned long long queue_number(dev_t dev, const char *name)
{
    static const char *const queues[] = {"queue", "../queue"};
    unsigned long long value = 0;
    char path[128];

    for (unsigned i = 0; i < ARRAY_LEN(queues); i++) {
        FILE *f;

        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), queues[i],
            name);
        f = fopen(path, "re");
        if (!f)
            continue;
        if (fscanf(f, "%llu", &value) != 1)
            value = 0;
        fclose(f);
        break;
    }
    return value;
}

static void probe_queue(struct file_info *info, dev_t dev, bool writable)
{
    info->rotational = queue_number(dev, "rotational");
    if (!info->block_device || !writable)
        return;
    info->can_discard = queue_number(dev, "discard_max_bytes");
    info->can_zero = queue_number(dev, "write_zeroes_max_bytes");
}

static int probe_block_device(struct file *file)
{
    struct file_info *info = &file->info;
    int logical;
    unsigned physical, optimal = 0;

    if (ioctl(file->fd, BLKGETSIZE64, &info->size_bytes) < 0 ||
        ioctl(file->fd, BLKSSZGET, &logical) < 0 || ioctl(file->fd, BLKPBSZGET, &physical) < 0)
        return -errno;
    ioctl(file->fd, BLKIOOPT, &optimal);
    info->logical_block_bytes = (unsigned)logical;
    info->physical_block_bytes = physical;
    info->optimal_io_bytes = optimal;
    return 0;
}

/* Tries what the kernel does not tell: reading a sector changes nothing. */
static unsigned try_direct_align(int fd)
{
    void *buf = aligned_alloc(DIRECT_ALIGN_MAX, DIRECT_ALIGN_MAX);
    unsigned align = 0;

    for (unsigned a = SECTOR_BYTES; buf && !align && a <= DIRECT_ALIGN_MAX; a *= 8)
        if (pread(fd, buf, a, 0) >= 0)
            align = a;
    free(buf);
    return align;
}

static void stop_direct(struct file *file)
{
    fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) & ~O_DIRECT);
    file->info.direct = false;
    file->info.memory_align_bytes = 1;
}

/* Direct I/O: whether, and at which alignment; the logical block size of a device is known. */
static void probe_direct(struct file *file)
{
    struct file_info *info = &file->info;
    unsigned offset_align, memory_align;
    struct statx x;

    info->direct = fcntl(file->fd, F_GETFL) & O_DIRECT;
    if (!info->direct) {
        stop_direct(file);
        return;
    }
    if (!statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) && x.stx_mask & STATX_DIOALIGN) {
        offset_align = x.stx_dio_offset_align;
        memory_align = x.stx_dio_mem_align;
    } else {
        offset_align = memory_align =
            info->block_device ? info->logical_block_bytes : try_direct_align(file->fd);
    }
    if (!offset_align || (!info->block_device && offset_align > DIRECT_ALIGN_MAX)) {
        stop_direct(file);
        return;
    }
    info->memory_align_bytes = memory_align;
    info->logical_block_bytes = MAX(info->logical_block_bytes, offset_align);
}

static void probe_regular_file(struct file *file, const struct stat *st, bool writable)
{
    struct file_info *info = &file->info;
    struct statfs fs;
    off_t past_end = (off_t)round_up((uint64_t)st->st_size, 4096);

    file->in_memory =
        !fstatfs(file->fd, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
    info->size_bytes = (uint64_t)st->st_size;
    info->logical_block_bytes = SECTOR_BYTES;
    info->physical_block_bytes = (unsigned)MIN(st->st_blksize, 4096);
    /* Beyond the end there is nothing to lose. */
    info->can_discard = writable && !fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        past_end, 4096);
    info->can_zero = info->can_discard;
}

int file_probe(struct file *file, const struct stat *st)
{
    bool writable = (fcntl(file->fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    int rc = 0;

    file->info.block_device = S_ISBLK(st->st_mode);
    if (file->info.block_device)
        rc = probe_block_device(file);
    else
        probe_regular_file(file, st, writable);
    if (rc < 0)
        return rc;
    probe_queue(&file->info, file->info.block_device ? st->st_rdev : st->st_dev, writable);
    probe_direct(file);
    file->info.physical_block_bytes =
        MAX(file->info.physical_block_bytes, file->info.logical_block_bytes);
    return 0;
}
