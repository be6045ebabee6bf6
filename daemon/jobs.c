/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jobs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job_waiter {
    struct list link;
    struct co_event *wake;
};

const char *job_state_name(enum job_state state)
{
    static const char *const names[] = {"running", "paused", "done", "failed", "cancelled"};

    return names[state];
}

bool job_ended(const struct job *job)
{
    return job->state >= JOB_DONE;
}

void jobs_init(struct jobs *jobs, struct events *events)
{
    *jobs = (struct jobs){.next_id = 1, .events = events};
    list_init(&jobs->all);
}

static void forget(struct job *job)
{
    list_remove(&job->link);
    free(job);
}

void jobs_free(struct jobs *jobs)
{
    list_for_each_safe (it, &jobs->all)
        forget(container_of(it, struct job, link));
}

struct job *job_add(struct jobs *jobs, const char *kind, const char *target,
    const struct job_owner_ops *ops, void *owner)
{
    struct job *job = calloc(1, sizeof *job);

    if (!job)
        return NULL;
    job->id = jobs->next_id++;
    job->kind = kind;
    job->ops = ops;
    job->owner = owner;
    snprintf(job->target, sizeof job->target, "%s", target);
    list_init(&job->waiters);
    list_append(&jobs->all, &job->link);
    events_post(jobs->events, EVENT_JOB_STARTED, target, "job %" PRIu64 ", %s", job->id, kind);
    return job;
}

/* The oldest that nobody waits for or holds. */
static void forget_one_ended(struct jobs *jobs)
{
    list_for_each (it, &jobs->all) {
        struct job *job = container_of(it, struct job, link);

        if (job_ended(job) && list_empty(&job->waiters) && job->held == 0) {
            forget(job);
            jobs->ended--;
            return;
        }
    }
}

void job_end(struct jobs *jobs, struct job *job, int rc)
{
    job_refresh(job);
    job->ops = NULL;
    job->owner = NULL;
    job->progress.paused = false;
    job->state = rc == 0 ? JOB_DONE : rc == -ECANCELED ? JOB_CANCELLED : JOB_FAILED;
    if (job->state == JOB_DONE)
        job->progress.done_bytes = job->progress.total_bytes;
    if (job->state == JOB_FAILED && !*job->error)
        snprintf(job->error, sizeof job->error, "%s", strerror(-rc));
    list_for_each (it, &job->waiters)
        co_event_set(container_of(it, struct job_waiter, link)->wake);
    events_post(jobs->events, EVENT_JOB_ENDED, job->target, "job %" PRIu64 ", %s: %s%s%s", job->id,
        job->kind, job_state_name(job->state), *job->error ? ", " : "", job->error);
    if (++jobs->ended > JOBS_ENDED_KEPT)
        forget_one_ended(jobs);
}

int job_find(struct jobs *jobs, uint64_t id, struct job **job, struct error *err)
{
    list_for_each (it, &jobs->all) {
        struct job *j = container_of(it, struct job, link);

        if (j->id == id) {
            *job = j;
            return 0;
        }
    }
    return error_set(err, ENOENT, "there is no job %" PRIu64, id);
}

void job_refresh(struct job *job)
{
    if (!job->ops)
        return;
    job->held++;
    job->ops->progress(job->owner, &job->progress);
    job->held--;
    if (job->ops)
        job->state = job->progress.paused ? JOB_PAUSED : JOB_RUNNING;
}

static int refuse_ended(const struct job *job, struct error *err)
{
    if (!job_ended(job))
        return 0;
    return error_set(
        err, EALREADY, "job %" PRIu64 " has ended: %s", job->id, job_state_name(job->state));
}

int job_pause(struct job *job, bool paused, struct error *err)
{
    int rc = refuse_ended(job, err);

    if (rc)
        return rc;
    job->held++;
    job->ops->pause(job->owner, paused);
    job->held--;
    return 0;
}

int job_cancel(struct job *job, struct error *err)
{
    int rc = refuse_ended(job, err);

    if (rc)
        return rc;
    job->held++;
    job->ops->cancel(job->owner);
    job->held--;
    return 0;
}

void job_wait(struct job *job, struct co_event *wake, uint64_t due_ns)
{
    struct job_waiter waiter = {.wake = wake};

    if (job_ended(job))
        return;
    list_append(&job->waiters, &waiter.link);
    if (due_ns)
        co_event_wait_until(wake, due_ns);
    else
        co_event_wait(wake);
    list_remove(&waiter.link);
}
