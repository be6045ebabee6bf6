/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_main_qcow2.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check_qcow2.h"

#define PIECE_BYTES 65536u

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(2);
}

static void write_disk(
    struct check_qcow2 *c, unsigned disk, const struct check_disk *backing, const char *out)
{
    static char buf[PIECE_BYTES];
    uint64_t size = c->disks[disk].size_bytes;
    char *path;
    int fd;

    if (asprintf(&path, "%s/%s.%u.raw", out, c->file.name, disk) < 0)
        die(c->file.name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        die(path);
    for (uint64_t at = 0, bytes; at < size; at += bytes) {
        bytes = size - at < sizeof buf ? size - at : sizeof buf;
        if (!check_qcow2_read(c, disk, backing, buf, at, bytes) ||
            write(fd, buf, bytes) != (ssize_t)bytes)
            die(path);
    }
    if (close(fd))
        die(path);
    free(path);
}

json_t *check_main_qcow2(const struct check_disk *file, const struct check_disk *backing,
    const char *out, unsigned *problems)
{
    uint8_t sector[CHECK_SECTOR_BYTES];
    const uint8_t *at = check_read(file, sector, 0, sizeof sector);
    json_t *disks = json_array(), *result;
    struct check_qcow2 c;
    bool good;

    if (!at || memcmp(at, "QFI\xfb", 4) != 0) {
        json_decref(disks);
        return NULL;
    }
    good = check_qcow2(&c, file);
    *problems += c.problems.count;
    for (unsigned i = 0; good && i < c.disk_count; i++) {
        json_array_append_new(disks, json_pack("{s:s, s:I}", "name", c.disks[i].name, "size_bytes",
                                         (json_int_t)c.disks[i].size_bytes));
        if (out)
            write_disk(&c, i, c.backed ? backing : NULL, out);
    }
    result =
        json_pack("{s:s, s:b, s:b, s:I, s:o, s:s}", "file", file->name, "dirty", c.dirty, "backed",
            c.backed, "leaks", (json_int_t)c.leaks, "disks", disks, "problems", c.problems.text);
    check_qcow2_free(&c);
    return result;
}
