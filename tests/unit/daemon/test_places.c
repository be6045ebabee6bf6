/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mirror without a group, then with one: volumes x (8M) and y, and 4M more of x behind y. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arrays.h"
#include "base/arith.h"
#include "groups.h"
#include "places.h"
#include "raid/layout.h"

extern CU_TestInfo places_tests[];

#define MIB    (UINT64_C(1) << 20)
#define EXTENT (4 * MIB)

static struct catalog_array *make(struct fixture *f)
{
    char paths[2][80];
    const char *const members[] = {paths[0], paths[1]};
    struct array_plan plan = {
        .params = {.name = "a0", .level = 1, .layout = raid_layout_default(1)},
        .members = members,
        .member_count = 2};
    struct catalog_array *a = NULL;

    for (unsigned i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/m%u", f->dir, i);
        fclose(fopen(paths[i], "w"));
        CU_ASSERT_EQUAL_FATAL(truncate(paths[i], 64 * (off_t)MIB), 0);
    }
    CU_ASSERT_EQUAL_FATAL(arrays_create(&f->daemon, &plan, &a, NULL), 0);
    return a;
}

static void make_volumes(struct fixture *f)
{
    static const char *const pvs[] = {"a0"};
    struct group_plan plan = {.name = "vg", .pvs = pvs, .pv_count = 1};
    struct catalog_vg *v;
    struct lv *x, *y;

    CU_ASSERT_EQUAL_FATAL(groups_create(&f->daemon, &plan, &v, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(lv_create(v->vg, "x", 2 * EXTENT, NULL, 0, 0, &x, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(lv_create(v->vg, "y", EXTENT, NULL, 0, 0, &y, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(lv_resize(x, 3 * EXTENT, 0, NULL), 0);
}

struct list_of_places {
    struct place places[16];
    unsigned count;
};

static void keep(void *arg, const struct place *p)
{
    struct list_of_places *l = arg;

    CU_ASSERT_FATAL(l->count < ARRAY_LEN(l->places));
    l->places[l->count++] = *p;
}

static struct list_of_places places(const struct catalog_array *a, uint64_t offset, uint64_t length,
    uint64_t stride, unsigned count)
{
    struct array_mismatch m = {
        .offset_bytes = offset, .length_bytes = length, .stride_bytes = stride, .count = count};
    struct list_of_places l = {.count = 0};

    places_of(a, &m, keep, &l);
    return l;
}

static void expect(const struct list_of_places *l, unsigned i, const char *volume, uint64_t offset,
    uint64_t array_offset, uint64_t length)
{
    const struct place *p = &l->places[i];

    CU_ASSERT_FATAL(i < l->count);
    CU_ASSERT_EQUAL(p->use, PLACE_VOLUME);
    CU_ASSERT_STRING_EQUAL(p->volume, volume);
    CU_ASSERT_EQUAL(p->offset_bytes, offset);
    CU_ASSERT_EQUAL(p->array_offset_bytes, array_offset);
    CU_ASSERT_EQUAL(p->length_bytes, length);
}

static void find(struct fixture *f)
{
    struct catalog_array *a = make(f);
    struct list_of_places l = places(a, 8192, 4096, 0, 1);

    CU_ASSERT_EQUAL(l.count, 1);
    CU_ASSERT_EQUAL(l.places[0].use, PLACE_ARRAY);
    make_volumes(f);
    /* what begins in the group's metadata */
    l = places(a, MIB - 4096, 8192, 0, 1);
    CU_ASSERT_EQUAL(l.count, 2);
    CU_ASSERT_EQUAL(l.places[0].use, PLACE_METADATA);
    CU_ASSERT_EQUAL(l.places[0].length_bytes, 4096);
    expect(&l, 1, "vg/x", 0, MIB, 4096);
    /* a page of each block of a stripe */
    l = places(a, MIB + 512, 4096, EXTENT, 4);
    CU_ASSERT_EQUAL(l.count, 4);
    expect(&l, 0, "vg/x", 512, MIB + 512, 4096);
    expect(&l, 1, "vg/x", EXTENT + 512, MIB + EXTENT + 512, 4096);
    expect(&l, 2, "vg/y", 512, MIB + 2 * EXTENT + 512, 4096);
    expect(&l, 3, "vg/x", 2 * EXTENT + 512, MIB + 3 * EXTENT + 512, 4096);
    /* whole blocks, which touch: what goes on is one */
    l = places(a, MIB, EXTENT, EXTENT, 6);
    CU_ASSERT_EQUAL(l.count, 4);
    expect(&l, 0, "vg/x", 0, MIB, 2 * EXTENT);
    expect(&l, 1, "vg/y", 0, MIB + 2 * EXTENT, EXTENT);
    expect(&l, 2, "vg/x", 2 * EXTENT, MIB + 3 * EXTENT, EXTENT);
    CU_ASSERT_EQUAL(l.places[3].use, PLACE_FREE);
    CU_ASSERT_EQUAL(l.places[3].length_bytes, 2 * EXTENT);
    groups_close_all(&f->daemon);
    CU_ASSERT_EQUAL(arrays_stop(a, NULL), 0);
}

static void test_find(void)
{
    fixture_run(find);
}

CU_TestInfo places_tests[] = {
    {"where the array's bytes are in volumes", test_find},
    CU_TEST_INFO_NULL,
};
