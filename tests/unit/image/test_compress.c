/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/compress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define CLUSTER 65536

/* The first sectors of what `qemu-img convert -c` made of sample(): one cluster, and behind it the
 * beginning of the next, as a reader finds it. In hexadecimal. */
static const char qemu_zlib[] =
    "edd08b8d83301004d056a684d80603fd3776036ddc93229484fdccbe5f468e3c193bf3ccda399eec23f7c8ca3c72"
    "5cb96666d6c89e795ab172fd3266ce95a7d5eded807e3f72fe72679f9957ee3be7913973775a479d1923f7ce6ec7"
    "9d35335a9967e53e733db9fa5cdfe7fbd93ffb6abf452d6d43dbda3cbe411dd7a11ddd055dd3655d79bfcb1be10d"
    "32be50fb0dd8980ddbc80dbebf23e67b4e8fea69eb3db2a7f6e0f51d5f82a716233f264c983061c2840913264c98"
    "3061c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c9830"
    "61c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061"
    "c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c2"
    "840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c284"
    "0913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c983061c28409"
    "13264c983061c2840913264c983061c2840913264c983061c2840913264c983061c2840913264c9830f987267fed"
    "d0898dc3300c04c056b684e8b5dc7f6347b98d1b20066487a496939dd3d247ceccded927ad658db49df7a4f7cc95"
    "73f2f4acaacc";
static const char qemu_zstd[] =
    "28b52ffd6000ff450400c24e1a0bb0b50d64d24b0de78c59046f5e777271f6d132e3c0231c7d6a914138b6cc1d6b"
    "30d3d3434c34e7888b5e77e976e2ee520f4978c2151e5aea4e3b64e2eda5b7475e2f3a62ce4487783a0d66d6c257"
    "93b7963936088b3c75f4c9718403672c8f662f5e79e2ee9a6f100900e9fe8bd527c04a83b40b186b02868963c221"
    "a7dac914a0f0725228b52ffd6000ff45040012cf1a0bb0b50d64d24b0de78c590425531839cca1a6b9e43ed2edd4"
    "d74d75c4c3898e70677ac0c529d7fac88b0358e49a1b8798e1e032ed72d6b25ef30ddebc5e8f593aeb72da727086"
    "431ccb6e5cb3c801bc78e4eae4b529171f30dd39c2440f8f98ea6e99b7a9b7939678740f0800e9fe8ba5894cc1f5"
    "5b6c6b484e934760174aa189820a130d00000000000000000000000000000000000000000000000000000000";

static void sample(uint8_t *cluster)
{
    unsigned length = 0;

    for (unsigned i = 0; length < CLUSTER; i++) {
        char text[8];
        int n = snprintf(text, sizeof text, "%u ", i * i % 97);

        for (int k = 0; k < n && length < CLUSTER; k++)
            cluster[length++] = (uint8_t)text[k];
    }
}

static void noise(uint8_t *bytes, size_t length)
{
    uint64_t state = 1;

    for (size_t i = 0; i < length; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (uint8_t)(state >> 56);
    }
}

static size_t from_hex(uint8_t *bytes, const char *hex)
{
    size_t length = strlen(hex) / 2;

    for (size_t i = 0; i < length; i++) {
        unsigned byte = 0;

        sscanf(hex + 2 * i, "%2x", &byte);
        bytes[i] = (uint8_t)byte;
    }
    return length;
}

static uint8_t wanted[CLUSTER], packed[CLUSTER + 512], got[CLUSTER + 1];

static void test_by_qemu(void)
{
    size_t length = from_hex(packed, qemu_zlib);

    sample(wanted);
    CU_ASSERT_EQUAL(cluster_unpack(QCOW2_ZLIB, got, CLUSTER, packed, length), 0);
    CU_ASSERT_EQUAL(memcmp(got, wanted, CLUSTER), 0);
    memset(got, 0, sizeof got);
    length = from_hex(packed, qemu_zstd);
    CU_ASSERT_EQUAL(cluster_unpack(QCOW2_ZSTD, got, CLUSTER, packed, length), 0);
    CU_ASSERT_EQUAL(memcmp(got, wanted, CLUSTER), 0);
}

static void there_and_back(enum qcow2_compression how, size_t bytes)
{
    size_t length = 0;

    memset(packed, 0xee, sizeof packed);
    CU_ASSERT_EQUAL(cluster_pack(how, packed, bytes - 1, &length, wanted, bytes), 0);
    CU_ASSERT(length > 0 && length < bytes);
    CU_ASSERT_EQUAL(packed[bytes - 1], 0xee);
    memset(got, 0, sizeof got);
    CU_ASSERT_EQUAL(cluster_unpack(how, got, bytes, packed, length), 0);
    CU_ASSERT_EQUAL(memcmp(got, wanted, bytes), 0);
    CU_ASSERT_EQUAL(cluster_unpack(how, got, bytes, packed, length + 511), 0);
    CU_ASSERT_EQUAL(memcmp(got, wanted, bytes), 0);
}

