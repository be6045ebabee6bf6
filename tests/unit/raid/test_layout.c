/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "raid/layout.h"

extern CU_TestInfo layout_tests[];

static void test_levels(void)
{
    static const struct {
        const char *text;
        int level;
    } cases[] = {{"0", 0}, {"raid0", 0}, {"stripe", 0}, {"1", 1}, {"mirror", 1}, {"raid5", 5},
        {"6", 6}, {"10", 10}, {"raid10", 10}, {"raid4", 4}};
    static const char *const bad[] = {"", "2", "linear", "raid", "-1", "r0", "01"};
    struct error err;
    int level = 77;

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        CU_ASSERT_EQUAL(raid_level_parse(cases[i].text, &level, NULL), 0);
        CU_ASSERT_EQUAL(level, cases[i].level);
    }
    level = 77;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        CU_ASSERT_EQUAL(raid_level_parse(bad[i], &level, &err), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "is no RAID level"));
    }
    CU_ASSERT_EQUAL(level, 77);
    CU_ASSERT_STRING_EQUAL(raid_level_name(10), "raid10");
    CU_ASSERT_STRING_EQUAL(raid_level_name(-1), "linear");
    CU_ASSERT_STRING_EQUAL(raid_level_name(7), "unknown level");
}

static const struct {
    int level;
    const char *text;
    uint32_t layout;
    const char *name;
} layouts[] = {
    {0, NULL, 1, "original"},
    {0, "alternate", 2, "alternate"},
    {1, NULL, 0, "-"},
    {1, "", 0, "-"},
    {5, "", 2, "left-symmetric"},
    {5, "la", 0, "left-asymmetric"},
    {5, "right-asymmetric", 1, "right-asymmetric"},
    {5, "rs", 3, "right-symmetric"},
    {5, "parity-first", 4, "parity-first"},
    {6, "parity-last", 5, "parity-last"},
    {6, "ddf-N-continue", 10, "ddf-N-continue"},
    {6, "left-symmetric-6", 18, "left-symmetric-6"},
    {10, NULL, 0x102, "near2"},
    {10, "n2", 0x102, "near2"},
    {10, "near3", 0x103, "near3"},
    {10, "f2", 0x201, "far2"},
    {10, "far4", 0x401, "far4"},
    {10, "o2", 0x10201, "offset2"},
    {10, "offset3", 0x10301, "offset3"},
};

static void test_names(void)
{
    char buf[32];

    for (unsigned i = 0; i < ARRAY_LEN(layouts); i++) {
        uint32_t layout = 77;
        CU_ASSERT_EQUAL(raid_layout_parse(layouts[i].level, layouts[i].text, &layout, NULL), 0);
        CU_ASSERT_EQUAL(layout, layouts[i].layout);
        CU_ASSERT_STRING_EQUAL(
            raid_layout_format(layouts[i].level, layout, buf, sizeof buf), layouts[i].name);
    }
    CU_ASSERT_STRING_EQUAL(raid_layout_format(10, 0x202, buf, sizeof buf), "near2,far2");
    CU_ASSERT_STRING_EQUAL(
        raid_layout_format(10, 0x5ffff, buf, sizeof buf), "near255,offset255,sets2");
    CU_ASSERT_STRING_EQUAL(raid_layout_format(5, 9, buf, sizeof buf), "layout 9");
}

static void test_refuse(void)
{
    static const struct {
        int level;
        const char *text, *reason;
    } bad[] = {
        {0, "near2", "is no layout of raid0, which has original alternate"},
        {1, "near2", "raid1 has no layouts"},
        {5, "left-symmetric-6", "right-symmetric parity-first parity-last"},
        {5, "ddf-N-restart", "is no layout of raid5"},
        {6, "n2", "is no layout of raid6"},
        {10, "n", "near, far or offset"},
        {10, "near", "near, far or offset"},
        {10, "n1", "near, far or offset"},
        {10, "n256", "near, far or offset"},
        {10, "n99999999999", "near, far or offset"},
        {10, "nea2", "near, far or offset"},
        {10, "n2x", "near, far or offset"},
        {10, "n-2", "near, far or offset"},
        {10, "2", "near, far or offset"},
    };
    uint32_t layout = 77;
    struct error err;

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        CU_ASSERT_EQUAL(raid_layout_parse(bad[i].level, bad[i].text, &layout, &err), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, bad[i].reason));
    }
    CU_ASSERT_EQUAL(layout, 77);
}

CU_TestInfo layout_tests[] = {
    {"levels by name and number", test_levels},
    {"layouts by name, and their names", test_names},
    {"what is no layout of that level is refused with those it has", test_refuse},
    CU_TEST_INFO_NULL,
};
