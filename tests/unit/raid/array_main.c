/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include "rt/worker.h"

extern CU_TestInfo array_tests[], control_tests[], members_tests[], mirror_tests[],
    mismatch_tests[], pace_tests[], parity_array_tests[], parity_log_tests[], parity_zero_tests[],
    recovery_tests[], recovery_together_tests[], resync_tests[], stripe_join_tests[], sync_tests[],
    wear_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "array", .pTests = array_tests},
        {.pName = "control", .pTests = control_tests},
        {.pName = "members", .pTests = members_tests},
        {.pName = "mirror", .pTests = mirror_tests},
        {.pName = "mismatch", .pTests = mismatch_tests},
        {.pName = "pace", .pTests = pace_tests},
        {.pName = "parity array", .pTests = parity_array_tests},
        {.pName = "parity log", .pTests = parity_log_tests},
        {.pName = "parity zero", .pTests = parity_zero_tests},
        {.pName = "recovery", .pTests = recovery_tests},
        {.pName = "recovery together", .pTests = recovery_together_tests},
        {.pName = "resync", .pTests = resync_tests},
        {.pName = "stripe join", .pTests = stripe_join_tests},
        {.pName = "sync", .pTests = sync_tests},
        {.pName = "wear", .pTests = wear_tests},
        CU_SUITE_INFO_NULL,
    };
    return rt_init(NULL, NULL) < 0 ? 2 : unit_main(argc, argv, suites);
}
