/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <stdio.h>

static void run_fn(void *arg)
{
    (*(void (**)(void))arg)();
}

void run_in_rt(void (*fn)(void))
{
    CU_ASSERT_EQUAL(rt_main(run_fn, &fn), 0);
}

void crew_start(struct crew *c, unsigned count)
{
    c->workers[0] = worker_self();
    for (c->count = 1; c->count < count; c->count++) {
        char name[16];

        snprintf(name, sizeof name, "w%u", c->count);
        if (worker_create(&c->workers[c->count], name, NULL) < 0)
            break;
    }
    CU_ASSERT_EQUAL(c->count, count);
}

void crew_end(struct crew *c)
{
    for (unsigned i = 1; i < c->count; i++)
        worker_destroy(c->workers[i]);
}
