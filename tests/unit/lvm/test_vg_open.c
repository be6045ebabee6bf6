/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening groups that are damaged, partial, mixed up, or LVM2's own. */
#include "golden.h"
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/member.h"

extern CU_TestInfo vg_open_tests[];

static struct rig rig;
static struct error err;

static bool is_writable(const struct vg *vg, const char *part)
{
    struct vg_status *s = vg_status(vg);
    bool yes = !s->read_only_reason;

    CU_ASSERT(yes || !part || strstr(s->read_only_reason, part));
    vg_status_free(s);
    return yes;
}

static void open_refused(unsigned first, unsigned count, int code, const char *part)
{
    struct vg *vg = (void *)1;

    expect(vg_open(&vg, rig.pvs + first, count, &no_settings, &err), code, &err, part);
    CU_ASSERT_PTR_EQUAL(vg, (void *)1);
    for (unsigned i = 0; i < RIG_PVS; i++)
        CU_ASSERT_EQUAL(rig.pvs[i]->users, 0);
}

static void close_rig(void)
{
    expect(vg_close(rig.vg, &err), 0, &err, NULL);
    rig.vg = NULL;
}

static void refusals(void)
{
    char sector[512];

    rig_begin(&rig, 512);
    open_refused(0, 1, ENODATA, "pv-0: there is no LVM2 label");
    rig_create(&rig, 2);
    close_rig();
    struct vg *other;
    expect(vg_create(&other, "other", rig.pvs + 2, 1, 0, &no_settings, 0, &err), 0, &err, NULL);
    expect(vg_close(other, &err), 0, &err, NULL);
    open_refused(1, 2, EXDEV, "pv-2 is of volume group other, others are of vg");
    CU_ASSERT_EQUAL(blockdev_use(rig.pvs[1], false), 0);
    struct vg *vg;
    expect(vg_open(&vg, rig.pvs, 2, &no_settings, &err), EBUSY, &err, "pv-1 is in use");
    blockdev_unuse(rig.pvs[1]);
    /* A copy of a PV. */
    char *head = malloc(MIB);
    CU_ASSERT_EQUAL(blockdev_read(rig.pvs[0], head, 0, MIB), 0);
    CU_ASSERT_EQUAL(blockdev_write(rig.pvs[3], head, 0, MIB, 0), 0);
    struct blockdev *copies[] = {rig.pvs[0], rig.pvs[1], rig.pvs[3]};
    expect(
        vg_open(&vg, copies, 3, &no_settings, &err), EEXIST, &err, "pv-0 and pv-3 carry the same");
    free(head);
    /* Damage. */
    CU_ASSERT_EQUAL(blockdev_read(rig.pvs[2], sector, 512, 512), 0);
    sector[40] ^= 1;
    CU_ASSERT_EQUAL(blockdev_write(rig.pvs[2], sector, 512, 512, 0), 0);
    open_refused(2, 1, EBADMSG, "pv-2: the LVM2 label's checksum");
    expect(vg_examine(rig.pvs[2], &(struct vg_examination){0}, &err), EBADMSG, &err, "checksum");
    expect(vg_create(&vg, "x", rig.pvs + 2, 1, 0, &no_settings, 0, &err), EBADMSG, &err, "force");
    for (unsigned i = 0; i < 2; i++)
        fill(rig.pvs[i], 4096 + 512, 512, '#');
    open_refused(0, 2, EBADMSG, "no valid metadata is left: pv-0: the metadata text's checksum");
    expect(vg_examine(rig.pvs[0], &(struct vg_examination){0}, &err), EBADMSG, &err, "checksum");
    for (unsigned i = 0; i < 2; i++)
        fill(rig.pvs[i], 4096, 512, '#');
    open_refused(0, 2, EBADMSG, "pv-0: its metadata area is damaged");
    rig_end(&rig);
}

