/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checkers' arithmetic of parity, on stripes that Linux wrote. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "check_parity.h"
#include "raid/layout.h"
#include "unit.h"

#define CHUNK        4096u
#define STRIPES      12u
#define MEMBER_BYTES (STRIPES * CHUNK)
#define MEMBERS_MAX  5u

/* An array of tests/data/md/stripes. */
static struct check_layout layout;
static uint8_t members[MEMBERS_MAX][MEMBER_BYTES], content[MEMBERS_MAX * MEMBER_BYTES];

static void read_file(const char *name, void *buf, size_t bytes)
{
    char path[512];

    snprintf(path, sizeof path, "%s/stripes/%s", GOLDEN_DIR, name);
    FILE *f = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fread(buf, 1, bytes, f), bytes);
    fclose(f);
}

static void load_array(const json_t *json, unsigned number)
{
    int level = (int)json_integer_value(json_object_get(json, "level"));
    unsigned disks = (unsigned)json_integer_value(json_object_get(json, "raid_disks"));
    const char *name = json_string_value(json_object_get(json, "layout"));
    uint32_t code;
    char file[16];

    CU_ASSERT_EQUAL_FATAL(raid_layout_parse(level, name, &code, NULL), 0);
    CU_ASSERT_FATAL(check_layout_init(&layout, level, code, disks, CHUNK, MEMBER_BYTES, NULL));
    snprintf(file, sizeof file, "%u", number);
    read_file(file, members, disks * sizeof *members);
}

static void check_content(void)
{
    for (uint64_t at = 0, run; at < layout.size_bytes; at += run) {
        struct check_place places[CHECK_ROLES_MAX];
        CU_ASSERT_EQUAL_FATAL(check_layout_map(&layout, at, places, &run), 1);
        CU_ASSERT_EQUAL_FATAL(
            memcmp(members[places->role] + places->offset_bytes, content + at, run), 0);
        CU_ASSERT_EQUAL(check_layout_covered(&layout, at), places->offset_bytes);
    }
}

/* Without these one or two, the others tell what they were. */
static void check_missing(
    const struct check_stripe *s, const uint8_t *const *blocks, unsigned x, unsigned y)
{
    static uint8_t room[2][CHECK_PARITY_BYTES];
    const uint8_t *known[CHECK_ROLES_MAX];

    memcpy(known, blocks, layout.disks * sizeof *known);
    known[x] = known[y] = NULL;
    check_parity_solve(&layout, s, known, room, CHUNK);
    CU_ASSERT_EQUAL_FATAL(memcmp(known[x], blocks[x], CHUNK), 0);
    CU_ASSERT_EQUAL_FATAL(memcmp(known[y], blocks[y], CHUNK), 0);
}

static void check_stripe(uint64_t number)
{
    struct check_stripe s = check_layout_stripe(&layout, number);
    const uint8_t *blocks[CHECK_ROLES_MAX];

    for (unsigned role = 0; role < layout.disks; role++)
        blocks[role] = members[role] + number * CHUNK;
    CU_ASSERT_EQUAL_FATAL(check_parity_fits(&layout, &s, blocks, CHUNK), CHUNK);
    for (unsigned x = 0; x < layout.disks; x++) {
        members[x][number * CHUNK + 77] ^= 1;
        CU_ASSERT_EQUAL_FATAL(check_parity_fits(&layout, &s, blocks, CHUNK), 77);
        members[x][number * CHUNK + 77] ^= 1;
        for (unsigned y = x; y < layout.disks && (y == x || layout.parity == 2); y++)
            check_missing(&s, blocks, x, y);
    }
}

static void test_stripes(void)
{
    json_t *list = json_load_file(GOLDEN_DIR "/stripes/stripes.json", 0, NULL);
    size_t count = json_array_size(list);

    CU_ASSERT_EQUAL_FATAL(count, 21);
    read_file("content", content, 48 * CHUNK);
    for (unsigned i = 0; i < count; i++) {
        load_array(json_array_get(list, i), i);
        check_content();
        for (uint64_t number = 0; number < STRIPES; number++)
            check_stripe(number);
    }
    json_decref(list);
}

static void test_impossible(void)
{
    struct check_layout l;

    CU_ASSERT(!check_layout_init(&l, 5, 6, 3, CHUNK, MEMBER_BYTES, NULL));
    CU_ASSERT(!check_layout_init(&l, 5, 16, 3, CHUNK, MEMBER_BYTES, NULL));
    CU_ASSERT(!check_layout_init(&l, 6, 8, 4, CHUNK, MEMBER_BYTES, NULL));
    CU_ASSERT(!check_layout_init(&l, 6, 21, 4, CHUNK, MEMBER_BYTES, NULL));
    CU_ASSERT(!check_layout_init(&l, 6, 2, 3, CHUNK, MEMBER_BYTES, NULL));
    CU_ASSERT(!check_layout_init(&l, 5, 2, 1, CHUNK, MEMBER_BYTES, NULL));
    CU_ASSERT(!check_layout_init(&l, 5, 2, 3, CHUNK + 512, MEMBER_BYTES, NULL));
    CU_ASSERT(check_layout_init(&l, 5, 2, 3, CHUNK, MEMBER_BYTES, NULL));
}

static CU_TestInfo tests[] = {
    {"stripes of Linux", test_stripes},
    {"what cannot be", test_impossible},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {{.pName = "check-parity", .pTests = tests}, CU_SUITE_INFO_NULL};

    return unit_main(argc, argv, suites);
}
