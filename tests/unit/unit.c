/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#define SUITES_MAX 32 /* that can be chosen */

static const CU_SuiteInfo *find_suite(const CU_SuiteInfo *suites, const char *name)
{
    for (; suites->pName; suites++)
        if (!strcmp(suites->pName, name))
            return suites;
    return NULL;
}

int unit_main(int argc, char **argv, CU_SuiteInfo *suites)
{
    CU_SuiteInfo chosen[SUITES_MAX + 1] = {CU_SUITE_INFO_NULL};
    unsigned failures;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    for (int i = 1; i < argc && i <= SUITES_MAX; i++) {
        const CU_SuiteInfo *found = find_suite(suites, argv[i]);
        if (!found) {
            fprintf(stderr, "no suite %s\n", argv[i]);
            return 2;
        }
        chosen[i - 1] = *found;
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
