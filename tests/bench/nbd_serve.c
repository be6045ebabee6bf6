/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One member behind the NBD server and nothing between them, for tests and benchmarks:
 *
 *     nbd_serve SOCKET FILE|SIZE [WORKERS [BACKING]]
 *
 * serves a file, or memory of that size, as the export "disk" until SIGTERM or SIGINT. Of a file
 * whose name ends in .qcow2 it serves the disk in that image, over BACKING (a raw file), if given;
 * the file grows as it must. All is flushed and closed at the end. Exit status 0, or 1 with the
 * reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/size.h"
#include "block/member.h"
#include "export/nbd.h"
#include "image/qcow2.h"
#include "rt/signal.h"
#include "rt/worker.h"

#define CLIENTS_MAX 16

static struct {
    const char *socket, *what, *backing;
    struct signals *signals;
    struct worker *workers[WORKERS_MAX - 1];
    unsigned worker_count;
    struct blockdev *file, *below; /* of an image: what it is in, and its backing */
    int status;
} program = {.worker_count = 1};

static bool is_image(const char *path)
{
    size_t length = strlen(path);

    return length > 6 && !strcmp(path + length - 6, ".qcow2");
}

static int grow(void *arg, uint64_t size_bytes)
{
    return member_resize(arg, size_bytes);
}

/* Instead of the file its disk. */
static int open_image(struct blockdev **d, struct error *err)
{
    static const struct qcow2_file_ops ops = {.grow = grow};
    struct qcow2_options options = {.file_ops = &ops, .file_arg = *d};
    struct qcow2 *image;
    int rc = 0;

    program.file = *d;
    if (program.backing)
        rc = member_open(program.backing, MEMBER_READ_ONLY, &program.below, err);
    options.backing = program.below;
    if (!rc)
        rc = qcow2_open(&image, *d, "image", &options, err);
    if (!rc)
        *d = qcow2_blockdev(image);
    return rc;
}

static int open_disk(struct blockdev **d, struct error *err)
{
    uint64_t size_bytes;
    int rc;

    if (access(program.what, F_OK) && !size_parse(program.what, &size_bytes))
        return member_memory("memory", size_bytes, 512, d);
    rc = member_open(program.what, 0, d, err);
    return rc || !is_image(program.what) ? rc : open_image(d, err);
}

static int serve(struct blockdev *d, struct error *err)
{
    struct nbd_params params = {
        .path = program.socket,
        .mode = 0600,
        .owner = (uid_t)-1,
        .group = (gid_t)-1,
        .workers = program.workers,
        .worker_count = program.worker_count,
        .clients_max = CLIENTS_MAX,
    };
    struct nbd_server *s;
    int rc = nbd_server_start(&s, &params, err);

    if (rc < 0)
        return rc;
    rc = nbd_server_add(s, "disk", d, false, err);
    if (!rc)
        signals_next(program.signals);
    nbd_server_stop(s);
    return rc ? rc : blockdev_flush(d);
}

static void entry(void *arg)
{
    struct error err = {0};
    struct blockdev *d;
    unsigned started = 0;
    int rc = open_disk(&d, &err);

    while (!rc && started < program.worker_count) {
        rc = worker_create(&program.workers[started], "nbd", &err);
        started += !rc;
    }
    if (!rc) {
        rc = serve(d, &err);
        blockdev_close(d);
    }
    if (!rc && program.file)
        blockdev_close(program.file);
    if (!rc && program.below)
        blockdev_close(program.below);
    while (started--)
        worker_destroy(program.workers[started]);
    if (rc < 0)
        fprintf(stderr, "nbd_serve: %s\n", err.text[0] ? err.text : strerror(-rc));
    program.status = rc < 0;
}

int main(int argc, char **argv)
{
    struct error err = {0};

    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: nbd_serve SOCKET FILE|SIZE [WORKERS [BACKING]]\n");
        return 2;
    }
    program.socket = argv[1];
    program.what = argv[2];
    program.backing = argc > 4 ? argv[4] : NULL;
    if (argc > 3)
        program.worker_count = MIN((unsigned)atoi(argv[3]), (unsigned)ARRAY_LEN(program.workers));
    if (signals_open(&program.signals, (int[]){SIGTERM, SIGINT, 0}) < 0 ||
        rt_init(NULL, &err) < 0) {
        fprintf(stderr, "nbd_serve: %s\n", err.text);
        return 1;
    }
    if (rt_main(entry, NULL) < 0)
        return 1;
    signals_close(program.signals);
    return program.status;
}
