/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for a job: on a terminal a bar that is drawn over itself, elsewhere nothing until it
 * ends. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "cli.h"

#define BAR_COLUMNS   30
#define BAR_PERIOD_US 200000

static void draw(json_t *job)
{
    json_int_t done = json_integer_value(json_object_get(job, "done_bytes"));
    json_int_t total = json_integer_value(json_object_get(job, "total_bytes"));
    double part = total > 0 ? (double)done / (double)total : 0;
    char bar[BAR_COLUMNS + 1] = "";
    int full = (int)(part * BAR_COLUMNS);

    memset(bar, ' ', BAR_COLUMNS);
    memset(bar, '#', (size_t)(full < BAR_COLUMNS ? full : BAR_COLUMNS));
    fprintf(stderr, "\r%s %s [%s] %5.1f%% of %s ", text_of(job, "kind"), text_of(job, "target"),
        bar, part * 100, size_of(job, "total_bytes"));
    fflush(stderr);
}

/* Where a bar is drawn, looks often; elsewhere lets the daemon wait for the end. NULL: the call
 * failed. */
static json_t *poll_job(struct cli *cli, json_int_t id, bool bar)
{
    json_t *params = json_pack("{s:I}", "id", id), *job;

    if (bar)
        usleep(BAR_PERIOD_US);
    else
        json_object_set_new(params, "timeout_seconds", json_integer(10));
    return cli_call(cli, bar ? "job.show" : "job.wait", params, &job) ? NULL : job;
}

int job_follow(struct cli *cli, json_int_t id)
{
    bool bar = cli->terminal && !cli->quiet && !cli->json;
    const char *state;
    json_t *job;

    for (;;) {
        job = poll_job(cli, id, bar);
        if (!job)
            return EXIT_FAILED;
        state = text_of(job, "state");
        if (bar)
            draw(job);
        if (strcmp(state, "running") && strcmp(state, "paused"))
            break;
        json_decref(job);
    }
    bool done = !strcmp(state, "done");
    if (bar)
        fputc('\n', stderr);
    if (!done)
        fprintf(stderr, "ashlar: job %lld (%s %s): %s: %s\n", (long long)id, text_of(job, "kind"),
            text_of(job, "target"), state, text_of(job, "error"));
    json_decref(job);
    return done ? EXIT_DONE : EXIT_FAILED;
}
