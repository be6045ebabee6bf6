/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "golden.h"
#include "raid/assembly.h"

extern CU_TestInfo assembly_tests[];

#define MEMBERS 6u
#define SECTORS 20480u /* of each member's data */

/* A healthy array made up here, whose superblocks each test then spoils. */
struct made {
    struct raid_candidate candidates[MEMBERS];
    struct md_superblock sb[MEMBERS];
    struct md_bitmap_header bitmap;
    unsigned count;
    struct raid_assembly a;
    struct raid_geometry g;
    struct error err;
};

static struct made *make(int level, uint32_t layout, unsigned raid_disks, unsigned count)
{
    static const char *const names[] = {"d0", "d1", "d2", "d3", "d4", "d5"};
    struct made *m = calloc(1, sizeof *m);

    m->count = count;
    m->bitmap = (struct md_bitmap_header){.uuid = "an array's uuid",
        .events = 20,
        .events_cleared = 15,
        .sync_size = MEMBERS * SECTORS,
        .chunk_bytes = 64 << 20,
        .daemon_sleep = 5};
    for (unsigned i = 0; i < count; i++) {
        struct md_superblock *sb = &m->sb[i];
        *sb = (struct md_superblock){.name = "host:data",
            .feature_map = level ? MD_FEATURE_BITMAP_OFFSET : 0,
            .level = level,
            .layout = layout,
            .chunk = level == 1 ? 0 : 128,
            .size = level ? SECTORS : 0,
            .raid_disks = raid_disks,
            .bitmap_offset = 8,
            .data_offset = 2048,
            .data_size = SECTORS,
            .super_offset = MD_SUPERBLOCK_OFFSET,
            .dev_number = i,
            .events = 20,
            .resync_offset = MD_MAX_SECTOR,
            .max_dev = 128};
        memcpy(sb->set_uuid, m->bitmap.uuid, sizeof sb->set_uuid);
        memset(sb->dev_roles, 0xff, sizeof sb->dev_roles);
        for (unsigned k = 0; k < raid_disks; k++)
            sb->dev_roles[k] = (uint16_t)k;
        m->candidates[i] = (struct raid_candidate){
            .name = names[i], .sb = sb, .bitmap = &m->bitmap, .device_bytes = 16 << 20};
    }
    return m;
}

static int decide(struct made *m, bool force)
{
    memset(&m->err, 0, sizeof m->err);
    return raid_assembly_decide(&m->a, &m->g, m->candidates, m->count, force, &m->err);
}

static void starts(struct made *m, bool force)
{
    CU_ASSERT_EQUAL_FATAL(decide(m, force), 0);
    raid_geometry_destroy(&m->g);
}

static void fails(struct made *m, bool force, int rc, const char *text)
{
    CU_ASSERT_EQUAL(decide(m, force), rc);
    if (!strstr(m->err.text, text)) {
        printf("\nwanted '%s', got '%s'\n", text, m->err.text);
        CU_FAIL("refused for another reason");
    }
}

/* All superblocks but those from `first` to `last` have moved on by `events`. */
static void leave_behind(struct made *m, unsigned first, unsigned last, uint64_t events)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (i >= first && i <= last)
            continue;
        m->sb[i].events += events;
        for (unsigned k = first; k <= last && events > 1; k++)
            m->sb[i].dev_roles[k] = MD_DISK_ROLE_SPARE;
    }
    m->bitmap.events += events;
}

static void test_healthy(void)
{
    struct made *m = make(10, 0x102, 4, 5);

    starts(m, false);
    for (unsigned i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(m->a.members[i], (int)i);
        CU_ASSERT_EQUAL(m->a.replacements[i], -1);
        CU_ASSERT_EQUAL(m->a.candidates[i].use, RAID_USE_IN_SYNC);
        CU_ASSERT_EQUAL(m->a.candidates[i].role, (int)i);
    }
    CU_ASSERT_EQUAL(m->a.candidates[4].use, RAID_USE_SPARE);
    CU_ASSERT_EQUAL(m->a.candidates[4].role, -1);
    CU_ASSERT(m->a.missing == 0 && m->a.absent == 0 && !m->a.dirty && !m->a.forced);
    CU_ASSERT_EQUAL(m->a.resync_from_bytes, UINT64_MAX);
    CU_ASSERT_EQUAL(m->a.bitmap_from, 0);
    CU_ASSERT_EQUAL(m->g.size_bytes, 2ull * SECTORS * 512);
    free(m);
}

