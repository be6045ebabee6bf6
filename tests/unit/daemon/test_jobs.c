/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "rt/worker.h"

extern CU_TestInfo jobs_tests[];

struct owner {
    struct job_progress progress;
    unsigned cancelled;
};

static void progress(void *arg, struct job_progress *p)
{
    *p = ((struct owner *)arg)->progress;
}

static void pause_owner(void *arg, bool paused)
{
    ((struct owner *)arg)->progress.paused = paused;
}

static void cancel_owner(void *arg)
{
    ((struct owner *)arg)->cancelled++;
}

static const struct job_owner_ops ops = {progress, pause_owner, cancel_owner};

static void life(struct fixture *f)
{
    struct jobs *jobs = &f->daemon.jobs;
    struct owner owner = {.progress = {10, 100, false}};
    struct job *job = job_add(jobs, "recovery", "a0", &ops, &owner), *found;
    struct error err = {0};

    CU_ASSERT_PTR_NOT_NULL_FATAL(job);
    CU_ASSERT_EQUAL(job->id, 1);
    CU_ASSERT_EQUAL(job_find(jobs, 1, &found, &err), 0);
    CU_ASSERT_PTR_EQUAL(found, job);
    CU_ASSERT_EQUAL(job_find(jobs, 2, &found, &err), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "2"));
    job_refresh(job);
    CU_ASSERT_EQUAL(job->progress.done_bytes, 10);
    CU_ASSERT_EQUAL(job_pause(job, true, &err), 0);
    job_refresh(job);
    CU_ASSERT_EQUAL(job->state, JOB_PAUSED);
    CU_ASSERT_EQUAL(job_pause(job, false, &err), 0);
    job_refresh(job);
    CU_ASSERT_EQUAL(job->state, JOB_RUNNING);
    CU_ASSERT_EQUAL(job_cancel(job, &err), 0);
    CU_ASSERT_EQUAL(owner.cancelled, 1);
    job_end(jobs, job, -ECANCELED);
    CU_ASSERT_EQUAL(job->state, JOB_CANCELLED);
    CU_ASSERT_EQUAL(job->progress.done_bytes, 10);
    CU_ASSERT_EQUAL(job_cancel(job, &err), -EALREADY);
    CU_ASSERT_EQUAL(job_pause(job, true, &err), -EALREADY);
    CU_ASSERT_EQUAL(owner.cancelled, 1);
}

static void test_life(void)
{
    fixture_run(life);
}

static void results(struct fixture *f)
{
    struct owner owner = {.progress = {99, 100, false}};
    struct job *done = job_add(&f->daemon.jobs, "check", "a0", &ops, &owner);
    struct job *failed = job_add(&f->daemon.jobs, "check", "a0", &ops, &owner);

    job_end(&f->daemon.jobs, done, 0);
    CU_ASSERT_EQUAL(done->state, JOB_DONE);
    CU_ASSERT_EQUAL(done->progress.done_bytes, 100);
    CU_ASSERT_STRING_EQUAL(done->error, "");
    job_end(&f->daemon.jobs, failed, -EIO);
    CU_ASSERT_EQUAL(failed->state, JOB_FAILED);
    CU_ASSERT_STRING_EQUAL(failed->error, strerror(EIO));
}

static void test_results(void)
{
    fixture_run(results);
}

static unsigned count(const struct jobs *jobs)
{
    unsigned n = 0;

    list_for_each (it, &jobs->all)
        n++;
    return n;
}

/* The oldest that have ended go; those that run stay. */
static void bounded(struct fixture *f)
{
    struct jobs *jobs = &f->daemon.jobs;
    struct owner owner = {0};
    struct job *running = job_add(jobs, "resync", "a0", &ops, &owner), *found;

    for (unsigned i = 0; i < JOBS_ENDED_KEPT + 5; i++)
        job_end(jobs, job_add(jobs, "check", "a0", &ops, &owner), 0);
    CU_ASSERT_EQUAL(count(jobs), JOBS_ENDED_KEPT + 1);
    CU_ASSERT_EQUAL(job_find(jobs, running->id, &found, NULL), 0);
    CU_ASSERT_EQUAL(job_find(jobs, 6, &found, NULL), -ENOENT);
    CU_ASSERT_EQUAL(job_find(jobs, 7, &found, NULL), 0);
    CU_ASSERT_EQUAL(jobs->next_id, JOBS_ENDED_KEPT + 7);
}

