/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs: what runs on for a while, as people see it: an id, what it is, how far it has come. The
 * work itself is its owner's (an array); the table asks the owner for progress and hands pause,
 * resume and cancel on. Control worker only.
 *
 * Life: job_add -> (the owner works) -> job_end, after which the owner forgets the job and the
 * table keeps the last JOBS_ENDED_KEPT that ended. Ids go up, also over restarts of the daemon: the
 * catalog stores `next_id`.
 */
#ifndef ASHLAR_DAEMON_JOBS_H
#define ASHLAR_DAEMON_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "events.h"
#include "rt/sync.h"

#define JOBS_ENDED_KEPT 100

enum job_state { JOB_RUNNING, JOB_PAUSED, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

struct job_progress {
    uint64_t done_bytes, total_bytes;
    bool paused;
};

/* Any of them may wait, and the job may end meanwhile. */
struct job_owner_ops {
    /* Outputs untouched when the owner cannot tell just now. */
    void (*progress)(void *owner, struct job_progress *progress);
    void (*pause)(void *owner, bool paused);
    void (*cancel)(void *owner);
};

struct job {
    struct list link;
    uint64_t id;
    const char *kind; /* a literal */
    char target[160];
    enum job_state state;
    struct job_progress progress;
    char error[160];                 /* the owner may tell before job_end; else it is rc's */
    const struct job_owner_ops *ops; /* NULL once it has ended */
    void *owner;
    struct list waiters; /* struct job_waiter */
    unsigned held;       /* by calls to its owner that are under way: not forgotten meanwhile */
};

struct jobs {
    struct list all; /* oldest first */
    unsigned ended;
    uint64_t next_id;
    struct events *events;
};

void jobs_init(struct jobs *jobs, struct events *events);
/* Nobody waits any more. */
void jobs_free(struct jobs *jobs);

/* NULL: out of memory. The table owns the job. */
struct job *job_add(struct jobs *jobs, const char *kind, const char *target,
    const struct job_owner_ops *ops, void *owner);
/* rc: 0, -ECANCELED or what failed. The job may be gone after it. */
void job_end(struct jobs *jobs, struct job *job, int rc);

/* -ENOENT. Valid until the caller waits. */
int job_find(struct jobs *jobs, uint64_t id, struct job **job, struct error *err);
/* Asks the owner; state and progress are fresh then. */
void job_refresh(struct job *job);
/* -EALREADY for one that has ended. */
int job_pause(struct job *job, bool paused, struct error *err);
int job_cancel(struct job *job, struct error *err);
/* Waits until the job has ended, `wake` is set by somebody else, or due_ns (0: never) has passed.
 */
void job_wait(struct job *job, struct co_event *wake, uint64_t due_ns);

const char *job_state_name(enum job_state state);
bool job_ended(const struct job *job);

#endif