static void test_there_and_back(void)
{
    sample(wanted);
    for (size_t bytes = 512; bytes <= CLUSTER; bytes *= 2) {
        there_and_back(QCOW2_ZLIB, bytes);
        there_and_back(QCOW2_ZSTD, bytes);
    }
    /* What repeats at a distance that a window of 4 KiB just does not reach. */
    noise(wanted, 5000);
    for (size_t i = 5000; i < CLUSTER; i++)
        wanted[i] = i % 10000 < 5000 ? wanted[i % 5000] : (uint8_t)(i / 700);
    there_and_back(QCOW2_ZLIB, CLUSTER);
    there_and_back(QCOW2_ZSTD, CLUSTER);
}

static void test_incompressible(void)
{
    const enum qcow2_compression all[] = {QCOW2_ZLIB, QCOW2_ZSTD};
    size_t length = 7;

    noise(wanted, CLUSTER);
    for (unsigned i = 0; i < 2; i++)
        for (size_t bytes = 512; bytes <= CLUSTER; bytes *= 2) {
            packed[bytes - 1] = 0xee;
            CU_ASSERT_EQUAL(
                cluster_pack(all[i], packed, bytes - 1, &length, wanted, bytes), -ENOSPC);
            CU_ASSERT_EQUAL(packed[bytes - 1], 0xee);
        }
    CU_ASSERT_EQUAL(length, 7);
}

/* Each stream cut at each length: what is left must not pass for the whole. */
static void truncated(enum qcow2_compression how)
{
    size_t length = 0;

    sample(wanted);
    CU_ASSERT_EQUAL(cluster_pack(how, packed, CLUSTER - 1, &length, wanted, CLUSTER), 0);
    for (size_t cut = 0; cut < length; cut++) {
        /* Its own memory, so that AddressSanitizer sees a byte too many. */
        uint8_t *part = malloc(cut ? cut : 1);
        int rc;

        memcpy(part, packed, cut);
        rc = cluster_unpack(how, got, CLUSTER, part, cut);
        if (rc == 0) /* the mark of the end is all that is missing */
            CU_ASSERT_EQUAL(memcmp(got, wanted, CLUSTER), 0);
        CU_ASSERT(rc == -EIO || (rc == 0 && cut >= length - 8));
        free(part);
    }
}

static void test_truncated(void)
{
    truncated(QCOW2_ZLIB);
    truncated(QCOW2_ZSTD);
}

/* Any bit turned: an error, or bytes, but never more of them than asked for. */
static void damaged(enum qcow2_compression how)
{
    size_t length = 0;
    unsigned refused = 0;

    sample(wanted);
    CU_ASSERT_EQUAL(cluster_pack(how, packed, CLUSTER - 1, &length, wanted, CLUSTER), 0);
    for (size_t bit = 0; bit < length * 8; bit++) {
        uint8_t *part = malloc(length);
        int rc;

        memcpy(part, packed, length);
        part[bit / 8] ^= (uint8_t)(1u << bit % 8);
        got[CLUSTER] = 0xee;
        rc = cluster_unpack(how, got, CLUSTER, part, length);
        CU_ASSERT(rc == 0 || rc == -EIO);
        refused += rc != 0;
        CU_ASSERT_EQUAL(got[CLUSTER], 0xee);
        free(part);
    }
    CU_ASSERT(refused > 0);
}

static void test_damaged(void)
{
    damaged(QCOW2_ZLIB);
    damaged(QCOW2_ZSTD);
}

static void test_wrong_size(void)
{
    const enum qcow2_compression all[] = {QCOW2_ZLIB, QCOW2_ZSTD};

    sample(wanted);
    for (unsigned i = 0; i < 2; i++) {
        size_t length = 0;

        CU_ASSERT_EQUAL(cluster_pack(all[i], packed, CLUSTER - 1, &length, wanted, CLUSTER / 2), 0);
        CU_ASSERT_EQUAL(cluster_unpack(all[i], got, CLUSTER, packed, length), -EIO);
    }
}

static void test_other_method(void)
{
    size_t length = from_hex(packed, qemu_zlib);

    CU_ASSERT_EQUAL(cluster_unpack(QCOW2_ZSTD, got, CLUSTER, packed, length), -EIO);
    length = from_hex(packed, qemu_zstd);
    CU_ASSERT_EQUAL(cluster_unpack(QCOW2_ZLIB, got, CLUSTER, packed, length), -EIO);
}

CU_TestInfo compress_tests[] = {{"clusters written by qemu-img", test_by_qemu},
    {"there and back", test_there_and_back}, {"what does not become smaller", test_incompressible},
    {"truncated streams", test_truncated}, {"damaged streams", test_damaged},
    {"a stream of too few bytes", test_wrong_size}, {"the wrong method", test_other_method},
    CU_TEST_INFO_NULL};