/* Every subset of the members: it starts if and only if each pair has one. */
static void test_subsets(void)
{
    for (unsigned set = 1; set < 16; set++) {
        struct made *m = make(10, 0x102, 4, 4);
        unsigned count = 0, gone = 0;
        for (unsigned i = 0; i < 4; i++)
            if (set >> i & 1)
                m->candidates[count++] = m->candidates[i];
            else
                gone++;
        m->count = count;
        if ((set & 3) && (set & 12))
            starts(m, false);
        else
            fails(m, false, -ENXIO, (set & 3) ? " 2 3" : " 0 1");
        CU_ASSERT_EQUAL(m->a.missing, gone);
        CU_ASSERT_EQUAL(m->a.absent, gone);
        free(m);
    }
}

static void test_raid0(void)
{
    struct made *m = make(0, 0, 3, 3);

    starts(m, false);
    CU_ASSERT_EQUAL(m->g.size_bytes, 3ull * SECTORS * 512);
    CU_ASSERT_FALSE(m->a.dirty);
    CU_ASSERT_EQUAL(m->a.bitmap_from, -1);
    m->sb[1].data_size -= 128;
    m->sb[2].data_size -= 256;
    fails(m, false, -EINVAL, "does not say whether its layout is original or alternate");
    for (unsigned i = 0; i < 3; i++) {
        m->sb[i].feature_map |= MD_FEATURE_RAID0_LAYOUT;
        m->sb[i].layout = RAID0_LAYOUT_ALTERNATE;
    }
    starts(m, false);
    m->count = 2;
    fails(m, false, -ENXIO, "not enough members to start host:data: no data for role 2");
    free(m);
}

static void test_events(void)
{
    struct made *m = make(1, 0, 3, 3);

    leave_behind(m, 2, 2, 1);
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[2].use, RAID_USE_IN_SYNC);
    CU_ASSERT_EQUAL(m->a.freshest, 0);
    leave_behind(m, 2, 2, 1);
    m->bitmap.events_cleared = 21;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[2].use, RAID_USE_STALE);
    CU_ASSERT_EQUAL(m->a.candidates[2].role, 2);
    CU_ASSERT_EQUAL(m->a.members[2], -1);
    CU_ASSERT_EQUAL(m->a.missing, 1);
    CU_ASSERT_EQUAL(m->a.absent, 1);
    m->sb[0].dev_roles[2] = m->sb[1].dev_roles[2] = MD_DISK_ROLE_SPARE;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.absent, 0);
    free(m);
}

/* The survivor's superblock was written, the failed member's could not be. */
static void test_faulty(void)
{
    struct made *m = make(1, 0, 2, 2);

    leave_behind(m, 1, 1, 1);
    m->sb[0].dev_roles[1] = MD_DISK_ROLE_FAULTY;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.freshest, 0);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_FAULTY);
    CU_ASSERT_EQUAL(m->a.members[1], -1);
    CU_ASSERT(m->a.candidates[1].may_readd);
    free(m);
}

static void test_readd(void)
{
    struct made *m = make(10, 0x102, 4, 4);

    leave_behind(m, 1, 1, 4);
    starts(m, false);
    CU_ASSERT(m->a.candidates[1].may_readd);
    m->bitmap.events_cleared = 21;
    starts(m, false);
    CU_ASSERT_FALSE(m->a.candidates[1].may_readd);
    m->bitmap.events_cleared = 20;
    starts(m, false);
    CU_ASSERT(m->a.candidates[1].may_readd);
    m->sb[1].feature_map |= MD_FEATURE_RECOVERY_OFFSET;
    starts(m, false);
    CU_ASSERT_FALSE(m->a.candidates[1].may_readd);
    m->sb[1].feature_map &= ~(uint32_t)MD_FEATURE_RECOVERY_OFFSET;
    m->sb[1].size -= 128;
    starts(m, false);
    CU_ASSERT_FALSE(m->a.candidates[1].may_readd);
    m->sb[1].size += 128;
    m->bitmap.events = 23;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.bitmap_from, -1);
    CU_ASSERT_FALSE(m->a.candidates[1].may_readd);
    free(m);
}

