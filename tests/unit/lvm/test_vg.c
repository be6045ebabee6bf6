/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/fault.h"
#include "block/member.h"
#include "lvm/label.h"
#include "lvm/metadata.h"

extern CU_TestInfo vg_tests[];

static struct rig rig;
static struct error err;

/* 12 extents of the first PV and two of the second are the volume's. */
static void check_places(void)
{
    struct vg_place place;

    CU_ASSERT_EQUAL(vg_locate(rig.vg, rig.pvs[0], 0, EXTENT, &place), 0);
    CU_ASSERT_EQUAL(place.use, VG_USE_METADATA);
    CU_ASSERT_EQUAL(place.length_bytes, MIB);
    CU_ASSERT_EQUAL(vg_locate(rig.vg, rig.pvs[1], MIB + EXTENT + 512, EXTENT, &place), 0);
    CU_ASSERT_EQUAL(place.use, VG_USE_VOLUME);
    CU_ASSERT_STRING_EQUAL(place.volume, "one");
    CU_ASSERT_EQUAL(place.offset_bytes, 13 * EXTENT + 512);
    CU_ASSERT_EQUAL(place.length_bytes, EXTENT - 512);
    CU_ASSERT_EQUAL(vg_locate(rig.vg, rig.pvs[1], MIB + 2 * EXTENT, EXTENT, &place), 0);
    CU_ASSERT_EQUAL(place.use, VG_USE_FREE);
    CU_ASSERT_PTR_NULL(place.volume);
    CU_ASSERT_EQUAL(vg_locate(rig.vg, rig.pvs[2], 0, EXTENT, &place), -ENXIO);
}

static void check_life(uint32_t logical_block_bytes)
{
    rig_begin(&rig, logical_block_bytes);
    rig_create(&rig, 2);
    struct lv *lv = rig_lv(&rig, "one", 14);
    struct blockdev *d = lv_blockdev(lv, &err);
    CU_ASSERT_STRING_EQUAL(d->name, "vg/one");
    CU_ASSERT_EQUAL(d->size_bytes, 14 * EXTENT);
    CU_ASSERT_EQUAL(d->logical_block_bytes, logical_block_bytes);
    fill(d, 0, 14 * EXTENT, 'a');
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    rig_reopen(&rig, 0, 2);
    lv = vg_find_lv(rig.vg, "one");
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
    check_places();
    rig_end(&rig);
}

static void life(void)
{
    check_life(512);
    check_life(4096);
}

