/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdio.h>

#include "rt/worker.h"

extern CU_TestInfo coroutine_tests[], worker_tests[], timer_tests[], sync_tests[],
    range_lock_tests[], gate_tests[], grace_tests[];
extern CU_TestInfo init_tests[], step_tests[], engine_tests[], file_tests[], buffer_tests[],
    stream_tests[], fs_tests[], fs_expand_tests[], names_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "coroutine", .pTests = coroutine_tests},
        {.pName = "worker", .pTests = worker_tests},
        {.pName = "timer", .pTests = timer_tests},
        {.pName = "sync", .pTests = sync_tests},
        {.pName = "range_lock", .pTests = range_lock_tests},
        {.pName = "gate", .pTests = gate_tests},
        {.pName = "grace", .pTests = grace_tests},
        {.pName = "init", .pTests = init_tests},
        {.pName = "step", .pTests = step_tests},
        {.pName = "engine", .pTests = engine_tests},
        {.pName = "file", .pTests = file_tests},
        {.pName = "buffer", .pTests = buffer_tests},
        {.pName = "stream", .pTests = stream_tests},
        {.pName = "fs", .pTests = fs_tests},
        {.pName = "fs_expand", .pTests = fs_expand_tests},
        {.pName = "names", .pTests = names_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
