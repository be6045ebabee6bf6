/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small files. Every call blocks on a helper thread.
 *
 * fs_replace writes ".NAME.new" beside the file, one replacement at a time, so that what a crash
 * left is overwritten by the next; fs_list does not show such names. A name is durable once its
 * directory has been synced.
 */
#include "rt/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/names.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define TEMPORARY_SUFFIX ".new"

static struct co_mutex replacing = {
    .lock = SPINLOCK_INIT,
    .queue.waiters = LIST_INIT(replacing.queue.waiters),
};

/* The directory part of a path, to be freed. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Makes the names in the directory that holds `path` durable. */
static int sync_parent(const char *path)
{
    char *parent = parent_of(path);
    int fd, rc = 0;

    if (!parent)
        return -ENOMEM;
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(parent);
    if (fd < 0)
        return -errno;
    if (fsync(fd) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

struct reading {
    const char *path;
    size_t max_bytes, length;
    char *data;
};

/* Until the end or until max_bytes + 1 have been read. Files in /sys and /proc do not tell their
 * size, so the buffer grows. */
static int read_to_end(int fd, struct reading *r)
{
    size_t room = 0;

    for (;;) {
        ssize_t n;

        if (r->length == room) {
            char *grown;

            room = MIN(MAX(2 * room, (size_t)4096), r->max_bytes + 1);
            grown = realloc(r->data, room + 1);
            if (!grown)
                return -ENOMEM;
            r->data = grown;
        }
        n = read(fd, r->data + r->length, room - r->length);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        r->length += n > 0 ? (size_t)n : 0;
        if (r->length > r->max_bytes)
            return -EFBIG;
    }
    r->data[r->length] = '\0';
    return 0;
}

static int read_blocking(void *arg)
{
    struct reading *r = arg;
    int rc, fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -errno;
    rc = read_to_end(fd, r);
    close(fd);
    return rc;
}

int fs_read(const char *path, size_t max_bytes, char **data, size_t *length)
{
    struct reading r = {.path = path, .max_bytes = max_bytes};
    int rc = rt_offload(read_blocking, &r);

    if (rc < 0) {
        free(r.data);
        return rc;
    }
    *data = r.data;
    *length = r.length;
    return 0;
}

struct replacement {
    const char *path, *data;
    size_t length;
    mode_t mode;
};

static int write_durably(int fd, const struct replacement *r)
{
    size_t at = 0;

    if (fchmod(fd, r->mode) < 0)
        return -errno;
    while (at < r->length) {
        ssize_t n = write(fd, r->data + at, r->length - at);

        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int write_temporary(const char *temporary, const struct replacement *r)
{
    int fd, rc;

    /* Made anew: an old one may have another owner, or be a link. */
    unlink(temporary);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    rc = write_durably(fd, r);
    if (close(fd) < 0 && !rc)
        rc = -errno;
    if (!rc && rename(temporary, r->path) < 0)
        rc = -errno;
    if (rc < 0)
        unlink(temporary);
    return rc;
}

static int replace_blocking(void *arg)
{
    const struct replacement *r = arg;
    char *parent = parent_of(r->path), *temporary = NULL;
    int rc;

    if (!parent || asprintf(&temporary, "%s/.%s" TEMPORARY_SUFFIX, parent, name_of(r->path)) < 0)
        rc = -ENOMEM;
    else
        rc = write_temporary(temporary, r);
    free(temporary);
    free(parent);
    return rc < 0 ? rc : sync_parent(r->path);
}

int fs_replace(const char *path, const void *data, size_t length, mode_t mode)
{
    struct replacement r = {path, data, length, mode};
    int rc;

    co_mutex_lock(&replacing);
    rc = rt_offload(replace_blocking, &r);
    co_mutex_unlock(&replacing);
    return rc;
}

static int remove_blocking(void *arg)
{
    const char *path = *(const char **)arg;

    return unlink(path) < 0 ? -errno : sync_parent(path);
}

int fs_remove(const char *path)
{
    return rt_offload(remove_blocking, &path);
}

static int sync_name_blocking(void *arg)
{
    return sync_parent(*(const char **)arg);
}

int fs_sync_name(const char *path)
{
    return rt_offload(sync_name_blocking, &path);
}

struct making {
    const char *path;
    mode_t mode;
};

static int make_one(const char *path, mode_t mode)
{
    struct stat st;

    if (!mkdir(path, mode))
        return sync_parent(path);
    if (errno != EEXIST)
        return -errno;
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int make_blocking(void *arg)
{
    const struct making *m = arg;
    char path[PATH_MAX];
    int rc = 0;

    if (strlen(m->path) >= sizeof path)
        return -ENAMETOOLONG;
    strcpy(path, m->path);
    for (char *slash = strchr(path + 1, '/'); slash && !rc; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        rc = make_one(path, m->mode);
        *slash = '/';
    }
    return rc ? rc : make_one(path, m->mode);
}

int fs_make_dir(const char *path, mode_t mode)
{
    struct making m = {path, mode};

    return *path ? rt_offload(make_blocking, &m) : -ENOENT;
}

struct listing {
    const char *path;
    char **names;
};

static int is_shown(const struct dirent *e)
{
    size_t length = strlen(e->d_name), suffix = strlen(TEMPORARY_SUFFIX);

    if (e->d_name[0] != '.')
        return 1;
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
        return 0;
    return length < suffix || strcmp(e->d_name + length - suffix, TEMPORARY_SUFFIX);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int list_blocking(void *arg)
{
    struct listing *l = arg;
    struct dirent **entries;
    struct names names = {0};
    int rc = 0, count = scandir(l->path, &entries, is_shown, by_name);

    if (count < 0)
        return -errno;
    for (int i = 0; i < count; i++) {
        rc = rc ? rc : names_add(&names, NULL, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    rc = rc ? rc : names_pack(&names, &l->names);
    names_free(&names);
    return rc;
}

int fs_list(const char *path, char ***names)
{
    struct listing l = {.path = path};
    int rc = rt_offload(list_blocking, &l);

    if (!rc)
        *names = l.names;
    return rc;
}

static int lock_blocking(void *arg)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc, fd = open(*(const char **)arg, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    if (!fcntl(fd, F_OFD_SETLK, &lock))
        return 0; /* the descriptor stays open for as long as the process lives */
    rc = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
    close(fd);
    return rc;
}

int fs_lock(const char *path)
{
    return rt_offload(lock_blocking, &path);
}
