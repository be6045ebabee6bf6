/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listeners of the simulator, by path, in the machine's memory: they end with it. Opening, connect
 * and close follow the host (host/listener.c): a socket "file" whose listener has been shut down
 * refuses connections and is replaced by the next who opens there; only one's own is removed.
 *
 * One spinlock guards all listeners and what waits in them to be accepted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "rt/sim/stream.h"
#include "rt/stream.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define PENDING_MAX   4u /* few, so that connecting waits now and then */
#define FULL_PAUSE_NS 1000000

struct listener {
    struct list link; /* in `listeners` while the socket file is its own */
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    bool shut;
    struct stream *pending[PENDING_MAX]; /* the oldest first */
    unsigned pending_count;
    struct co_event changed; /* somebody is pending, or it is shut */
};

static struct spinlock lock = SPINLOCK_INIT;
static struct list listeners = LIST_INIT(listeners);

static struct listener *find(const char *path)
{
    list_for_each (it, &listeners) {
        struct listener *l = container_of(it, struct listener, link);

        if (!strcmp(l->path, path))
            return l;
    }
    return NULL;
}

static int refuse_long(const char *path, struct error *err)
{
    size_t room = sizeof((struct listener *)NULL)->path;

    if (strlen(path) < room)
        return 0;
    return error_set(
        err, ENAMETOOLONG, "%s is too long for a socket: at most %zu bytes", path, room - 1);
}

/* False when a live one is there. */
static bool put_in_place(struct listener *l)
{
    struct listener *there;
    bool free_place;

    spin_lock(&lock);
    there = find(l->path);
    free_place = !there || there->shut;
    if (there && free_place)
        list_remove(&there->link);
    if (free_place)
        list_append(&listeners, &l->link);
    spin_unlock(&lock);
    return free_place;
}

int listener_open(
    const char *path, mode_t mode, uid_t owner, gid_t group, struct listener **l, struct error *err)
{
    struct listener *new;
    int rc = refuse_long(path, err);

    if (rc < 0)
        return rc;
    new = calloc(1, sizeof *new);
    if (!new)
        return error_set(err, ENOMEM, "out of memory");
    strcpy(new->path, path);
    co_event_init(&new->changed);
    if (!put_in_place(new)) {
        free(new);
        return error_set(err, EADDRINUSE, "cannot listen on %s: somebody else does", path);
    }
    *l = new;
    return 0;
}

int listener_adopt(int fd, struct listener **l, struct error *err)
{
    return error_set(err, EBADF, "descriptor %d: the simulator has no descriptors", fd);
}

static struct stream *first_pending(struct listener *l)
{
    struct stream *first = l->pending[0];

    l->pending_count--;
    memmove(l->pending, l->pending + 1, l->pending_count * sizeof *l->pending);
    return first;
}

int listener_accept(struct listener *l, struct stream **s)
{
    for (;;) {
        struct stream *first = NULL;
        bool shut;

        spin_lock(&lock);
        shut = l->shut;
        if (!shut && l->pending_count)
            first = first_pending(l);
        else if (!shut)
            co_event_clear(&l->changed);
        spin_unlock(&lock);
        if (shut)
            return -ECANCELED;
        if (first) {
            *s = first;
            return 0;
        }
        co_event_wait(&l->changed);
    }
}

void listener_shutdown(struct listener *l)
{
    spin_lock(&lock);
    l->shut = true;
    co_event_set(&l->changed);
    spin_unlock(&lock);
}

void listener_close(struct listener *l)
{
    spin_lock(&lock);
    list_remove(&l->link);
    spin_unlock(&lock);
    for (unsigned i = 0; i < l->pending_count; i++)
        stream_reset(l->pending[i]);
    free(l);
}

/* -EAGAIN: its queue is full. */
static int offer(const char *path, struct stream *theirs)
{
    struct listener *l;
    int rc = 0;

    spin_lock(&lock);
    l = find(path);
    if (!l) {
        rc = -ENOENT;
    } else if (l->shut) {
        rc = -ECONNREFUSED;
    } else if (l->pending_count == PENDING_MAX) {
        rc = -EAGAIN;
    } else {
        l->pending[l->pending_count++] = theirs;
        co_event_set(&l->changed);
    }
    spin_unlock(&lock);
    return rc;
}

int stream_connect(const char *path, struct stream **s, struct error *err)
{
    struct stream *mine, *theirs;
    int rc = refuse_long(path, err);

    if (rc < 0)
        return rc;
    if (stream_pair(&mine, &theirs) < 0)
        return error_set(err, ENOMEM, "out of memory");
    while ((rc = offer(path, theirs)) == -EAGAIN)
        co_sleep_ns(FULL_PAUSE_NS);
    if (rc < 0) {
        stream_close(mine);
        stream_close(theirs);
        return error_set(err, -rc, "cannot connect to %s: %s", path, strerror(-rc));
    }
    *s = mine;
    return 0;
}