/* Each change, seen at once and after opening again. */
static void changes(void)
{
    static const char *const tags[] = {"ashlar:format=raw", "x"};
    struct lv *lv, *other;

    rig_begin(&rig, 512);
    rig_create(&rig, 1);
    expect(lv_create(rig.vg, "one", EXTENT + 1, tags, 2, 0, &lv, &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(lv_size_bytes(lv), 2 * EXTENT);
    CU_ASSERT(lv_has_tag(lv, "x"));
    expect(lv_remove_tag(lv, "x", 0, &err), 0, &err, NULL);
    CU_ASSERT(!lv_has_tag(lv, "x"));
    expect(lv_add_tag(lv, "y", 0, &err), 0, &err, NULL);
    other = rig_lv(&rig, "other", 3);
    struct blockdev *d = lv_blockdev(lv, &err);
    CU_ASSERT_PTR_EQUAL(lv_blockdev(lv, &err), d);
    expect(lv_resize(lv, 5 * EXTENT, 0, &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(d->size_bytes, 5 * EXTENT);
    expect(lv_rename(lv, "uno", 0, &err), 0, &err, NULL);
    CU_ASSERT_STRING_EQUAL(d->name, "vg/uno");
    expect(vg_extend(rig.vg, rig.pvs + 1, 2, 0, &err), 0, &err, NULL);
    CU_ASSERT(vg_has_pv(rig.vg, rig.pvs[2]));
    expect(vg_rename(rig.vg, "group", 0, &err), 0, &err, NULL);
    CU_ASSERT_STRING_EQUAL(d->name, "group/uno");
    expect(vg_replace_tag(rig.vg, "ashlar.warn=", "ashlar.warn=70", 0, &err), 0, &err, NULL);
    expect(vg_replace_tag(rig.vg, "ashlar.warn=", "ashlar.warn=80", 0, &err), 0, &err, NULL);
    expect(vg_replace_tag(rig.vg, "x=", "x=1", 0, &err), 0, &err, NULL);
    expect(vg_replace_tag(rig.vg, "x=", NULL, 0, &err), 0, &err, NULL);
    expect(vg_replace_tag(rig.vg, "x=", "a b", 0, &err), EINVAL, &err, NULL);
    expect(lv_remove(other, 0, &err), 0, &err, NULL);
    expect(lv_resize(lv, EXTENT, 0, &err), 0, &err, NULL);
    expect(vg_reduce(rig.vg, "pv-1", 0, &err), 0, &err, NULL);
    CU_ASSERT(!vg_has_pv(rig.vg, rig.pvs[1]));
    CU_ASSERT_EQUAL(rig.pvs[1]->users, 0);
    /* The renumbered PV and the one that left. */
    lv = rig_lv(&rig, "long", 14);
    expect(vg_extend(rig.vg, rig.pvs + 1, 1, 0, &err), 0, &err, NULL);
    rig_reopen(&rig, 0, 3);
    CU_ASSERT_STRING_EQUAL(vg_name(rig.vg), "group");
    CU_ASSERT_PTR_NULL(vg_find_lv(rig.vg, "other"));
    CU_ASSERT_PTR_NULL(vg_find_lv(rig.vg, "one"));
    lv = vg_find_lv(rig.vg, "uno");
    CU_ASSERT_EQUAL(lv_size_bytes(lv), EXTENT);
    CU_ASSERT(lv_has_tag(lv, "y") && !lv_has_tag(lv, "x"));
    CU_ASSERT_STRING_EQUAL(lv_find_tag(lv, "y"), "");
    CU_ASSERT_PTR_NULL(lv_find_tag(lv, "x"));
    CU_ASSERT_STRING_EQUAL(vg_find_tag(rig.vg, "ashlar.warn="), "80");
    CU_ASSERT_PTR_NULL(vg_find_tag(rig.vg, "x="));
    uint64_t size_bytes, free_bytes;
    vg_space(rig.vg, &size_bytes, &free_bytes);
    CU_ASSERT_EQUAL(size_bytes, 36 * EXTENT);
    CU_ASSERT_EQUAL(free_bytes, 21 * EXTENT);
    CU_ASSERT_EQUAL(lv_size_bytes(vg_find_lv(rig.vg, "long")), 14 * EXTENT);
    expect(lv_remove(lv, 0, &err), 0, &err, NULL);
    expect(lv_remove(vg_find_lv(rig.vg, "long"), 0, &err), 0, &err, NULL);
    expect(vg_remove(rig.vg, 0, &err), 0, &err, NULL);
    rig.vg = NULL;
    for (unsigned i = 0; i < 3; i++)
        expect(vg_examine(rig.pvs[i], &(struct vg_examination){0}, &err), ENODATA, &err, "no LVM2");
    rig_end(&rig);
}

/* Nothing of it happens, and what would be refused is. */
static void dry_runs(void)
{
    struct vg *vg = (void *)1;
    struct lv *lv, *none = (void *)1;

    rig_begin(&rig, 512);
    expect(vg_create(&vg, "vg", rig.pvs, 2, 0, &no_settings, VG_DRY_RUN, &err), 0, &err, NULL);
    CU_ASSERT_PTR_NULL(vg);
    CU_ASSERT_EQUAL(rig.pvs[0]->users, 0);
    expect(vg_examine(rig.pvs[0], &(struct vg_examination){0}, &err), ENODATA, &err, NULL);
    rig_create(&rig, 2);
    lv = rig_lv(&rig, "one", 3);
    expect(lv_create(rig.vg, "two", EXTENT, NULL, 0, VG_DRY_RUN, &none, &err), 0, &err, NULL);
    CU_ASSERT_PTR_NULL(none);
    expect(lv_create(rig.vg, "one", EXTENT, NULL, 0, VG_DRY_RUN, &none, &err), EEXIST, &err, NULL);
    expect(lv_resize(lv, EXTENT, VG_DRY_RUN, &err), 0, &err, NULL);
    expect(lv_resize(lv, 99 * EXTENT, VG_DRY_RUN, &err), ENOSPC, &err, NULL);
    expect(lv_rename(lv, "x", VG_DRY_RUN, &err), 0, &err, NULL);
    expect(lv_add_tag(lv, "x", VG_DRY_RUN, &err), 0, &err, NULL);
    expect(lv_remove(lv, VG_DRY_RUN, &err), 0, &err, NULL);
    expect(vg_extend(rig.vg, rig.pvs + 2, 1, VG_DRY_RUN, &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(rig.pvs[2]->users, 0);
    expect(vg_reduce(rig.vg, "pv-1", VG_DRY_RUN, &err), 0, &err, NULL);
    expect(vg_rename(rig.vg, "x", VG_DRY_RUN, &err), 0, &err, NULL);
    expect(vg_remove(rig.vg, VG_DRY_RUN, &err), ENOTEMPTY, &err, NULL);
    struct vg_status *s = vg_status(rig.vg);
    CU_ASSERT_EQUAL(s->seqno, 2);
    CU_ASSERT_EQUAL(s->lv_count, 1);
    CU_ASSERT_STRING_EQUAL(s->lvs[0].name, "one");
    CU_ASSERT_EQUAL(s->lvs[0].size_bytes, 3 * EXTENT);
    vg_status_free(s);
    rig_end(&rig);
}

static void create_refused(
    const char *name, unsigned count, uint64_t extent, int code, const char *part)
{
    struct vg *vg = (void *)1;

    expect(vg_create(&vg, name, rig.pvs, count, extent, &no_settings, 0, &err), code, &err, part);
    CU_ASSERT_PTR_EQUAL(vg, (void *)1);
}

static void create_refusals(void)
{
    struct blockdev *small, *twice[2], *other;

    rig_begin(&rig, 512);
    create_refused("a b", 1, 0, EINVAL, "characters beside");
    create_refused("vg", 0, 0, EINVAL, "1 to 1024 PVs");
    create_refused("vg", 1, 3 << 20, EINVAL, "power of two");
    create_refused("vg", 1, 2048, EINVAL, "power of two");
    create_refused("vg", 1, 64 << 20, ENOSPC, "pv-0 is too small");
    twice[0] = twice[1] = rig.pvs[0];
    struct vg *vg;
    expect(vg_create(&vg, "vg", twice, 2, 0, &no_settings, 0, &err), EBUSY, &err, "pv-0 is in use");
    CU_ASSERT_EQUAL(member_memory("small", MIB, 512, &small), 0);
    expect(vg_create(&vg, "vg", &small, 1, 0, &no_settings, 0, &err), ENOSPC, &err, "small is too");
    blockdev_close(small);
    CU_ASSERT_EQUAL(member_memory("4k", RIG_BYTES, 4096, &other), 0);
    twice[1] = other;
    expect(
        vg_create(&vg, "vg", twice, 2, 0, &no_settings, 0, &err), EINVAL, &err, "blocks of 4096");
    CU_ASSERT_EQUAL(rig.pvs[0]->users, 0);
    blockdev_close(other);
    snprintf(rig.pvs[3]->name, sizeof rig.pvs[3]->name, "a\nb");
    expect(vg_create(&vg, "vg", rig.pvs + 3, 1, 0, &no_settings, 0, &err), EINVAL, &err,
        "a PV's name has a line break");
    const struct vg_settings bad_host = {.host = "a\nb"};
    expect(vg_create(&vg, "vg", rig.pvs, 1, 0, &bad_host, 0, &err), EBADMSG, &err,
        "a quoted text does not end");
    rig.pvs[0]->capabilities |= BLOCK_READ_ONLY;
    create_refused("vg", 1, 0, EROFS, "pv-0 is read-only");
    rig.pvs[0]->capabilities &= ~BLOCK_READ_ONLY;
    CU_ASSERT_EQUAL(blockdev_use(rig.pvs[0], false), 0);
    create_refused("vg", 1, 0, EBUSY, "pv-0 is in use");
    blockdev_unuse(rig.pvs[0]);
    /* A PV of another group, only by force. */
    rig_create(&rig, 1);
    expect(vg_close(rig.vg, &err), 0, &err, NULL);
    create_refused("new", 2, 0, EEXIST, "pv-0 is a PV of volume group vg; force");
    expect(vg_create(&rig.vg, "new", rig.pvs, 2, 0, &no_settings, VG_FORCE, &err), 0, &err, NULL);
    rig_reopen(&rig, 0, 2);
    CU_ASSERT_STRING_EQUAL(vg_name(rig.vg), "new");
    rig_end(&rig);
}

static void refusals(void)
{
    struct lv *lv, *none = (void *)1;
    struct blockdev *d;

    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    lv = rig_lv(&rig, "one", 3);
#define REFUSED(call, code, part) expect(call, code, &err, part)
    REFUSED(lv_create(rig.vg, "one", 1, NULL, 0, 0, &none, &err), EEXIST, "vg/one exists");
    REFUSED(lv_create(rig.vg, "two", 0, NULL, 0, 0, &none, &err), EINVAL, "at least one extent");
    REFUSED(lv_create(rig.vg, "two", UINT64_MAX, NULL, 0, 0, &none, &err), EFBIG, "at most");
    REFUSED(lv_create(rig.vg, "two", 22 * EXTENT, NULL, 0, 0, &none, &err), ENOSPC,
        "22 extents are needed, 21 are free");
    REFUSED(lv_create(rig.vg, "pvmove0", 1, NULL, 0, 0, &none, &err), EINVAL, "pvmove");
    static const char *const bad_tag[] = {"a b"};
    REFUSED(lv_create(rig.vg, "two", 1, bad_tag, 1, 0, &none, &err), EINVAL, "the tag");
    CU_ASSERT_PTR_EQUAL(none, (void *)1);
    REFUSED(lv_resize(lv, 0, 0, &err), EINVAL, "at least one extent");
    REFUSED(lv_resize(lv, 25 * EXTENT, 0, &err), ENOSPC, "are free");
    REFUSED(lv_rename(lv, "one", 0, &err), EEXIST, "exists");
    REFUSED(lv_rename(lv, "", 0, &err), EINVAL, "1 to 127");
    REFUSED(lv_remove_tag(lv, "t", 0, &err), ENOENT, "no tag t");
    REFUSED(lv_add_tag(lv, "@t", 0, &err), EINVAL, "the tag");
    REFUSED(vg_rename(rig.vg, "..", 0, &err), EINVAL, "not allowed");
    REFUSED(vg_reduce(rig.vg, "pv-0", 0, &err), EBUSY, "3 extents of pv-0 hold volumes");
    REFUSED(vg_reduce(rig.vg, "pv-3", 0, &err), ENOENT, "pv-3 is no PV of volume group vg");
    REFUSED(vg_extend(rig.vg, rig.pvs, 1, 0, &err), EEXIST, "pv-0 is a PV of volume group vg");
    REFUSED(vg_extend(rig.vg, rig.pvs, 0, 0, &err), EINVAL, "cannot have 2 PVs");
    REFUSED(vg_remove(rig.vg, 0, &err), ENOTEMPTY, "has 1 volumes");
    d = lv_blockdev(lv, &err);
    CU_ASSERT_EQUAL(blockdev_use(d, false), 0);
    REFUSED(lv_remove(lv, 0, &err), EBUSY, "vg/one is in use");
    REFUSED(vg_close(rig.vg, &err), EBUSY, "vg/one is in use");
    blockdev_unuse(d);
    expect(lv_remove(lv, 0, &err), 0, &err, NULL);
    expect(vg_reduce(rig.vg, "pv-0", 0, &err), 0, &err, NULL);
    REFUSED(vg_reduce(rig.vg, "pv-1", 0, &err), EBUSY, "the only PV");
#undef REFUSED
    rig_end(&rig);
}

/* What was there before is never seen: neither on a fresh device nor what another volume left. */
static void zeros(void)
{
    rig_begin(&rig, 512);
    for (unsigned i = 0; i < RIG_PVS; i++)
        fill(rig.pvs[i], 0, RIG_BYTES, 'x');
    rig_create(&rig, 2);
    struct lv *lv = rig_lv(&rig, "one", 20);
    struct blockdev *d = lv_blockdev(lv, &err);
    CU_ASSERT(holds(d, 0, 20 * EXTENT, 0));
    fill(d, 0, 20 * EXTENT, 'a');
    expect(lv_resize(lv, 5 * EXTENT, 0, &err), 0, &err, NULL);
    expect(lv_resize(lv, 9 * EXTENT, 0, &err), 0, &err, NULL);
    CU_ASSERT(holds(d, 0, 5 * EXTENT, 'a'));
    CU_ASSERT(holds(d, 5 * EXTENT, 4 * EXTENT, 0));
    lv = rig_lv(&rig, "two", 15);
    CU_ASSERT(holds(lv_blockdev(lv, &err), 0, 15 * EXTENT, 0));
    rig_end(&rig);
}

/* The data area begins at 1 MiB, or at the first multiple of the optimal size behind it. */
static void alignment(void)
{
    static const struct {
        uint32_t optimal;
        uint64_t data;
    } cases[] = {{0, MIB}, {64 << 10, MIB}, {768 << 10, 3 * MIB / 2}, {2560 << 10, 5 * MIB / 2},
        {1000, MIB}, {128 << 20, MIB}};

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        char first[LVM_LABEL_SCAN_BYTES];
        struct lvm_label label;

        rig_begin(&rig, 512);
        rig.pvs[0]->optimal_io_bytes = cases[i].optimal;
        rig_create(&rig, 1);
        CU_ASSERT_EQUAL(blockdev_read(rig.pvs[0], first, 0, sizeof first), 0);
        CU_ASSERT_EQUAL(lvm_label_find(&label, first, NULL), 0);
        CU_ASSERT_EQUAL(label.data_areas[0].offset_bytes, cases[i].data);
        CU_ASSERT_EQUAL(label.metadata_areas[0].size_bytes, 1044480);
        rig_end(&rig);
    }
}

#define TAGS 8 /* of each volume: so there need not be many */

/* More metadata than the area holds is refused, and the group goes on as it was. */
static void too_much(void)
{
    char name[32], tag[TAGS][LVM_TAG_CHARS + 1];
    const char *tags[TAGS];
    struct lv *lv;
    unsigned made = 0;
    int rc = 0;

    rig_begin(&rig, 512);
    expect(vg_create(&rig.vg, "vg", rig.pvs, 1, 4096, &no_settings, 0, &err), 0, &err, NULL);
    for (unsigned i = 0; i < TAGS; i++) {
        memset(tag[i], 'a' + (int)i, LVM_TAG_CHARS);
        tag[i][LVM_TAG_CHARS] = 0;
        tags[i] = tag[i];
    }
    for (; !rc && made < 1000; made++) {
        snprintf(name, sizeof name, "l%u", made);
        rc = lv_create(rig.vg, name, 4096, tags, TAGS, 0, &lv, &err);
    }
    expect(rc, ENOSPC, &err, "do not fit into the area of pv-0");
    CU_ASSERT(made > 40 && made < 80);
    CU_ASSERT_PTR_NULL(vg_find_lv(rig.vg, name));
    rig_reopen(&rig, 0, 1);
    CU_ASSERT_PTR_NULL(vg_find_lv(rig.vg, name));
    expect(lv_remove(vg_find_lv(rig.vg, "l7"), 0, &err), 0, &err, NULL);
    expect(lv_create(rig.vg, name, 4096, tags, TAGS, 0, &lv, &err), 0, &err, NULL);
    rig_end(&rig);
}

#define IN_RT(fn)                                                                                  \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
IN_RT(life)
IN_RT(changes)
IN_RT(dry_runs)
IN_RT(create_refusals)
IN_RT(refusals)
IN_RT(zeros)
IN_RT(alignment)
IN_RT(too_much)

CU_TestInfo vg_tests[] = {
    {"a group is made, used, and opened again", test_life},
    {"every change is seen, and still there later", test_changes},
    {"dry runs change nothing", test_dry_runs},
    {"groups that are not made", test_create_refusals},
    {"changes that are refused", test_refusals},
    {"new extents read as zeros", test_zeros},
    {"the data area is aligned to the device", test_alignment},
    {"metadata that does not fit", test_too_much},
    CU_TEST_INFO_NULL,
};
