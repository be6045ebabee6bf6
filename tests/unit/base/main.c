/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

extern CU_TestInfo size_tests[], iov_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "size", .pTests = size_tests},
        {.pName = "iov", .pTests = iov_tests},
        CU_SUITE_INFO_NULL,
    };
    return unit_main(argc, argv, suites);
}
