/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "rt/worker.h"

static const char *const names[] = {
    [EVENT_ARRAY_CREATED] = "array.created",
    [EVENT_ARRAY_ASSEMBLED] = "array.assembled",
    [EVENT_ARRAY_STOPPED] = "array.stopped",
    [EVENT_ARRAY_STATE] = "array.state",
    [EVENT_ARRAY_MISMATCH] = "array.mismatch",
    [EVENT_MEMBER_STATE] = "member.state",
    [EVENT_MEMBER_ERRORS] = "member.errors",
    [EVENT_VG_CHANGED] = "vg.changed",
    [EVENT_VG_SPACE] = "vg.space",
    [EVENT_VOLUME_CREATED] = "volume.created",
    [EVENT_VOLUME_REMOVED] = "volume.removed",
    [EVENT_VOLUME_RESIZED] = "volume.resized",
    [EVENT_VOLUME_SPACE] = "volume.space",
    [EVENT_SNAPSHOT_CREATED] = "snapshot.created",
    [EVENT_SNAPSHOT_REVERTED] = "snapshot.reverted",
    [EVENT_EXPORT_ADDED] = "export.added",
    [EVENT_EXPORT_REMOVED] = "export.removed",
    [EVENT_JOB_STARTED] = "job.started",
    [EVENT_JOB_ENDED] = "job.ended",
};

const char *event_kind_name(enum event_kind kind)
{
    return names[kind];
}

int events_init(struct events *e)
{
    *e = (struct events){.ring = calloc(EVENTS_KEPT, sizeof *e->ring), .lock = SPINLOCK_INIT};
    wait_queue_init(&e->readers);
    return e->ring ? 0 : -ENOMEM;
}

void events_free(struct events *e)
{
    free(e->ring);
}

void events_post(struct events *e, enum event_kind kind, const char *target, const char *fmt, ...)
{
    struct event *event;
    va_list ap;

    spin_lock(&e->lock);
    event = &e->ring[++e->last_seq % EVENTS_KEPT];
    event->seq = e->last_seq;
    event->time_seconds = rt_wall_seconds();
    event->kind = kind;
    snprintf(event->target, sizeof event->target, "%s", target);
    va_start(ap, fmt);
    vsnprintf(event->text, sizeof event->text, fmt, ap);
    va_end(ap);
    wait_queue_wake_all(&e->readers);
    spin_unlock(&e->lock);
    log_info("%s: %s: %s", names[kind], event->target, event->text);
}

void events_read_from_now(struct events *e, struct event_reader *r)
{
    *r = (struct event_reader){.seq = e->last_seq};
}

int events_next(struct events *e, struct event_reader *r, struct event *event)
{
    int rc = 0;

    spin_lock(&e->lock);
    while (!r->ended && r->seq == e->last_seq) {
        wait_queue_wait(&e->readers, &e->lock, "an event");
        spin_lock(&e->lock);
    }
    if (r->ended)
        rc = -ECANCELED;
    else if (e->last_seq - r->seq > EVENTS_KEPT)
        rc = -EOVERFLOW;
    else
        *event = e->ring[++r->seq % EVENTS_KEPT];
    spin_unlock(&e->lock);
    return rc;
}

void events_end(struct events *e, struct event_reader *r)
{
    spin_lock(&e->lock);
    r->ended = true;
    wait_queue_wake_all(&e->readers);
    spin_unlock(&e->lock);
}
