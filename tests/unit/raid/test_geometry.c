/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exhaustive over small shapes: each is laid out here chunk by chunk on a board (a column for each
 * member, a row for each chunk of it), the way the md(4) manual page tells it, and the geometry
 * must agree with every square of the board in both directions. Then the arrays that Linux made.
 */
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "golden.h"
#include "raid/geometry.h"

extern CU_TestInfo geometry_tests[];

#define CHUNK      4096u
#define MEMBERS    9u
#define ROWS       24u
#define CHUNKS_MAX (MEMBERS * ROWS)
#define EMPTY      UINT32_MAX

struct board {
    unsigned members;
    uint32_t chunk[MEMBERS][ROWS], copy[MEMBERS][ROWS];
    uint32_t chunks, copies;
    bool overlap; /* two chunks in one square, or two copies of a chunk on one member */
};

static void clear_board(struct board *b, unsigned members)
{
    memset(b, 0, sizeof *b);
    memset(b->chunk, 0xff, sizeof b->chunk);
    b->members = members;
}

static void lay(struct board *b, unsigned member, unsigned row, uint32_t chunk, uint32_t copy)
{
    if (b->chunk[member][row] != EMPTY)
        b->overlap = true;
    for (unsigned r = 0; r < ROWS; r++)
        if (b->chunk[member][r] == chunk)
            b->overlap = true;
    b->chunk[member][row] = chunk;
    b->copy[member][row] = copy;
}

/* A chunk maps to exactly the squares that hold it, in the order of its copies. */
static void check_map(const struct board *b, const struct raid_geometry *g)
{
    for (unsigned m = 0; m < b->members; m++) {
        for (unsigned r = 0; r < ROWS; r++) {
            struct raid_location copies[RAID_COPIES_MAX];
            uint64_t run, inside = (m + r) * 100 % CHUNK, chunk = b->chunk[m][r];
            if (chunk == EMPTY)
                continue;
            CU_ASSERT_EQUAL_FATAL(
                raid_geometry_map(g, chunk * CHUNK + inside, copies, &run), b->copies);
            CU_ASSERT_EQUAL_FATAL(copies[b->copy[m][r]].role, m);
            CU_ASSERT_EQUAL_FATAL(copies[b->copy[m][r]].offset_bytes, r * CHUNK + inside);
            CU_ASSERT(g->boundary_bytes ? run == CHUNK - inside
                                        : run == g->size_bytes - chunk * CHUNK - inside);
        }
    }
}

/* Each square, empty ones included, unmaps to what it holds. */
static void check_unmap(const struct board *b, const struct raid_geometry *g)
{
    for (unsigned m = 0; m < b->members; m++) {
        uint64_t end = raid_geometry_member_bytes(g, m);
        CU_ASSERT_EQUAL(end % CHUNK, 0);
        CU_ASSERT(end <= g->member_bytes);
        for (unsigned r = 0; r < ROWS; r++) {
            uint64_t offset = 77, run, inside = (m + r) * 100 % CHUNK;
            unsigned copy = 77;
            if (r * CHUNK >= end) {
                CU_ASSERT_EQUAL_FATAL(b->chunk[m][r], EMPTY);
                continue;
            }
            bool held = raid_geometry_unmap(g, m, r * CHUNK + inside, &offset, &copy, &run);
            CU_ASSERT_EQUAL_FATAL(held, b->chunk[m][r] != EMPTY);
            CU_ASSERT(g->boundary_bytes ? run == CHUNK - inside : run == end - r * CHUNK - inside);
            CU_ASSERT_EQUAL_FATAL(offset, held ? b->chunk[m][r] * CHUNK + inside : 77);
            CU_ASSERT_EQUAL_FATAL(copy, held ? b->copy[m][r] : 77);
        }
    }
}

/* All that is there survives if and only if some copy of each chunk does. */
static void check_complete(const struct board *b, const struct raid_geometry *g)
{
    for (unsigned set = 0; set < 1u << b->members; set++) {
        bool present[MEMBERS], alive[CHUNKS_MAX] = {false}, all = true;
        for (unsigned m = 0; m < b->members; m++) {
            present[m] = set >> m & 1;
            for (unsigned r = 0; r < ROWS; r++)
                if (present[m] && b->chunk[m][r] != EMPTY)
                    alive[b->chunk[m][r]] = true;
        }
        for (unsigned c = 0; c < b->chunks; c++)
            all &= alive[c];
        CU_ASSERT_EQUAL_FATAL(raid_geometry_complete(g, present), all);
    }
}

