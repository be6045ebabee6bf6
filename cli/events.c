/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlar events: one line an event until interrupted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"

static void show_event(const char *text)
{
    json_t *e = json_loads(text, 0, NULL);

    printf("%s %s %s: %s\n", text_of(e, "time"), text_of(e, "kind"), text_of(e, "target"),
        text_of(e, "text"));
    json_decref(e);
}

static int follow_events(struct cli *cli, const struct command *command, json_t *params)
{
    json_t *result;
    char *event;
    int rc = cli_call(cli, "events.subscribe", params, &result);

    if (rc)
        return EXIT_FAILED;
    json_decref(result);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (!(rc = ashlar_next_event(cli->client, -1, &event))) {
        if (cli->json)
            puts(event);
        else
            show_event(event);
        free(event);
    }
    fprintf(stderr, "ashlar: %s\n", ashlar_error(cli->client));
    return EXIT_FAILED;
}

const struct command events_commands[] = {
    {"events", NULL, "events.subscribe", "Print what changes, as it changes, until interrupted.",
        .run = follow_events},
    {0},
};
