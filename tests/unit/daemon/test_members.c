/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "members.h"

extern CU_TestInfo members_tests[];

#define MEMBER_BYTES (4u << 20)

static char *make(struct fixture *f, const char *name)
{
    char *path = strdup(fixture_path(f, name));

    CU_ASSERT_PTR_NOT_NULL_FATAL(path);
    fclose(fopen(path, "w"));
    CU_ASSERT_EQUAL_FATAL(truncate(path, MEMBER_BYTES), 0);
    return path;
}

static void refused(const char *path, const char *what)
{
    struct error err = {0};

    CU_ASSERT_EQUAL(member_refuse_path(path, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, what));
}

static void test_paths(void)
{
    char path[130];

    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[127] = '\0';
    CU_ASSERT_EQUAL(member_refuse_path(path, NULL), 0);
    path[127] = 'x';
    path[128] = '\0';
    refused(path, "too long, by 1 bytes");
    refused("relative", "absolute");
    refused("", "absolute");
    refused("/\xff", "UTF-8");
}

/* All or none: what was opened before the one that cannot be is closed again. */
static void all_or_none(struct fixture *f)
{
    char *a = make(f, "a"), *b = make(f, "b");
    const char *const both[] = {a, "missing", b}, *const twice[] = {a, b, a};
    struct members m;
    struct error err = {0};

    CU_ASSERT_EQUAL(members_open(&f->daemon, &m, twice, 3, 0, &err), -EBUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, a));
    CU_ASSERT_EQUAL_FATAL(members_open(&f->daemon, &m, both, 3, 0, &err), 0);
    CU_ASSERT_EQUAL(m.count, 3);
    CU_ASSERT_STRING_EQUAL(m.devs[0]->name, a);
    CU_ASSERT_PTR_NULL(m.devs[1]);
    CU_ASSERT_STRING_EQUAL(m.devs[2]->name, b);
    members_close(&m);
    free(a);
    free(b);
}

static void test_all_or_none(void)
{
    fixture_run(all_or_none);
}

static void used_here(struct fixture *f)
{
    char *a = make(f, "a");
    const char *const paths[] = {a};
    struct members m;
    struct error err = {0};
    struct catalog_pv *pv = catalog_add_pv(&f->daemon, a);

    CU_ASSERT_PTR_NOT_NULL_FATAL(pv);
    CU_ASSERT_EQUAL_FATAL(members_open(&f->daemon, &m, paths, 1, 0, &err), 0); /* known, not open */
    pv->dev = m.devs[0];
    CU_ASSERT_EQUAL(member_refuse(&f->daemon, a, MEMBERS_FORCE, &err), -EBUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "PV in use"));
    members_close(&m);
    free(a);
}

static void test_used_here(void)
{
    fixture_run(used_here);
}

static void wiped(struct fixture *f)
{
    char *a = make(f, "a"), back[4096];
    const char *const paths[] = {a};
    struct members m;
    FILE *file = fopen(a, "r+");

    for (unsigned i = 0; i < MEMBER_BYTES; i++)
        putc('x', file);
    fclose(file);
    CU_ASSERT_EQUAL_FATAL(members_open(&f->daemon, &m, paths, 1, 0, NULL), 0);
    CU_ASSERT_EQUAL(members_wipe(&m, NULL), 0);
    CU_ASSERT_EQUAL(blockdev_read_bytes(m.devs[0], back, (1 << 20) - 2048, 4096), 0);
    CU_ASSERT(back[0] == 0 && back[2047] == 0 && back[2048] == 'x');
    CU_ASSERT_EQUAL(blockdev_read_bytes(m.devs[0], back, MEMBER_BYTES - (1 << 20) - 2048, 4096), 0);
    CU_ASSERT(back[2047] == 'x' && back[2048] == 0 && back[4095] == 0);
    members_close(&m);
    free(a);
}

static void test_wiped(void)
{
    fixture_run(wiped);
}

CU_TestInfo members_tests[] = {
    {"paths that cannot be remembered", test_paths},
    {"all are opened or none", test_all_or_none},
    {"in use by this daemon", test_used_here},
    {"wiped at both ends", test_wiped},
    CU_TEST_INFO_NULL,
};