static void check_all(const struct board *b, const struct raid_geometry *g)
{
    CU_ASSERT_EQUAL_FATAL(g->size_bytes, (uint64_t)b->chunks * CHUNK);
    CU_ASSERT_EQUAL_FATAL(g->copies, b->copies);
    check_map(b, g);
    check_unmap(b, g);
    check_complete(b, g);
}

struct raid10_case {
    unsigned members, rows, near, far;
    bool offset;
    unsigned sets;
};

/* The set of members that `m` is in: `*first` and how many. */
static unsigned set_of(const struct raid10_case *c, unsigned m, unsigned *first)
{
    unsigned size = c->members;

    if (c->sets == 1)
        size = c->members / c->far;
    if (c->sets == 2)
        size = c->near * c->far;
    for (*first = 0; *first + 2 * size <= c->members && m >= *first + size;)
        *first += size;
    return *first + 2 * size > c->members ? c->members - *first : size;
}

/* First the near copies in rows like text, then each square again for each far copy. */
static void lay_raid10(struct board *b, const struct raid10_case *c)
{
    unsigned rows = c->rows / c->far, square = 0;

    clear_board(b, c->members);
    b->copies = c->near * c->far;
    b->chunks = rows * c->members / c->near;
    for (unsigned chunk = 0; chunk < b->chunks; chunk++) {
        for (unsigned n = 0; n < c->near; n++, square++) {
            unsigned m = square % c->members, row = square / c->members, first;
            unsigned size = set_of(c, m, &first);
            for (unsigned f = 0; f < c->far; f++) {
                unsigned to = first + (m - first + f * c->near) % size;
                lay(b, to, c->offset ? row * c->far + f : row + f * rows, chunk, n * c->far + f);
            }
        }
    }
}

static struct raid_shape raid10_shape(const struct raid10_case *c)
{
    return (struct raid_shape){
        .level = 10,
        .layout = c->near | c->far << 8 | (c->offset ? RAID10_LAYOUT_OFFSET : 0) | c->sets << 17,
        .raid_disks = c->members,
        .chunk_bytes = CHUNK,
        .member_bytes = c->rows * CHUNK + c->rows * 512 % CHUNK,
    };
}

/* In these Linux overwrites one chunk with another, although the board has room for all. */
static bool linux_overlaps(const struct raid10_case *c)
{
    unsigned first, size = set_of(c, 0, &first), last = set_of(c, c->members - 1, &first);

    if (c->near == 1 || c->far == 1)
        return false;
    return (c->offset && c->members % c->near) || last > size;
}

static unsigned try_raid10(const struct raid10_case *c)
{
    struct raid_shape shape = raid10_shape(c);
    struct raid_geometry g;
    struct error err = {0};
    struct board *b = malloc(sizeof *b);
    unsigned done = 0;
    int rc = raid_geometry_init(&g, &shape, &err);

    lay_raid10(b, c);
    bool same_member = c->sets == 1 && b->copies > c->members / c->far;
    if (b->copies < 2 || b->copies > c->members) {
        CU_ASSERT_EQUAL(rc, -EINVAL);
    } else if (b->overlap || linux_overlaps(c) || same_member) {
        CU_ASSERT_EQUAL(rc, -EOPNOTSUPP);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "copies overlap"));
    } else if (b->chunks == 0) {
        CU_ASSERT_EQUAL(rc, -EINVAL);
    } else {
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        CU_ASSERT_EQUAL(g.sync_bytes, g.size_bytes);
        check_all(b, &g);
        raid_geometry_destroy(&g);
        done = 1;
    }
    free(b);
    return done;
}

static void test_raid10(void)
{
    static const unsigned rows[] = {1, 2, 3, 7, 12, 17};
    unsigned done = 0;
    struct raid10_case c;

    for (c.members = 1; c.members <= MEMBERS; c.members++)
        for (c.near = 1; c.near <= 4; c.near++)
            for (c.far = 1; c.far <= 4; c.far++)
                for (unsigned variant = 0; variant < 6 * ARRAY_LEN(rows); variant++) {
                    c.offset = variant % 2;
                    c.sets = variant / 2 % 3;
                    c.rows = rows[variant / 6];
                    if (c.members >= c.far)
                        done += try_raid10(&c);
                }
    CU_ASSERT(done > 1000);
}

