/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAID5 and RAID6, exhaustively over small shapes: each is laid out here block by block on a board
 * (a column for each member, a row for each stripe) by walking over the members, and the geometry
 * must agree with every square of the board in both directions. Then arrays that Linux made, read
 * with all members and without any one or two.
 */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "golden.h"
#include "raid/geometry.h"
#include "raid/parity.h"

extern CU_TestInfo geometry_parity_tests[];

#define CHUNK   4096u
#define MEMBERS 9u
#define ROWS    20u

enum moves { LEFT, RIGHT, FIRST, LAST };

/* The layouts in words. */
static const struct {
    uint32_t layout;
    enum moves p;
    bool symmetric, q_last;
} layouts[] = {
    {RAID5_LAYOUT_LEFT_ASYMMETRIC, LEFT, false, false},
    {RAID5_LAYOUT_RIGHT_ASYMMETRIC, RIGHT, false, false},
    {RAID5_LAYOUT_LEFT_SYMMETRIC, LEFT, true, false},
    {RAID5_LAYOUT_RIGHT_SYMMETRIC, RIGHT, true, false},
    {RAID5_LAYOUT_PARITY_FIRST, FIRST, false, false},
    {RAID5_LAYOUT_PARITY_LAST, LAST, false, false},
    {16, LEFT, false, true},
    {17, RIGHT, false, true},
    {18, LEFT, true, true},
    {19, RIGHT, true, true},
    {20, FIRST, false, true},
};

struct board {
    unsigned members, data, parities;
    unsigned block[ROWS][MEMBERS];    /* by role; data is P, data + 1 is Q */
    unsigned exponent[ROWS][MEMBERS]; /* by role */
};

/* `l`: in layouts. */
static void lay_row(struct board *b, unsigned l, unsigned row, unsigned p)
{
    unsigned n = b->members, round = n - layouts[l].q_last, q = n, role, block = 0, exponent = 0;

    if (b->parities == 2)
        q = layouts[l].q_last ? n - 1 : (p + 1) % n;
    role = layouts[l].symmetric ? (q == (p + 1) % n && !layouts[l].q_last ? q : p) + 1 : 0;
    for (unsigned steps = 0; steps < n; steps++, role++) {
        if (role % round != p && role % round != q && block < b->data)
            b->block[row][role % round] = block++;
    }
    b->block[row][p] = b->data;
    if (b->parities == 1)
        return;
    b->block[row][q] = b->data + 1;
    for (role = q + 1; role != q + n; role++)
        if (role % n != p)
            b->exponent[row][role % n] = exponent++;
}

static void lay(struct board *b, unsigned l)
{
    unsigned round = b->members - layouts[l].q_last;
    unsigned p = layouts[l].p == LEFT ? round - 1 : layouts[l].p == LAST ? b->data : 0;

    for (unsigned row = 0; row < ROWS; row++) {
        lay_row(b, l, row, p);
        if (layouts[l].p == LEFT)
            p = p ? p - 1 : round - 1;
        if (layouts[l].p == RIGHT)
            p = p + 1 == round ? 0 : p + 1;
    }
}

static void check_square(
    const struct board *b, const struct raid_geometry *g, unsigned row, unsigned role)
{
    struct raid_stripe s = raid_geometry_stripe(g, row);
    uint64_t inside = (row + role) * 100 % CHUNK, start = (uint64_t)row * b->data * CHUNK;
    uint64_t at = start + b->block[row][role] * CHUNK + inside, offset, run;
    unsigned block = b->block[row][role], copy;
    struct raid_location where;

    CU_ASSERT_EQUAL_FATAL(raid_stripe_block(g, &s, role), block);
    CU_ASSERT_EQUAL_FATAL(raid_stripe_role(g, &s, block), role);
    CU_ASSERT_FATAL(raid_geometry_unmap(g, role, row * CHUNK + inside, &offset, &copy, &run));
    CU_ASSERT_EQUAL_FATAL(run, CHUNK - inside);
    if (block >= b->data) {
        CU_ASSERT_EQUAL_FATAL(copy, block == b->data ? RAID_COPY_P : RAID_COPY_Q);
        CU_ASSERT_EQUAL_FATAL(offset, start);
        return;
    }
    CU_ASSERT_EQUAL_FATAL(copy, 0);
    CU_ASSERT_EQUAL_FATAL(offset, at);
    CU_ASSERT_EQUAL_FATAL(raid_geometry_map(g, at, &where, &run), 1);
    CU_ASSERT_EQUAL_FATAL(where.role, role);
    CU_ASSERT_EQUAL_FATAL(where.offset_bytes, row * CHUNK + inside);
    CU_ASSERT_EQUAL_FATAL(run, CHUNK - inside);
    struct raid_place place = raid_geometry_place(g, at);
    CU_ASSERT_FATAL(place.stripe == row && place.block == block && place.offset_bytes == inside);
    CU_ASSERT_EQUAL_FATAL(
        raid_stripe_exponent(g, &s, block), b->parities == 2 ? b->exponent[row][role] : block);
}

