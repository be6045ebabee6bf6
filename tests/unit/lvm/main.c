/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdio.h>

#include "rt/worker.h"

extern CU_TestInfo label_tests[], mda_tests[], config_tests[], metadata_tests[], alloc_tests[],
    map_tests[], unmap_tests[];
extern CU_TestInfo vg_tests[], vg_open_tests[], commit_tests[], crash_tests[], volume_tests[],
    archive_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "label", .pTests = label_tests},
        {.pName = "mda", .pTests = mda_tests},
        {.pName = "config", .pTests = config_tests},
        {.pName = "metadata", .pTests = metadata_tests},
        {.pName = "alloc", .pTests = alloc_tests},
        {.pName = "map", .pTests = map_tests},
        {.pName = "unmap", .pTests = unmap_tests},
        {.pName = "vg", .pTests = vg_tests},
        {.pName = "vg_open", .pTests = vg_open_tests},
        {.pName = "commit", .pTests = commit_tests},
        {.pName = "volume", .pTests = volume_tests},
        {.pName = "archive", .pTests = archive_tests},
        {.pName = "crash", .pTests = crash_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