/* Row by row: every member that is long enough takes one chunk. */
static void lay_raid0(struct board *b, const unsigned *rows, unsigned members, uint32_t layout)
{
    unsigned last_count = 0, zone_chunk = 0;

    clear_board(b, members);
    b->copies = 1;
    for (unsigned row = 0;; row++) {
        unsigned who[MEMBERS], count = 0;
        for (unsigned m = 0; m < members; m++)
            if (rows[m] > row)
                who[count++] = m;
        if (count == 0)
            return;
        if (count != last_count)
            zone_chunk = 0;
        last_count = count;
        for (unsigned k = 0; k < count; k++, zone_chunk++, b->chunks++)
            lay(b, who[(layout == RAID0_LAYOUT_ORIGINAL ? b->chunks : zone_chunk) % count], row,
                b->chunks, 0);
    }
}

static void try_raid0(const unsigned *rows, unsigned members, uint32_t layout)
{
    uint64_t data_bytes[MEMBERS];
    struct raid_shape shape = {.level = 0,
        .layout = layout,
        .raid_disks = members,
        .chunk_bytes = CHUNK,
        .data_bytes = data_bytes};
    struct raid_geometry g;
    struct board *b = malloc(sizeof *b);

    for (unsigned m = 0; m < members; m++)
        data_bytes[m] = rows[m] * CHUNK + m * 512;
    lay_raid0(b, rows, members, layout);
    CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&g, &shape, NULL), 0);
    CU_ASSERT_EQUAL(g.sync_bytes, 0);
    for (unsigned m = 0; m < members; m++)
        CU_ASSERT_EQUAL(raid_geometry_member_bytes(&g, m), rows[m] * CHUNK);
    check_all(b, &g);
    raid_geometry_destroy(&g);
    free(b);
}

/* All sizes of 1 to 5 chunks, of up to 5 members. */
static void test_raid0(void)
{
    for (unsigned members = 1, shapes = 5; members <= 5; members++, shapes *= 5)
        for (unsigned s = 0; s < shapes; s++) {
            unsigned rows[MEMBERS];
            for (unsigned m = 0, rest = s; m < members; m++, rest /= 5)
                rows[m] = 1 + rest % 5;
            try_raid0(rows, members, RAID0_LAYOUT_ORIGINAL);
            try_raid0(rows, members, RAID0_LAYOUT_ALTERNATE);
        }
}

static void test_raid0_odd_chunk(void)
{
    const uint64_t data_bytes[] = {30 * 1536, 31 * 1536};
    struct raid_shape shape = {
        .level = 0, .raid_disks = 2, .chunk_bytes = 3 * 512, .data_bytes = data_bytes};
    struct raid_geometry g;
    struct raid_location at;
    uint64_t run;

    CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&g, &shape, NULL), 0);
    CU_ASSERT_EQUAL(g.size_bytes, 61 * 1536);
    CU_ASSERT_EQUAL(raid_geometry_map(&g, 60 * 1536 + 5, &at, &run), 1);
    CU_ASSERT_EQUAL(at.role, 1);
    CU_ASSERT_EQUAL(at.offset_bytes, 30 * 1536 + 5);
    CU_ASSERT_EQUAL(run, 1531);
    raid_geometry_destroy(&g);
}

static void test_raid1(void)
{
    for (unsigned members = 1; members <= RAID_COPIES_MAX; members++) {
        struct raid_shape shape = {.level = 1, .raid_disks = members, .member_bytes = 1 << 20};
        struct raid_location copies[RAID_COPIES_MAX];
        bool present[RAID_COPIES_MAX] = {false};
        struct raid_geometry g;
        uint64_t run, offset;
        unsigned copy;

        CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&g, &shape, NULL), 0);
        CU_ASSERT_EQUAL(g.size_bytes, 1 << 20);
        CU_ASSERT_EQUAL(g.sync_bytes, 1 << 20);
        CU_ASSERT_EQUAL(g.boundary_bytes, 0);
        CU_ASSERT_EQUAL(raid_geometry_map(&g, 777, copies, &run), members);
        CU_ASSERT_EQUAL(run, (1 << 20) - 777);
        CU_ASSERT_FALSE(raid_geometry_complete(&g, present));
        for (unsigned role = 0; role < members; role++) {
            CU_ASSERT_EQUAL(copies[role].role, role);
            CU_ASSERT_EQUAL(copies[role].offset_bytes, 777);
            CU_ASSERT(raid_geometry_unmap(&g, role, 777, &offset, &copy, &run));
            CU_ASSERT(offset == 777 && copy == role && run == (1 << 20) - 777);
            present[role] = true;
            CU_ASSERT(raid_geometry_complete(&g, present));
            present[role] = members == 1;
        }
        raid_geometry_destroy(&g);
    }
}

