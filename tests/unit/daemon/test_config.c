/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

extern CU_TestInfo config_tests[];

/* Reads a file with that content. */
static int read_bytes(
    struct config *c, const char *text, size_t length, char path[32], struct error *err)
{
    int fd, rc;

    strcpy(path, "/tmp/ashlar-conf-XXXXXX");
    fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(write(fd, text, length), (ssize_t)length);
    close(fd);
    rc = config_read(c, path, err);
    unlink(path);
    return rc;
}

static int read_text(struct config *c, const char *text, char path[32], struct error *err)
{
    return read_bytes(c, text, strlen(text), path, err);
}

static void test_all_keys(void)
{
    struct config c;
    char path[32];

    CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
    CU_ASSERT_EQUAL(read_text(&c,
                        "# a comment\n[daemon]\nsocket = /a/s\nstate_dir=/b\nruntime_dir=/c\n"
                        "workers = 3\nengine = aio\nlog_level = debug\n"
                        "[scan]\npaths = /dev/sd? /images\n    /more\nauto_assemble = no\n"
                        "[export]\nsocket_mode = 0660\nsocket_owner = root\nsocket_group = 12\n"
                        "nbd_clients_max = 5 ; not more\n[archive]\nkeep = 7\n",
                        path, NULL),
        0);
    CU_ASSERT_STRING_EQUAL(c.socket, "/a/s");
    CU_ASSERT_STRING_EQUAL(c.state_dir, "/b");
    CU_ASSERT_STRING_EQUAL(c.runtime_dir, "/c");
    CU_ASSERT_EQUAL(c.workers, 3);
    CU_ASSERT_STRING_EQUAL(c.engine, "aio");
    CU_ASSERT_EQUAL(c.log_level, LOG_DETAIL);
    CU_ASSERT_STRING_EQUAL(c.scan_paths[0], "/dev/sd?");
    CU_ASSERT_STRING_EQUAL(c.scan_paths[1], "/images");
    CU_ASSERT_STRING_EQUAL(c.scan_paths[2], "/more");
    CU_ASSERT_PTR_NULL(c.scan_paths[3]);
    CU_ASSERT_FALSE(c.auto_assemble);
    CU_ASSERT_EQUAL(c.export_socket_mode, 0660);
    CU_ASSERT_EQUAL(c.export_socket_owner, 0);
    CU_ASSERT_EQUAL(c.export_socket_group, 12);
    CU_ASSERT_EQUAL(c.nbd_clients_max, 5);
    CU_ASSERT_EQUAL(c.archive_keep, 7);
    config_free(&c);
}

static void test_defaults(void)
{
    struct config c;

    CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
    CU_ASSERT_EQUAL(config_set(&c, "daemon", "runtime_dir", "/r", NULL), 0);
    CU_ASSERT_EQUAL(config_finish(&c, NULL), 0);
    CU_ASSERT_STRING_EQUAL(c.socket, "/r/ashlard.sock");
    CU_ASSERT(c.workers >= 1 && c.workers <= 8);
    CU_ASSERT_PTR_NULL(c.engine);
    CU_ASSERT_EQUAL(c.export_socket_mode, 0600);
    CU_ASSERT_PTR_NOT_NULL(c.host);
    config_free(&c);
}

static void test_later_wins(void)
{
    struct config c;

    CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
    CU_ASSERT_EQUAL(config_set(&c, "daemon", "socket", "/first", NULL), 0);
    CU_ASSERT_EQUAL(config_set(&c, "daemon", "socket", "/second", NULL), 0);
    CU_ASSERT_STRING_EQUAL(c.socket, "/second");
    config_free(&c);
}

/* Each is refused with its line and what is wrong with it. */
static void test_refused(void)
{
    static const struct {
        const char *text, *line, *what;
    } bad[] = {
        {"[daemon]\nnonsense = 1\n", ":2: ", "unknown key nonsense"},
        {"\n\n[nosuch]\nsocket = /x\n", ":4: ", "[nosuch]"},
        {"[daemon\nsocket = /x\n", ":1: ", "neither"},
        {"[daemon]\nsocket\n", ":2: ", "neither"},
        {"[daemon]\nsocket = x\n", ":2: ", "absolute"},
        {"[daemon]\nworkers = 0\n", ":2: ", "number"},
        {"[daemon]\nworkers = many\n", ":2: ", "number"},
        {"[daemon]\nworkers = -1\n", ":2: ", "number"},
        {"[daemon]\nworkers = 4x\n", ":2: ", "number"},
        {"[daemon]\nengine = steam\n", ":2: ", "uring or aio"},
        {"[daemon]\nlog_level = loud\n", ":2: ", "debug"},
        {"[scan]\npaths = /a b\n", ":2: ", "absolute"},
        {"[scan]\nauto_assemble = maybe\n", ":2: ", "yes or no"},
        {"[export]\nsocket_mode = 888\n", ":2: ", "octal"},
        {"[export]\nsocket_mode = 7777\n", ":2: ", "octal"},
        {"[export]\nsocket_owner = nobody-of-that-name\n", ":2: ", "user"},
        {"[export]\nsocket_group = nobody-of-that-name\n", ":2: ", "group"},
        {"[daemon]\nworkers = 1\n\nworkers = 99999\nnonsense = 1\n", ":4: ", "number"},
    };

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config c;
        struct error err = {0};
        char path[32], where[48];

        CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
        CU_ASSERT_EQUAL(read_text(&c, bad[i].text, path, &err), -EINVAL);
        snprintf(where, sizeof where, "%s%s", path, bad[i].line);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, where));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, bad[i].what));
        config_free(&c);
    }
}

static void test_long_line(void)
{
    struct config c;
    struct error err = {0};
    char path[32], text[1000] = "[daemon]\nsocket = /";

    memset(text + strlen(text), 'x', 900);
    CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
    CU_ASSERT_EQUAL(read_text(&c, text, path, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, ":2: longer than"));
    config_free(&c);
}

/* A NUL would hide the rest of its line. */
static void test_nul(void)
{
    static const char texts[][32] = {
        "\n\0[daemon]\n", "\n# comment\0\nkeep = 1\n", "\n[daemon]\0", "\n\0"};
    static const size_t lengths[] = {11, 21, 10, 2};

    for (unsigned i = 0; i < 4; i++) {
        struct config c;
        struct error err = {0};
        char path[32];

        CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
        CU_ASSERT_EQUAL(read_bytes(&c, texts[i], lengths[i], path, &err), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, ":2: holds a NUL"));
        config_free(&c);
    }
}

static void test_no_file(void)
{
    struct config c;
    struct error err = {0};

    CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
    CU_ASSERT_EQUAL(config_read(&c, "/nonexistent/ashlard.conf", &err), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/ashlard.conf"));
    config_free(&c);
}

CU_TestInfo config_tests[] = {
    {"every key is read", test_all_keys},
    {"defaults", test_defaults},
    {"the later value counts", test_later_wins},
    {"bad lines are refused by file and line", test_refused},
    {"a line that is too long", test_long_line},
    {"a NUL in a line", test_nul},
    {"a file that is not there", test_no_file},
    CU_TEST_INFO_NULL,
};
