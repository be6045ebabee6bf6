/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has changed, as a stream: the last EVENTS_KEPT events, numbered, and those who read them as
 * they come. Control worker only. A reader that falls behind what is kept is told so and drops out;
 * nothing ever waits for a reader.
 */
#ifndef ASHLAR_DAEMON_EVENTS_H
#define ASHLAR_DAEMON_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "rt/sync.h"

#define EVENTS_KEPT 1024

enum event_kind {
    EVENT_ARRAY_CREATED,
    EVENT_ARRAY_ASSEMBLED,
    EVENT_ARRAY_STOPPED,
    EVENT_ARRAY_STATE,
    EVENT_ARRAY_MISMATCH,
    EVENT_MEMBER_STATE,
    EVENT_MEMBER_ERRORS,
    EVENT_VG_CHANGED,
    EVENT_VG_SPACE,
    EVENT_VOLUME_CREATED,
    EVENT_VOLUME_REMOVED,
    EVENT_VOLUME_RESIZED,
    EVENT_VOLUME_SPACE,
    EVENT_SNAPSHOT_CREATED,
    EVENT_SNAPSHOT_REVERTED,
    EVENT_EXPORT_ADDED,
    EVENT_EXPORT_REMOVED,
    EVENT_JOB_STARTED,
    EVENT_JOB_ENDED
};

struct event {
    uint64_t seq;          /* 1 for the first of this run */
    uint64_t time_seconds; /* since 1970 */
    enum event_kind kind;
    char target[160]; /* array, group, VG/NAME */
    char text[224];
};

struct events {
    struct event *ring; /* [EVENTS_KEPT], by seq */
    uint64_t last_seq;
    struct spinlock lock;
    struct wait_queue readers;
};

struct event_reader {
    uint64_t seq; /* the last one it has seen */
    bool ended;
};

int events_init(struct events *e); /* -ENOMEM */
void events_free(struct events *e);

/* Also writes a line to the log. */
void events_post(struct events *e, enum event_kind kind, const char *target, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The reader sees what is posted from now on. */
void events_read_from_now(struct events *e, struct event_reader *r);
/* Waits for the next one and copies it; -ECANCELED after events_end, -EOVERFLOW when the reader
 * has fallen behind. */
int events_next(struct events *e, struct event_reader *r, struct event *event);
void events_end(struct events *e, struct event_reader *r);

const char *event_kind_name(enum event_kind kind);

#endif
