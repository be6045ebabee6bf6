/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files and block devices, apart from their ios.
 *
 * file_open: the type is looked at before anything is opened (opening a watchdog has consequences),
 * the file is opened direct, locked and probed. All of it blocks, so it runs on a helper thread; so
 * do the other calls. What can fail: permissions, a holder elsewhere, a type that is no storage;
 * the error names the path.
 *
 * The lock on a regular file covers all of it, so that programs which lock ranges (QEMU) see it
 * too. A read-only open takes a shared lock: it excludes writers, not other readers.
 */
#include "rt/host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "rt/worker.h"

struct opening {
    const char *path;
    unsigned flags;
    struct file *file;
    struct error *err;
};

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFCHR:
        return "a character device";
    case S_IFIFO:
        return "a named pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "of an unknown type";
    }
}

static int check_type(const struct opening *o, mode_t mode)
{
    if (S_ISREG(mode) || S_ISBLK(mode))
        return 0;
    return error_set(o->err, EINVAL, "%s is %s, neither a regular file nor a block device", o->path,
        type_name(mode));
}

static int open_path(const struct opening *o, bool block_device, bool direct)
{
    int flags = O_CLOEXEC | (o->flags & FILE_READ_ONLY ? O_RDONLY : O_RDWR);
    int fd;

    if (block_device && o->flags & FILE_EXCLUSIVE)
        flags |= O_EXCL;
    /* Where direct I/O is refused, the first attempt may have made the file. */
    if (o->flags & FILE_CREATE)
        flags |= O_CREAT | (direct ? O_EXCL : 0);
    if (direct)
        flags |= O_DIRECT;
    fd = open(o->path, flags, 0600);
    if (fd >= 0)
        return fd;
    if (errno == EINVAL && direct)
        return open_path(o, block_device, false);
    if (errno == EBUSY)
        return error_set(
            o->err, EBUSY, "%s is in use: mounted, or held by another device or program", o->path);
    return error_set(o->err, errno, "cannot open %s: %s", o->path, strerror(errno));
}

static int lock_file(const struct opening *o, int fd)
{
    struct flock lock = {
        .l_type = o->flags & FILE_READ_ONLY ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

    if (!fcntl(fd, F_OFD_SETLK, &lock))
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(o->err, EBUSY, "%s is in use: locked by another program", o->path);
    return error_set(o->err, errno, "cannot lock %s: %s", o->path, strerror(errno));
}

/* Fills in the open file; the caller closes the descriptor on failure. */
static int take_file(struct opening *o)
{
    struct stat st;
    int rc;

    if (fstat(o->file->fd, &st) < 0)
        return error_set(o->err, errno, "cannot look at %s: %s", o->path, strerror(errno));
    rc = check_type(o, st.st_mode);
    if (!rc && S_ISREG(st.st_mode) && o->flags & FILE_EXCLUSIVE)
        rc = lock_file(o, o->file->fd);
    if (rc < 0)
        return rc;
    rc = file_probe(o->file, &st);
    return rc < 0 ? error_set(o->err, -rc, "cannot probe %s: %s", o->path, strerror(-rc)) : 0;
}

static int open_blocking(void *arg)
{
    struct opening *o = arg;
    struct stat st = {.st_mode = S_IFREG};
    bool create = o->flags & FILE_CREATE;
    int rc = stat(o->path, &st) < 0 ? -errno : 0;

    if (create && rc == 0)
        return error_set(o->err, EEXIST, "%s is there already", o->path);
    if (rc && !(create && rc == -ENOENT))
        return error_set(o->err, -rc, "cannot open %s: %s", o->path, strerror(-rc));
    rc = check_type(o, st.st_mode);
    if (!rc)
        rc = open_path(o, S_ISBLK(st.st_mode), true);
    if (rc < 0)
        return rc;
    o->file->fd = rc;
    rc = take_file(o);
    if (rc < 0)
        close(o->file->fd);
    return rc;
}

int file_open(const char *path, unsigned flags, struct file **file, struct error *err)
{
    struct opening o = {path, flags, calloc(1, sizeof(struct file)), err};
    int rc;

    if (!o.file)
        return error_set(err, ENOMEM, "out of memory");
    rc = rt_offload(open_blocking, &o);
    if (rc < 0)
        free(o.file);
    else
        *file = o.file;
    return rc;
}

const struct file_info *file_info(const struct file *file)
{
    return &file->info;
}

static int refresh_blocking(void *arg)
{
    struct file *file = arg;
    struct stat st;

    if (file->info.block_device)
        return ioctl(file->fd, BLKGETSIZE64, &file->info.size_bytes) < 0 ? -errno : 0;
    if (fstat(file->fd, &st) < 0)
        return -errno;
    file->info.size_bytes = (uint64_t)st.st_size;
    return 0;
}

int file_refresh(struct file *file)
{
    return rt_offload(refresh_blocking, file);
}

struct resizing {
    struct file *file;
    uint64_t size_bytes;
};

static int resize_blocking(void *arg)
{
    struct resizing *r = arg;

    if (ftruncate(r->file->fd, (off_t)r->size_bytes) < 0)
        return -errno;
    r->file->info.size_bytes = r->size_bytes;
    return 0;
}

int file_resize(struct file *file, uint64_t size_bytes)
{
    struct resizing r = {file, size_bytes};

    if (file->info.block_device)
        return -EOPNOTSUPP;
    if (size_bytes > INT64_MAX)
        return -EFBIG;
    return rt_offload(resize_blocking, &r);
}

static int close_blocking(void *arg)
{
    struct file *file = arg;

    close(file->fd);
    free(file);
    return 0;
}

void file_close(struct file *file)
{
    rt_offload(close_blocking, file);
}

struct seeking {
    struct file *file;
    uint64_t offset, length_bytes;
    bool hole;
};

static int seek_blocking(void *arg)
{
    struct seeking *s = arg;
    off_t at = (off_t)s->offset, end = lseek(s->file->fd, at, SEEK_DATA);

    s->hole = end != at;
    if (end == at)
        end = lseek(s->file->fd, at, SEEK_HOLE);
    else if (end < 0 && errno == ENXIO) /* no data from here on */
        end = lseek(s->file->fd, 0, SEEK_END);
    if (end < 0)
        return errno == EINVAL ? -EOPNOTSUPP : -errno;
    /* Cut off meanwhile. */
    if (end <= at)
        return -ENXIO;
    s->length_bytes = (uint64_t)(end - at);
    return 0;
}

int file_next_extent(struct file *file, uint64_t offset, uint64_t *length_bytes, bool *hole)
{
    struct seeking s = {.file = file, .offset = offset};
    int rc;

    if (file->info.block_device)
        return -EOPNOTSUPP;
    if (offset > INT64_MAX)
        return -ENXIO;
    rc = rt_offload(seek_blocking, &s);
    if (rc < 0)
        return rc;
    *length_bytes = s.length_bytes;
    *hole = s.hole;
    return 0;
}
