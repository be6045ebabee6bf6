/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <string.h>

#include "base/iov.h"

extern CU_TestInfo iov_tests[];

/* Every range of a list with pieces of 0 to 4 bytes, compared with the flat bytes. */
static void test_every_range(void)
{
    char data[16] = "0123456789abcde";
    struct iovec src[6] = {
        {data, 3}, {data + 3, 0}, {data + 3, 1}, {data + 4, 4}, {data + 8, 2}, {data + 10, 4}};
    size_t total = iov_length(src, 6);

    CU_ASSERT_EQUAL(total, 14);
    for (size_t off = 0; off <= total; off++)
        for (size_t len = 0; off + len <= total; len++) {
            struct iovec cut[6];
            char flat[16] = "";
            int n = iov_slice(cut, src, 6, off, len);

            CU_ASSERT(n <= 6);
            CU_ASSERT_EQUAL(iov_length(cut, n), len);
            iov_copy_from(flat, src, 6, off, len);
            CU_ASSERT(!memcmp(flat, data + off, len));
            iov_copy_from(flat, cut, n, 0, len);
            CU_ASSERT(!memcmp(flat, data + off, len));
        }
}

static void test_copy_to(void)
{
    char data[12] = "...........";
    struct iovec v[3] = {{data, 4}, {data + 4, 4}, {data + 8, 3}};

    iov_copy_to(v, 3, 2, "ABCDEFG", 7);
    CU_ASSERT_STRING_EQUAL(data, "..ABCDEFG..");
    iov_zero(v, 3, 3, 6);
    CU_ASSERT(!memcmp(data, "..A\0\0\0\0\0\0..", 11));
}

CU_TestInfo iov_tests[] = {
    {"every range of a list", test_every_range},
    {"copies and zeroes across pieces", test_copy_to},
    CU_TEST_INFO_NULL,
};
