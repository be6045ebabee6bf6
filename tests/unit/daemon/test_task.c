/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "task.h"

#include <errno.h>
#include <string.h>

#include "fixture.h"
#include "rt/worker.h"

extern CU_TestInfo task_tests[];

struct counting {
    struct task task;
    unsigned steps;
    bool over;
};

static int count(struct task *t, struct error *err)
{
    struct counting *c = container_of(t, struct counting, task);

    for (c->steps = 0; c->steps < 1000; c->steps++) {
        if (!task_go_on(t, c->steps, 1000))
            return -ECANCELED;
        co_yield ();
    }
    return error_set(err, EIO, "the thousandth cannot be counted");
}

static void over(struct task *t)
{
    container_of(t, struct counting, task)->over = true;
}

static struct job *begin(struct fixture *f, struct counting *c)
{
    struct job *job = NULL;
    uint64_t id = 0;

    *c = (struct counting){0};
    CU_ASSERT_EQUAL(task_start(&c->task, &f->daemon, "count", "vg/v", count, over, &id), 0);
    CU_ASSERT_EQUAL(job_find(&f->daemon.jobs, id, &job, NULL), 0);
    return job;
}

static void failing(struct fixture *f)
{
    struct counting c;
    struct job *job = begin(f, &c);

    while (!c.over)
        co_yield ();
    CU_ASSERT_EQUAL(job->state, JOB_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(job->error, "thousandth"));
    CU_ASSERT_EQUAL(job->progress.done_bytes, 999);
}

static void pausing(struct fixture *f)
{
    struct counting c;
    struct job *job = begin(f, &c);
    unsigned at;

    while (c.steps < 5)
        co_yield ();
    CU_ASSERT_EQUAL(job_pause(job, true, NULL), 0);
    job_refresh(job);
    CU_ASSERT_EQUAL(job->state, JOB_PAUSED);
    co_yield ();
    at = c.steps;
    for (unsigned i = 0; i < 5; i++)
        co_yield ();
    CU_ASSERT_EQUAL(c.steps, at);
    CU_ASSERT_EQUAL(job_pause(job, false, NULL), 0);
    while (c.steps < at + 5)
        co_yield ();
    CU_ASSERT_EQUAL(job_pause(job, true, NULL), 0);
    CU_ASSERT_EQUAL(job_cancel(job, NULL), 0);
    while (!c.over)
        co_yield ();
    CU_ASSERT_EQUAL(job->state, JOB_CANCELLED);
}

static void test_failing(void)
{
    fixture_run(failing);
}

static void test_pausing(void)
{
    fixture_run(pausing);
}

CU_TestInfo task_tests[] = {
    {"its failure is the job's", test_failing},
    {"pause, resume, cancel", test_pausing},
    CU_TEST_INFO_NULL,
};
