/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "rt/worker.h"

extern CU_TestInfo events_tests[];

static void in_order(struct fixture *f)
{
    struct events *e = &f->daemon.events;
    struct event_reader r;
    struct event event;

    events_post(e, EVENT_VG_CHANGED, "vg", "before");
    events_read_from_now(e, &r);
    events_post(e, EVENT_ARRAY_STATE, "a", "%s", "degraded");
    events_post(e, EVENT_JOB_STARTED, "a", "job %d", 3);
    CU_ASSERT_EQUAL(events_next(e, &r, &event), 0);
    CU_ASSERT_EQUAL(event.seq, 2);
    CU_ASSERT_EQUAL(event.kind, EVENT_ARRAY_STATE);
    CU_ASSERT_STRING_EQUAL(event.target, "a");
    CU_ASSERT_STRING_EQUAL(event.text, "degraded");
    CU_ASSERT_EQUAL(events_next(e, &r, &event), 0);
    CU_ASSERT_STRING_EQUAL(event.text, "job 3");
    CU_ASSERT_STRING_EQUAL(event_kind_name(event.kind), "job.started");
}

static void test_in_order(void)
{
    fixture_run(in_order);
}

static void behind(struct fixture *f)
{
    struct events *e = &f->daemon.events;
    struct event_reader r;
    struct event event;

    events_read_from_now(e, &r);
    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        events_post(e, EVENT_VG_CHANGED, "vg", "%u", i);
    CU_ASSERT_EQUAL(events_next(e, &r, &event), 0);
    CU_ASSERT_STRING_EQUAL(event.text, "0");
    events_post(e, EVENT_VG_CHANGED, "vg", "one more");
    CU_ASSERT_EQUAL(events_next(e, &r, &event), 0);
    CU_ASSERT_STRING_EQUAL(event.text, "1");
    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        events_post(e, EVENT_VG_CHANGED, "vg", "again");
    CU_ASSERT_EQUAL(events_next(e, &r, &event), -EOVERFLOW);
}

static void test_behind(void)
{
    fixture_run(behind);
}

struct waiting {
    struct events *events;
    struct event_reader reader;
    unsigned seen;
    int rc;
    struct co_event over;
};

static void wait_for_events(void *arg)
{
    struct waiting *w = arg;
    struct event event;

    while ((w->rc = events_next(w->events, &w->reader, &event)) == 0)
        w->seen++;
    co_event_set(&w->over);
}

static void ended(struct fixture *f)
{
    struct waiting w = {.events = &f->daemon.events};

    co_event_init(&w.over);
    events_read_from_now(w.events, &w.reader);
    CU_ASSERT_EQUAL_FATAL(co_start("reader", wait_for_events, &w), 0);
    co_yield ();
    events_post(w.events, EVENT_VG_CHANGED, "vg", "x");
    co_yield ();
    CU_ASSERT_EQUAL(w.seen, 1);
    events_end(w.events, &w.reader);
    co_event_wait(&w.over);
    CU_ASSERT_EQUAL(w.rc, -ECANCELED);
    CU_ASSERT_EQUAL(w.seen, 1);
}

static void test_ended(void)
{
    fixture_run(ended);
}

static void long_texts(struct fixture *f)
{
    char text[2000];
    struct event_reader r;
    struct event event;

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    events_read_from_now(&f->daemon.events, &r);
    events_post(&f->daemon.events, EVENT_VG_CHANGED, text, "%s", text);
    CU_ASSERT_EQUAL(events_next(&f->daemon.events, &r, &event), 0);
    CU_ASSERT_EQUAL(strlen(event.target), sizeof event.target - 1);
    CU_ASSERT_EQUAL(strlen(event.text), sizeof event.text - 1);
}

static void test_long_texts(void)
{
    fixture_run(long_texts);
}

CU_TestInfo events_tests[] = {
    {"come in order, from now on", test_in_order},
    {"a reader that falls behind is told", test_behind},
    {"a waiting reader is ended", test_ended},
    {"long texts are cut", test_long_texts},
    CU_TEST_INFO_NULL,
};