static void check_complete(const struct board *b, const struct raid_geometry *g)
{
    for (unsigned set = 0; set < 1u << b->members; set++) {
        bool present[MEMBERS];
        unsigned missing = 0;
        for (unsigned m = 0; m < b->members; m++)
            missing += !(present[m] = set >> m & 1);
        CU_ASSERT_EQUAL_FATAL(raid_geometry_complete(g, present), missing <= b->parities);
    }
}

static void try_shape(int level, unsigned l, unsigned members)
{
    struct raid_shape shape = {
        .level = level,
        .layout = layouts[l].layout,
        .raid_disks = members,
        .chunk_bytes = CHUNK,
        .member_bytes = ROWS * CHUNK + 512,
    };
    unsigned parities = level == 6 ? 2 : 1;
    struct board b = {.members = members, .data = members - parities, .parities = parities};
    struct raid_geometry g;

    CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&g, &shape, NULL), 0);
    CU_ASSERT_EQUAL(g.size_bytes, ROWS * CHUNK * b.data);
    CU_ASSERT_EQUAL(g.sync_bytes, ROWS * CHUNK);
    CU_ASSERT_EQUAL(g.boundary_bytes, CHUNK);
    CU_ASSERT_EQUAL(g.parity, parities);
    CU_ASSERT(g.raid5.data == b.data && g.raid5.stripes == ROWS && g.copies == 1);
    lay(&b, l);
    for (unsigned role = 0; role < members; role++) {
        CU_ASSERT_EQUAL(raid_geometry_member_bytes(&g, role), ROWS * CHUNK);
        for (unsigned row = 0; row < ROWS; row++)
            check_square(&b, &g, row, role);
    }
    check_complete(&b, &g);
    raid_geometry_destroy(&g);
}

static void test_shapes(void)
{
    for (unsigned l = 0; l < ARRAY_LEN(layouts); l++) {
        for (unsigned members = 2; members <= MEMBERS && !layouts[l].q_last; members++)
            try_shape(5, l, members);
        for (unsigned members = 4; members <= MEMBERS; members++)
            try_shape(6, l, members);
    }
}

/* Every role of one stripe holds another block, and every exponent comes once. */
static void check_widest(int level, unsigned members, uint64_t chunk_bytes)
{
    struct raid_shape shape = {
        .level = level,
        .layout = RAID5_LAYOUT_RIGHT_ASYMMETRIC,
        .raid_disks = members,
        .chunk_bytes = chunk_bytes,
        .member_bytes = 1ull << 50,
    };
    struct raid_geometry g;

    CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&g, &shape, NULL), 0);
    for (uint64_t number = g.raid5.stripes - members; number < g.raid5.stripes; number++) {
        struct raid_stripe s = raid_geometry_stripe(&g, number);
        bool seen[RAID_DISKS_MAX] = {false}, powers[RAID_DISKS_MAX] = {false};
        for (unsigned role = 0; role < members; role++) {
            unsigned block = raid_stripe_block(&g, &s, role);
            CU_ASSERT_FATAL(block < members && !seen[block]);
            seen[block] = true;
            CU_ASSERT_EQUAL_FATAL(raid_stripe_role(&g, &s, block), role);
            if (block >= g.raid5.data)
                continue;
            unsigned exponent = raid_stripe_exponent(&g, &s, block);
            CU_ASSERT_FATAL(exponent < g.raid5.data && !powers[exponent]);
            powers[exponent] = true;
        }
    }
    raid_geometry_destroy(&g);
}

static void test_widest(void)
{
    check_widest(5, RAID_DISKS_MAX, 4096);
    check_widest(5, RAID_DISKS_MAX, 64u << 20);
    check_widest(6, RAID6_DISKS_MAX, 64u << 20);
}

/* A bit stands for stripes: for the same bytes of all members. */
static void test_bitmap_range(void)
{
    struct raid_shape shape = {
        .level = 5, .layout = 2, .raid_disks = 4, .chunk_bytes = CHUNK, .member_bytes = 10 * CHUNK};
    struct raid_geometry g;
    uint64_t offset, bytes;

    CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&g, &shape, NULL), 0);
    raid_geometry_bitmap_range(&g, 2, 4 * CHUNK, &offset, &bytes);
    CU_ASSERT(offset == 8 * CHUNK && bytes == 2 * CHUNK);
    raid_geometry_bitmap_range(&g, 3, 4 * CHUNK, &offset, &bytes);
    CU_ASSERT_EQUAL(bytes, 0);
    raid_geometry_destroy(&g);
}

