/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdlib.h>

#include "base/arith.h"
#include "rt/fs.h"
#include "scratch.h"

extern CU_TestInfo fs_expand_tests[];

/* a, b and .hidden, and a directory sub with c. */
static void fill(const char *dir)
{
    static const char *const files[] = {"a", "b", ".hidden", "sub/c"};

    CU_ASSERT_EQUAL(fs_make_dir(scratch_path(dir, "sub"), 0700), 0);
    for (unsigned i = 0; i < ARRAY_LEN(files); i++)
        CU_ASSERT_EQUAL(fs_replace(scratch_path(dir, files[i]), "x", 1, 0600), 0);
}

/* That the pattern under the directory names these, in order. */
static void expands(const char *dir, const char *pattern, const char *const *want)
{
    char **paths = NULL, **p;

    CU_ASSERT_EQUAL(fs_expand(scratch_path(dir, pattern), &paths), 0);
    for (p = paths; *want && *p; p++, want++)
        CU_ASSERT_STRING_EQUAL(*p, scratch_path(dir, *want));
    CU_ASSERT_PTR_NULL(*want);
    CU_ASSERT_PTR_NULL(*p);
    free(paths);
}

static void co_patterns(void *dir)
{
    fill(dir);
    expands(dir, "a", (const char *const[]){"a", NULL});
    expands(dir, "[ab]", (const char *const[]){"a", "b", NULL});
    expands(dir, "", (const char *const[]){"/a", "/b", NULL}); /* the directory */
    expands(dir, "sub", (const char *const[]){"sub/c", NULL});
    expands(dir, "*", (const char *const[]){"a", "b", "sub/c", NULL});
    expands(dir, "none", (const char *const[]){"none", NULL});
    expands(dir, "none*", (const char *const[]){"none*", NULL});
}

static void test_patterns(void)
{
    scratch_run_each(co_patterns);
}

static void co_kinds(void *dir)
{
    char **paths = NULL;

    CU_ASSERT_EQUAL(fs_expand("/dev/null", &paths), 0);
    CU_ASSERT_PTR_NULL(paths[0]);
    free(paths);
}

static void test_kinds(void)
{
    scratch_run(co_kinds);
}

CU_TestInfo fs_expand_tests[] = {
    {"files, directories, patterns", test_patterns},
    {"neither file nor block device", test_kinds},
    CU_TEST_INFO_NULL,
};