static void test_bitmap_range(void)
{
    struct raid_shape shape = {.level = 1, .raid_disks = 2, .member_bytes = 10 * CHUNK + 512};
    struct raid_geometry g;
    uint64_t offset, bytes, sum = 0;

    CU_ASSERT_EQUAL_FATAL(raid_geometry_init(&g, &shape, NULL), 0);
    for (unsigned bit = 0; bit < 3; bit++) {
        raid_geometry_bitmap_range(&g, bit, 4 * CHUNK, &offset, &bytes);
        CU_ASSERT_EQUAL(offset, sum);
        sum += bytes;
    }
    CU_ASSERT_EQUAL(sum, g.size_bytes);
    CU_ASSERT_EQUAL(bytes, 2 * CHUNK + 512);
    raid_geometry_bitmap_range(&g, 3, 4 * CHUNK, &offset, &bytes);
    CU_ASSERT_EQUAL(bytes, 0);
    raid_geometry_bitmap_range(&g, UINT64_MAX, 4 * CHUNK, &offset, &bytes);
    CU_ASSERT_EQUAL(bytes, 0);
}

static const uint64_t uneven[] = {CHUNK, 2 * CHUNK, 3 * CHUNK}, no_room[] = {CHUNK, CHUNK - 1},
                      too_much[] = {INT64_MAX, INT64_MAX};

static const struct {
    struct raid_shape shape;
    int rc;
    const char *text;
} refused[] = {
    {{.level = 4, .raid_disks = 3}, -EOPNOTSUPP, "raid4 is not supported"},
    {{.level = -1, .raid_disks = 3}, -EOPNOTSUPP, "linear is not supported"},
    {{.level = 1, .raid_disks = 0}, -EINVAL, "1 to 384 members, not 0"},
    {{.level = 1, .raid_disks = 385}, -EINVAL, "1 to 384 members, not 385"},
    {{.level = 1, .raid_disks = 33, .member_bytes = CHUNK}, -EOPNOTSUPP, "more than 32 copies"},
    {{.level = 1, .raid_disks = 2}, -EINVAL, "without room"},
    {{.level = 1, .raid_disks = 2, .layout = 2, .member_bytes = CHUNK}, -EINVAL, "no layouts"},
    {{.level = 1, .raid_disks = 2, .member_bytes = 1ull << 63}, -EFBIG, "too large"},
    {{.level = 0, .raid_disks = 2, .data_bytes = uneven}, -EINVAL, "chunk size 0"},
    {{.level = 0, .raid_disks = 2, .chunk_bytes = 4097, .data_bytes = uneven}, -EINVAL,
        "chunk size 4097"},
    {{.level = 0, .raid_disks = 2, .chunk_bytes = CHUNK, .data_bytes = no_room}, -EINVAL,
        "member 1 has no room"},
    {{.level = 0, .raid_disks = 3, .chunk_bytes = CHUNK, .data_bytes = uneven}, -EINVAL,
        "does not say whether its layout is original or alternate"},
    {{.level = 0, .raid_disks = 3, .layout = 3, .chunk_bytes = CHUNK, .data_bytes = uneven},
        -EINVAL, "does not say whether its layout"},
    {{.level = 0, .raid_disks = 2, .chunk_bytes = CHUNK, .data_bytes = too_much}, -EFBIG,
        "too large"},
    {{.level = 10, .raid_disks = 4, .layout = 0x101, .chunk_bytes = CHUNK, .member_bytes = CHUNK},
        -EINVAL, "0x101 is no layout"},
    {{.level = 10, .raid_disks = 4, .layout = 0x002, .chunk_bytes = CHUNK, .member_bytes = CHUNK},
        -EINVAL, "0x2 is no layout"},
    {{.level = 10, .raid_disks = 4, .layout = 0x60102, .chunk_bytes = CHUNK}, -EINVAL, "no layout"},
    {{.level = 10, .raid_disks = 4, .layout = 0x80102, .chunk_bytes = CHUNK}, -EINVAL, "no layout"},
    {{.level = 10, .raid_disks = 3, .layout = 0x104, .chunk_bytes = CHUNK}, -EINVAL,
        "4 copies need as many members, not 3"},
    {{.level = 10, .raid_disks = 40, .layout = 0x121, .chunk_bytes = CHUNK}, -EOPNOTSUPP,
        "more than 32 copies"},
    {{.level = 10,
         .raid_disks = 5,
         .layout = 0x10202,
         .chunk_bytes = CHUNK,
         .member_bytes = 9 * CHUNK},
        -EOPNOTSUPP, "copies overlap"},
    {{.level = 10, .raid_disks = 2, .layout = 0x102, .chunk_bytes = 2048}, -EINVAL,
        "chunk size 2048 is not a power of two"},
    {{.level = 10, .raid_disks = 2, .layout = 0x102, .chunk_bytes = 12288}, -EINVAL,
        "chunk size 12288"},
    {{.level = 10, .raid_disks = 2, .layout = 0x102, .chunk_bytes = 2ull << 30}, -EINVAL,
        "chunk size 2147483648"},
    {{.level = 10, .raid_disks = 2, .layout = 0x201, .chunk_bytes = CHUNK, .member_bytes = CHUNK},
        -EINVAL, "no room for a chunk"},
    {{.level = 10,
         .raid_disks = 8,
         .layout = 0x102,
         .chunk_bytes = CHUNK,
         .member_bytes = INT64_MAX},
        -EFBIG, "too large"},
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

/* One run that Linux placed: all of it must be where the geometry says. */
static void check_run(const struct raid_geometry *g, unsigned role, uint64_t member_offset,
    uint64_t offset, uint64_t bytes)
{
    while (bytes) {
        uint64_t got, run, map_run;
        unsigned copy;
        struct raid_location copies[RAID_COPIES_MAX];
        CU_ASSERT_FATAL(raid_geometry_unmap(g, role, member_offset, &got, &copy, &run));
        CU_ASSERT_EQUAL_FATAL(got, offset);
        CU_ASSERT_FATAL(raid_geometry_map(g, offset, copies, &map_run) > copy);
        CU_ASSERT_EQUAL_FATAL(copies[copy].role, role);
        CU_ASSERT_EQUAL_FATAL(copies[copy].offset_bytes, member_offset);
        CU_ASSERT_EQUAL_FATAL(run, map_run);
        run = MIN(run, bytes);
        member_offset += run;
        offset += run;
        bytes -= run;
    }
}

/* Returns the bytes that were compared. */
static uint64_t check_placement(const struct raid_geometry *g, unsigned role, FILE *f)
{
    uint64_t member_offset, offset, bytes, sum = 0;

    while (fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64, &member_offset, &offset, &bytes) == 3) {
        check_run(g, role, member_offset, offset, bytes);
        sum += bytes;
    }
    return sum;
}

