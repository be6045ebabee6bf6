/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A raw volume of 8 MiB in a group of 63 extents of 1 MiB, its overlay, and what was cut off. */
#include "overlay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/fault.h"
#include "block/member.h"
#include "exports.h"
#include "fixture.h"
#include "groups.h"
#include "images.h"
#include "rt/worker.h"
#include "volumes.h"

extern CU_TestInfo overlay_tests[];

#define MIB (UINT64_C(1) << 20)

struct overlaid {
    struct fixture *f;
    struct catalog_vg *v;
    struct lv *raw;
};

static struct error err;

static struct lv *make_raw(struct catalog_vg *v, struct daemon *d, uint64_t size_bytes)
{
    struct volume_plan plan = {.name = "raw", .size_bytes = size_bytes};
    struct lv *lv = NULL;

    CU_ASSERT_EQUAL_FATAL(volumes_create(d, v, &plan, &lv, &err), 0);
    return lv;
}

static void begin(struct overlaid *o, struct fixture *f)
{
    const char *path = fixture_path(f, "pv");
    const char *const pvs[] = {path};
    struct group_plan plan = {.name = "vg", .pvs = pvs, .pv_count = 1, .extent_size_bytes = MIB};

    fclose(fopen(path, "w"));
    CU_ASSERT_EQUAL_FATAL(truncate(path, 64 * (off_t)MIB), 0);
    CU_ASSERT_EQUAL_FATAL(groups_create(&f->daemon, &plan, &o->v, &err), 0);
    o->f = f;
    o->raw = make_raw(o->v, &f->daemon, 8 * MIB);
}

static void end(struct overlaid *o)
{
    overlays_stop(&o->f->daemon);
    groups_close_all(&o->f->daemon);
    CU_ASSERT(list_empty(&o->f->daemon.catalog.vgs));
}

static void reopen(struct overlaid *o)
{
    images_close_all(&o->f->daemon, o->v);
    images_bring_up(&o->f->daemon);
}

static struct catalog_image *overlay(struct overlaid *o)
{
    return images_overlay(&o->f->daemon, o->raw);
}

static int snapshot(struct overlaid *o, const char *name)
{
    return overlay_create(&o->f->daemon, o->v, o->raw, name, false, &err);
}

static struct blockdev *guest(struct overlaid *o)
{
    struct blockdev *dev = NULL;

    CU_ASSERT_EQUAL_FATAL(images_device(&o->f->daemon, o->raw, &dev, &err), 0);
    return dev;
}

static void put(struct overlaid *o, uint64_t offset, uint8_t byte)
{
    uint8_t data[4096];

    memset(data, byte, sizeof data);
    CU_ASSERT_EQUAL(blockdev_write(guest(o), data, offset, sizeof data, 0), 0);
}

static int at(struct blockdev *dev, uint64_t offset)
{
    uint8_t data[4096] = {0};

    CU_ASSERT_EQUAL(blockdev_read(dev, data, offset, sizeof data), 0);
    return data[0];
}

static int below(struct overlaid *o, uint64_t offset)
{
    return at(lv_blockdev(o->raw, NULL), offset);
}

static void wait_gone(struct overlaid *o)
{
    while (overlay(o))
        co_sleep_ns(1000000);
    overlays_stop(&o->f->daemon);
}

static void life(struct fixture *f)
{
    struct overlaid o;
    struct lv *found;
    uint64_t job;

    begin(&o, f);
    put(&o, 0, 'a');
    put(&o, MIB, 'a');
    CU_ASSERT_EQUAL(snapshot(&o, "s"), 0);
    CU_ASSERT_EQUAL(guest(&o)->size_bytes, 8 * MIB);
    CU_ASSERT_EQUAL(at(guest(&o), 0), 'a');
    put(&o, MIB, 'b');
    CU_ASSERT_EQUAL(at(guest(&o), MIB), 'b');
    CU_ASSERT_EQUAL(below(&o, MIB), 'a');
    reopen(&o);
    CU_ASSERT_STRING_EQUAL(overlay(&o)->target, "vg/raw");
    CU_ASSERT_EQUAL(at(guest(&o), 0), 'a');
    CU_ASSERT_EQUAL(at(guest(&o), MIB), 'b');
    CU_ASSERT_EQUAL(groups_find_volume(&f->daemon, "vg", "raw.overlay", &found, &err), -ENOENT);
    CU_ASSERT_EQUAL(snapshot(&o, "t"), -EBUSY);
    CU_ASSERT_EQUAL(volumes_resize(&f->daemon, o.v, o.raw, 9 * MIB, false, false, &err), -EBUSY);
    CU_ASSERT_EQUAL(volumes_rename(&f->daemon, o.v, o.raw, "x", false, &err), -EBUSY);
    CU_ASSERT_EQUAL(volumes_remove(&f->daemon, o.v, o.raw, false, &err), -EBUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "snapshot s"));
    CU_ASSERT_EQUAL(overlay_commit(overlay(&o), false, &job, &err), 0);
    CU_ASSERT_EQUAL(overlay_revert(overlay(&o), false, &err), -EBUSY);
    wait_gone(&o);
    CU_ASSERT_EQUAL(below(&o, MIB), 'b');
    CU_ASSERT_PTR_NULL(vg_find_lv(o.v->vg, "raw.overlay"));
    CU_ASSERT_EQUAL(volumes_remove(&f->daemon, o.v, o.raw, false, &err), 0);
    end(&o);
}

