/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdio.h>

#include "rt/worker.h"

extern CU_TestInfo coroutine_tests[], worker_tests[], timer_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "coroutine", .pTests = coroutine_tests},
        {.pName = "worker", .pTests = worker_tests},
        {.pName = "timer", .pTests = timer_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
