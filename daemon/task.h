/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job that the daemon does itself, in a coroutine on the control worker: how it is shown, paused
 * and cancelled. Who works calls task_go_on now and then.
 *
 * Either task_begin, work, task_end in the caller's coroutine, or task_start for one of its own.
 */
#ifndef ASHLAR_DAEMON_TASK_H
#define ASHLAR_DAEMON_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "rt/sync.h"

struct daemon;
struct job;

struct task {
    struct daemon *daemon;
    struct job *job;
    uint64_t done, total;
    bool paused, cancelled;
    int (*work)(struct task *t, struct error *err); /* of task_start */
    void (*end)(struct task *t);
    struct co_event resumed;
};

/* `kind` is a literal. -ENOMEM. */
int task_begin(struct task *t, struct daemon *d, const char *kind, const char *target);
/* The signature of lib/image's callbacks: waits while it is paused; false: it was cancelled. */
bool task_go_on(void *task, uint64_t done, uint64_t total);
/* rc: 0, -ECANCELED, or what failed, which `err` may tell. */
void task_end(struct task *t, int rc, const struct error *err);
/* The same for work that must not wait: it cannot be paused. */
bool task_hurry_on(void *task, uint64_t done, uint64_t total);
void task_cancel(struct task *t);

/* Runs work(task) in a coroutine of its own, then end(task), which frees it. On failure (-ENOMEM)
 * neither is called. *job_id is the job's. */
int task_start(struct task *t, struct daemon *d, const char *kind, const char *target,
    int (*work)(struct task *t, struct error *err), void (*end)(struct task *t), uint64_t *job_id);

#endif
