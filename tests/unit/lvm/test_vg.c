/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/fault.h"

extern CU_TestInfo vg_tests[];

static struct rig rig;
static struct error err;

static void life(void)
{
    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    struct lv *lv = rig_lv(&rig, "one", 14);
    struct blockdev *d = lv_blockdev(lv, &err);
    CU_ASSERT_PTR_NOT_NULL(d);
    CU_ASSERT_STRING_EQUAL(d->name, "vg/one");
    CU_ASSERT_EQUAL(d->size_bytes, 14 * EXTENT);
    fill(d, 0, 14 * EXTENT, 'a');
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    rig_reopen(&rig, 0, 4 - 2);
    lv = vg_find_lv(rig.vg, "one");
    CU_ASSERT_PTR_NOT_NULL(lv);
    d = lv_blockdev(lv, &err);
    CU_ASSERT(holds(d, 0, 14 * EXTENT, 'a'));
    struct vg_status *s = vg_status(rig.vg);
    CU_ASSERT_EQUAL(s->seqno, 2);
    CU_ASSERT_EQUAL(s->size_bytes, 24 * EXTENT);
    CU_ASSERT_EQUAL(s->free_bytes, 10 * EXTENT);
    CU_ASSERT_EQUAL(s->lvs[0].segment_count, 2);
    CU_ASSERT_STRING_EQUAL(s->lvs[0].segments[1].type, "linear");
    CU_ASSERT_STRING_EQUAL(s->lvs[0].segments[1].pvs[0], "pv-1");
    CU_ASSERT_PTR_NULL(s->read_only_reason);
    CU_ASSERT_PTR_NULL(s->warning);
    vg_status_free(s);
    rig_end(&rig);
}

static void test_life(void)
{
    run_in_rt(life);
}

CU_TestInfo vg_tests[] = {
    {"a group is made, used, and opened again", test_life},
    CU_TEST_INFO_NULL,
};
