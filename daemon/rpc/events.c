/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* events.subscribe: what changes, as notifications on the connection. */
#include "rpc/method.h"
#include "rpc/server.h"

static int subscribe(struct rpc_call *call)
{
    return rpc_connection_subscribe(call->connection, call->err);
}

const struct rpc_method rpc_events_methods[] = {
    {"events.subscribe", "From now on sends each event to this connection.", 0, {{0}}, subscribe},
    {0},
};
