/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "rt/names.h"

extern CU_TestInfo names_tests[];

static void test_none(void)
{
    struct names n = {0};
    char **packed = NULL;

    CU_ASSERT_EQUAL(names_pack(&n, &packed), 0);
    CU_ASSERT_PTR_NULL(packed[0]);
    free(packed);
    names_free(&n);
}

static void test_many(void)
{
    struct names n = {0};
    char **packed = NULL, want[32];

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(want, sizeof want, "%u", i);
        CU_ASSERT_EQUAL(names_add(&n, i % 2 ? "dir" : NULL, want), 0);
    }
    CU_ASSERT_EQUAL(names_add(&n, NULL, ""), 0);
    CU_ASSERT_EQUAL(names_pack(&n, &packed), 0);
    names_free(&n);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(want, sizeof want, "%s%u", i % 2 ? "dir/" : "", i);
        CU_ASSERT_STRING_EQUAL(packed[i], want);
    }
    CU_ASSERT_STRING_EQUAL(packed[1000], "");
    CU_ASSERT_PTR_NULL(packed[1001]);
    free(packed);
}

CU_TestInfo names_tests[] = {
    {"no names", test_none},
    {"many names, some of them in a directory", test_many},
    CU_TEST_INFO_NULL,
};