/* It was given its role back, but its own superblock was not written any more. */
static void test_readd_cut(void)
{
    struct made *m = make(10, 0x102, 4, 4);

    leave_behind(m, 1, 1, 4);
    m->sb[0].events = m->sb[2].events = m->sb[3].events = m->bitmap.events = 25;
    for (unsigned i = 0; i < 4; i++)
        m->sb[i].dev_roles[1] = 1;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_STALE);
    CU_ASSERT(m->a.candidates[1].may_readd);
    CU_ASSERT(m->a.missing == 1 && m->a.absent == 0);
    m->bitmap.events_cleared = 25; /* it is there, but out of date */
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.absent, 1);
    free(m);
}

/* It was, while a fresher one that had the role was away; now that one comes back. */
static void test_readd_cut_of_another(void)
{
    struct made *m = make(10, 0x102, 4, 5);

    leave_behind(m, 1, 1, 4);
    m->sb[4].events = 22;
    m->sb[4].dev_roles[4] = 1;
    m->sb[4].dev_roles[1] = MD_DISK_ROLE_SPARE;
    for (unsigned i = 0; i < 4; i++)
        m->sb[i].dev_roles[1] = 1;
    starts(m, false);
    CU_ASSERT_FALSE(m->a.candidates[1].may_readd);
    CU_ASSERT(m->a.candidates[4].may_readd);
    CU_ASSERT(m->a.missing == 1 && m->a.absent == 0);
    m->candidates[1] = m->candidates[4]; /* the one that had it is away */
    m->count = 4;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.absent, 1);
    free(m);
}

/* Its superblock is as old as the day when another took its place, which is not here. */
static void test_replaced(void)
{
    struct made *m = make(1, 0, 2, 2);

    m->sb[0].dev_roles[2] = m->sb[1].dev_roles[2] = 1;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_IN_SYNC);
    CU_ASSERT(m->a.missing == 0 && m->a.absent == 1);
    free(m);
}

/* It has run without the freshest: our bitmap knows nothing of what was written there. */
static void test_readd_disowned(void)
{
    struct made *m = make(1, 0, 2, 2);

    leave_behind(m, 1, 1, 4);
    m->sb[1].dev_roles[0] = MD_DISK_ROLE_SPARE;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_STALE);
    CU_ASSERT_FALSE(m->a.candidates[1].may_readd);
    free(m);
}

/* Its role has been given to a spare; or two once had it. */
static void test_readd_one(void)
{
    struct made *m = make(1, 0, 2, 3);

    leave_behind(m, 1, 1, 4);
    m->sb[0].dev_roles[2] = m->sb[2].dev_roles[2] = 1;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.members[1], 2);
    CU_ASSERT_FALSE(m->a.candidates[1].may_readd);
    m->sb[2].events = 19;
    m->sb[0].dev_roles[2] = MD_DISK_ROLE_SPARE;
    starts(m, false);
    CU_ASSERT(m->a.candidates[1].may_readd);
    CU_ASSERT_FALSE(m->a.candidates[2].may_readd);
    free(m);
}

static void test_split_brain(void)
{
    struct made *m = make(1, 0, 2, 2);

    m->sb[0].dev_roles[1] = MD_DISK_ROLE_SPARE;
    m->sb[1].dev_roles[0] = MD_DISK_ROLE_FAULTY;
    fails(m, false, -EBADMSG, "have each run without the other");
    m->count = 1;
    starts(m, false);
    free(m);
}

/* A crash left the update that did both on the new member only. */
static void test_failed_while_a_spare_takes_its_place(void)
{
    struct made *m = make(1, 0, 2, 3);

    m->sb[2].events = m->bitmap.events = 21;
    m->sb[2].dev_roles[1] = MD_DISK_ROLE_FAULTY;
    m->sb[2].dev_roles[2] = 1;
    m->sb[2].feature_map |= MD_FEATURE_RECOVERY_OFFSET;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[0].use, RAID_USE_IN_SYNC);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_FAULTY);
    CU_ASSERT_EQUAL(m->a.candidates[2].use, RAID_USE_RECOVERING);
    free(m);
}

