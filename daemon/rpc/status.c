/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* status: everything at once. */
#include "daemon.h"
#include "rpc/method.h"
#include "rpc/objects.h"
#include "rt/worker.h"

static int status(struct rpc_call *call)
{
    struct daemon *d = call->daemon;
    uint64_t uptime_ns = rt_now_ns() - d->started_ns;

    return rpc_result(call,
        json_pack("{s:s, s:s, s:I, s:o}", "version", ASHLAR_VERSION, "engine", rt_engine_name(),
            "uptime_seconds", (json_int_t)(uptime_ns / 1000000000), "jobs", rpc_jobs(d, true)));
}

const struct rpc_method rpc_status_methods[] = {
    {"status", "Shows everything: arrays, groups, volumes, exports, running jobs.", 0, {{0}},
        status},
    {0},
};
