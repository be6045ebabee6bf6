/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is chosen once for the process: the kind of engine, and how long an idle worker polls. */
#include "rt/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

const struct engine_ops *rt_engine;
uint64_t rt_poll_max_ns;

/* As long as a wake-up across processors takes; see docs/performance.md. */
#define POLL_US_DEFAULT 60
#define POLL_US_MAX     10000

static const struct engine_ops *const engines[] = {&engine_uring, &engine_aio};

static int engine_probe(const struct engine_ops *ops)
{
    struct engine *e;
    int rc = ops->create(&e);

    if (rc == 0)
        e->ops->destroy(e);
    return rc;
}

static int choose_named(const char *name, struct error *err)
{
    for (unsigned i = 0; i < ARRAY_LEN(engines); i++) {
        if (strcmp(engines[i]->name, name))
            continue;
        if (engine_probe(engines[i]) < 0)
            return error_set(err, ENOSYS, "the I/O engine %s cannot run here", name);
        rt_engine = engines[i];
        return 0;
    }
    return error_set(err, EINVAL, "there is no I/O engine %s (uring, aio)", name);
}

static int choose_first(struct error *err)
{
    if (choose_named(ENGINE_DEFAULT, NULL) == 0)
        return 0;
    for (unsigned i = 0; i < ARRAY_LEN(engines); i++)
        if (choose_named(engines[i]->name, NULL) == 0)
            return 0;
    return error_set(err, ENOSYS, "neither io_uring nor libaio can run here");
}

static int choose_poll(struct error *err)
{
    const char *text = getenv("ASHLAR_POLL_US");
    unsigned long us = POLL_US_DEFAULT;
    char *end;

    if (text) {
        us = strtoul(text, &end, 10);
        if (end == text || *end || us > POLL_US_MAX)
            return error_set(err, EINVAL, "ASHLAR_POLL_US=%s: a number of microseconds up to %d",
                text, POLL_US_MAX);
    }
    rt_poll_max_ns = us * 1000;
    return 0;
}

int rt_init(const char *name, struct error *err)
{
    int rc = choose_poll(err);

    if (rc < 0)
        return rc;
    if (!name)
        name = getenv("ASHLAR_ENGINE");
    return name ? choose_named(name, err) : choose_first(err);
}

const char *rt_engine_name(void)
{
    return rt_engine->name;
}
