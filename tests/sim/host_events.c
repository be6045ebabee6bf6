/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_events.h"

#include "host_rpc.h"
#include "host_world.h"
#include "rt/worker.h"

static struct rpc_client client;
static bool watching;

static void check(const json_t *line, json_int_t *last)
{
    json_int_t seq, time;
    const char *method, *kind, *target, *text;

    if (json_unpack((json_t *)line, "{s:s, s:{s:I, s:I, s:s, s:s, s:s}}", "method", &method,
            "params", "seq", &seq, "time", &time, "kind", &kind, "target", &target, "text", &text))
        sim_fail("an event is none");
    if (seq <= *last)
        sim_fail("event %lld comes after %lld", (long long)seq, (long long)*last);
    *last = seq;
}

static void watch(void *arg)
{
    struct wait_group *g = arg;
    json_int_t last = 0;
    json_t *line;

    while (rpc_client_next(&client, &line) == 0) {
        check(line, &last);
        json_decref(line);
    }
    rpc_client_close(&client);
    wait_group_done(g);
}

void events_watch(struct wait_group *g)
{
    struct error err = {0};
    json_t *result;

    if (rpc_client_open(&client, HOST_SOCKET) ||
        rpc_client_call(&client, "events.subscribe", NULL, &result, &err))
        sim_fail("events.subscribe: %s", err.text);
    json_decref(result);
    watching = true;
    wait_group_add(g, 1);
    if (co_start("events", watch, g))
        sim_fail("out of memory");
}

void events_leave(void)
{
    if (watching)
        rpc_client_shutdown(&client);
}
