/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who holds a file or block device: asks /proc (mounts, swap), sysfs (holders, partitions, loop
 * devices) and libdevmapper, last an exclusive open or the lock. A disk is held when one of its
 * partitions is, a partition when its disk is held as a whole.
 *
 * All of it looks at the host's own kernel and blocks: it runs on a helper thread, not through rt/.
 * What cannot be read counts as "nobody"; the exclusive open of the member has the last word.
 */
#include "block/holder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/arith.h"

/* One thing under one of its names: a block device by its number, a file by its inode. */
struct subject {
    bool block_device;
    dev_t dev;
    ino_t ino;
};

static struct subject subject_of(const struct stat *st)
{
    return S_ISBLK(st->st_mode) ? (struct subject){true, st->st_rdev, 0}
                                : (struct subject){false, st->st_dev, st->st_ino};
}

static bool is_named(const struct subject *s, const char *path)
{
    struct stat st;
    struct subject other;

    if (path[0] != '/' || stat(path, &st) < 0)
        return false;
    other = subject_of(&st);
    return other.block_device == s->block_device && other.dev == s->dev && other.ino == s->ino;
}

/* Undoes the octal escapes of /proc, in place. */
static void unescape(char *text)
{
    char *to = text;

    for (char *from = text; *from; to++) {
        unsigned value;

        if (*from == '\\' && strspn(from + 1, "01234567") >= 3 &&
            sscanf(from + 1, "%3o", &value) == 1) {
            *to = (char)value;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Calls match for each line of a file until it returns true. */
static bool any_line(const char *path,
    bool (*match)(char *line, const struct subject *s, char *holder, size_t len),
    const struct subject *s, char *holder, size_t len)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    while (f && !found && getline(&line, &size, f) > 0)
        found = match(line, s, holder, len);
    free(line);
    if (f)
        fclose(f);
    return found;
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": proc(5). File systems of
 * several devices have a number of their own, so the source counts too. */
static bool match_mount(char *line, const struct subject *s, char *holder, size_t len)
{
    char where[PATH_MAX], source[PATH_MAX] = "";
    unsigned dev_major, dev_minor;
    const char *tail = strstr(line, " - ");

    if (sscanf(line, "%*u %*u %u:%u %*s %4095s", &dev_major, &dev_minor, where) != 3)
        return false;
    if (tail && sscanf(tail, " - %*s %4095s", source) == 1)
        unescape(source);
    if (!(s->block_device && makedev(dev_major, dev_minor) == s->dev) && !is_named(s, source))
        return false;
    unescape(where);
    snprintf(holder, len, "mounted on %s", where);
    return true;
}

static bool match_swap(char *line, const struct subject *s, char *holder, size_t len)
{
    line[strcspn(line, " \t\n")] = '\0';
    unescape(line);
    if (!is_named(s, line))
        return false;
    snprintf(holder, len, "used as swap");
    return true;
}

/* A path below a block device's directory. */
static void __attribute__((format(printf, 4, 5)))
sysfs_path(char *path, size_t len, dev_t dev, const char *fmt, ...)
{
    int n = snprintf(path, len, "/sys/dev/block/%u:%u/", major(dev), minor(dev));
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(path + n, len - (size_t)n, fmt, ap);
    va_end(ap);
}

/* A line of a file in sysfs; false when there is none. */
static bool sysfs_line(const char *path, char *line, int len)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, len, f);

    if (ok)
        line[strcspn(line, "\n")] = '\0';
    if (f)
        fclose(f);
    return ok;
}

static bool sysfs_dev(const char *path, dev_t *dev)
{
    unsigned dev_major, dev_minor;
    char line[32];

    if (!sysfs_line(path, line, sizeof line) || sscanf(line, "%u:%u", &dev_major, &dev_minor) != 2)
        return false;
    *dev = makedev(dev_major, dev_minor);
    return true;
}

static bool match_holder(const char *name, const struct subject *s, char *holder, size_t len)
{
    char path[PATH_MAX], mapped[128] = "";
    dev_t dev;

    sysfs_path(path, sizeof path, s->dev, "holders/%s/dev", name);
    if (!strncmp(name, "dm-", 3) && sysfs_dev(path, &dev) &&
        dm_device_get_name(major(dev), minor(dev), 0, mapped, sizeof mapped))
        snprintf(holder, len, "used by %s (%s)", mapped, name);
    else
        snprintf(holder, len, "used by %s", name);
    return true;
}

/* Calls match for each name in a directory until it returns true. */
static bool any_name(const char *directory,
    bool (*match)(const char *name, const struct subject *s, char *holder, size_t len),
    const struct subject *s, char *holder, size_t len)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir)))
        found = entry->d_name[0] != '.' && match(entry->d_name, s, holder, len);
    if (dir)
        closedir(dir);
    return found;
}

