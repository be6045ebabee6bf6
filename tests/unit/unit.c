/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

int unit_main(int argc, char **argv, CU_SuiteInfo *suites)
{
    CU_SuiteInfo chosen[2] = {{0}, CU_SUITE_INFO_NULL};
    unsigned failures;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    for (CU_SuiteInfo *s = suites; argc > 1 && s->pName; s++)
        if (!strcmp(s->pName, argv[1]))
            chosen[0] = *s;
    if (argc > 1 && !chosen[0].pName) {
        fprintf(stderr, "no suite %s\n", argv[1]);
        return 2;
    }
    if (CU_register_suites(argc > 1 ? chosen : suites) != CUE_SUCCESS) {
        fprintf(stderr, "CUnit: %s\n", CU_get_error_msg());
        return 2;
    }
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    CU_cleanup_registry();
    return failures ? 1 : 0;
}
