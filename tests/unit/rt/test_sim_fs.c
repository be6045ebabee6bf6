/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt/fs.h"
#include "rt/sim/fs.h"
#include "rt/sync.h"
#include "sim.h"

extern CU_TestInfo sim_fs_tests[];

#define FILE_PATH "/state/state.json"

static void put(const char *path, const char *text)
{
    CHECK(fs_replace(path, text, strlen(text), 0600) == 0);
}

/* The letter that the file consists of, '-' when it is not there. */
static char letter_of(const char *path)
{
    char *data, letter;
    size_t length;
    int rc = fs_read(path, 1 << 20, &data, &length);

    if (rc == -ENOENT)
        return '-';
    CHECK(rc == 0 && length && strlen(data) == length);
    letter = *data;
    CHECK(strspn(data, (char[]){letter, 0}) == length);
    free(data);
    return letter;
}

static void listed(const char *path, const char *want)
{
    char **names, text[256] = "";

    CHECK(fs_list(path, &names) == 0);
    for (char **n = names; *n; n++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s ", *n);
    CHECK(!strcmp(text, want));
    free(names);
}

static void replaces(void *arg)
{
    char *data = NULL;
    size_t length = 77;

    CHECK(fs_replace(FILE_PATH, "x", 1, 0600) == -ENOENT);
    CHECK(fs_make_dir("/state", 0700) == 0);
    CHECK(fs_read(FILE_PATH, 100, &data, &length) == -ENOENT);
    put(FILE_PATH, "one");
    CHECK(fs_read(FILE_PATH, 2, &data, &length) == -EFBIG);
    CHECK(fs_read("/state", 100, &data, &length) == -EISDIR);
    CHECK(!data && length == 77);
    CHECK(fs_read("/state//state.json", 3, &data, &length) == 0);
    CHECK(length == 3 && !strcmp(data, "one"));
    free(data);
    put(FILE_PATH, "");
    CHECK(fs_read(FILE_PATH, 0, &data, &length) == 0);
    CHECK(length == 0 && !*data);
    free(data);
    CHECK(fs_replace("/state", "x", 1, 0600) == -EISDIR);
    CHECK(fs_replace(FILE_PATH "/x", "x", 1, 0600) == -ENOTDIR);
    CHECK(fs_remove("/state") == -EISDIR);
    CHECK(fs_remove(FILE_PATH) == 0);
    CHECK(fs_remove(FILE_PATH) == -ENOENT);
    listed("/state", "");
}

static void test_replaces(void)
{
    sim_check_each(replaces);
}

static void directories(void *arg)
{
    char **names, *data, path[300];
    size_t length;

    CHECK(fs_make_dir("/a/b//c", 0700) == 0);
    CHECK(fs_make_dir("/a/b/c/", 0700) == 0);
    put("/a/z", "");
    put("/a/.hidden", "");
    put("/a/b/y", "");
    listed("/", "a ");
    listed("/a", ".hidden b z ");
    listed("/a/b/", "c y ");
    CHECK(fs_make_dir("/a/z", 0700) == -ENOTDIR);
    CHECK(fs_make_dir("/a/z/y", 0700) == -ENOTDIR);
    CHECK(fs_make_dir("", 0700) == -ENOENT);
    CHECK(fs_list("/b", &names) == -ENOENT);
    CHECK(fs_list("/a/z", &names) == -ENOTDIR);
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    CHECK(fs_read(path, 100, &data, &length) == -ENAMETOOLONG);
}

static void test_directories(void)
{
    sim_check_each(directories);
}

struct writer {
    struct worker *worker;
    char letter;
    struct wait_group *group;
};

static void put_letters(char letter)
{
    char text[3000];

    memset(text, letter, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    put(FILE_PATH, text);
}

static void write_often(void *arg)
{
    struct writer *w = arg;

    for (unsigned i = 0; i < 5; i++)
        put_letters(w->letter);
    wait_group_done(w->group);
}

/* Several replace one file while it is read: it is always whole. */
static void together(void *arg)
{
    struct writer writers[3];
    struct wait_group group;

    CHECK(fs_make_dir("/state", 0700) == 0);
    put_letters('z');
    wait_group_init(&group);
    wait_group_add(&group, 3);
    for (unsigned i = 0; i < 3; i++) {
        writers[i] = (struct writer){.letter = (char)('a' + i), .group = &group};
        CHECK(worker_create(&writers[i].worker, "writer", NULL) == 0);
        CHECK(worker_start(writers[i].worker, "writer", write_often, &writers[i]) == 0);
    }
    for (unsigned i = 0; i < 20; i++)
        CHECK(strchr("abcz", letter_of(FILE_PATH)));
    wait_group_wait(&group);
    for (unsigned i = 0; i < 3; i++)
        worker_destroy(writers[i].worker);
}

static void test_together(void)
{
    sim_check_each(together);
}

static void write_old(void *arg)
{
    CHECK(fs_make_dir("/state", 0700) == 0);
    put(FILE_PATH, "ooo");
}

static void write_new(void *arg)
{
    put(FILE_PATH, "nnnn");
    /* That it has returned. */
    put("/state/done", "d");
    co_sleep_ns(10000000000);
}

/* Wherever the power is cut, the file is old or new, and new once fs_replace has returned. */
static void test_power_cuts(void)
{
    unsigned was_old = 0, was_new = 0;

    for (uint64_t seed = 1; seed <= 10 * SIM_SEEDS; seed++) {
        char letter;

        sim_reset(seed);
        sim_check(write_old, NULL);
        sim->cut.at_ns = sim->now_ns + 1 + sim_below(&sim->random[SIM_FAULTS], 1500000);
        CU_ASSERT_EQUAL(sim_live(write_new, NULL), SIM_POWER_CUT);
        letter = letter_of(FILE_PATH);
        was_old += letter == 'o';
        was_new += letter == 'n';
        CU_ASSERT_TRUE(letter == 'n' || letter_of("/state/done") == '-');
    }
    CU_ASSERT_EQUAL(was_old + was_new, 10 * SIM_SEEDS);
    CU_ASSERT_TRUE(was_old > 10 && was_new > 10);
}

/* A replacement counts as a write: cut off before it the file is old, after it new. */
static void test_cuts_at_a_replacement(void)
{
    static const char expected[] = {[SIM_BEFORE] = 'o', [SIM_AFTER] = 'n'};
    bool was[256] = {false};

    for (uint64_t seed = 1; seed <= SIM_SEEDS; seed++) {
        for (unsigned phase = 0; phase < SIM_PHASES; phase++) {
            char letter;

            sim_reset(seed);
            sim_check(write_old, NULL);
            sim->cut = (struct sim_cut){.writes = 1, .phase = phase};
            CU_ASSERT_EQUAL(sim_live(write_new, NULL), SIM_POWER_CUT);
            letter = letter_of(FILE_PATH);
            if (phase == SIM_DURING)
                was[(unsigned char)letter] = true;
            else
                CU_ASSERT_EQUAL(letter, expected[phase]);
        }
    }
    CU_ASSERT_TRUE(was['o'] && was['n']);
}

static void faults(void *arg)
{
    bool was[256] = {false};

    CHECK(fs_make_dir("/state", 0700) == 0);
    put(FILE_PATH, "ooo");
    sim_fs_fail(ENOSPC, 2);
    CHECK(fs_replace(FILE_PATH, "n", 1, 0600) == -ENOSPC);
    CHECK(fs_replace("/state/new", "n", 1, 0600) == -ENOSPC);
    CHECK(letter_of(FILE_PATH) == 'o' && letter_of("/state/new") == '-');
    for (unsigned i = 0; i < 50; i++) {
        put(FILE_PATH, "ooo");
        sim_fs_fail(EIO, 1);
        CHECK(fs_replace(FILE_PATH, "nn", 2, 0600) == -EIO);
        was[(unsigned char)letter_of(FILE_PATH)] = true;
    }
    CHECK(was['o'] && was['n']);
    sim_fs_fail(ENOSPC, 1);
    sim_fs_fail(0, 0);
    put(FILE_PATH, "n");
}

static void test_faults(void)
{
    sim_check_each(faults);
}

static void lock(void *arg)
{
    CHECK(fs_lock("/state/lock") == -ENOENT);
    CHECK(fs_make_dir("/state", 0700) == 0);
    CHECK(fs_lock("/state/lock") == 0);
    CHECK(fs_lock("/state/lock") == -EBUSY);
    CHECK(fs_lock("/state/other") == 0);
    sim_power_cut(true);
}

static void lock_again(void *arg)
{
    CHECK(fs_lock("/state/lock") == 0);
    CHECK(fs_lock("/state/lock") == -EBUSY);
}

static void test_locks(void)
{
    sim_reset(1);
    CU_ASSERT_EQUAL(sim_live(lock, NULL), SIM_KILLED);
    sim_check(lock_again, NULL);
}

static void expands(const char *pattern, const char *want)
{
    char **paths, text[256] = "";

    CHECK(fs_expand(pattern, &paths) == 0);
    for (char **p = paths; *p; p++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s ", *p);
    CHECK(!strcmp(text, want));
    free(paths);
}

static void patterns(void *arg)
{
    expands("/disks", "/disks/a /disks/b ");
    expands("/disks/", "/disks/a /disks/b ");
    expands("/disks/[bc]", "/disks/b ");
    expands("/disks/b", "/disks/b ");
    expands("/*", "/disks/a /disks/b ");
    expands("/disks/c", "/disks/c ");
    expands("/disks/d*", "/disks/d* ");
    expands("/empty", "");
}

static void test_patterns(void)
{
    static const char *const paths[] = {"/disks/b", "/disks/a", "/disks/c", "/empty/e"};

    sim_reset(1);
    for (unsigned i = 0; i < 4; i++)
        sim_add_disk(&(struct sim_disk_params){.path = paths[i],
                         .size_bytes = 1 << 20,
                         .logical_block_bytes = 512,
                         .atomic_bytes = 512})
            ->present = i < 2;
    sim_check(patterns, NULL);
}

CU_TestInfo sim_fs_tests[] = {
    {"a file is replaced whole", test_replaces},
    {"directories are made and listed", test_directories},
    {"replacements at the same time", test_together},
    {"the power is cut", test_power_cuts},
    {"the power is cut at a replacement", test_cuts_at_a_replacement},
    {"replacements fail", test_faults},
    {"locks end with the machine", test_locks},
    {"disks by pattern", test_patterns},
    CU_TEST_INFO_NULL,
};