static void test_recovering(void)
{
    struct made *m = make(1, 0, 2, 2);

    m->sb[1].feature_map |= MD_FEATURE_RECOVERY_OFFSET;
    m->sb[1].recovery_offset = 1000;
    m->sb[1].events = 21;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_RECOVERING);
    CU_ASSERT_EQUAL(m->a.candidates[1].recovery_offset_bytes, 512000);
    CU_ASSERT_FALSE(m->a.candidates[1].recover_by_bitmap);
    CU_ASSERT_EQUAL(m->a.members[1], 1);
    CU_ASSERT(m->a.missing == 1 && m->a.absent == 0);
    m->sb[1].feature_map |= MD_FEATURE_RECOVERY_BITMAP;
    m->bitmap.events = 21;
    starts(m, false);
    CU_ASSERT(m->a.candidates[1].recover_by_bitmap);
    m->bitmap.events = 20;
    starts(m, false);
    CU_ASSERT_FALSE(m->a.candidates[1].recover_by_bitmap);
    m->candidates[0] = m->candidates[1];
    m->count = 1;
    fails(m, false, -ENXIO, "no data for roles 0 1");
    free(m);
}

/* A spare that was just given a role, but whose own superblock was not written any more. */
static void test_spares(void)
{
    struct made *m = make(1, 0, 2, 3);

    m->sb[2].events = 3;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[2].use, RAID_USE_SPARE);
    leave_behind(m, 1, 1, 4);
    m->sb[0].dev_roles[2] = 1;
    m->sb[2].events = 23;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.freshest, 0);
    CU_ASSERT_EQUAL(m->a.candidates[2].use, RAID_USE_SPARE);
    CU_ASSERT_EQUAL(m->a.members[1], -1);
    CU_ASSERT(m->a.missing == 1 && m->a.absent == 0);
    m->count = 2; /* without it, there was a member that is missing */
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.absent, 1);
    m->candidates[0] = m->candidates[2];
    m->count = 1;
    fails(m, false, -ENXIO, "only spares of host:data were found");
    free(m);
}

static void test_replacement(void)
{
    struct made *m = make(1, 0, 2, 3);

    for (unsigned i = 0; i < 3; i++)
        m->sb[i].dev_roles[2] = 1;
    m->sb[2].feature_map |= MD_FEATURE_REPLACEMENT | MD_FEATURE_RECOVERY_OFFSET;
    m->sb[2].recovery_offset = 2000;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.members[1], 1);
    CU_ASSERT_EQUAL(m->a.replacements[1], 2);
    CU_ASSERT_EQUAL(m->a.candidates[2].use, RAID_USE_REPLACING);
    CU_ASSERT_EQUAL(m->a.candidates[2].recovery_offset_bytes, 1024000);
    CU_ASSERT_EQUAL(m->a.missing, 0);
    m->candidates[1] = m->candidates[2];
    m->count = 2;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.members[1], 1);
    CU_ASSERT_EQUAL(m->a.replacements[1], -1);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_RECOVERING);
    m->sb[2].recovery_offset = SECTORS; /* all of it: it was about to take over */
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_IN_SYNC);
    m->sb[2].feature_map = MD_FEATURE_BITMAP_OFFSET | MD_FEATURE_REPLACEMENT;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_IN_SYNC);
    CU_ASSERT_EQUAL(m->a.missing, 0);
    free(m);
}

static void test_dirty(void)
{
    struct made *m = make(10, 0x102, 4, 4);

    for (unsigned i = 0; i < 4; i++)
        m->sb[i].resync_offset = 0;
    starts(m, false);
    CU_ASSERT(m->a.dirty);
    CU_ASSERT_EQUAL(m->a.resync_from_bytes, 0);
    CU_ASSERT_EQUAL(m->a.bitmap_from, 0);
    m->candidates[0].bitmap = NULL;
    m->sb[0].resync_offset = 4096;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.resync_from_bytes, 4096 * 512);
    CU_ASSERT_EQUAL(m->a.bitmap_from, 1);
    m->bitmap.events = 19;
    m->sb[0].resync_offset = UINT64_MAX - 1;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.bitmap_from, -1);
    CU_ASSERT_EQUAL(m->a.resync_from_bytes, m->g.size_bytes);
    free(m);
}

static void test_bitmap_of_another(void)
{
    struct made *m = make(1, 0, 2, 2);

    m->bitmap.uuid[0] ^= 1;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.bitmap_from, -1);
    m->bitmap.uuid[0] ^= 1;
    m->bitmap.sync_size = SECTORS - 1;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.bitmap_from, -1);
    free(m);
}

