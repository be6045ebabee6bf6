/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commits on devices that fail, at every step. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#include "block/fault.h"

extern CU_TestInfo commit_tests[];

static struct rig rig;
static struct error err;

/* A change of metadata alone writes each PV so: text, flush, header, flush, header, flush. */
enum step { TEXT, TEXT_FLUSH, PRECOMMIT, PRECOMMIT_FLUSH, COMMIT, COMMIT_FLUSH, STEPS };

static void fail_at(struct blockdev *d, enum step step)
{
    static const struct fault_rule rules[STEPS] = {
        [TEXT] = {.kind = BLOCK_WRITE, .skip = 0, .error = -EIO},
        [TEXT_FLUSH] = {.kind = BLOCK_FLUSH, .skip = 0, .error = -EIO},
        [PRECOMMIT] = {.kind = BLOCK_WRITE, .skip = 1, .error = -EIO},
        [PRECOMMIT_FLUSH] = {.kind = BLOCK_FLUSH, .skip = 1, .error = -EIO},
        [COMMIT] = {.kind = BLOCK_WRITE, .skip = 2, .error = -EIO},
        [COMMIT_FLUSH] = {.kind = BLOCK_FLUSH, .skip = 2, .error = -EIO},
    };

    CU_ASSERT(fault_add(d, &rules[step]) > 0);
}

static void check_status(uint32_t seqno, const char *warning, const char *reason)
{
    struct vg_status *s = vg_status(rig.vg);

    CU_ASSERT_EQUAL(s->seqno, seqno);
    CU_ASSERT_EQUAL(!s->warning, !warning);
    CU_ASSERT(!warning || strstr(s->warning, warning));
    CU_ASSERT_EQUAL(!s->read_only_reason, !reason);
    CU_ASSERT(!reason || strstr(s->read_only_reason, reason));
    CU_ASSERT_EQUAL(s->pvs[0].stale, warning != NULL);
    vg_status_free(s);
}

/* One PV fails: the change is made on the other, told, and made up for by the next. */
static void one_fails(void)
{
    for (enum step step = 0; step < STEPS; step++) {
        rig_begin(&rig, 512);
        rig_create(&rig, 2);
        struct lv *lv = rig_lv(&rig, "one", 1);
        fail_at(rig.pvs[0], step);
        expect(lv_rename(lv, "two", 0, &err), 0, &err, NULL);
        check_status(3, "the metadata on pv-0 could not be written", NULL);
        fault_clear(rig.pvs[0]);
        rig_reopen(&rig, 0, 2); /* catches it up */
        check_status(3, NULL, NULL);
        CU_ASSERT_PTR_NOT_NULL(vg_find_lv(rig.vg, "two"));
        fail_at(rig.pvs[0], step);
        expect(lv_rename(vg_find_lv(rig.vg, "two"), "three", 0, &err), 0, &err, NULL);
        fault_clear(rig.pvs[0]);
        expect(lv_rename(vg_find_lv(rig.vg, "three"), "four", 0, &err), 0, &err, NULL);
        check_status(5, NULL, NULL);
        /* Both copies are good: either alone tells the same (and that the other is missing). */
        for (unsigned alone = 0; alone < 2; alone++) {
            rig_reopen(&rig, alone, 1);
            CU_ASSERT_PTR_NOT_NULL(vg_find_lv(rig.vg, "four"));
        }
        rig_end(&rig);
    }
}

/* All fail before the commit point: nothing has changed, here or there. */
static void all_fail_before(void)
{
    for (enum step step = TEXT; step < COMMIT; step++) {
        rig_begin(&rig, 512);
        rig_create(&rig, 2);
        struct lv *lv = rig_lv(&rig, "one", 1);
        fail_at(rig.pvs[0], step);
        fail_at(rig.pvs[1], step);
        expect(lv_rename(lv, "two", 0, &err), EIO, &err, "could not be written");
        CU_ASSERT_STRING_EQUAL(lv_name(lv), "one");

        fault_clear(rig.pvs[0]);
        fault_clear(rig.pvs[1]);
        rig_reopen(&rig, 0, 2);
        CU_ASSERT_PTR_NOT_NULL(vg_find_lv(rig.vg, "one"));
        CU_ASSERT_PTR_NULL(vg_find_lv(rig.vg, "two"));
        check_status(2, NULL, NULL);
        rig_end(&rig);
    }
}

/* All fail at the commit point: nobody knows, so nothing more is changed until it is read again. */
static void all_fail_at_the_point(void)
{
    for (enum step step = COMMIT; step < STEPS; step++) {
        rig_begin(&rig, 512);
        rig_create(&rig, 2);
        struct lv *lv = rig_lv(&rig, "one", 1);
        fail_at(rig.pvs[0], step);
        fail_at(rig.pvs[1], step);
        expect(lv_rename(lv, "two", 0, &err), EIO, &err, "could not be committed");
        fault_clear(rig.pvs[0]);
        fault_clear(rig.pvs[1]);
        CU_ASSERT_STRING_EQUAL(lv_name(lv), "one");
        expect(lv_rename(lv, "two", 0, &err), EROFS, &err, "open it again");
        CU_ASSERT_PTR_NOT_NULL(lv_blockdev(lv, &err));
        rig_reopen(&rig, 0, 2);
        CU_ASSERT(vg_find_lv(rig.vg, step == COMMIT ? "one" : "two") != NULL);
        expect(
            lv_remove(vg_find_lv(rig.vg, step == COMMIT ? "one" : "two"), 0, &err), 0, &err, NULL);
        rig_end(&rig);
    }
}

