/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim.h"

extern CU_TestInfo sim_stream_tests[], sim_fs_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "sim_stream", .pTests = sim_stream_tests},
        {.pName = "sim_fs", .pTests = sim_fs_tests},
        CU_SUITE_INFO_NULL,
    };

    sim_init(argv);
    return unit_main(argc, argv, suites);
}
