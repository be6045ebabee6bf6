/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdio.h>

#include "rt/worker.h"

extern CU_TestInfo config_tests[], json_tests[], events_tests[], jobs_tests[], task_tests[],
    state_tests[], members_tests[], array_watch_tests[], places_tests[], images_tests[],
    overlay_tests[], method_tests[], server_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "config", .pTests = config_tests},
        {.pName = "json", .pTests = json_tests},
        {.pName = "events", .pTests = events_tests},
        {.pName = "jobs", .pTests = jobs_tests},
        {.pName = "task", .pTests = task_tests},
        {.pName = "state", .pTests = state_tests},
        {.pName = "members", .pTests = members_tests},
        {.pName = "array_watch", .pTests = array_watch_tests},
        {.pName = "places", .pTests = places_tests},
        {.pName = "images", .pTests = images_tests},
        {.pName = "overlay", .pTests = overlay_tests},
        {.pName = "method", .pTests = method_tests},
        {.pName = "server", .pTests = server_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
