/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way into the calling worker's engine. */
#include "rt/io.h"

#include <assert.h>

#include "base/list.h"
#include "rt/engine.h"
#include "rt/worker.h"

struct waited_io {
    struct io io;
    struct co *waiter;
};

void io_start(struct io *io)
{
    struct engine *e = engine_self();

    assert(e);
    e->ops->submit(e, io);
}

static void wake_waiter(struct io *io)
{
    co_wake(container_of(io, struct waited_io, io)->waiter);
}

int io_run(struct io *io)
{
    struct waited_io w = {*io, co_self()};

    w.io.done = wake_waiter;
    io_start(&w.io);
    co_suspend("io");
    return io->result = w.io.result;
}
