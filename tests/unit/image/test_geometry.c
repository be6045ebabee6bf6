/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/header.h"

#include "unit.h"

static struct qcow2_geometry geometry(unsigned cluster_bits, unsigned order, uint64_t incompatible)
{
    struct qcow2_header h = {
        .cluster_bits = cluster_bits, .refcount_order = order, .incompatible = incompatible};
    struct qcow2_geometry g;

    qcow2_geometry_init(&g, &h);
    return g;
}

static void test_tables(void)
{
    struct qcow2_geometry plain = geometry(16, 4, 0), small = geometry(9, 0, 0);
    struct qcow2_geometry extended = geometry(17, 4, QCOW2_EXTENDED_L2);

    CU_ASSERT_EQUAL(plain.l2_bits, 13);
    CU_ASSERT_EQUAL(plain.subcluster_bits, 16);
    CU_ASSERT_EQUAL(plain.refcount_block_bits, 15);
    CU_ASSERT_EQUAL(small.l2_bits, 6);
    CU_ASSERT_EQUAL(small.refcount_block_bits, 12);
    CU_ASSERT_EQUAL(extended.l2_bits, 13);
    CU_ASSERT_EQUAL(extended.subcluster_bits, 12);
    CU_ASSERT_EQUAL(geometry(16, 6, 0).refcount_block_bits, 13);
}

static void test_l1(void)
{
    struct qcow2_geometry g = geometry(16, 4, 0); /* a table spans 512 MiB */

    CU_ASSERT_EQUAL(qcow2_l1_entries(&g, 0), 0);
    CU_ASSERT_EQUAL(qcow2_l1_entries(&g, 1), 1);
    CU_ASSERT_EQUAL(qcow2_l1_entries(&g, UINT64_C(512) << 20), 1);
    CU_ASSERT_EQUAL(qcow2_l1_entries(&g, (UINT64_C(512) << 20) + 1), 2);
    CU_ASSERT_EQUAL(qcow2_l1_entries(&g, UINT64_C(64) << 40), 131072);
}

CU_TestInfo geometry_tests[] = {
    {"entries of tables", test_tables}, {"entries of L1", test_l1}, CU_TEST_INFO_NULL};
