/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every change of a group, and a power cut at every moment of it: the group is as before or as
 * after, can be changed again, and no volume shows what stood on the disks before. */
#include "rig.h"
#include "tape.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"

extern CU_TestInfo crash_tests[];

#define DEV_BYTES    (2 * MIB)
#define SMALL_EXTENT (64 << 10)
#define CUTS         4 /* at each moment: nothing, everything, and some at random */

static struct tape tape;
static struct vg *vg;
static struct error err;

struct scenario {
    const char *name;
    unsigned pvs; /* of the group before; 0: there is none */
    void (*change)(void);
    const char *vg_after; /* NULL: it is gone */
    bool may_lack;        /* before or after there is no group at all */
};

static void change_create(void)
{
    expect(vg_create(&vg, "new", tape.devs, 3, SMALL_EXTENT, &no_settings, 0, &err), 0, &err, NULL);
}

static void change_extend(void)
{
    expect(vg_extend(vg, &tape.devs[2], 1, 0, &err), 0, &err, NULL);
}

static void change_reduce(void)
{
    expect(vg_reduce(vg, "dev-2", 0, &err), 0, &err, NULL);
}

static void change_rename(void)
{
    expect(vg_rename(vg, "new", 0, &err), 0, &err, NULL);
}

static void change_lv_create(void)
{
    struct lv *lv;

    expect(lv_create(vg, "more", 8 * SMALL_EXTENT, NULL, 0, 0, &lv, &err), 0, &err, NULL);
}

static void change_lv_grow(void)
{
    expect(lv_resize(vg_find_lv(vg, "zero"), 40 * SMALL_EXTENT, 0, &err), 0, &err, NULL);
}

static void change_lv_shrink(void)
{
    expect(lv_resize(vg_find_lv(vg, "zero"), SMALL_EXTENT, 0, &err), 0, &err, NULL);
}

static void change_lv_remove(void)
{
    expect(lv_remove(vg_find_lv(vg, "zero"), 0, &err), 0, &err, NULL);
}

static void change_remove(void)
{
    expect(lv_remove(vg_find_lv(vg, "zero"), 0, &err), 0, &err, NULL);
    expect(lv_remove(vg_find_lv(vg, "keep"), 0, &err), 0, &err, NULL);
    tape_record(&tape);
    expect(vg_remove(vg, 0, &err), 0, &err, NULL);
    vg = NULL;
}

static const struct scenario scenarios[] = {
    {"create", 0, change_create, "new", true},
    {"extend", 2, change_extend, "vg", false},
    {"reduce", 3, change_reduce, "vg", false},
    {"rename", 3, change_rename, "new", false},
    {"lv create", 2, change_lv_create, "vg", false},
    {"lv grow", 3, change_lv_grow, "vg", false},
    {"lv shrink", 2, change_lv_shrink, "vg", false},
    {"lv remove", 2, change_lv_remove, "vg", false},
    {"remove", 3, change_remove, NULL, true},
};

/* What stands on the devices before: a volume of data, one that was never written. */
static void prepare(const struct scenario *s)
{
    struct lv *lv;

    tape_begin(&tape, DEV_BYTES, 'x');
    vg = NULL;
    if (!s->pvs)
        return;
    expect(vg_create(&vg, "vg", tape.devs, s->pvs, SMALL_EXTENT, &no_settings, 0, &err), 0, &err,
        NULL);
    expect(lv_create(vg, "keep", 2 * SMALL_EXTENT, NULL, 0, 0, &lv, &err), 0, &err, NULL);
    fill(lv_blockdev(lv, &err), 0, 2 * SMALL_EXTENT, 'k');
    expect(lv_create(vg, "zero", 4 * SMALL_EXTENT, NULL, 0, 0, &lv, &err), 0, &err, NULL);
}

static void check_volumes(struct vg *found)
{
    struct vg_status *status = vg_status(found);
    struct lv *lv;

    CU_ASSERT_PTR_NULL(status->read_only_reason);
    CU_ASSERT_PTR_NULL(status->warning);
    for (unsigned i = 0; i < status->lv_count; i++) {
        const struct lv_status *l = &status->lvs[i];
        struct blockdev *d = lv_blockdev(l->lv, &err);

        CU_ASSERT(holds(d, 0, l->size_bytes, strcmp(l->name, "keep") == 0 ? 'k' : 0));
    }
    vg_status_free(status);
    expect(lv_create(found, "after", 3 * SMALL_EXTENT, NULL, 0, 0, &lv, &err), 0, &err, NULL);
    CU_ASSERT(holds(lv_blockdev(lv, &err), 0, 3 * SMALL_EXTENT, 0));
}

