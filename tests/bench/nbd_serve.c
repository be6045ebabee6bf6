/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One member behind the NBD server and nothing between them, for tests and benchmarks:
 *
 *     nbd_serve SOCKET FILE|SIZE [WORKERS]
 *
 * serves a file, or memory of that size, as the export "disk" until SIGTERM or SIGINT. The member
 * is flushed and closed at the end. Exit status 0, or 1 with the reason.
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
#include "rt/signal.h"
#include "rt/worker.h"

#define CLIENTS_MAX 16

static struct {
    const char *socket, *what;
    struct signals *signals;
    struct worker *workers[WORKERS_MAX - 1];
    unsigned worker_count;
    int status;
} program = {.worker_count = 1};

static int open_member(struct blockdev **d, struct error *err)
{
    uint64_t size_bytes;

    if (access(program.what, F_OK) && !size_parse(program.what, &size_bytes))
        return member_memory("memory", size_bytes, 512, d);
    return member_open(program.what, 0, d, err);
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
    int rc = open_member(&d, &err);

    while (!rc && started < program.worker_count) {
        rc = worker_create(&program.workers[started], "nbd", &err);
        started += !rc;
    }
    if (!rc) {
        rc = serve(d, &err);
        blockdev_close(d);
    }
    while (started--)
        worker_destroy(program.workers[started]);
    if (rc < 0)
        fprintf(stderr, "nbd_serve: %s\n", err.text[0] ? err.text : strerror(-rc));
    program.status = rc < 0;
}

int main(int argc, char **argv)
{
    struct error err = {0};

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: nbd_serve SOCKET FILE|SIZE [WORKERS]\n");
        return 2;
    }
    program.socket = argv[1];
    program.what = argv[2];
    if (argc == 4)
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
