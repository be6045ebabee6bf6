/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <limits.h>

#include "raid/error_budget.h"

extern CU_TestInfo error_budget_tests[];

#define HOUR_NS (3600 * UINT64_C(1000000000))
#define START   (UINT64_C(1) << 60)

static void spend(struct error_budget *b, unsigned count, uint64_t now_ns)
{
    for (unsigned i = 0; i < count; i++)
        error_budget_spend(b, now_ns);
}

static void test_each_counts(void)
{
    struct error_budget b = {0};

    CU_ASSERT_EQUAL(error_budget_used(&b, START), 0);
    spend(&b, 1, START);
    CU_ASSERT_EQUAL(error_budget_used(&b, START), 1);
    spend(&b, 20, START + HOUR_NS - 1);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + HOUR_NS - 1), 21);
}

static void test_halved_every_hour(void)
{
    struct error_budget b = {0};

    spend(&b, 21, START);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + HOUR_NS), 10);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 2 * HOUR_NS - 1), 10);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 2 * HOUR_NS), 5);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 4 * HOUR_NS), 1);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 5 * HOUR_NS), 0);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 1000 * HOUR_NS), 0);
}

/* However often there is one: an error just before each hour's end does not keep the others. */
static void test_errors_do_not_hold_the_hour_up(void)
{
    struct error_budget b = {0};

    spend(&b, 8, START);
    for (unsigned hour = 1; hour <= 4; hour++)
        spend(&b, 1, START + hour * HOUR_NS - 1);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 4 * HOUR_NS), 1);
}

/* The first after a long time begins an hour of its own. */
static void test_begins_anew(void)
{
    struct error_budget b = {0};

    spend(&b, 1, START);
    spend(&b, 4, START + 3 * HOUR_NS + HOUR_NS / 2);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 4 * HOUR_NS + HOUR_NS / 4), 4);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + 4 * HOUR_NS + HOUR_NS / 2), 2);
}

static void test_earlier(void)
{
    struct error_budget b = {0};

    spend(&b, 3, START);
    spend(&b, 1, START - 1);
    CU_ASSERT_EQUAL(error_budget_used(&b, START - 1), 4);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + HOUR_NS), 2);
}

static void test_most(void)
{
    struct error_budget b = {UINT_MAX, START};

    spend(&b, 1, START);
    CU_ASSERT_EQUAL(error_budget_used(&b, START), UINT_MAX);
    CU_ASSERT_EQUAL(error_budget_used(&b, START + HOUR_NS), UINT_MAX / 2);
}

CU_TestInfo error_budget_tests[] = {
    {"each counts", test_each_counts},
    {"halved every hour", test_halved_every_hour},
    {"errors do not hold the hour up", test_errors_do_not_hold_the_hour_up},
    {"the first after a long time begins an hour", test_begins_anew},
    {"a moment earlier than the last", test_earlier},
    {"the most there is", test_most},
    CU_TEST_INFO_NULL,
};
