/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar job ... */
#include <stdio.h>

#include "cli.h"
#include "table.h"

static void job_row(struct table *t, json_t *j)
{
    double done = json_number_value(json_object_get(j, "done_bytes")),
           total = json_number_value(json_object_get(j, "total_bytes"));
    char id[24], part[24];

    snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(j, "id")));
    snprintf(part, sizeof part, "%.1f%%", total > 0 ? done * 100 / total : 0);
    TABLE_ROW(t, NULL, id, text_of(j, "kind"), text_of(j, "target"), text_of(j, "state"), part,
        size_of(j, "total_bytes"), text_of(j, "error"));
}

static struct table *job_table(void)
{
    return TABLE_NEW(false, ">ID", "KIND", "TARGET", "STATE", ">DONE", ">OF", "ERROR");
}

static void show_job(const struct cli *cli, json_t *job)
{
    struct table *t = job_table();

    job_row(t, job);
    table_print(t);
}

static void show_jobs(const struct cli *cli, json_t *result)
{
    struct table *t = job_table();
    json_t *j;
    size_t i;

    json_array_foreach (json_object_get(result, "jobs"), i, j) {
        job_row(t, j);
    }
    table_print(t);
}

static int wait_job(struct cli *cli, const struct command *command, json_t *params)
{
    json_int_t id = json_integer_value(json_object_get(params, "id"));
    int status = job_follow(cli, id);
    json_t *job;

    if (cli->json && !cli_call(cli, "job.show", json_incref(params), &job))
        cli_finish(cli, command, job);
    json_decref(params);
    return status;
}

#define ID                                                                                         \
    {                                                                                              \
        "ID", "id", ARG_NUMBER                                                                     \
    }

const struct command job_commands[] = {
    {"job", "list", "job.list", "List running jobs and the last that ended.", .show = show_jobs},
    {"job", "show", "job.show", "Show a job.", {ID}, .show = show_job},
    {"job", "wait", "job.wait", "Wait for a job, with a progress bar; fails when the job failed.",
        {ID}, .run = wait_job},
    {"job", "pause", "job.pause", "Pause a job.", {ID}, .show = show_job},
    {"job", "resume", "job.resume", "Go on with a paused job.", {ID}, .show = show_job},
    {"job", "cancel", "job.cancel", "Cancel a job.", {ID}, .show = show_job},
    {0},
};
