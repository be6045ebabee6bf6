/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "base/log.h"
#include "exports.h"
#include "groups.h"
#include "notify.h"
#include "overlay.h"
#include "rpc/server.h"
#include "rt/fs.h"
#include "rt/stream.h"
#include "rt/worker.h"
#include "scan.h"
#include "state.h"
#include "volume_copy.h"

/* A daemon that was killed holds files and sockets a little longer than it lives: io_uring lets go
 * of them in the background. */
#define PREDECESSOR_NS 5000000000ull

static int take_dirs(const struct config *c, struct error *err)
{
    const char *const dirs[] = {c->state_dir, c->runtime_dir};
    char lock[PATH_MAX];
    int rc;

    for (unsigned i = 0; i < 2; i++)
        if ((rc = fs_make_dir(dirs[i], i == 0 ? 0700 : 0755)))
            return error_set(err, -rc, "directory %s: %s", dirs[i], strerror(-rc));
    snprintf(lock, sizeof lock, "%s/lock", c->state_dir);
    rc = fs_lock(lock);
    if (rc == -EBUSY)
        return error_set(err, EBUSY, "another ashlard has the state directory %s", c->state_dir);
    return rc ? error_set(err, -rc, "%s: %s", lock, strerror(-rc)) : 0;
}

static int start_workers(struct daemon *d, struct error *err)
{
    d->workers = calloc(d->config->workers, sizeof *d->workers);
    if (!d->workers)
        return -ENOMEM;
    while (d->worker_count < d->config->workers) {
        char name[16];
        int rc;

        snprintf(name, sizeof name, "io-%u", d->worker_count);
        rc = worker_create(&d->workers[d->worker_count], name, err);
        if (rc)
            return rc;
        d->worker_count++;
    }
    return 0;
}

static int open_own_socket(const char *path, struct listener **l, struct error *err)
{
    uint64_t due_ns = rt_now_ns() + PREDECESSOR_NS;
    int rc;

    while ((rc = listener_open(path, 0600, (uid_t)-1, (gid_t)-1, l, err)) == -EADDRINUSE &&
           rt_now_ns() < due_ns)
        co_sleep_ns(50000000);
    return rc;
}

/* On the socket systemd has opened for us, or our own. */
static int start_rpc(struct daemon *d, struct error *err)
{
    int fd = notify_listen_fd();
    struct listener *l;
    int rc = fd >= 0 ? listener_adopt(fd, &l, err) : open_own_socket(d->config->socket, &l, err);

    if (rc)
        return rc;
    rc = rpc_server_start(&d->server, d, l);
    if (rc)
        listener_close(l);
    return rc;
}

/* What was there before, and what has come. That the state cannot be saved just now is in the log
 * and keeps nobody from their disks. */
static int bring_up(struct daemon *d)
{
    const struct config *c = d->config;
    struct scan scan = {.degraded_remembered = true, .patience_ns = PREDECESSOR_NS};
    unsigned count = 0;
    int rc;

    while (c->auto_assemble && c->scan_paths[count])
        count++;
    catalog_change_begin(d);
    rc = scan_run(&scan, d, (const char *const *)c->scan_paths, count);
    scan_free(&scan);
    catalog_change_end(d, rc, NULL);
    return rc;
}

/* In reverse; what is known stays in the state file. */
static void take_down(struct daemon *d)
{
    volume_copies_stop(d);
    overlays_stop(d);
    exports_close_all(d);
    groups_close_all(d);
    arrays_stop_all(d);
}

int daemon_start(struct daemon *d, const struct config *config, struct error *err)
{
    int rc;

    *d = (struct daemon){.config = config, .control = worker_self(), .started_ns = rt_now_ns()};
    jobs_init(&d->jobs, &d->events);
    catalog_init(&d->catalog);
    if ((rc = events_init(&d->events)) || (rc = take_dirs(config, err)) ||
        (rc = start_workers(d, err)) || (rc = state_load(d, err)) || (rc = bring_up(d)) ||
        (rc = start_rpc(d, err)))
        return rc;
    log_notice("ashlard " ASHLAR_VERSION " on %s: engine %s, %u workers", config->socket,
        rt_engine_name(), d->worker_count);
    return 0;
}

void daemon_stop(struct daemon *d)
{
    if (d->server)
        rpc_server_stop(d->server);
    take_down(d);
    jobs_free(&d->jobs);
    catalog_free(&d->catalog);
    while (d->worker_count > 0)
        worker_destroy(d->workers[--d->worker_count]);
    free(d->workers);
    events_free(&d->events);
}
