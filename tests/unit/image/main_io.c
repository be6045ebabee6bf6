/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images in use, when things go wrong. */
#include <stdio.h>

#include "../block/scratch.h"
#include "../rt/run.h"

extern CU_TestInfo image_crash_tests[], image_order_tests[], image_workers_tests[],
    image_faults_tests[], image_space_tests[], image_corrupt_tests[], image_kept_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "image-crash", .pTests = image_crash_tests},
        {.pName = "image-order", .pTests = image_order_tests},
        {.pName = "image-workers", .pTests = image_workers_tests},
        {.pName = "image-faults", .pTests = image_faults_tests},
        {.pName = "image-space", .pTests = image_space_tests},
        {.pName = "image-corrupt", .pTests = image_corrupt_tests},
        {"image-kept", scratch_begin, scratch_end, NULL, NULL, image_kept_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
