/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Life: create, stop, assemble; every level and layout against a flat model. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/member.h"

struct shape {
    const char *name;
    int level;
    uint32_t layout;
    unsigned members;
};

static const struct shape shapes[] = {
    {"raid0", 0, 0, 3},
    {"raid1 of 2", 1, 0, 2},
    {"raid1 of 3", 1, 0, 3},
    {"near2 of 2", 10, RAID10_LAYOUT_NEAR(2), 2},
    {"near2 of 3", 10, RAID10_LAYOUT_NEAR(2), 3},
    {"near2 of 4", 10, RAID10_LAYOUT_NEAR(2), 4},
    {"near3 of 5", 10, RAID10_LAYOUT_NEAR(3), 5},
    {"far2 of 3", 10, RAID10_LAYOUT_FAR(2), 3},
    {"far3 of 5", 10, RAID10_LAYOUT_FAR(3), 5},
    {"offset2 of 4", 10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 4},
    {"offset3 of 5", 10, RAID10_LAYOUT_FAR(3) | RAID10_LAYOUT_OFFSET, 5},
    {"near2 far2 of 4", 10, 0x202, 4},
};

static void work_and_restart(const struct shape *shape)
{
    struct rig r;

    rig_init(&r, shape->members);
    rig_create(&r, shape->level, shape->layout, shape->members, 0);
    array_start(r.array);
    rig_work(&r, 300);
    rig_check(&r);
    rig_stop(&r);
    CU_ASSERT_EQUAL(rig_assemble(&r, RIG_ALL(&r), 0), 0);
    rig_check(&r);
    array_start(r.array);
    rig_work(&r, 50);
    rig_settle(&r);
    rig_check(&r);
    CU_ASSERT_EQUAL(rig_unsynced(&r), 0);
    CU_ASSERT_EQUAL(rig_count_differing(&r), 0);
    rig_end(&r);
}

static void every_shape_holds_what_was_written(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
        work_and_restart(&shapes[i]);
}

static void test_every_shape_holds_what_was_written(void)
{
    run_in_rt(every_shape_holds_what_was_written);
}

CU_TestInfo array_tests[] = {
    {"every shape holds what was written", test_every_shape_holds_what_was_written},
    CU_TEST_INFO_NULL,
};