/* Damage to one copy, of each kind: the group opens from the other, which repairs it. */
static void repairs(void)
{
    static const uint64_t damage[] = {4096, 4096 + 512, 4096 + 600, 4096 + 1024};
    char *old = malloc(MIB);

    for (unsigned i = 0; i <= ARRAY_LEN(damage); i++) {
        rig_begin(&rig, 512);
        rig_create(&rig, 2);
        CU_ASSERT_EQUAL(blockdev_read(rig.pvs[0], old, 0, MIB), 0);
        rig_lv(&rig, "one", 3);
        close_rig();
        if (i < ARRAY_LEN(damage))
            fill(rig.pvs[0], damage[i] / 512 * 512, 512, 'Z');
        else
            CU_ASSERT_EQUAL(blockdev_write(rig.pvs[0], old, 0, MIB, 0), 0);
        rig_reopen(&rig, 0, 2);
        CU_ASSERT(is_writable(rig.vg, NULL));
        rig_reopen(&rig, 0, 1);
        CU_ASSERT_PTR_NOT_NULL(vg_find_lv(rig.vg, "one"));
        rig_end(&rig);
    }
    free(old);
}

/* Two commits of one number: nobody knows which counts. */
static void ambiguous(void)
{
    char *head = malloc(MIB);

    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    CU_ASSERT_EQUAL(blockdev_read(rig.pvs[1], head, 0, MIB), 0);
    rig_lv(&rig, "one", 1);
    close_rig();
    char *other = malloc(MIB);
    CU_ASSERT_EQUAL(blockdev_read(rig.pvs[0], other, 0, MIB), 0);
    for (unsigned i = 0; i < 2; i++) { /* back to the first commit, then another second one */
        char *both = malloc(MIB);

        CU_ASSERT_EQUAL(blockdev_read(rig.pvs[i], both, 0, MIB), 0);
        memcpy(both + 4096, head + 4096, MIB - 4096);
        CU_ASSERT_EQUAL(blockdev_write(rig.pvs[i], both, 0, MIB, 0), 0);
        free(both);
    }
    rig_reopen(&rig, 0, 2);
    rig_lv(&rig, "two", 1);
    close_rig();
    CU_ASSERT_EQUAL(blockdev_write(rig.pvs[0], other, 0, MIB, 0), 0);
    rig_reopen(&rig, 0, 2);
    CU_ASSERT(!is_writable(rig.vg, "different metadata of the same seqno 2"));
    struct lv *lv;
    expect(lv_create(rig.vg, "x", 1, NULL, 0, 0, &lv, &err), EROFS, &err, "different metadata");
    rig_end(&rig);
    free(head);
    free(other);
}

/* With a PV missing: shown, its whole volumes used, never modified; until the PV comes. */
static void partial(void)
{
    struct vg_status *s;
    struct lv *lv;

    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    struct blockdev *d = lv_blockdev(rig_lv(&rig, "here", 12), &err);
    fill(d, 0, EXTENT, 'h');
    rig_lv(&rig, "there", 2);
    rig_reopen(&rig, 0, 1);
    s = vg_status(rig.vg);
    CU_ASSERT_EQUAL(s->missing_pvs, 1);
    CU_ASSERT_STRING_EQUAL(s->pvs[1].name, "pv-1");
    CU_ASSERT(s->pvs[1].missing && !s->pvs[0].missing);
    CU_ASSERT_PTR_NULL(s->lvs[0].unusable);
    CU_ASSERT_PTR_NOT_NULL(strstr(s->lvs[1].unusable, "vg/there lies on the missing PV"));
    vg_status_free(s);
    CU_ASSERT(!is_writable(rig.vg, "(pv-1) is missing"));
    CU_ASSERT(holds(lv_blockdev(vg_find_lv(rig.vg, "here"), &err), 0, EXTENT, 'h'));
    CU_ASSERT_PTR_NULL(lv_blockdev(vg_find_lv(rig.vg, "there"), &err));
    expect(-err.code, ENXIO, &err, "missing PV");
    expect(lv_remove(vg_find_lv(rig.vg, "there"), 0, &err), EROFS, &err, "is missing");
    expect(lv_create(rig.vg, "x", 1, NULL, 0, 0, &lv, &err), EROFS, &err, "is missing");
    expect(vg_attach_pv(rig.vg, rig.pvs[2], &err), ENODATA, &err, "no LVM2 label");
    expect(
        vg_attach_pv(rig.vg, rig.pvs[0], &err), ENXIO, &err, "no PV that volume group vg misses");
    expect(vg_attach_pv(rig.vg, rig.pvs[1], &err), 0, &err, NULL);
    CU_ASSERT(is_writable(rig.vg, NULL));
    CU_ASSERT_PTR_NOT_NULL(lv_blockdev(vg_find_lv(rig.vg, "there"), &err));
    expect(lv_remove(vg_find_lv(rig.vg, "here"), 0, &err), 0, &err, NULL);
    rig_end(&rig);
}

