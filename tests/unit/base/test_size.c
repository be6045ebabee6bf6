/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>

#include "base/size.h"

extern CU_TestInfo size_tests[];

static void parses(const char *text, uint64_t want)
{
    uint64_t got = 0;

    CU_ASSERT_EQUAL(size_parse(text, &got), 0);
    CU_ASSERT_EQUAL(got, want);
}

static void test_parse(void)
{
    parses("0", 0);
    parses("4096", 4096);
    parses("512K", 512 << 10);
    parses("1.5G", 3ull << 29);
    parses("64T", 64ull << 40);
    parses("4MiB", 4 << 20);
    parses("7EiB", 7ull << 60);
}

static void test_refuse(void)
{
    static const char *const bad[] = {"", "-1", "K", "12Q", "1.K", "1.5", "1KK", " 1", "1 K"};
    uint64_t got = 77;

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(size_parse(bad[i], &got), -EINVAL);
    CU_ASSERT_EQUAL(size_parse("8E", &got), -ERANGE);
    CU_ASSERT_EQUAL(size_parse("99999999999999999999", &got), -ERANGE);
    CU_ASSERT_EQUAL(got, 77);
}

static void test_format(void)
{
    char b[16];

    CU_ASSERT_STRING_EQUAL(size_format(0, b, sizeof b), "0");
    CU_ASSERT_STRING_EQUAL(size_format(512, b, sizeof b), "512");
    CU_ASSERT_STRING_EQUAL(size_format(1024, b, sizeof b), "1K");
    CU_ASSERT_STRING_EQUAL(size_format(3ull << 29, b, sizeof b), "1.5G");
    CU_ASSERT_STRING_EQUAL(size_format(700ull << 20, b, sizeof b), "700M");
}

CU_TestInfo size_tests[] = {
    {"sizes are read", test_parse},
    {"what is no size is refused", test_refuse},
    {"sizes are written", test_format},
    CU_TEST_INFO_NULL,
};
