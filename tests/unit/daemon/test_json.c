/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

extern CU_TestInfo json_tests[];

static bool parses(const char *text)
{
    struct error err = {0};
    json_t *json = NULL;
    int rc = json_parse(text, strlen(text), &json, &err);

    CU_ASSERT_EQUAL(rc, -err.code);
    if (rc == 0)
        json_decref(json);
    return rc == 0;
}

static void test_documents(void)
{
    CU_ASSERT(parses("{\"a\": [1, \"[[[[[[[[[[[[[[[[[[[[[[\", true, null]}"));
    CU_ASSERT(parses(" 7 "));
    CU_ASSERT_FALSE(parses(""));
    CU_ASSERT_FALSE(parses("{"));
    CU_ASSERT_FALSE(parses("{} {}"));
    CU_ASSERT_FALSE(parses("{\"a\": 1, \"a\": 2}"));
    CU_ASSERT_FALSE(parses("\"\xff\xfe\""));
    CU_ASSERT_FALSE(parses("\"\\u0000\""));
    CU_ASSERT_FALSE(parses("99999999999999999999"));
}

static void test_depth(void)
{
    char text[2 * JSON_DEPTH_MAX + 3];

    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    text[2 * JSON_DEPTH_MAX] = '\0';
    CU_ASSERT(parses(text));
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    text[2 * JSON_DEPTH_MAX + 2] = '\0';
    CU_ASSERT_FALSE(parses(text));
}

/* A megabyte of brackets must not reach the parser, which recurses. */
static void test_megabyte_of_brackets(void)
{
    char *text = malloc((1 << 20) + 1);

    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, '[', 1 << 20);
    text[1 << 20] = '\0';
    CU_ASSERT_FALSE(parses(text));
    memset(text, '{', 1 << 20);
    CU_ASSERT_FALSE(parses(text));
    free(text);
}

static void text_becomes(const char *text, const char *want)
{
    json_t *json = json_text(text);

    CU_ASSERT_PTR_NOT_NULL_FATAL(json);
    CU_ASSERT_STRING_EQUAL(json_string_value(json), want);
    json_decref(json);
}

static void test_any_text(void)
{
    text_becomes("", "");
    text_becomes("plain \xc3\xa4", "plain \xc3\xa4");
    text_becomes("cut \xc3", "cut ?");
    text_becomes("\xff\xfe/a", "?"
                               "?/a");
    CU_ASSERT_PTR_NULL(json_text(NULL));
}

CU_TestInfo json_tests[] = {
    {"documents", test_documents},
    {"depth is bounded", test_depth},
    {"texts of any bytes", test_any_text},
    {"a megabyte of brackets", test_megabyte_of_brackets},
    CU_TEST_INFO_NULL,
};