#define SHAPE(l, lay, disks, chunk, member)                                                        \
    {                                                                                              \
        .level = (l), .layout = (lay), .raid_disks = (disks), .chunk_bytes = (chunk),              \
        .member_bytes = (member)                                                                   \
    }

static const struct {
    struct raid_shape shape;
    int rc;
    const char *text;
} refused[] = {
    {SHAPE(5, 2, 1, CHUNK, CHUNK), -EINVAL, "raid5 has at least 2 members, not 1"},
    {SHAPE(6, 2, 3, CHUNK, CHUNK), -EINVAL, "raid6 has at least 4 members, not 3"},
    {SHAPE(5, 2, 385, CHUNK, CHUNK), -EINVAL, "1 to 384 members, not 385"},
    {SHAPE(6, 2, 256, CHUNK, CHUNK), -EOPNOTSUPP, "raid6 over more than 255 members"},
    {SHAPE(5, 6, 4, CHUNK, CHUNK), -EINVAL, "6 is no layout of raid5"},
    {SHAPE(5, 8, 4, CHUNK, CHUNK), -EINVAL, "8 is no layout of raid5"},
    {SHAPE(5, 16, 4, CHUNK, CHUNK), -EINVAL, "16 is no layout of raid5"},
    {SHAPE(6, 7, 4, CHUNK, CHUNK), -EINVAL, "7 is no layout of raid6"},
    {SHAPE(6, 21, 4, CHUNK, CHUNK), -EINVAL, "21 is no layout of raid6"},
    {SHAPE(6, 0x102, 4, CHUNK, CHUNK), -EINVAL, "258 is no layout of raid6"},
    {SHAPE(6, 8, 4, CHUNK, CHUNK), -EOPNOTSUPP, "ddf-zero-restart is not supported"},
    {SHAPE(6, 9, 4, CHUNK, CHUNK), -EOPNOTSUPP, "ddf-N-restart is not supported"},
    {SHAPE(6, 10, 4, CHUNK, CHUNK), -EOPNOTSUPP, "ddf-N-continue is not supported"},
    {SHAPE(5, 2, 3, 2048, CHUNK), -EINVAL, "chunk size 2048 is not a power of two"},
    {SHAPE(5, 2, 3, 3 * CHUNK, CHUNK), -EINVAL, "chunk size 12288"},
    {SHAPE(5, 2, 3, CHUNK, CHUNK - 1), -EINVAL, "no room for a chunk"},
    {SHAPE(5, 2, 4, CHUNK, INT64_MAX), -EFBIG, "too large"},
};

static void test_refuse(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(refused); i++) {
        struct raid_geometry g = {.level = 77};
        struct error err = {0};
        CU_ASSERT_EQUAL(raid_geometry_init(&g, &refused[i].shape, &err), refused[i].rc);
        CU_ASSERT_EQUAL(g.level, 77);
        if (!strstr(err.text, refused[i].text)) {
            printf("\nwanted '%s', got '%s'\n", refused[i].text, err.text);
            CU_FAIL("refused for another reason");
        }
    }
}

#define STRIPES      12u
#define MEMBER_BYTES (STRIPES * CHUNK)
#define LINUX_MAX    5u /* members */

/* An array of tests/data/md/stripes. */
struct linux_array {
    struct raid_geometry g;
    uint8_t members[LINUX_MAX][MEMBER_BYTES];
};

static uint8_t content[LINUX_MAX * MEMBER_BYTES];

static void read_file(const char *name, void *buf, size_t bytes)
{
    char path[512];

    snprintf(path, sizeof path, "%s/stripes/%s", GOLDEN_DIR, name);
    FILE *f = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fread(buf, 1, bytes, f), bytes);
    fclose(f);
}

static void load_array(struct linux_array *a, const json_t *json, unsigned number)
{
    struct raid_shape shape = {
        .level = (int)golden_number(json, "level"),
        .raid_disks = (unsigned)golden_number(json, "raid_disks"),
        .chunk_bytes = CHUNK,
        .member_bytes = MEMBER_BYTES,
    };
    const char *layout = json_string_value(json_object_get(json, "layout"));
    char name[16];

    CU_ASSERT_EQUAL_FATAL(raid_layout_parse(shape.level, layout, &shape.layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&a->g, &shape, NULL), 0);
    CU_ASSERT_EQUAL(a->g.size_bytes, (uint64_t)golden_number(json, "array_bytes"));
    snprintf(name, sizeof name, "%u", number);
    read_file(name, a->members, shape.raid_disks * sizeof *a->members);
}

