/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_events.h"

#include "host_rpc.h"
#include "host_world.h"
#include "rt/worker.h"

#define PAUSE_NS_MAX 20000000u

static struct rpc_client client;
static bool watching, leaving;

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

/* Whatever is being changed, looking is answered. */
static void look_on(void *arg)
{
    static const char *const methods[] = {"status", "array.list", "vg.list", "pv.list",
        "volume.list", "export.list", "job.list", "rpc.describe"};
    struct sim_random *r = &sim->random[SIM_GUESTS];
    struct wait_group *g = arg;
    struct rpc_client looker;
    struct error err = {0};
    json_t *result;

    if (rpc_client_open(&looker, HOST_SOCKET))
        sim_fail("rpc: cannot connect");
    while (!leaving) {
        const char *method = methods[sim_below(r, sizeof methods / sizeof *methods)];

        if (rpc_client_call(&looker, method, NULL, &result, &err))
            sim_fail("%s is refused: %s", method, err.text);
        json_decref(result);
        co_sleep_ns(sim_below(r, PAUSE_NS_MAX));
    }
    rpc_client_close(&looker);
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
    wait_group_add(g, 2);
    if (co_start("events", watch, g) || co_start("looker", look_on, g))
        sim_fail("out of memory");
}

void events_leave(void)
{
    leaving = true;
    if (watching)
        rpc_client_shutdown(&client);
}
