/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/alloc.h"
#include "lvm/metadata_check.h"

extern CU_TestInfo alloc_tests[];

static void make_id(char id[LVM_UUID_TEXT_CHARS + 1], unsigned n)
{
    uint8_t random[LVM_UUID_CHARS] = {(uint8_t)n, (uint8_t)(n >> 6), (uint8_t)(n >> 12)};

    lvm_uuid_make(id, random);
}

/* A group of PVs with so many extents each, ended by 0. */
static struct vg_metadata *group(const uint32_t *pe_counts)
{
    char id[LVM_UUID_TEXT_CHARS + 1];

    make_id(id, 1000);
    struct vg_metadata *m = vg_metadata_new("vg", id, 8192);
    for (unsigned i = 0; pe_counts[i]; i++) {
        struct vg_pv *pv = vg_metadata_add_pv(m);

        make_id(pv->id, 2000 + i);
        pv->pe_start_sectors = 2048;
        pv->pe_count = pe_counts[i];
    }
    return m;
}

static struct vg_lv *volume(struct vg_metadata *m, const char *name, uint32_t extents)
{
    static unsigned next;
    char id[LVM_UUID_TEXT_CHARS + 1];

    make_id(id, next++);
    struct vg_lv *lv = vg_metadata_add_lv(m, name, id);
    CU_ASSERT_EQUAL(lv_allocate(m, lv, extents, NULL), 0);
    return lv;
}

static void lies_at(
    const struct vg_lv *lv, unsigned segment, unsigned pv, uint32_t pe, uint32_t count)
{
    const struct vg_segment *s = &lv->segments[segment];

    CU_ASSERT(segment < lv->segment_count);
    CU_ASSERT(s->stripes[0].pv == pv && s->stripes[0].start_pe == pe && s->extent_count == count);
}

static void test_policy(void)
{
    static const uint32_t pes[] = {10, 20, 5, 0};
    struct vg_metadata *m = group(pes);
    struct vg_lv *a = volume(m, "a", 4);

    lies_at(a, 0, 0, 0, 4); /* the first that holds it */
    CU_ASSERT_EQUAL(lv_allocate(m, a, 3, NULL), 0);
    CU_ASSERT_EQUAL(a->segment_count, 1); /* joined */
    lies_at(a, 0, 0, 0, 7);
    struct vg_lv *b = volume(m, "b", 15);
    lies_at(b, 0, 1, 0, 15); /* in one piece rather than in the first hole */
    a = vg_metadata_find_lv(m, "a");
    CU_ASSERT_EQUAL(lv_allocate(m, a, 9, NULL), 0);
    CU_ASSERT_EQUAL(a->segment_count, 3); /* its tail, then the largest */
    lies_at(a, 0, 0, 0, 10);
    lies_at(a, 1, 1, 15, 5);
    lies_at(a, 2, 2, 0, 1);
    CU_ASSERT_EQUAL(vg_metadata_check(m, NULL), 0);
    vg_metadata_free(m);
}

static void test_refuse(void)
{
    static const uint32_t pes[] = {10, 10, 0};
    struct vg_metadata *m = group(pes);
    struct vg_lv *a = volume(m, "a", 3);
    struct error err = {0};

    CU_ASSERT_EQUAL(lv_allocate(m, a, 18, &err), -ENOSPC);
    CU_ASSERT_STRING_EQUAL(err.text, "18 extents are needed, 17 are free in volume group vg");
    text_list_remove(&m->pvs[1].status, "ALLOCATABLE");
    CU_ASSERT_EQUAL(lv_allocate(m, a, 8, &err), -ENOSPC);
    CU_ASSERT_EQUAL(lv_allocate(m, a, UINT32_MAX, &err), -EFBIG);
    CU_ASSERT_EQUAL(lv_allocate(m, a, 7, &err), 0);
    vg_metadata_free(m);
}