/* All that the array holds is where the geometry says. */
static void check_content(const struct linux_array *a)
{
    for (uint64_t at = 0; at < a->g.size_bytes; at += CHUNK) {
        struct raid_location where;
        uint64_t run;
        raid_geometry_map(&a->g, at, &where, &run);
        CU_ASSERT_EQUAL_FATAL(
            memcmp(a->members[where.role] + where.offset_bytes, content + at, CHUNK), 0);
    }
}

/* The blocks of a stripe in Q order, P and Q. */
static void take_stripe(struct linux_array *a, uint64_t number, void **blocks)
{
    struct raid_stripe s = raid_geometry_stripe(&a->g, number);

    for (unsigned block = 0; block < a->g.raid_disks; block++) {
        bool data = block < a->g.raid5.data;
        unsigned place = data ? raid_stripe_exponent(&a->g, &s, block) : block;
        blocks[place] = a->members[raid_stripe_role(&a->g, &s, block)] + number * CHUNK;
    }
}

/* Without these one or two blocks, the others tell what they were. */
static void check_recovery(
    const struct raid_geometry *g, void *const *blocks, unsigned x, unsigned y)
{
    _Alignas(PARITY_ALIGN_BYTES) static uint8_t found[2][CHUNK];
    const unsigned missing[] = {x, y};
    void *damaged[LINUX_MAX];

    memcpy(damaged, blocks, g->raid_disks * sizeof *damaged);
    damaged[x] = found[0];
    if (y != x)
        damaged[y] = found[1];
    parity_recover(damaged, g->raid5.data, g->parity, missing, x == y ? 1 : 2, CHUNK);
    CU_ASSERT_EQUAL_FATAL(memcmp(damaged[x], blocks[x], CHUNK), 0);
    CU_ASSERT_EQUAL_FATAL(memcmp(damaged[y], blocks[y], CHUNK), 0);
}

/* A byte of each member, by turns, is wrong: its role is found by P and Q. */
static void check_naming(struct linux_array *a, uint64_t number, void *const *blocks)
{
    struct raid_stripe s = raid_geometry_stripe(&a->g, number);

    for (unsigned role = 0; role < a->g.raid_disks; role++) {
        uint8_t *byte = a->members[role] + number * CHUNK + number;
        int found;

        *byte ^= 0x5a;
        found = parity_check((const void *const *)blocks, a->g.raid5.data, 2, CHUNK);
        *byte ^= 0x5a;
        CU_ASSERT_FATAL(found >= 0);
        if (found < (int)a->g.raid5.data)
            found = (int)raid_stripe_block_of_exponent(&a->g, &s, (unsigned)found);
        CU_ASSERT_EQUAL_FATAL(raid_stripe_role(&a->g, &s, (unsigned)found), role);
    }
}

static void check_stripes(struct linux_array *a)
{
    for (uint64_t number = 0; number < STRIPES; number++) {
        void *blocks[LINUX_MAX];
        take_stripe(a, number, blocks);
        CU_ASSERT_EQUAL_FATAL(
            parity_check((const void *const *)blocks, a->g.raid5.data, a->g.parity, CHUNK),
            PARITY_FITS);
        for (unsigned x = 0; x < a->g.raid_disks; x++)
            for (unsigned y = x; y < a->g.raid_disks && (y == x || a->g.parity == 2); y++)
                check_recovery(&a->g, blocks, x, y);
        if (a->g.parity == 2)
            check_naming(a, number, blocks);
    }
}

static void test_linux_stripes(void)
{
    static struct linux_array a;
    json_t *list = json_load_file(GOLDEN_DIR "/stripes/stripes.json", 0, NULL);
    size_t count = json_array_size(list);

    CU_ASSERT_EQUAL_FATAL(count, 21);
    read_file("content", content, 48 * CHUNK);
    for (unsigned i = 0; i < count; i++) {
        load_array(&a, json_array_get(list, i), i);
        check_content(&a);
        check_stripes(&a);
        raid_geometry_destroy(&a.g);
    }
    json_decref(list);
}

CU_TestInfo geometry_parity_tests[] = {
    {"all small shapes against a board", test_shapes},
    {"the widest", test_widest},
    {"ranges of bitmap bits", test_bitmap_range},
    {"impossible shapes are refused by name", test_refuse},
    {"Linux's arrays: content, parity, any one or two members missing", test_linux_stripes},
    CU_TEST_INFO_NULL,
};
