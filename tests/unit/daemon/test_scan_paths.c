/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

#include "rt/fs.h"
#include "scan.h"

extern CU_TestInfo scan_paths_tests[];

/* a, b and .hidden, and a directory sub with c. */
static void fill(struct fixture *f)
{
    static const char *const files[] = {"a", "b", ".hidden", "sub/c"};

    CU_ASSERT_EQUAL_FATAL(fs_make_dir(fixture_path(f, "sub"), 0700), 0);
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
        CU_ASSERT_EQUAL_FATAL(fs_replace(fixture_path(f, files[i]), "x", 1, 0600), 0);
}

/* That the pattern under the directory names these, in order. */
static void expands(struct fixture *f, const char *pattern, const char *const *want)
{
    char **paths;
    unsigned n = 0;

    CU_ASSERT_EQUAL_FATAL(scan_paths_expand(fixture_path(f, pattern), &paths), 0);
    for (; want[n]; n++) {
        CU_ASSERT_PTR_NOT_NULL_FATAL(paths[n]);
        CU_ASSERT_STRING_EQUAL(paths[n], fixture_path(f, want[n]));
    }
    CU_ASSERT_PTR_NULL(paths[n]);
    scan_paths_free(paths);
}

static void patterns(struct fixture *f)
{
    fill(f);
    expands(f, "a", (const char *const[]){"a", NULL});
    expands(f, "[ab]", (const char *const[]){"a", "b", NULL});
    expands(f, "", (const char *const[]){"/a", "/b", NULL}); /* the directory */
    expands(f, "sub", (const char *const[]){"sub/c", NULL});
    expands(f, "*", (const char *const[]){"a", "b", "sub/c", NULL});
    expands(f, "none", (const char *const[]){"none", NULL}); /* whoever opens it says why not */
    expands(f, "none*", (const char *const[]){"none*", NULL});
}

static void test_patterns(void)
{
    fixture_run(patterns);
}

static void kinds(struct fixture *f)
{
    char **paths;

    CU_ASSERT_EQUAL_FATAL(scan_paths_expand("/dev/null", &paths), 0);
    CU_ASSERT_PTR_NULL(paths[0]);
    scan_paths_free(paths);
}

static void test_kinds(void)
{
    fixture_run(kinds);
}

CU_TestInfo scan_paths_tests[] = {
    {"files, directories, patterns", test_patterns},
    {"neither file nor block device", test_kinds},
    CU_TEST_INFO_NULL,
};
