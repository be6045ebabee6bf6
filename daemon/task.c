/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "task.h"

#include <errno.h>
#include <stdio.h>

#include "daemon.h"
#include "rt/worker.h"

static void progress(void *owner, struct job_progress *p)
{
    const struct task *t = owner;

    *p = (struct job_progress){t->done, t->total, t->paused};
}

static void pause_task(void *owner, bool paused)
{
    struct task *t = owner;

    t->paused = paused;
    if (paused)
        co_event_clear(&t->resumed);
    else
        co_event_set(&t->resumed);
}

static void cancel(void *owner)
{
    task_cancel(owner);
}

static const struct job_owner_ops ops = {progress, pause_task, cancel};

int task_begin(struct task *t, struct daemon *d, const char *kind, const char *target)
{
    t->daemon = d;
    t->done = t->total = 0;
    t->paused = t->cancelled = false;
    co_event_init(&t->resumed);
    t->job = job_add(&d->jobs, kind, target, &ops, t);
    return t->job ? 0 : -ENOMEM;
}

bool task_go_on(void *task, uint64_t done, uint64_t total)
{
    struct task *t = task;

    t->done = done;
    t->total = total;
    while (t->paused && !t->cancelled)
        co_event_wait(&t->resumed);
    return !t->cancelled;
}

bool task_hurry_on(void *task, uint64_t done, uint64_t total)
{
    struct task *t = task;

    t->done = done;
    t->total = total;
    return !t->cancelled;
}

void task_end(struct task *t, int rc, const struct error *err)
{
    if (rc && rc != -ECANCELED && err->code)
        snprintf(t->job->error, sizeof t->job->error, "%.159s", err->text);
    job_end(&t->daemon->jobs, t->job, rc);
}

void task_cancel(struct task *t)
{
    t->cancelled = true;
    co_event_set(&t->resumed);
}

static void run(void *arg)
{
    struct task *t = arg;
    struct error err = {0};
    int rc = t->work(t, &err);

    task_end(t, rc, &err);
    t->end(t);
}

int task_start(struct task *t, struct daemon *d, const char *kind, const char *target,
    int (*work)(struct task *t, struct error *err), void (*end)(struct task *t), uint64_t *job_id)
{
    int rc = task_begin(t, d, kind, target);

    if (rc)
        return rc;
    t->work = work;
    t->end = end;
    *job_id = t->job->id;
    rc = co_start("task", run, t);
    if (rc)
        job_end(&d->jobs, t->job, rc);
    return rc;
}
