/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdint.h>
#include <string.h>

#include "rt/io.h"
#include "scratch.h"

extern CU_TestInfo buffer_tests[];

static void co_sizes(void *arg)
{
    static const size_t sizes[] = {1, 512, 4096, 4097, 65536, 2 << 20, (2 << 20) + 1, 64 << 20};

    for (unsigned round = 0; round < 2; round++) {
        void *bufs[8];

        for (unsigned i = 0; i < 8; i++) {
            bufs[i] = io_buffer_get(sizes[i]);
            CU_ASSERT_EQUAL((uintptr_t)bufs[i] % 4096, 0);
            memset(bufs[i], (int)i, sizes[i]);
        }
        for (unsigned i = 0; i < 8; i++) {
            CU_ASSERT_EQUAL(((unsigned char *)bufs[i])[0], i);
            CU_ASSERT_EQUAL(((unsigned char *)bufs[i])[sizes[i] - 1], i);
            io_buffer_put(bufs[i], sizes[i]);
        }
    }
    io_buffer_put(NULL, 4096);
}

static void test_sizes(void)
{
    scratch_run(co_sizes);
}

static void test_outside_workers(void)
{
    co_sizes(NULL);
}

/* Far more is given back than is kept. */
static void co_bounded(void *arg)
{
    static void *bufs[64];

    for (unsigned i = 0; i < 64; i++)
        bufs[i] = io_buffer_get(2 << 20);
    for (unsigned i = 0; i < 64; i++)
        for (unsigned j = 0; j < i; j++)
            CU_ASSERT_PTR_NOT_EQUAL(bufs[i], bufs[j]);
    for (unsigned i = 0; i < 64; i++)
        io_buffer_put(bufs[i], 2 << 20);
}

static void test_bounded(void)
{
    scratch_run(co_bounded);
}

CU_TestInfo buffer_tests[] = {
    {"all sizes", test_sizes},
    {"outside workers", test_outside_workers},
    {"more than is kept", test_bounded},
    CU_TEST_INFO_NULL,
};
