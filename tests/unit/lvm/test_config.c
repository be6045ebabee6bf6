/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/config.h"

extern CU_TestInfo config_tests[];

static void test_parse(void)
{
    static const char text[] = "# comment { [ \"\n"
                               "a = 1 # rest\n"
                               "b=\"x \\\"y\\\\\"\n"
                               "vg-1.x+y_ {\n c { }\n d = [] e = [ \"p\", -7, 2, ] }\n"
                               "1 = \"one\"";
    struct arena *a = arena_create();
    struct config_node *n = NULL, *inner;

    CU_ASSERT_EQUAL(config_parse(a, text, sizeof text, &n, NULL), 0);
    CU_ASSERT_STRING_EQUAL(n->key, "a");
    CU_ASSERT_EQUAL(n->values[0].number, 1);
    CU_ASSERT_PTR_NULL(n->values[0].text);
    CU_ASSERT(!n->array && !n->section);
    CU_ASSERT_STRING_EQUAL(config_find(n, "b")->values[0].text, "x \"y\\");
    inner = config_find(n, "vg-1.x+y_");
    CU_ASSERT(inner->section);
    CU_ASSERT(inner->children->section && !inner->children->children);
    CU_ASSERT_EQUAL(config_find(inner->children, "d")->value_count, 0);
    CU_ASSERT(config_find(inner->children, "d")->array);
    CU_ASSERT_EQUAL(config_find(inner->children, "e")->value_count, 3);
    CU_ASSERT_EQUAL(config_find(inner->children, "e")->values[1].number, -7);
    CU_ASSERT_STRING_EQUAL(config_find(n, "1")->values[0].text, "one");
    CU_ASSERT_PTR_NULL(config_find(n, "c"));
    CU_ASSERT_PTR_EQUAL(config_take(&n, "a")->next, NULL);
    CU_ASSERT_STRING_EQUAL(n->key, "b");
    CU_ASSERT_PTR_NULL(config_take(&n, "a"));
    arena_free(a);
}

static void refused(const char *text, const char *part)
{
    struct arena *a = arena_create();
    struct config_node *n = (void *)1;
    struct error err = {0};

    CU_ASSERT_EQUAL(config_parse(a, text, strlen(text), &n, &err), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
    CU_ASSERT_PTR_EQUAL(n, (void *)1);
    arena_free(a);
}

static void test_refuse(void)
{
    static const char *const cases[][2] = {
        {"a", "line 1: = or { is expected"},
        {"\n\na 5", "line 3: = or {"},
        {"a =", "a number or a quoted text"},
        {"a = b", "a number or a quoted text"},
        {"a = [1 2]", "a comma or ]"},
        {"a = [1,", "a number or a quoted text"},
        {"a = [1", "a comma or ]"},
        {"a = \"x", "does not end"},
        {"a = \"x\ny\"", "does not end"},
        {"a = \"x\\", "does not end"},
        {"a {", "a section does not end"},
        {"a { b = 1", "a section does not end"},
        {"}", "a key is expected"},
        {"a { } }", "a key is expected"},
        {"a = 99999999999999999999", "too large"},
        {"a = 1.5", "a number or a quoted text"},
        {"a = 0x10", "a number or a quoted text"},
        {"a = 1 \x01", "unexpected character"},
        {"\"a\" = 1", "a key is expected"},
    };

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        refused(cases[i][0], cases[i][1]);
}

static void test_bounds(void)
{
    char deep[8 * CONFIG_DEPTH_MAX] = "";
    struct arena *a = arena_create();
    struct config_node *n;

    for (unsigned i = 0; i < CONFIG_DEPTH_MAX; i++)
        strcat(deep, "a{");
    for (unsigned i = 0; i < CONFIG_DEPTH_MAX; i++)
        strcat(deep, "}");
    CU_ASSERT_EQUAL(config_parse(a, deep, strlen(deep), &n, NULL), 0);
    memset(deep, 0, sizeof deep);
    for (unsigned i = 0; i <= CONFIG_DEPTH_MAX; i++)
        strcat(deep, "a{");
    refused(deep, "too deeply");
    size_t bytes = 2 * (size_t)CONFIG_NODES_MAX + 16;
    char *many = malloc(bytes);
    memset(many, ' ', bytes);
    memcpy(many, "a=[", 3);
    for (size_t i = 3; i < bytes; i += 2)
        memcpy(many + i, "1,", MIN((size_t)2, bytes - i));
    struct error err = {0};
    CU_ASSERT_EQUAL(config_parse(a, many, bytes, &n, &err), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "too many"));
    free(many);
    arena_free(a);
}

static void test_write(void)
{
    static const char *const items[] = {"a", "b\"c"};
    struct config_writer bare = {0}, pretty = {.comments = true};
    struct config_writer *both[] = {&bare, &pretty};
    struct arena *a = arena_create();
    struct config_node *n = NULL;
    static const char nodes[] = "x = [1, \"two\"] y { z = -3 }";

    CU_ASSERT_EQUAL(config_parse(a, nodes, sizeof nodes, &n, NULL), 0);
    for (unsigned i = 0; i < ARRAY_LEN(both); i++) {
        config_open(both[i], "s");
        config_put_list(both[i], "l", items, 2);
        config_put_list(both[i], "none", items, 0);
        config_line_comment(both[i], "\t# why", "n = %d", 5);
        config_put_text_comment(both[i], "\t# what", "t", "a\\b");
        config_put_nodes(both[i], n);
        config_close(both[i]);
    }
    CU_ASSERT_STRING_EQUAL(bare.text,
        "s {\nl = [\"a\", \"b\\\"c\"]\nnone = []\nn = 5\nt = \"a\\\\b\"\n"
        "x = [1, \"two\"]\n\ny {\nz = -3\n}\n}\n");
    CU_ASSERT_STRING_EQUAL(pretty.text,
        "s {\n\tl = [\"a\", \"b\\\"c\"]\n\tnone = []\n\tn = 5\t# why\n\tt = \"a\\\\b\"\t# what\n"
        "\tx = [1, \"two\"]\n\n\ty {\n\t\tz = -3\n\t}\n}\n");
    free(bare.text);
    free(pretty.text);
    arena_free(a);
}

CU_TestInfo config_tests[] = {
    {"sections, keys, values, comments", test_parse},
    {"what is not in the format is refused with its line", test_refuse},
    {"depth and number are bounded", test_bounds},
    {"bare text, and indented with comments", test_write},
    CU_TEST_INFO_NULL,
};