static void test_cut(void)
{
    static const uint32_t pes[] = {10, 10, 10, 0};
    struct vg_metadata *m = group(pes);
    struct vg_lv *a = volume(m, "a", 4);
    struct vg_stripe stripes[] = {{1, 0}, {2, 0}};
    struct vg_segment segments[] = {
        a->segments[0], {4, 6, LVM_SEGMENT_STRIPED, 2, 128, stripes, NULL}};

    a->segments = segments;
    a->segment_count = 2;
    CU_ASSERT_EQUAL(vg_lv_extents(a), 10);
    CU_ASSERT_EQUAL(lv_cut_extents(a, 7), 8);
    lv_cut(a, 7);
    CU_ASSERT_EQUAL(vg_lv_extents(a), 8);
    CU_ASSERT_EQUAL(a->segments[1].extent_count, 4);
    /* Behind a striped segment comes a linear one of its own. */
    CU_ASSERT_EQUAL(lv_allocate(m, a, 1, NULL), 0);
    CU_ASSERT_EQUAL(a->segment_count, 3);
    lies_at(a, 2, 0, 4, 1);
    lv_cut(a, 8);
    CU_ASSERT_EQUAL(a->segment_count, 2);
    lv_cut(a, 4);
    CU_ASSERT_EQUAL(a->segment_count, 1);
    lv_cut(a, 3);
    CU_ASSERT_EQUAL(vg_lv_extents(a), 3);
    lv_cut(a, 0);
    CU_ASSERT_EQUAL(vg_lv_extents(a), 0);
    vg_metadata_free(m);
}

/* The same by counting extent by extent. */
static void check_ranges(const struct vg_metadata *m)
{
    struct pe_ranges used, free, both;
    uint32_t total = 0, volumes = 0, pes = 0;

    CU_ASSERT_EQUAL(vg_metadata_check(m, NULL), 0);
    CU_ASSERT_EQUAL(pe_ranges_used(m, &used), 0);
    CU_ASSERT_EQUAL(pe_ranges_free(m, &free), 0);
    for (unsigned i = 0; i < m->pv_count; i++) {
        total += pe_ranges_count(&used, i) + pe_ranges_count(&free, i);
        pes += m->pvs[i].pe_count;
    }
    for (unsigned i = 0; i < m->lv_count; i++)
        volumes += vg_lv_extents(&m->lvs[i]);
    for (unsigned i = 0; i < used.count; i++)
        volumes -= used.items[i].count;
    CU_ASSERT_EQUAL(total, pes);
    CU_ASSERT_EQUAL(volumes, 0);
    CU_ASSERT_EQUAL(pe_ranges_subtract(m->arena, &used, &free, &both), 0);
    CU_ASSERT_EQUAL(both.count, used.count);
    CU_ASSERT_EQUAL(pe_ranges_subtract(m->arena, &used, &used, &both), 0);
    CU_ASSERT_EQUAL(both.count, 0);
    for (unsigned i = 1; i < free.count; i++)
        CU_ASSERT(free.items[i - 1].pv < free.items[i].pv ||
                  free.items[i - 1].start + free.items[i - 1].count < free.items[i].start);
}

/* Volumes come, grow, shrink and go; nothing is ever given twice or lost, and what a volume keeps
 * stays where it is. */
static void test_random(void)
{
    static const uint32_t pes[] = {17, 40, 3, 25, 0};
    unsigned random = 7;

    for (unsigned round = 0; round < 40; round++) {
        struct vg_metadata *m = group(pes);

        for (unsigned step = 0; step < 60; step++) {
            random = random * 1103515245 + 12345;
            unsigned choice = (random >> 8) % 4, n = 1 + (random >> 12) % 12;
            unsigned which = m->lv_count ? (random >> 20) % m->lv_count : 0;
            struct vg_metadata *copy = NULL;
            char name[16], id[LVM_UUID_TEXT_CHARS + 1];

            CU_ASSERT_EQUAL(vg_metadata_clone(m, &copy), 0);
            snprintf(name, sizeof name, "l%u", step);
            make_id(id, step);
            int rc = 0;
            if (!m->lv_count || choice == 0)
                rc = lv_allocate(copy, vg_metadata_add_lv(copy, name, id), n, NULL);
            else if (choice == 1)
                rc = lv_allocate(copy, &copy->lvs[which], n, NULL);
            else if (choice == 2)
                lv_cut(&copy->lvs[which], MAX(1u, vg_lv_extents(&copy->lvs[which]) / 2));
            else
                vg_metadata_remove_lv(copy, &copy->lvs[which]);
            CU_ASSERT(rc == 0 || rc == -ENOSPC);
            if (rc) {
                vg_metadata_free(copy);
                continue;
            }
            check_ranges(copy);
            vg_metadata_free(m);
            m = copy;
        }
        vg_metadata_free(m);
    }
}

CU_TestInfo alloc_tests[] = {
    {"contiguous first, then what fits, then the largest", test_policy},
    {"no more than there is", test_refuse},
    {"cutting", test_cut},
    {"nothing is given twice or lost", test_random},
    CU_TEST_INFO_NULL,
};
