/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

extern CU_TestInfo metadata_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "metadata", .pTests = metadata_tests},
        CU_SUITE_INFO_NULL,
    };
    return unit_main(argc, argv, suites);
}
