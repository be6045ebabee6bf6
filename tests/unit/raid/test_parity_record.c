/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records of the parity log: what is written is read; nothing else is. */
#include "unit.h"

#include <string.h>
#include <zlib.h>

#include "raid/parity_record.h"

static struct parity_record example(void)
{
    struct parity_record r = {.tag = 0x123456,
        .sequence = UINT64_C(0x1122334455667788),
        .floor = 77,
        .payload_bytes = 4096 + 512,
        .payload_crc = 0xdeadbeef,
        .count = 3,
        .entries = {
            {UINT64_C(1) << 40, 4096, 3, false}, {512, 512, 61, false}, {8192, 65536, 7, true}}};

    memcpy(r.set_uuid, "0123456789abcdef", sizeof r.set_uuid);
    return r;
}

static void test_what_is_written_is_read(void)
{
    struct parity_record r = example(), again;
    uint8_t buf[PARITY_RECORD_HEADER_BYTES];

    parity_record_encode(&r, buf);
    CU_ASSERT_EQUAL(memcmp(buf, "ashlrPL1", 8), 0);
    CU_ASSERT_TRUE(parity_record_decode(&again, buf));
    CU_ASSERT_EQUAL(memcmp(&again, &r, sizeof r), 0);
}

static void test_every_flipped_bit_is_seen(void)
{
    struct parity_record r = example(), again;
    uint8_t buf[PARITY_RECORD_HEADER_BYTES];

    parity_record_encode(&r, buf);
    for (unsigned bit = 0; bit < 8 * sizeof buf; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CU_ASSERT_FALSE(parity_record_decode(&again, buf));
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void test_what_makes_no_sense_is_refused(void)
{
    struct parity_record r = example(), again;
    uint8_t buf[PARITY_RECORD_HEADER_BYTES];

    r.payload_bytes++;
    parity_record_encode(&r, buf);
    CU_ASSERT_FALSE(parity_record_decode(&again, buf));
    r = example();
    r.entries[1].length = 0;
    r.payload_bytes = 4096;
    parity_record_encode(&r, buf);
    CU_ASSERT_FALSE(parity_record_decode(&again, buf));
    r = example();
    r.count = 0;
    r.payload_bytes = 0;
    parity_record_encode(&r, buf);
    CU_ASSERT_FALSE(parity_record_decode(&again, buf));
}

static void test_the_crc_is_zlibs(void)
{
    uint8_t data[3000];
    struct iovec iov[] = {{data, 1}, {data + 1, 512}, {data + 513, sizeof data - 513}};

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i + 3 * i);
    CU_ASSERT_EQUAL(parity_record_crc(iov, 3), (uint32_t)crc32(0, data, sizeof data));
}

CU_TestInfo parity_record_tests[] = {
    {"what is written is read", test_what_is_written_is_read},
    {"every flipped bit is seen", test_every_flipped_bit_is_seen},
    {"what makes no sense is refused", test_what_makes_no_sense_is_refused},
    {"the CRC is zlib's", test_the_crc_is_zlibs},
    CU_TEST_INFO_NULL,
};