static void test_bounded(void)
{
    fixture_run(bounded);
}

struct waiting {
    struct job *job;
    struct co_event wake, over;
    enum job_state seen;
};

static void wait_for_job(void *arg)
{
    struct waiting *w = arg;

    job_wait(w->job, &w->wake, 0);
    w->seen = w->job->state;
    co_event_set(&w->over);
}

static void start_waiting(struct waiting *w, struct job *job)
{
    w->job = job;
    co_event_init(&w->wake);
    co_event_init(&w->over);
    CU_ASSERT_EQUAL_FATAL(co_start("waiter", wait_for_job, w), 0);
    co_yield ();
}

static void waits(struct fixture *f)
{
    struct owner owner = {0};
    struct job *job = job_add(&f->daemon.jobs, "check", "a0", &ops, &owner);
    struct co_event wake;
    struct waiting ends, woken;

    start_waiting(&ends, job);
    start_waiting(&woken, job);
    co_event_set(&woken.wake);
    co_event_wait(&woken.over);
    CU_ASSERT_EQUAL(woken.seen, JOB_RUNNING);
    job_end(&f->daemon.jobs, job, 0);
    co_event_wait(&ends.over);
    CU_ASSERT_EQUAL(ends.seen, JOB_DONE);
    co_event_init(&wake);
    job_wait(job, &wake, 0); /* has ended: at once */
}

static void test_waits(void)
{
    fixture_run(waits);
}

/* One that is waited for is not forgotten under the waiter. */
static void waited_for(struct fixture *f)
{
    struct jobs *jobs = &f->daemon.jobs;
    struct owner owner = {0};
    struct waiting w;

    start_waiting(&w, job_add(jobs, "check", "a0", &ops, &owner));
    job_end(jobs, w.job, 0);
    for (unsigned i = 0; i < JOBS_ENDED_KEPT + 5; i++)
        job_end(jobs, job_add(jobs, "check", "a0", &ops, &owner), 0);
    co_event_wait(&w.over);
    CU_ASSERT_EQUAL(w.seen, JOB_DONE);
}

static void test_waited_for(void)
{
    fixture_run(waited_for);
}

struct ending {
    struct jobs *jobs;
    struct job *job;
    unsigned asked;
};

/* While the owner is asked, the job ends, and so many others that it would be forgotten. */
static void ends_meanwhile(void *arg, struct job_progress *p)
{
    static struct owner other;
    struct ending *e = arg;

    if (e->asked++)
        return;
    job_end(e->jobs, e->job, -EIO);
    for (unsigned i = 0; i < JOBS_ENDED_KEPT + 5; i++)
        job_end(e->jobs, job_add(e->jobs, "check", "a0", &ops, &other), 0);
}

static const struct job_owner_ops ending_ops = {.progress = ends_meanwhile};

static void ends_under_refresh(struct fixture *f)
{
    struct ending e = {.jobs = &f->daemon.jobs};

    e.job = job_add(e.jobs, "check", "a0", &ending_ops, &e);
    job_refresh(e.job);
    CU_ASSERT_EQUAL(e.job->state, JOB_FAILED);
    CU_ASSERT_EQUAL(e.job->id, 1);
}

static void test_ends_under_refresh(void)
{
    fixture_run(ends_under_refresh);
}

static void times_out(struct fixture *f)
{
    struct owner owner = {0};
    struct job *job = job_add(&f->daemon.jobs, "check", "a0", &ops, &owner);
    struct co_event wake;

    co_event_init(&wake);
    job_wait(job, &wake, rt_now_ns() + 1);
    CU_ASSERT_FALSE(job_ended(job));
    CU_ASSERT(list_empty(&job->waiters));
}

static void test_times_out(void)
{
    fixture_run(times_out);
}

CU_TestInfo jobs_tests[] = {
    {"life of a job", test_life},
    {"how jobs end", test_results},
    {"those that ended are bounded", test_bounded},
    {"waiting", test_waits},
    {"waited for while it is forgotten", test_waited_for},
    {"ends while its owner is asked", test_ends_under_refresh},
    {"waiting ends in time", test_times_out},
    CU_TEST_INFO_NULL,
};