static bool held_itself(const struct subject *s, char *holder, size_t len)
{
    char path[PATH_MAX];

    if (any_line("/proc/self/mountinfo", match_mount, s, holder, len) ||
        any_line("/proc/swaps", match_swap, s, holder, len))
        return true;
    if (!s->block_device)
        return false;
    sysfs_path(path, sizeof path, s->dev, "holders");
    if (any_name(path, match_holder, s, holder, len))
        return true;
    if (!dm_device_has_mounted_fs(major(s->dev), minor(s->dev)))
        return false;
    snprintf(holder, len, "mounted in another mount namespace");
    return true;
}

static bool part_held(const char *part, const char *name, dev_t dev, char *holder, size_t len)
{
    struct subject s = {true, dev, 0};
    char text[256];

    if (!held_itself(&s, text, sizeof text))
        return false;
    snprintf(holder, len, "its %s %s is %s", part, name, text);
    return true;
}

static bool match_partition(const char *name, const struct subject *s, char *holder, size_t len)
{
    char path[PATH_MAX];
    dev_t dev;

    sysfs_path(path, sizeof path, s->dev, "%s/partition", name);
    if (access(path, F_OK) < 0)
        return false;
    sysfs_path(path, sizeof path, s->dev, "%s/dev", name);
    return sysfs_dev(path, &dev) && part_held("partition", name, dev, holder, len);
}

static bool held_by_disk(dev_t dev, char *holder, size_t len)
{
    char path[PATH_MAX], disk[PATH_MAX];
    dev_t disk_dev;

    sysfs_path(path, sizeof path, dev, "partition");
    if (access(path, F_OK) < 0)
        return false;
    sysfs_path(path, sizeof path, dev, "../dev");
    if (!sysfs_dev(path, &disk_dev))
        return false;
    sysfs_path(path, sizeof path, dev, "..");
    return part_held("disk", realpath(path, disk) ? basename(disk) : "", disk_dev, holder, len);
}

static bool match_loop(const char *name, const struct subject *s, char *holder, size_t len)
{
    char path[PATH_MAX], backing[PATH_MAX];

    snprintf(path, sizeof path, "/sys/block/%.255s/loop/backing_file", name);
    if (strncmp(name, "loop", 4) || !sysfs_line(path, backing, sizeof backing) ||
        !is_named(s, backing))
        return false;
    snprintf(holder, len, "used by /dev/%s", name);
    return true;
}

static bool held_exclusively(const char *path, char *holder, size_t len)
{
    int fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    if (fd >= 0 || errno != EBUSY)
        return false;
    snprintf(holder, len, "held by the kernel or another program");
    return true;
}

static bool locked(int fd, char *holder, size_t len)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
        return false;
    snprintf(holder, len, "locked by another program");
    return true;
}

/* libdevmapper would print what it misses, and it may be all of the kernel's device mapper. */
static void discard_message(int level, const char *file, int line, int dm_errno, const char *f, ...)
{
}

void holder_find(const char *path, int fd, const struct stat *st, char *holder, size_t len)
{
    struct subject s = subject_of(st);
    char sysfs[PATH_MAX];

    holder[0] = '\0';
    dm_log_with_errno_init(discard_message);
    if (held_itself(&s, holder, len) || any_name("/sys/block", match_loop, &s, holder, len))
        return;
    if (!s.block_device) {
        locked(fd, holder, len);
        return;
    }
    sysfs_path(sysfs, sizeof sysfs, s.dev, ".");
    if (any_name(sysfs, match_partition, &s, holder, len) || held_by_disk(s.dev, holder, len))
        return;
    held_exclusively(path, holder, len);
}