/* Extents that cannot be zeroed are not given to anybody. */
static void zeroing_fails(void)
{
    struct lv *lv = NULL;

    rig_begin(&rig, 512);
    rig_create(&rig, 1);
    fault_add(rig.pvs[0], &(struct fault_rule){.kind = BLOCK_WRITE_ZEROES, .error = -EIO});
    expect(lv_create(rig.vg, "one", EXTENT, NULL, 0, 0, &lv, &err), EIO, &err,
        "new extents on pv-0 cannot be zeroed");
    fault_clear(rig.pvs[0]);
    CU_ASSERT_PTR_NULL(vg_find_lv(rig.vg, "one"));
    check_status(1, NULL, NULL);
    lv = rig_lv(&rig, "one", 1);
    struct blockdev *d = lv_blockdev(lv, &err);
    fault_add(rig.pvs[0], &(struct fault_rule){.kind = BLOCK_FLUSH, .error = -EIO});
    expect(lv_resize(lv, 2 * EXTENT, 0, &err), EIO, &err, "cannot be zeroed");
    CU_ASSERT_EQUAL(d->size_bytes, EXTENT);
    fault_clear(rig.pvs[0]);
    expect(lv_resize(lv, 2 * EXTENT, 0, &err), 0, &err, NULL);
    rig_end(&rig);
}

/* A label that cannot be written makes no group. */
static void format_fails(void)
{
    rig_begin(&rig, 512);
    fault_add(rig.pvs[1], &(struct fault_rule){.kind = BLOCK_WRITE, .error = -EIO});
    expect(vg_create(&rig.vg, "vg", rig.pvs, 2, 0, &no_settings, 0, &err), EIO, &err,
        "the LVM2 label of pv-1 cannot be written");
    fault_clear(rig.pvs[1]);
    CU_ASSERT_PTR_NULL(rig.vg);
    CU_ASSERT_EQUAL(rig.pvs[0]->users, 0);
    expect(vg_examine(rig.pvs[0], &(struct vg_examination){0}, &err), ENODATA, &err, "no LVM2");
    rig_create(&rig, 2);
    fault_add(rig.pvs[2], &(struct fault_rule){.kind = BLOCK_FLUSH, .error = -EIO});
    expect(vg_extend(rig.vg, rig.pvs + 2, 1, 0, &err), EIO, &err, "label of pv-2");
    fault_clear(rig.pvs[2]);
    CU_ASSERT_EQUAL(rig.pvs[2]->users, 0);
    check_status(1, NULL, NULL);
    expect(vg_extend(rig.vg, rig.pvs + 2, 1, 0, &err), 0, &err, NULL);
    rig_end(&rig);
}

/* A group that is partly removed is not touched again before it has been read. */
static void removal_fails(void)
{
    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    fault_add(rig.pvs[1], &(struct fault_rule){.kind = BLOCK_WRITE, .error = -EIO});
    expect(vg_remove(rig.vg, 0, &err), EIO, &err, "pv-1 cannot be erased");
    fault_clear(rig.pvs[1]);
    expect(vg_remove(rig.vg, 0, &err), EROFS, &err, "partly removed");
    rig_reopen(&rig, 0, 2);
    check_status(1, NULL, NULL);
    expect(vg_remove(rig.vg, 0, &err), 0, &err, NULL);
    rig.vg = NULL;
    rig_end(&rig);
}

static void reduce_warns(void)
{
    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    fault_add(rig.pvs[1], &(struct fault_rule){.kind = BLOCK_WRITE, .error = -EIO});
    expect(vg_reduce(rig.vg, "pv-1", 0, &err), 0, &err, NULL);
    fault_clear(rig.pvs[1]);
    struct vg_status *s = vg_status(rig.vg);
    CU_ASSERT_PTR_NOT_NULL(strstr(s->warning, "label of pv-1 could not be erased"));
    vg_status_free(s);
    /* Its older metadata does not count. */
    rig_reopen(&rig, 0, 2);
    CU_ASSERT(!vg_has_pv(rig.vg, rig.pvs[1]));
    CU_ASSERT_EQUAL(rig.pvs[1]->users, 0);
    check_status(2, NULL, NULL);
    rig_end(&rig);
}

#define IN_RT(fn)                                                                                  \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
IN_RT(one_fails)
IN_RT(all_fail_before)
IN_RT(all_fail_at_the_point)
IN_RT(zeroing_fails)
IN_RT(format_fails)
IN_RT(removal_fails)
IN_RT(reduce_warns)

CU_TestInfo commit_tests[] = {
    {"one PV fails, at every step", test_one_fails},
    {"all PVs fail before the commit point", test_all_fail_before},
    {"all PVs fail at the commit point", test_all_fail_at_the_point},
    {"extents cannot be zeroed", test_zeroing_fails},
    {"a label cannot be written", test_format_fails},
    {"a group is removed half way", test_removal_fails},
    {"a label cannot be erased", test_reduce_warns},
    CU_TEST_INFO_NULL,
};
