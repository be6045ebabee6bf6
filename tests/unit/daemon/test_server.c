/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/method.h"
#include "rpc/server.h"
#include "rt/worker.h"

extern CU_TestInfo server_tests[];

#define LIST   "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"job.list\"}\n"
#define LISTED "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"jobs\":[]}}\n"

static void start(struct fixture *f)
{
    struct listener *l;

    CU_ASSERT_EQUAL_FATAL(
        listener_open(fixture_path(f, "s"), 0600, (uid_t)-1, (gid_t)-1, &l, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(rpc_server_start(&f->daemon.server, &f->daemon, l), 0);
}

static struct stream *dial(struct fixture *f)
{
    struct stream *s = NULL;

    CU_ASSERT_EQUAL_FATAL(stream_connect(fixture_path(f, "s"), &s, NULL), 0);
    return s;
}

static int say(struct stream *s, const char *text, size_t length)
{
    struct iovec iov = {(char *)text, length};

    return stream_write(s, &iov, 1, 0);
}

/* That exactly this comes next. */
static void hears(struct stream *s, const char *want)
{
    char buf[1024] = "";

    CU_ASSERT_FATAL(strlen(want) < sizeof buf);
    CU_ASSERT_EQUAL(stream_read(s, buf, strlen(want), strlen(want)), (ssize_t)strlen(want));
    CU_ASSERT_STRING_EQUAL(buf, want);
}

static void hears_end(struct stream *s)
{
    char c;

    CU_ASSERT(stream_read(s, &c, 1, 1) <= 0);
}

static void lines(struct fixture *f)
{
    struct stream *s;

    start(f);
    s = dial(f);
    say(s, LIST, strlen(LIST));
    hears(s, LISTED);
    say(s, "\n\n" LIST LIST, 2 + 2 * strlen(LIST)); /* several at once, and empty ones */
    hears(s, LISTED);
    hears(s, LISTED);
    say(s, LIST, 10); /* in two pieces */
    co_sleep_ns(1000000);
    say(s, &LIST[10], strlen(LIST) - 10);
    hears(s, LISTED);
    stream_close(s);
    rpc_server_stop(f->daemon.server);
}

static void test_lines(void)
{
    fixture_run(lines);
}

/* A line as long as it may be is read; one byte more ends the connection, with a reason. */
static void long_lines(struct fixture *f)
{
    char *line = malloc(RPC_LINE_MAX + 2);
    struct stream *s;

    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    start(f);
    s = dial(f);
    memset(line, ' ', RPC_LINE_MAX + 2);
    memcpy(line, LIST, strlen(LIST) - 1);
    line[RPC_LINE_MAX] = '\n';
    CU_ASSERT_EQUAL(say(s, line, RPC_LINE_MAX + 1), 0);
    hears(s, LISTED);
    line[RPC_LINE_MAX] = ' ';
    CU_ASSERT_EQUAL(say(s, line, RPC_LINE_MAX + 1), 0);
    hears(s, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,");
    stream_close(s);
    s = dial(f);
    say(s, LIST, strlen(LIST));
    hears(s, LISTED);
    stream_close(s);
    rpc_server_stop(f->daemon.server);
    free(line);
}

static void test_long_lines(void)
{
    fixture_run(long_lines);
}

static const char subscribe[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events.subscribe\"}\n";
static const char done[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n";

static void subscriber(struct fixture *f)
{
    struct stream *s;

    start(f);
    s = dial(f);
    say(s, subscribe, strlen(subscribe));
    hears(s, done);
    events_post(&f->daemon.events, EVENT_VOLUME_CREATED, "vg/v", "20M");
    hears(s, "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"seq\":1,\"time\":");
    stream_close(s);
    s = dial(f);
    say(s, subscribe, strlen(subscribe));
    hears(s, done);
    rpc_server_stop(f->daemon.server); /* with the subscriber on it */
    hears_end(s);
    stream_close(s);
}

static void test_subscriber(void)
{
    fixture_run(subscriber);
}

/* One that does not read while events come by the thousand: nobody waits for it, it is dropped. */
static void slow_subscriber(struct fixture *f)
{
    char buf[4096];
    struct stream *s;
    ssize_t n;

    start(f);
    s = dial(f);
    say(s, subscribe, strlen(subscribe));
    hears(s, done);
    for (unsigned i = 0; i < 20 * EVENTS_KEPT; i++) {
        events_post(&f->daemon.events, EVENT_VG_CHANGED, "vg", "%u", i);
        co_yield ();
    }
    do
        n = stream_read(s, buf, 1, sizeof buf);
    while (n > 0);
    stream_close(s);
    rpc_server_stop(f->daemon.server);
}

static void test_slow_subscriber(void)
{
    fixture_run(slow_subscriber);
}

static void twice(struct fixture *f)
{
    struct stream *s;

    start(f);
    s = dial(f);
    say(s, subscribe, strlen(subscribe));
    hears(s, done);
    say(s, subscribe, strlen(subscribe));
    hears(s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,");
    stream_close(s);
    rpc_server_stop(f->daemon.server);
}

static void test_twice(void)
{
    fixture_run(twice);
}

static void no_progress(void *owner, struct job_progress *p)
{
}

static const struct job_owner_ops ops = {.progress = no_progress};

/* Waiting for a job ends with the job, and with the server. */
static void waiting(struct fixture *f)
{
    static const char wait[] =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"job.wait\",\"params\":{\"id\":1}}\n";
    struct job *job;
    struct stream *s;

    start(f);
    s = dial(f);
    job = job_add(&f->daemon.jobs, "check", "a0", &ops, NULL);
    say(s, wait, strlen(wait));
    say(s, LIST, strlen(LIST)); /* is not held up by it */
    hears(s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"jobs\":[{\"id\":1,\"kind\":\"check\",");
    rpc_server_stop(f->daemon.server);
    CU_ASSERT_FALSE(job_ended(job));
    CU_ASSERT(list_empty(&job->waiters));
    stream_close(s);
}

static void test_waiting(void)
{
    fixture_run(waiting);
}

/* More than may be in flight: they wait their turn, none is lost. */
static void many(struct fixture *f)
{
    struct stream *s;

    start(f);
    s = dial(f);
    for (unsigned i = 0; i < 4 * RPC_IN_FLIGHT_MAX; i++)
        say(s, LIST, strlen(LIST));
    for (unsigned i = 0; i < 4 * RPC_IN_FLIGHT_MAX; i++)
        hears(s, LISTED);
    stream_close(s);
    rpc_server_stop(f->daemon.server);
}

static void test_many(void)
{
    fixture_run(many);
}

static void turned_away(struct fixture *f)
{
    struct stream *s[RPC_CONNECTIONS_MAX + 1];

    start(f);
    for (unsigned i = 0; i < RPC_CONNECTIONS_MAX; i++) {
        s[i] = dial(f);
        say(s[i], LIST, strlen(LIST));
        hears(s[i], LISTED);
    }
    s[RPC_CONNECTIONS_MAX] = dial(f);
    hears(s[RPC_CONNECTIONS_MAX], "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,");
    for (unsigned i = 0; i <= RPC_CONNECTIONS_MAX; i++)
        stream_close(s[i]);
    rpc_server_stop(f->daemon.server);
}

static void test_turned_away(void)
{
    fixture_run(turned_away);
}

CU_TestInfo server_tests[] = {
    {"lines in any pieces", test_lines},
    {"lines of a megabyte and more", test_long_lines},
    {"a subscriber", test_subscriber},
    {"a subscriber that does not read", test_slow_subscriber},
    {"subscribing twice", test_twice},
    {"waiting for a job", test_waiting},
    {"many requests at once", test_many},
    {"too many connections", test_turned_away},
    CU_TEST_INFO_NULL,
};
