/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt/worker.h"

struct run {
    struct fixture fixture;
    void (*body)(struct fixture *f);
};

static void entry(void *arg)
{
    struct run *run = arg;
    struct daemon *d = &run->fixture.daemon;

    *d = (struct daemon){
        .config = &run->fixture.config, .control = worker_self(), .started_ns = rt_now_ns()};
    CU_ASSERT_EQUAL_FATAL(events_init(&d->events), 0);
    jobs_init(&d->jobs, &d->events);
    catalog_init(&d->catalog);
    run->body(&run->fixture);
    jobs_free(&d->jobs);
    catalog_free(&d->catalog);
    events_free(&d->events);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    return remove(path);
}

void fixture_run(void (*body)(struct fixture *f))
{
    struct run run = {.body = body, .fixture.dir = "/tmp/ashlar-XXXXXX"};

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(run.fixture.dir));
    CU_ASSERT_EQUAL_FATAL(config_init(&run.fixture.config), 0);
    CU_ASSERT_EQUAL(
        config_set(&run.fixture.config, "daemon", "state_dir", run.fixture.dir, NULL), 0);
    log_set_level(LOG_ERROR - 1); /* what goes wrong here is meant to */
    CU_ASSERT_EQUAL(rt_main(entry, &run), 0);
    config_free(&run.fixture.config);
    nftw(run.fixture.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fixture_path(const struct fixture *f, const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    return path;
}
