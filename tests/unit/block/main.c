/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include <stdio.h>

extern CU_TestInfo blockdev_tests[], flush_tests[], fault_tests[], member_tests[], probe_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "blockdev", .pTests = blockdev_tests},
        {.pName = "flush", .pTests = flush_tests},
        {.pName = "fault", .pTests = fault_tests},
        {"member", scratch_begin, scratch_end, .pTests = member_tests},
        {"probe", scratch_begin, scratch_end, .pTests = probe_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
