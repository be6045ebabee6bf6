/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/refcount.h"

#include <string.h>

#include "unit.h"

extern CU_TestInfo refcount_tests[];

#define BLOCK_BYTES 512

static void test_bytes(void)
{
    uint8_t block[16] = {0};

    refcount_set(block, 0, 0, 1); /* the least significant bit first */
    refcount_set(block, 0, 9, 1);
    CU_ASSERT_EQUAL(block[0], 0x01);
    CU_ASSERT_EQUAL(block[1], 0x02);
    refcount_set(block, 1, 2, 3);
    CU_ASSERT_EQUAL(block[0], 0x31);
    refcount_set(block, 2, 1, 0xa);
    CU_ASSERT_EQUAL(block[0], 0xa1);
    refcount_set(block, 4, 1, 0x1234);
    CU_ASSERT(block[2] == 0x12 && block[3] == 0x34);
    refcount_set(block, 5, 1, 0x01020304);
    CU_ASSERT(block[4] == 1 && block[7] == 4);
    refcount_set(block, 6, 1, UINT64_C(0x0102030405060708));
    CU_ASSERT(block[8] == 1 && block[15] == 8);
}

/* Every refcount of a block is its own: set to the largest between its neighbours, and back. */
static void test_each(void)
{
    uint8_t block[BLOCK_BYTES];

    for (unsigned order = 0; order <= 6; order++) {
        uint64_t count = BLOCK_BYTES * 8 >> order, largest = refcount_max(order), wrong = 0;

        memset(block, 0, sizeof block);
        for (uint64_t i = 0; i < count; i++)
            refcount_set(block, order, i, i & largest);
        for (uint64_t i = 0; i < count; i++) {
            refcount_set(block, order, i, largest);
            wrong += refcount_get(block, order, i) != largest;
            refcount_set(block, order, i, i & largest);
        }
        for (uint64_t i = 0; i < count; i++)
            wrong += refcount_get(block, order, i) != (i & largest);
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

static void test_max(void)
{
    CU_ASSERT_EQUAL(refcount_max(0), 1);
    CU_ASSERT_EQUAL(refcount_max(4), 65535);
    CU_ASSERT_EQUAL(refcount_max(6), UINT64_MAX);
}

CU_TestInfo refcount_tests[] = {{"as they stand in bytes", test_bytes},
    {"each by itself", test_each}, {"the largest", test_max}, CU_TEST_INFO_NULL};