/* The PV that was missing knows more than we do. */
static void attach_newer(void)
{
    char *old = malloc(MIB);

    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    CU_ASSERT_EQUAL(blockdev_read(rig.pvs[0], old, 0, MIB), 0);
    rig_lv(&rig, "one", 1);
    close_rig();
    CU_ASSERT_EQUAL(blockdev_write(rig.pvs[0], old, 0, MIB, 0), 0);
    rig_reopen(&rig, 0, 1);
    expect(vg_attach_pv(rig.vg, rig.pvs[1], &err), ESTALE, &err, "newer metadata");
    CU_ASSERT_EQUAL(rig.pvs[1]->users, 0);
    rig_end(&rig);
    free(old);
}

/* A device that has become shorter than the group thinks. */
static void shrunken(void)
{
    rig_begin(&rig, 512);
    rig_create(&rig, 1);
    rig_lv(&rig, "one", 12);
    close_rig();
    rig.pvs[0]->size_bytes -= EXTENT;
    open_refused(0, 1, EBADMSG, "smaller than its LVM2 label says");
    rig.pvs[0]->size_bytes += EXTENT;
    rig_end(&rig);
}

static void read_only(void)
{
    rig_begin(&rig, 512);
    rig_create(&rig, 1);
    rig_lv(&rig, "one", 1);
    close_rig();
    rig.pvs[0]->capabilities |= BLOCK_READ_ONLY;
    rig_reopen(&rig, 0, 1);
    CU_ASSERT(!is_writable(rig.vg, "pv-0 is read-only"));
    struct blockdev *d = lv_blockdev(vg_find_lv(rig.vg, "one"), &err);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 0, 512, 0), -EROFS);
    CU_ASSERT(holds(d, 0, 512, 0));
    rig_end(&rig);
}

/* LVM2's groups from the first MiB of their PVs, in devices large enough for the rest. */
static unsigned golden_devices(const struct golden *g, struct blockdev **devs)
{
    for (unsigned i = 0; i < g->pvs; i++) {
        char *head = golden_head(g, i), name[24];

        snprintf(name, sizeof name, "golden-%u", i);
        CU_ASSERT_EQUAL(member_memory(name, 512 * MIB, 512, &devs[i]), 0);
        CU_ASSERT_EQUAL(blockdev_write(devs[i], head, 0, GOLDEN_HEAD_BYTES, 0), 0);
        free(head);
    }
    return g->pvs;
}

static void check_golden(const struct golden *g)
{
    struct blockdev *devs[4];
    unsigned count = golden_devices(g, devs);
    struct vg_settings settings = {.host = "test"};
    struct vg *vg = NULL;

    expect(vg_open(&vg, devs, count, &settings, &err), 0, &err, NULL);
    CU_ASSERT_STRING_EQUAL(vg_name(vg), g->vg);
    struct vg_status *s = vg_status(vg);
    CU_ASSERT_EQUAL(s->pv_count, count);
    CU_ASSERT_EQUAL(s->lv_count, g->lvs);
    CU_ASSERT_EQUAL(!s->read_only_reason, !g->reason);
    for (unsigned i = 0; i < s->lv_count; i++)
        CU_ASSERT_EQUAL(!lv_blockdev(s->lvs[i].lv, NULL), s->lvs[i].unusable != NULL);
    vg_status_free(s);
    expect(vg_close(vg, &err), 0, &err, NULL);
    for (unsigned i = 0; i < count; i++)
        blockdev_close(devs[i]);
}

static void goldens_open(void)
{
    for (unsigned i = 0; i < golden_count; i++)
        if (goldens[i].pvs)
            check_golden(&goldens[i]);
}

/* Segment types that we do not know: shown by name, never modified; what they build upon may be
 * read. */
