/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt/fs.h"
#include "rt/sync.h"
#include "scratch.h"

extern CU_TestInfo fs_tests[];

static void contents(const char *path, const char *want)
{
    size_t length = 0;
    char *data = NULL;

    CU_ASSERT_EQUAL(fs_read(path, 1 << 20, &data, &length), 0);
    CU_ASSERT_EQUAL(length, strlen(want));
    CU_ASSERT_STRING_EQUAL(data, want);
    free(data);
}

static void listed(const char *path, const char *want)
{
    char **names = NULL, text[256] = "";

    CU_ASSERT_EQUAL(fs_list(path, &names), 0);
    for (char **n = names; *n; n++) {
        strcat(text, *n);
        strcat(text, " ");
    }
    CU_ASSERT_STRING_EQUAL(text, want);
    free(names);
}

static void co_replace(void *dir)
{
    const char *path = scratch_path(dir, "state");
    struct stat st;

    CU_ASSERT_EQUAL(fs_replace(path, "one", 3, 0640), 0);
    contents(path, "one");
    CU_ASSERT_EQUAL(stat(path, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0640);
    CU_ASSERT_EQUAL(fs_replace(path, "another", 7, 0600), 0);
    contents(path, "another");
    CU_ASSERT_EQUAL(fs_replace(path, "", 0, 0600), 0);
    contents(path, "");
    listed(dir, "state ");
    CU_ASSERT_EQUAL(fs_replace(scratch_path(dir, "absent/state"), "x", 1, 0600), -ENOENT);
    CU_ASSERT_EQUAL(fs_sync_name(path), 0);
    CU_ASSERT_EQUAL(fs_remove(path), 0);
    CU_ASSERT_EQUAL(fs_remove(path), -ENOENT);
    CU_ASSERT_EQUAL(fs_sync_name("/absent/file"), -ENOENT);
    listed(dir, "");
}

static void test_replace(void)
{
    scratch_run_each(co_replace);
}

/* What a crash left is overwritten, whatever it is. */
static void co_leftover(void *dir)
{
    CU_ASSERT_EQUAL(symlink("/dev/null", scratch_path(dir, ".state.new")), 0);
    listed(dir, "");
    CU_ASSERT_EQUAL(fs_replace(scratch_path(dir, "state"), "one", 3, 0600), 0);
    contents(scratch_path(dir, "state"), "one");
    CU_ASSERT_NOT_EQUAL(access(scratch_path(dir, ".state.new"), F_OK), 0);
}

static void test_leftover(void)
{
    scratch_run_each(co_leftover);
}

/* A disk that is full half way: the old file stays, no temporary one does. */
static void co_replace_fails(void *dir)
{
    struct rlimit before, limit = {4096, 4096};
    char *big = calloc(1, 65536);

    getrlimit(RLIMIT_FSIZE, &before);
    limit.rlim_max = before.rlim_max;
    CU_ASSERT_EQUAL(fs_replace(scratch_path(dir, "state"), "one", 3, 0600), 0);
    setrlimit(RLIMIT_FSIZE, &limit);
    CU_ASSERT_EQUAL(fs_replace(scratch_path(dir, "state"), big, 65536, 0600), -EFBIG);
    setrlimit(RLIMIT_FSIZE, &before);
    contents(scratch_path(dir, "state"), "one");
    CU_ASSERT_NOT_EQUAL(access(scratch_path(dir, ".state.new"), F_OK), 0);
    free(big);
}

static void test_replace_fails(void)
{
    signal(SIGXFSZ, SIG_IGN);
    scratch_run_each(co_replace_fails);
}

struct writer {
    const char *path;
    char letter;
    struct wait_group *group;
};

static void write_letters(const char *path, char letter)
{
    char text[5000];

    memset(text, letter, sizeof text);
    CU_ASSERT_EQUAL(fs_replace(path, text, sizeof text, 0600), 0);
}

static void co_write_often(void *arg)
{
    struct writer *w = arg;

    for (unsigned i = 0; i < 5; i++)
        write_letters(w->path, w->letter);
    wait_group_done(w->group);
}

/* Several replace one file while it is read: it is always whole. */
static void co_replace_together(void *dir)
{
    const char *path = scratch_path(dir, "state");
    struct writer writers[4];
    struct wait_group group;

    write_letters(path, 'z');
    wait_group_init(&group);
    wait_group_add(&group, 4);
    for (unsigned i = 0; i < 4; i++) {
        writers[i] = (struct writer){path, (char)('a' + i), &group};
        CU_ASSERT_EQUAL(co_start("writer", co_write_often, &writers[i]), 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        size_t length = 0;
        char *data = NULL;
        int rc = fs_read(path, 1 << 20, &data, &length);

        CU_ASSERT_EQUAL(rc, 0);
        CU_ASSERT_EQUAL(length, 5000);
        CU_ASSERT_TRUE(data && strspn(data, (char[]){data[0], 0}) == 5000);
        free(data);
    }
    wait_group_wait(&group);
}

static void test_replace_together(void)
{
    scratch_run_each(co_replace_together);
}

static void co_read(void *dir)
{
    const char *path = scratch_path(dir, "file");
    size_t length = 77;
    char *data = NULL, *big = malloc(100000);

    memset(big, 'x', 100000);
    CU_ASSERT_EQUAL(fs_replace(path, big, 100000, 0600), 0);
    CU_ASSERT_EQUAL(fs_read(path, 99999, &data, &length), -EFBIG);
    CU_ASSERT_EQUAL(fs_read(dir, 100, &data, &length), -EISDIR);
    CU_ASSERT_EQUAL(fs_read(scratch_path(dir, "absent"), 100, &data, &length), -ENOENT);
    CU_ASSERT_EQUAL(length, 77);
    CU_ASSERT_PTR_NULL(data);
    CU_ASSERT_EQUAL(fs_read(path, 100000, &data, &length), 0);
    CU_ASSERT_EQUAL(length, 100000);
    CU_ASSERT_EQUAL(memcmp(data, big, 100000), 0);
    CU_ASSERT_EQUAL(data[length], 0);
    free(data);
    free(big);
    /* Does not tell its size. */
    CU_ASSERT_EQUAL(fs_read("/proc/self/status", 1 << 20, &data, &length), 0);
    CU_ASSERT_TRUE(length > 100);
    free(data);
}

static void test_read(void)
{
    scratch_run_each(co_read);
}

static void co_dirs(void *dir)
{
    struct stat st;

    CU_ASSERT_EQUAL(fs_make_dir(scratch_path(dir, "a/b//c"), 0700), 0);
    CU_ASSERT_EQUAL(fs_make_dir(scratch_path(dir, "a/b/c/"), 0700), 0);
    CU_ASSERT_EQUAL(stat(scratch_path(dir, "a/b/c"), &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0700);
    CU_ASSERT_EQUAL(fs_replace(scratch_path(dir, "a/z"), "", 0, 0600), 0);
    CU_ASSERT_EQUAL(fs_replace(scratch_path(dir, "a/.hidden"), "", 0, 0600), 0);
    listed(scratch_path(dir, "a"), ".hidden b z ");
    CU_ASSERT_EQUAL(fs_make_dir(scratch_path(dir, "a/z"), 0700), -ENOTDIR);
    CU_ASSERT_EQUAL(fs_make_dir(scratch_path(dir, "a/z/y"), 0700), -ENOTDIR);
    CU_ASSERT_EQUAL(fs_make_dir("", 0700), -ENOENT);
}

static void test_dirs(void)
{
    scratch_run_each(co_dirs);
}

static void co_list_absent(void *dir)
{
    char **names = NULL;

    CU_ASSERT_EQUAL(fs_list(scratch_path(dir, "absent"), &names), -ENOENT);
    CU_ASSERT_PTR_NULL(names);
}

static void test_list_absent(void)
{
    scratch_run_each(co_list_absent);
}

static void co_lock(void *dir)
{
    const char *path = scratch_path(dir, "lock");

    CU_ASSERT_EQUAL(fs_lock(path), 0);
    CU_ASSERT_EQUAL(fs_lock(path), -EBUSY);
    CU_ASSERT_EQUAL(fs_lock(scratch_path(dir, "absent/lock")), -ENOENT);
}

static void test_lock(void)
{
    scratch_run_each(co_lock);
}

CU_TestInfo fs_tests[] = {
    {"a file is replaced whole", test_replace},
    {"what a crash left is overwritten", test_leftover},
    {"a failed replacement changes nothing", test_replace_fails},
    {"replacements at the same time", test_replace_together},
    {"files are read whole", test_read},
    {"directories are made and listed", test_dirs},
    {"no directory, no list", test_list_absent},
    {"a lock is held once", test_lock},
    CU_TEST_INFO_NULL,
};