/* The daemon ended when it had begun to commit, or to revert. */
static void cut_off(struct fixture *f)
{
    struct overlaid o;

    begin(&o, f);
    put(&o, 0, 'a');
    CU_ASSERT_EQUAL(snapshot(&o, "s"), 0);
    put(&o, 0, 'b');
    CU_ASSERT_EQUAL(lv_add_tag(overlay(&o)->lv, IMAGE_TAG_REVERTING, 0, &err), 0);
    reopen(&o);
    CU_ASSERT_EQUAL(at(guest(&o), 0), 'a');
    CU_ASSERT(!lv_has_tag(overlay(&o)->lv, IMAGE_TAG_REVERTING));
    put(&o, 0, 'c');
    CU_ASSERT_EQUAL(lv_add_tag(overlay(&o)->lv, IMAGE_TAG_COMMITTING, 0, &err), 0);
    reopen(&o);
    CU_ASSERT_EQUAL(at(guest(&o), 0), 'c');
    wait_gone(&o);
    CU_ASSERT_EQUAL(at(guest(&o), 0), 'c');
    end(&o);
}

/* Of a revert the image may be in any state then. */
static void half_reverted(struct fixture *f)
{
    uint8_t zeros[4096] = {0};
    struct overlaid o;
    struct lv *lv;

    begin(&o, f);
    CU_ASSERT_EQUAL(snapshot(&o, "s"), 0);
    put(&o, 0, 'b');
    lv = overlay(&o)->lv;
    CU_ASSERT_EQUAL(lv_add_tag(lv, IMAGE_TAG_REVERTING, 0, &err), 0);
    images_close_all(&f->daemon, o.v);
    CU_ASSERT_EQUAL(blockdev_write(lv_blockdev(lv, NULL), zeros, 0, sizeof zeros, 0), 0);
    images_bring_up(&f->daemon);
    CU_ASSERT_EQUAL(at(guest(&o), 0), 0);
    CU_ASSERT_STRING_EQUAL(overlay_snapshot(overlay(&o)), "s");
    end(&o);
}

/* Whoever closes the images holds `change`, which the job wants at its end. */
static void closed_while_committing(struct fixture *f)
{
    struct overlaid o;
    uint64_t job;

    begin(&o, f);
    put(&o, 0, 'a');
    CU_ASSERT_EQUAL(snapshot(&o, "s"), 0);
    put(&o, 0, 'b');
    catalog_change_begin(&f->daemon);
    CU_ASSERT_EQUAL(overlay_commit(overlay(&o), false, &job, &err), 0);
    images_close_all(&f->daemon, o.v);
    CU_ASSERT(list_empty(&o.v->images));
    catalog_change_end(&f->daemon, 0, NULL);
    overlays_stop(&f->daemon);
    CU_ASSERT_PTR_NOT_NULL(vg_find_lv(o.v->vg, "raw.overlay"));
    images_bring_up(&f->daemon);
    CU_ASSERT_EQUAL(at(guest(&o), 0), 'b');
    wait_gone(&o);
    CU_ASSERT_EQUAL(below(&o, 0), 'b');
    end(&o);
}

/* What could be neither made nor removed again is not in the way of the next one. */
static void left_behind(struct fixture *f)
{
    const char *const new[] = {IMAGE_TAG, IMAGE_TAG_NEW}, *const whole[] = {
                                                              IMAGE_TAG, IMAGE_TAG_OVERLAY "s0"};
    struct overlaid o;
    struct lv *lv;
    uint64_t job;

    begin(&o, f);
    CU_ASSERT_EQUAL(lv_create(o.v->vg, "raw.overlay", MIB, new, 2, 0, &lv, &err), 0);
    CU_ASSERT_EQUAL(snapshot(&o, "s1"), 0);
    CU_ASSERT_PTR_NOT_NULL(overlay(&o));
    CU_ASSERT_EQUAL(overlay_commit(overlay(&o), false, &job, &err), 0);
    wait_gone(&o);
    CU_ASSERT_EQUAL(lv_create(o.v->vg, "raw.overlay", MIB, whole, 2, 0, &lv, &err), 0);
    CU_ASSERT_EQUAL(snapshot(&o, "s2"), 0);
    CU_ASSERT_PTR_NOT_NULL(overlay(&o));
    end(&o);
}