static void unknown_types(void)
{
    struct blockdev *devs[4], *d;
    unsigned count = golden_devices(&goldens[6], devs);
    struct vg *vg = NULL;
    struct lv *lv;

    expect(vg_open(&vg, devs, count, &no_settings, &err), 0, &err, NULL);
    expect(lv_create(vg, "x", 1, NULL, 0, 0, &lv, &err), EROFS, &err, "never modified");
    expect(vg_rename(vg, "x", 0, &err), EROFS, &err, "never modified");
    CU_ASSERT_PTR_NULL(lv_blockdev(vg_find_lv(vg, "r5"), &err));
    expect(-err.code, EOPNOTSUPP, &err, "vo/r5 has a segment of type raid5");
    CU_ASSERT_PTR_NULL(lv_blockdev(vg_find_lv(vg, "thin"), &err));
    expect(-err.code, EOPNOTSUPP, &err, "type thin");
    CU_ASSERT_PTR_NULL(lv_blockdev(vg_find_lv(vg, "r1_rimage_0"), &err));
    expect(-err.code, EOPNOTSUPP, &err, "is a part of another one");
    d = lv_blockdev(vg_find_lv(vg, "lin"), &err);
    CU_ASSERT(d->capabilities & BLOCK_READ_ONLY); /* a snapshot's origin */
    struct vg_status *s = vg_status(vg);
    for (unsigned i = 0; i < s->lv_count; i++)
        if (strcmp(s->lvs[i].name, "r5") == 0)
            CU_ASSERT_STRING_EQUAL(s->lvs[i].segments[0].type, "raid5");
    vg_status_free(s);
    expect(vg_close(vg, &err), 0, &err, NULL);
    for (unsigned i = 0; i < count; i++)
        blockdev_close(devs[i]);
}

/* A PV without metadata goes with those that have some, and alone says nothing. */
static void no_areas(void)
{
    struct blockdev *devs[4];
    unsigned count = golden_devices(&goldens[4], devs);
    struct vg_examination x;
    struct vg *vg = NULL;

    expect(vg_examine(devs[0], &x, &err), 0, &err, NULL);
    CU_ASSERT_STRING_EQUAL(x.vg_name, "");
    CU_ASSERT_EQUAL(x.metadata_areas, 0);
    expect(vg_examine(devs[1], &x, &err), 0, &err, NULL);
    CU_ASSERT_STRING_EQUAL(x.vg_name, "vgi");
    CU_ASSERT_EQUAL(x.seqno, 3);
    CU_ASSERT_EQUAL(x.metadata_areas, 1);
    expect(vg_examine(devs[2], &x, &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(x.metadata_areas, 0); /* ignored */
    expect(vg_open(&vg, devs, 1, &no_settings, &err), ENODATA, &err, "no device carries metadata");
    expect(vg_open(&vg, devs, count, &no_settings, &err), 0, &err, NULL);
    expect(vg_rename(vg, "renamed", 0, &err), 0, &err, NULL);
    expect(vg_close(vg, &err), 0, &err, NULL);
    expect(vg_open(&vg, devs, count, &no_settings, &err), 0, &err, NULL);
    CU_ASSERT_STRING_EQUAL(vg_name(vg), "renamed");
    expect(vg_close(vg, &err), 0, &err, NULL);
    for (unsigned i = 0; i < count; i++)
        blockdev_close(devs[i]);
}

#define IN_RT(fn)                                                                                  \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
IN_RT(refusals)
IN_RT(repairs)
IN_RT(ambiguous)
IN_RT(partial)
IN_RT(attach_newer)
IN_RT(shrunken)
IN_RT(read_only)
IN_RT(goldens_open)
IN_RT(unknown_types)
IN_RT(no_areas)

CU_TestInfo vg_open_tests[] = {
    {"devices that make no group", test_refusals},
    {"damaged and stale copies are repaired", test_repairs},
    {"copies that contradict each other", test_ambiguous},
    {"PVs missing, and coming", test_partial},
    {"a missing PV that knows more", test_attach_newer},
    {"a PV that has shrunk", test_shrunken},
    {"a PV that is read-only", test_read_only},
    {"LVM2's groups", test_goldens_open},
    {"segment types that are not known", test_unknown_types},
    {"PVs without metadata, and with ignored areas", test_no_areas},
    CU_TEST_INFO_NULL,
};
