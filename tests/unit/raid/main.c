/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

extern CU_TestInfo superblock_tests[], bitmap_tests[], layout_tests[], geometry_tests[],
    geometry_parity_tests[], defaults_tests[], assembly_tests[], stripe_plan_tests[],
    parity_record_tests[], parity_tests[], throttle_tests[], error_budget_tests[];
extern int parity_suite_init(void), parity_suite_clean(void);

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "superblock", .pTests = superblock_tests},
        {.pName = "bitmap", .pTests = bitmap_tests},
        {.pName = "layout", .pTests = layout_tests},
        {.pName = "geometry", .pTests = geometry_tests},
        {.pName = "geometry_parity", .pTests = geometry_parity_tests},
        {.pName = "defaults", .pTests = defaults_tests},
        {.pName = "assembly", .pTests = assembly_tests},
        {.pName = "parity",
            .pInitFunc = parity_suite_init,
            .pCleanupFunc = parity_suite_clean,
            .pTests = parity_tests},
        {.pName = "stripe plan", .pTests = stripe_plan_tests},
        {.pName = "parity record", .pTests = parity_record_tests},
        {.pName = "throttle", .pTests = throttle_tests},
        {.pName = "error budget", .pTests = error_budget_tests},
        CU_SUITE_INFO_NULL,
    };
    return unit_main(argc, argv, suites);
}
