/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* job.*: what runs in the background. */
#include <errno.h>

#include "daemon.h"
#include "rpc/method.h"
#include "rpc/objects.h"
#include "rt/worker.h"

json_t *rpc_job(const struct job *job)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:s?}", "id", (json_int_t)job->id, "kind",
        job->kind, "target", job->target, "state", job_state_name(job->state), "done_bytes",
        (json_int_t)job->progress.done_bytes, "total_bytes", (json_int_t)job->progress.total_bytes,
        "error", *job->error ? job->error : NULL);
}

json_t *rpc_jobs(struct daemon *d, bool running_only)
{
    json_t *list = json_array();

    list_for_each (it, &d->jobs.all) {
        struct job *job = container_of(it, struct job, link);

        job_refresh(job);
        if (!running_only || !job_ended(job))
            json_array_append_new(list, rpc_job(job));
    }
    return list;
}

static int find(struct rpc_call *call, struct job **job)
{
    return job_find(&call->daemon->jobs, rpc_integer(call, "id", 0), job, call->err);
}

static int list(struct rpc_call *call)
{
    return rpc_result(call, json_pack("{s:o}", "jobs", rpc_jobs(call->daemon, false)));
}

static int answer_fresh(struct rpc_call *call, struct job *job)
{
    job_refresh(job);
    return rpc_result(call, rpc_job(job));
}

static int show(struct rpc_call *call)
{
    struct job *job;
    int rc = find(call, &job);

    return rc ? rc : answer_fresh(call, job);
}

static int wait(struct rpc_call *call)
{
    double seconds = rpc_seconds(call, "timeout_seconds", RPC_SECONDS_MAX);
    struct job *job;
    int rc = find(call, &job);

    if (rc)
        return rc;
    job_wait(job, &call->wake, rt_now_ns() + (uint64_t)(seconds * 1e9));
    return answer_fresh(call, job);
}

static int pause_or_resume(struct rpc_call *call, bool paused)
{
    struct job *job;
    int rc = find(call, &job);

    if (rc == 0)
        rc = job_pause(job, paused, call->err);
    return rc ? rc : answer_fresh(call, job);
}

static int pause(struct rpc_call *call)
{
    return pause_or_resume(call, true);
}

static int resume(struct rpc_call *call)
{
    return pause_or_resume(call, false);
}

static int cancel(struct rpc_call *call)
{
    struct job *job;
    int rc = find(call, &job);

    if (rc == 0)
        rc = job_cancel(job, call->err);
    return rc ? rc : answer_fresh(call, job);
}

#define ID                                                                                         \
    {                                                                                              \
        "id", RPC_INTEGER, true, "the job's number"                                                \
    }
const struct rpc_method rpc_job_methods[] = {
    {"job.list", "Lists running jobs and the last that ended.", 0, {{0}}, list},
    {"job.show", "Shows a job.", 0, {ID}, show},
    {"job.wait", "Waits until a job has ended (or the time is up) and shows it.", 0,
        {ID, {"timeout_seconds", RPC_SECONDS, false, "at most so long"}}, wait},
    {"job.pause", "Pauses a job.", 0, {ID}, pause},
    {"job.resume", "Lets a paused job go on.", 0, {ID}, resume},
    {"job.cancel", "Ends a job; a recovery starts again later.", 0, {ID}, cancel},
    {0},
};