/* Guests do not see the raw volume instead. */
static void unusable(struct fixture *f)
{
    uint8_t zeros[4096] = {0};
    struct blockdev *dev;
    struct overlaid o;
    struct lv *lv;

    begin(&o, f);
    CU_ASSERT_EQUAL(snapshot(&o, "s"), 0);
    lv = overlay(&o)->lv;
    images_close_all(&f->daemon, o.v);
    CU_ASSERT_EQUAL(blockdev_write(lv_blockdev(lv, NULL), zeros, 0, sizeof zeros, 0), 0);
    images_bring_up(&f->daemon);
    CU_ASSERT_EQUAL(images_device(&f->daemon, o.raw, &dev, &err), -ENXIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "vg/raw cannot be used"));
    CU_ASSERT_EQUAL(overlay_commit(overlay(&o), false, &(uint64_t){0}, &err), -ENXIO);
    end(&o);
}

static void refused(struct fixture *f)
{
    struct volume_plan clone = {.name = "clone", .sparse = true};
    struct overlaid o;
    struct lv *lv;

    begin(&o, f);
    CU_ASSERT_EQUAL(snapshot(&o, "a b"), -EINVAL);
    CU_ASSERT_EQUAL(blockdev_use(guest(&o), true), 0);
    CU_ASSERT_EQUAL(snapshot(&o, "s"), -EBUSY);
    blockdev_unuse(guest(&o));
    CU_ASSERT_PTR_NULL(vg_find_lv(o.v->vg, "raw.overlay"));
    CU_ASSERT_EQUAL(lv_resize(o.raw, 62 * MIB, 0, &err), 0);
    CU_ASSERT_EQUAL(snapshot(&o, "s"), -ENOSPC);
    CU_ASSERT_EQUAL(lv_resize(o.raw, 8 * MIB, 0, &err), 0);
    clone.from = o.raw;
    CU_ASSERT_EQUAL(volumes_create(&f->daemon, o.v, &clone, &lv, &err), 0);
    CU_ASSERT_EQUAL(snapshot(&o, "s"), -EBUSY);
    CU_ASSERT_EQUAL(volumes_remove(&f->daemon, o.v, lv, false, &err), 0);
    CU_ASSERT_EQUAL(snapshot(&o, "s"), 0);
    CU_ASSERT_EQUAL(volumes_create(&f->daemon, o.v, &clone, &lv, &err), -EBUSY);
    end(&o);
}

/* What was written to the former is durable there, or all stays as it is. */
static void flushed_before_a_switch(struct fixture *f)
{
    struct fault_rule broken = {.kind = BLOCK_FLUSH, .error = -EIO};
    struct fault_record records[4] = {0};
    struct blockdev *memory, *from, *to;
    unsigned count;

    CU_ASSERT_EQUAL_FATAL(member_memory("memory", MIB, 512, &memory), 0);
    CU_ASSERT_EQUAL_FATAL(fault_create(memory, &from), 0);
    CU_ASSERT_EQUAL_FATAL(member_memory("to", MIB, 512, &to), 0);
    CU_ASSERT_EQUAL(exports_switch(&f->daemon, "vg/raw", from, to, &err), 0);
    count = fault_log(from, records, 4);
    CU_ASSERT(count > 0 && count <= 4);
    CU_ASSERT_EQUAL(records[count ? count - 1 : 0].kind, BLOCK_FLUSH);
    fault_add(from, &broken);
    CU_ASSERT_EQUAL(exports_switch(&f->daemon, "vg/raw", from, to, &err), -EIO);
    blockdev_close(from);
    blockdev_close(to);
}

#define IN_DAEMON(name)                                                                            \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        fixture_run(name);                                                                         \
    }
IN_DAEMON(life)
IN_DAEMON(cut_off)
IN_DAEMON(half_reverted)
IN_DAEMON(closed_while_committing)
IN_DAEMON(unusable)
IN_DAEMON(refused)
IN_DAEMON(flushed_before_a_switch)
IN_DAEMON(left_behind)

CU_TestInfo overlay_tests[] = {
    {"life", test_life},
    {"cut_off", test_cut_off},
    {"half_reverted", test_half_reverted},
    {"closed_while_committing", test_closed_while_committing},
    {"unusable", test_unusable},
    {"refused", test_refused},
    {"flushed_before_a_switch", test_flushed_before_a_switch},
    {"left_behind", test_left_behind},
    CU_TEST_INFO_NULL,
};