static void test_golden(void)
{
    unsigned arrays = 0;

    for (const char *const *name = golden_ours; *name; name++) {
        struct golden *golden = golden_load(*name);
        struct golden_candidates *c = golden_decode(golden);
        static struct raid_assembly a;
        struct raid_geometry g;
        uint64_t sum = 0;

        CU_ASSERT_EQUAL_FATAL(
            raid_assembly_decide(&a, &g, c->candidates, c->count, false, NULL), 0);
        CU_ASSERT_EQUAL(g.size_bytes, (uint64_t)golden_number(golden->manifest, "array_bytes"));
        for (unsigned role = 0; role < g.raid_disks; role++) {
            int i = a.members[role];
            FILE *f = i < 0 ? NULL : golden_file(golden, (unsigned)i, "placement");
            if (!f)
                continue;
            sum += check_placement(&g, role, f);
            fclose(f);
        }
        if (sum)
            CU_ASSERT_EQUAL(sum, g.size_bytes * g.copies);
        arrays += sum > 0;
        raid_geometry_destroy(&g);
        free(c);
        golden_free(golden);
    }
    CU_ASSERT_EQUAL(arrays, 32);
}

CU_TestInfo geometry_tests[] = {
    {"RAID10: all small shapes against a board", test_raid10},
    {"RAID0: all small shapes against a board", test_raid0},
    {"RAID0 with a chunk that is no power of two", test_raid0_odd_chunk},
    {"RAID1", test_raid1},
    {"ranges of bitmap bits", test_bitmap_range},
    {"impossible shapes are refused by name", test_refuse},
    {"every block is where Linux has put it", test_golden},
    CU_TEST_INFO_NULL,
};