static void test_force(void)
{
    struct made *m = make(10, 0x102, 4, 4);

    /* 2 and 3 were left behind, 2 later than 3; then 1, which 0 makes up for */
    leave_behind(m, 2, 3, 4);
    leave_behind(m, 1, 3, 4);
    m->sb[3].events--;
    fails(m, false, -ENXIO, "no data for roles 1 2 3");
    starts(m, true);
    CU_ASSERT(m->a.forced);
    CU_ASSERT_EQUAL(m->a.candidates[2].use, RAID_USE_IN_SYNC);
    CU_ASSERT_EQUAL(m->a.members[2], 2);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_STALE);
    CU_ASSERT_EQUAL(m->a.members[1], -1);
    CU_ASSERT_EQUAL(m->a.candidates[3].use, RAID_USE_STALE);
    CU_ASSERT_EQUAL(m->a.members[3], -1);
    CU_ASSERT_EQUAL(m->a.missing, 2);
    m->count = 2;
    fails(m, true, -ENXIO, "no data for roles 1 2 3");
    CU_ASSERT_FALSE(m->a.forced);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_STALE);
    free(m);
}

static void test_force_not_needed(void)
{
    struct made *m = make(1, 0, 2, 2);

    leave_behind(m, 1, 1, 4);
    starts(m, true);
    CU_ASSERT_FALSE(m->a.forced);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_STALE);
    free(m);
}

static void test_refuse(void)
{
    struct made *m = make(1, 0, 2, 3);

    m->sb[1].set_uuid[3] ^= 1;
    fails(m, false, -EEXIST, "d1 is a member of another array (host:data), not of host:data");
    m->sb[1].set_uuid[3] ^= 1;
    m->candidates[1].device_bytes = (2048 + SECTORS) * 512 - 1;
    fails(m, false, -EBADMSG, "d1 is smaller than its superblock says: 11.0M of 11M");
    m->candidates[1].device_bytes++;
    starts(m, false);
    m->sb[1].size -= 128;
    fails(m, false, -EBADMSG, "superblocks of d1 and d0 describe different arrays");
    m->sb[1].events -= 2;
    starts(m, false);
    CU_ASSERT_EQUAL(m->a.candidates[1].use, RAID_USE_STALE);
    m->sb[2] = m->sb[0];
    fails(m, false, -EEXIST, "d0 and d2 both claim role 0 of host:data");
    m->sb[2].level = 4;
    fails(m, false, -EOPNOTSUPP, "d2: md array of level raid4 is not supported");
    m->sb[2].level = 1;
    m->sb[2].raid_disks = 1000;
    fails(m, false, -EOPNOTSUPP, "more than 384 members");
    m->count = 0;
    fails(m, false, -EINVAL, "0 members are none");
    free(m);
}

static const struct {
    const char *name;
    unsigned missing, stale, spares, readd;
    bool dirty, bitmap;
    uint64_t from;
    uint64_t recovered; /* of the only member that recovers */
} golden[] = {
    {"raid0-64k-uneven-alternate", 0, 0, 0, 0, false, false, UINT64_MAX},
    {"raid1-2-crash-bitmap", 0, 0, 0, 0, true, true, 0},
    {"raid1-2-resync-unfinished", 0, 0, 0, 0, true, false, 4352 * 512},
    {"raid1-2-synced", 0, 0, 0, 0, false, false, UINT64_MAX},
    {"raid1-3-bitmap", 0, 0, 0, 0, false, true, UINT64_MAX},
    {"raid10-f2-64k-5-degraded", 1, 1, 0, 0, false, false, UINT64_MAX},
    {"raid10-n2-64k-4-degraded", 1, 1, 0, 0, false, false, UINT64_MAX},
    {"raid10-n2-64k-4-degraded2", 2, 2, 0, 2, false, true, UINT64_MAX},
    {"raid10-n2-64k-4-spare", 0, 0, 1, 0, false, false, UINT64_MAX},
    {"raid10-n2-64k-4-synced-bitmap", 0, 0, 0, 0, false, true, UINT64_MAX},
    {"raid5-64k-3-spare", 0, 0, 1, 0, false, false, UINT64_MAX},
    {"raid5-64k-4-crash-bitmap", 0, 0, 0, 0, true, true, 0},
    {"raid5-64k-4-crash-nobitmap", 0, 0, 0, 0, true, false, 0},
    {"raid5-64k-4-created-missing", 1, 0, 0, 0, false, false, UINT64_MAX},
    {"raid5-64k-4-degraded", 1, 1, 0, 0, false, false, UINT64_MAX},
    {"raid5-64k-4-degraded-bitmap", 1, 1, 0, 1, false, true, UINT64_MAX},
    {"raid5-64k-4-force-resync-unfinished", 0, 0, 0, 0, true, false, 4096 * 512},
    {"raid5-64k-4-resync-unfinished", 1, 0, 0, 0, false, false, UINT64_MAX, 4096 * 512},
    {"raid5-64k-4-synced-bitmap", 0, 0, 0, 0, false, true, UINT64_MAX},
    {"raid6-64k-5-degraded1", 1, 1, 0, 0, false, false, UINT64_MAX},
    {"raid6-64k-5-resync-unfinished", 0, 0, 0, 0, true, false, 4096 * 512},
    {"raid6-64k-6-synced-bitmap", 0, 0, 0, 0, false, true, UINT64_MAX},
};