/* Opens what a scan would find; `done`: the change had returned. */
static void check_cut(const struct scenario *s, struct blockdev **devs, bool done)
{
    struct blockdev *pvs[TAPE_DEVS];
    struct vg_examination x;
    struct vg *found = NULL;
    unsigned count = 0;

    for (unsigned i = 0; i < TAPE_DEVS; i++)
        if (vg_examine(devs[i], &x, NULL) == 0)
            pvs[count++] = devs[i];
    int rc = vg_open(&found, pvs, count, &no_settings, &err);
    if (rc) {
        CU_ASSERT_EQUAL(rc, -ENODATA);
        CU_ASSERT(s->may_lack && !(done && s->vg_after));
        return;
    }
    bool is_new = s->vg_after && strcmp(vg_name(found), s->vg_after) == 0;
    CU_ASSERT(is_new || (!done && s->pvs && strcmp(vg_name(found), "vg") == 0));
    check_volumes(found);
    /* And again: what was repaired and changed is whole. */
    expect(vg_close(found, &err), 0, &err, NULL);
    expect(vg_open(&found, pvs, count, &no_settings, &err), 0, &err, NULL);
    CU_ASSERT_PTR_NOT_NULL(vg_find_lv(found, "after"));
    expect(vg_close(found, &err), 0, &err, NULL);
}

static void run_scenario(const struct scenario *s)
{
    unsigned failures = CU_get_number_of_failures();

    prepare(s);
    tape_record(&tape);
    s->change();
    if (vg)
        expect(vg_close(vg, &err), 0, &err, NULL);
    CU_ASSERT(tape.count > 6);
    for (unsigned at = 0; at <= tape.count; at++)
        for (unsigned cut = 0; cut < CUTS; cut++) {
            struct blockdev *devs[TAPE_DEVS];

            tape_cut(&tape, at, cut < 2 ? cut : at * 7919 + cut, devs);
            check_cut(s, devs, at == tape.count);
            for (unsigned i = 0; i < TAPE_DEVS; i++)
                blockdev_close(devs[i]);
        }
    if (CU_get_number_of_failures() != failures)
        printf("during \"%s\"\n", s->name);
    tape_end(&tape);
}

static void cuts(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(scenarios); i++)
        run_scenario(&scenarios[i]);
}

static void test_cuts(void)
{
    run_in_rt(cuts);
}

/* New extents are zeroed and flushed before the text that names them is written; freed ones are
 * given back after it is committed. */
static void order(void)
{
    struct lv *lv;

    tape_begin(&tape, DEV_BYTES, 'x');
    expect(vg_create(&vg, "vg", tape.devs, 1, SMALL_EXTENT, &no_settings, 0, &err), 0, &err, NULL);
    CU_ASSERT(tape_find(&tape, 0, TAPE_UNUSED, 0, MIB, MIB) >= 0);
    tape_record(&tape);
    expect(lv_create(vg, "l", 2 * SMALL_EXTENT, NULL, 0, 0, &lv, &err), 0, &err, NULL);
    int zeroed = tape_find(&tape, 0, TAPE_ZEROES, 0, MIB, 2 * SMALL_EXTENT);
    CU_ASSERT_EQUAL(zeroed, 0);
    CU_ASSERT_EQUAL(tape.entries[1].kind, TAPE_FLUSH);
    CU_ASSERT_EQUAL(tape_find(&tape, 0, TAPE_WRITE, 0, 0, MIB), 2);
    tape_record(&tape);
    expect(lv_remove(lv, 0, &err), 0, &err, NULL);
    static const enum tape_kind kinds[] = {TAPE_WRITE, TAPE_FLUSH, TAPE_WRITE, TAPE_FLUSH,
        TAPE_WRITE, TAPE_FLUSH, TAPE_DISCARD, TAPE_UNUSED};
    CU_ASSERT_EQUAL(tape.count, ARRAY_LEN(kinds));
    for (unsigned i = 0; i < tape.count && i < ARRAY_LEN(kinds); i++)
        CU_ASSERT_EQUAL(tape.entries[i].kind, kinds[i]);
    CU_ASSERT_EQUAL(tape.entries[6].offset, MIB);
    CU_ASSERT_EQUAL(tape.entries[7].length, 2 * SMALL_EXTENT);
    expect(vg_close(vg, &err), 0, &err, NULL);
    /* Opening writes the last step of what it finds again, and tells the devices what holds
     * nothing. */
    tape_record(&tape);
    expect(vg_open(&vg, tape.devs, 1, &no_settings, &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(tape.count, 3);
    CU_ASSERT_EQUAL(tape.entries[0].kind, TAPE_WRITE);
    CU_ASSERT_EQUAL(tape.entries[1].kind, TAPE_FLUSH);
    CU_ASSERT_EQUAL(tape.entries[2].kind, TAPE_UNUSED);
    CU_ASSERT_EQUAL(tape.entries[2].length, MIB);
    /* But not when another PV may know better. */
    expect(vg_extend(vg, &tape.devs[1], 1, 0, &err), 0, &err, NULL);
    expect(vg_close(vg, &err), 0, &err, NULL);
    tape_record(&tape);
    expect(vg_open(&vg, tape.devs, 1, &no_settings, &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(tape.count, 1);
    expect(vg_attach_pv(vg, tape.devs[1], &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(tape.count, 3);
    expect(vg_close(vg, &err), 0, &err, NULL);
    tape_end(&tape);
}

static void test_order(void)
{
    run_in_rt(order);
}

CU_TestInfo crash_tests[] = {
    {"a power cut at every moment of every change", test_cuts},
    {"zeroed before, given back after", test_order},
    CU_TEST_INFO_NULL,
};
