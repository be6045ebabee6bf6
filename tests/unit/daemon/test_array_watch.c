/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "array_watch.h"
#include "arrays.h"
#include "raid/array_private.h"
#include "raid/layout.h"
#include "rt/worker.h"

extern CU_TestInfo array_watch_tests[];

#define MEMBER_BYTES (16u << 20)

static struct catalog_array *make(struct fixture *f)
{
    char paths[2][80];
    const char *const members[] = {paths[0], paths[1]};
    struct array_plan plan = {
        .params = {.name = "a0", .level = 1, .layout = raid_layout_default(1)},
        .members = members,
        .member_count = 2};
    struct catalog_array *a = NULL;
    struct error err = {0};

    for (unsigned i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/m%u", f->dir, i);
        fclose(fopen(paths[i], "w"));
        CU_ASSERT_EQUAL_FATAL(truncate(paths[i], MEMBER_BYTES), 0);
    }
    CU_ASSERT_EQUAL_FATAL(arrays_create(&f->daemon, &plan, &a, &err), 0);
    return a;
}

static void release_state(void *arg)
{
    struct fixture *f = arg;

    while (catalog_find_array(&f->daemon.catalog, "a0")->array)
        co_sleep_ns(1000000);
    co_mutex_unlock(&f->daemon.catalog.saving);
}

/* The watcher still saves the state while the array stops; it must not look at it afterwards. */
static void stops_meanwhile(struct fixture *f)
{
    struct catalog_array *a;

    co_mutex_lock(&f->daemon.catalog.saving);
    a = make(f);
    co_sleep_ns(1000000);
    CU_ASSERT_EQUAL_FATAL(co_start("release", release_state, f), 0);
    CU_ASSERT_EQUAL(arrays_stop(a, NULL), 0);
    CU_ASSERT_PTR_NULL(catalog_find_array(&f->daemon.catalog, "a0"));
}

static void test_stops_meanwhile(void)
{
    fixture_run(stops_meanwhile);
}

static unsigned jobs_of(const struct fixture *f, const char *kind, enum job_state state)
{
    unsigned n = 0;

    list_for_each (it, &f->daemon.jobs.all) {
        const struct job *job = container_of(it, struct job, link);

        n += !strcmp(job->kind, kind) && job->state == state;
    }
    return n;
}

/* Each action has one job, whoever sees it first. */
static void one_job(struct fixture *f)
{
    struct catalog_array *a = make(f);
    struct co_event wake;
    struct job *job;
    uint64_t mark, id;

    co_event_init(&wake);
    for (unsigned i = 1; i <= 3; i++) {
        CU_ASSERT_EQUAL(array_watch_mark(a, &mark), 0);
        CU_ASSERT_EQUAL(array_sync(a->array, ARRAY_CHECK, NULL), 0);
        CU_ASSERT_EQUAL(array_watch_job(a, mark, &id), 0);
        CU_ASSERT_EQUAL_FATAL(job_find(&f->daemon.jobs, id, &job, NULL), 0);
        co_event_clear(&wake);
        job_wait(job, &wake, 0);
        CU_ASSERT_EQUAL(jobs_of(f, "check", JOB_DONE), i);
    }
    CU_ASSERT_EQUAL(arrays_stop(a, NULL), 0);
    CU_ASSERT_EQUAL(jobs_of(f, "check", JOB_DONE), 3);
}

static void test_one_job(void)
{
    fixture_run(one_job);
}

/* Stopping the array ends its job, and nobody asks the array any more. */
static void stop_ends_job(struct fixture *f)
{
    struct catalog_array *a = make(f);
    struct error err = {0};
    struct job *job;
    uint64_t mark, id;

    CU_ASSERT_EQUAL(array_watch_mark(a, &mark), 0);
    CU_ASSERT_EQUAL(array_sync(a->array, ARRAY_CHECK, NULL), 0);
    array_sync_pause(a->array, true);
    CU_ASSERT_EQUAL(array_watch_job(a, mark, &id), 0);
    CU_ASSERT_EQUAL(arrays_stop(a, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(job_find(&f->daemon.jobs, id, &job, NULL), 0);
    CU_ASSERT(job_ended(job));
    job_refresh(job);
    CU_ASSERT(job_cancel(job, &err) < 0);
}

static void test_stop_ends_job(void)
{
    fixture_run(stop_ends_job);
}

static unsigned events_of(const struct fixture *f, enum event_kind kind)
{
    const struct events *e = &f->daemon.events;
    unsigned n = 0;

    for (uint64_t seq = 1; seq <= e->last_seq; seq++)
        n += e->ring[seq % EVENTS_KEPT].kind == kind;
    return n;
}

#define PATIENCE_NS 10000000000 /* the watcher may be kept from running */

/* Once, however many errors follow. The array cannot do without it. */
static void wears_out(struct fixture *f)
{
    struct catalog_array *a = make(f);
    struct error err = {0};

    CU_ASSERT_EQUAL(array_fail(a->array, a->members[1], &err), 0);
    CU_ASSERT_EQUAL(arrays_set_max_read_errors(a, 1000001, &err), -EINVAL);
    CU_ASSERT_EQUAL(arrays_set_max_read_errors(a, 2, &err), 0);
    for (unsigned i = 0; i < 5; i++) {
        wear_note_corrected(a->array, members_find(a->array, a->members[0]));
        co_sleep_ns(2000000);
        for (uint64_t due_ns = rt_now_ns() + PATIENCE_NS;
             i >= 2 && !events_of(f, EVENT_MEMBER_ERRORS) && rt_now_ns() < due_ns;)
            co_sleep_ns(2000000);
        CU_ASSERT_EQUAL(events_of(f, EVENT_MEMBER_ERRORS), i >= 2);
    }
    CU_ASSERT_EQUAL(arrays_stop(a, NULL), 0);
}

static void test_wears_out(void)
{
    fixture_run(wears_out);
}

CU_TestInfo array_watch_tests[] = {
    {"a member that wears out is told of once", test_wears_out},
    {"the array stops while the watcher is busy", test_stops_meanwhile},
    {"one job for each action", test_one_job},
    {"a stop ends the job", test_stop_ends_job},
    CU_TEST_INFO_NULL,
};