static void test_golden(void)
{
    static struct raid_assembly a;

    for (unsigned k = 0; k < ARRAY_LEN(golden); k++) {
        struct golden *g = golden_load(golden[k].name);
        struct golden_candidates *c = golden_decode(g);
        struct raid_geometry geometry;
        unsigned stale = 0, spares = 0, readd = 0;
        uint64_t recovered = 0;

        CU_ASSERT_EQUAL_FATAL(
            raid_assembly_decide(&a, &geometry, c->candidates, c->count, false, NULL), 0);
        for (unsigned i = 0; i < c->count; i++) {
            stale += a.candidates[i].use == RAID_USE_STALE;
            spares += a.candidates[i].use == RAID_USE_SPARE;
            readd += a.candidates[i].may_readd;
            if (a.candidates[i].use == RAID_USE_RECOVERING)
                recovered += a.candidates[i].recovery_offset_bytes;
        }
        CU_ASSERT_EQUAL(a.missing, golden[k].missing);
        CU_ASSERT_EQUAL(a.absent, 0);
        CU_ASSERT_EQUAL(stale, golden[k].stale);
        CU_ASSERT_EQUAL(spares, golden[k].spares);
        CU_ASSERT_EQUAL(readd, golden[k].readd);
        CU_ASSERT_EQUAL(a.dirty, golden[k].dirty);
        CU_ASSERT_EQUAL(a.bitmap_from >= 0, golden[k].bitmap);
        CU_ASSERT_EQUAL(a.resync_from_bytes, golden[k].from);
        CU_ASSERT_EQUAL(recovered, golden[k].recovered);
        CU_ASSERT_FALSE(a.unsure);
        raid_geometry_destroy(&geometry);
        free(c);
        golden_free(g);
    }
}

CU_TestInfo assembly_tests[] = {
    {"a healthy array", test_healthy},
    {"every subset of RAID10 members", test_subsets},
    {"RAID0 needs all", test_raid0},
    {"one event behind is in, two are stale", test_events},
    {"a faulty member is out, however fresh", test_faulty},
    {"who may come back by bitmap", test_readd},
    {"a crash while one comes back", test_readd_cut},
    {"a crash while one comes back for another", test_readd_cut_of_another},
    {"who has run without us may not", test_readd_disowned},
    {"only one comes back for a role", test_readd_one},
    {"two halves that ran apart are refused", test_split_brain},
    {"failed while a spare takes its place", test_failed_while_a_spare_takes_its_place},
    {"a member that recovers", test_recovering},
    {"spares", test_spares},
    {"a replacement", test_replacement},
    {"one that may have been replaced", test_replaced},
    {"a dirty array, with and without a bitmap", test_dirty},
    {"a bitmap that does not fit does not count", test_bitmap_of_another},
    {"force takes the freshest of the stale, and only where needed", test_force},
    {"force changes nothing when enough are fresh", test_force_not_needed},
    {"what contradicts itself is refused by name", test_refuse},
    {"arrays that Linux left in many states", test_golden},
    CU_TEST_INFO_NULL,
};
