/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A group of 63 extents of 1 MiB on a file, and images in it. */
#include "images.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "fixture.h"
#include "group_space.h"
#include "groups.h"
#include "volumes.h"

extern CU_TestInfo images_tests[];

#define MIB             (UINT64_C(1) << 20)
#define AT_INCOMPATIBLE 72 /* in the header */

static struct error err;

static struct catalog_vg *make_group(struct fixture *f)
{
    const char *path = fixture_path(f, "pv");
    const char *const pvs[] = {path};
    struct group_plan plan = {.name = "vg", .pvs = pvs, .pv_count = 1, .extent_size_bytes = MIB};
    struct catalog_vg *v = NULL;

    fclose(fopen(path, "w"));
    CU_ASSERT_EQUAL_FATAL(truncate(path, 64 * (off_t)MIB), 0);
    CU_ASSERT_EQUAL_FATAL(groups_create(&f->daemon, &plan, &v, &err), 0);
    return v;
}

static int create(struct fixture *f, struct catalog_vg *v, const char *name, struct lv *from)
{
    struct volume_plan plan = {
        .name = name, .size_bytes = from ? 0 : 16 * MIB, .sparse = true, .from = from};
    struct lv *lv;

    err = (struct error){0};
    return volumes_create(&f->daemon, v, &plan, &lv, &err);
}

static struct catalog_image *find(struct fixture *f, struct catalog_vg *v, const char *name)
{
    struct lv *lv = vg_find_lv(v->vg, name);
    struct catalog_image *i = images_find(&f->daemon, lv);

    CU_ASSERT_PTR_NOT_NULL_FATAL(i);
    return i;
}

static void reopen(struct fixture *f, struct catalog_vg *v)
{
    images_close_all(&f->daemon, v);
    CU_ASSERT(list_empty(&v->images));
    images_bring_up(&f->daemon);
}

static void end(struct fixture *f)
{
    groups_close_all(&f->daemon);
    CU_ASSERT(list_empty(&f->daemon.catalog.vgs));
}

static struct lv *bare(struct catalog_vg *v, const char *name, const char *tag)
{
    const char *const tags[] = {IMAGE_TAG, tag};
    struct lv *lv = NULL;

    CU_ASSERT_EQUAL_FATAL(lv_create(v->vg, name, MIB, tags, tag ? 2 : 1, 0, &lv, &err), 0);
    return lv;
}

static void not_whole(struct fixture *f)
{
    struct catalog_vg *v = make_group(f);
    struct catalog_image *i;
    struct blockdev *dev;

    bare(v, "new", IMAGE_TAG_NEW);
    bare(v, "zeros", NULL);
    CU_ASSERT_EQUAL(create(f, v, "good", NULL), 0);
    reopen(f, v);
    CU_ASSERT_PTR_NULL(vg_find_lv(v->vg, "new"));
    i = find(f, v, "zeros");
    CU_ASSERT_PTR_NULL(i->q);
    CU_ASSERT_PTR_NOT_NULL(strstr(i->reason, "qcow2"));
    CU_ASSERT_EQUAL(images_device(&f->daemon, i->lv, &dev, &err), -ENXIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "vg/zeros cannot be used"));
    CU_ASSERT_EQUAL(volumes_resize(&f->daemon, v, i->lv, 2 * MIB, true, false, &err), -ENXIO);
    CU_ASSERT_EQUAL(create(f, v, "clone", i->lv), -ENXIO);
    CU_ASSERT_EQUAL(volumes_remove(&f->daemon, v, i->lv, false, &err), 0);
    CU_ASSERT_PTR_NOT_NULL(find(f, v, "good")->q);
    end(f);
}

static void chain(struct fixture *f)
{
    struct catalog_vg *v = make_group(f);
    char name[16] = "0";
    struct lv *last;

    CU_ASSERT_EQUAL(create(f, v, name, NULL), 0);
    for (unsigned k = 1; k < IMAGE_CHAIN_MAX; k++) {
        last = vg_find_lv(v->vg, name);
        snprintf(name, sizeof name, "%u", k);
        CU_ASSERT_EQUAL(create(f, v, name, last), 0);
    }
    CU_ASSERT_EQUAL(create(f, v, "more", vg_find_lv(v->vg, name)), -ELOOP);
    reopen(f, v);
    for (unsigned k = 0; k < IMAGE_CHAIN_MAX; k++) {
        snprintf(name, sizeof name, "%u", k);
        CU_ASSERT_PTR_NOT_NULL(find(f, v, name)->q);
    }
    last = vg_find_lv(v->vg, "1");
    CU_ASSERT_EQUAL(volumes_remove(&f->daemon, v, last, false, &err), -EBUSY);
    CU_ASSERT_EQUAL(volumes_remove(&f->daemon, v, vg_find_lv(v->vg, name), false, &err), 0);
    end(f);
}

/* What somebody has made with LVM2's tools. */
static void strange_tags(struct fixture *f)
{
    struct catalog_vg *v = make_group(f);
    char tag[80];
    struct lv *a = bare(v, "a", NULL), *b = bare(v, "b", NULL);

    snprintf(tag, sizeof tag, IMAGE_TAG_BACKING "%s", lv_uuid(b));
    CU_ASSERT_EQUAL(lv_add_tag(a, tag, 0, &err), 0);
    snprintf(tag, sizeof tag, IMAGE_TAG_BACKING "%s", lv_uuid(a));
    CU_ASSERT_EQUAL(lv_add_tag(b, tag, 0, &err), 0);
    bare(v, "lost", IMAGE_TAG_BACKING "nothing");
    CU_ASSERT_EQUAL(create(f, v, "base", NULL), 0);
    CU_ASSERT_EQUAL(create(f, v, "clone", vg_find_lv(v->vg, "base")), 0);
    snprintf(tag, sizeof tag, IMAGE_TAG_BACKING "%s", lv_uuid(vg_find_lv(v->vg, "base")));
    CU_ASSERT_EQUAL(lv_remove_tag(vg_find_lv(v->vg, "clone"), tag, 0, &err), 0);
    CU_ASSERT_EQUAL(create(f, v, "whole", NULL), 0);
    CU_ASSERT_EQUAL(lv_add_tag(vg_find_lv(v->vg, "whole"), tag, 0, &err), 0);
    reopen(f, v);
    CU_ASSERT_PTR_NULL(find(f, v, "a")->q);
    CU_ASSERT_PTR_NOT_NULL(strstr(find(f, v, "a")->reason, "cloned from"));
    CU_ASSERT_PTR_NULL(find(f, v, "lost")->q);
    /* An image that says it has a backing, and a volume that does not; and the other way round. */
    CU_ASSERT_PTR_NULL(find(f, v, "clone")->q);
    CU_ASSERT_PTR_NOT_NULL(strstr(find(f, v, "clone")->reason, "backing"));
    CU_ASSERT_PTR_NOT_NULL(find(f, v, "whole")->q);
    CU_ASSERT_PTR_NULL(find(f, v, "whole")->backing);
    end(f);
}

static void corrupt(struct fixture *f)
{
    struct catalog_vg *v = make_group(f);
    struct catalog_image *i;
    struct blockdev *dev;
    uint8_t bits[8];

    CU_ASSERT_EQUAL(create(f, v, "v", NULL), 0);
    images_close_all(&f->daemon, v);
    dev = lv_blockdev(vg_find_lv(v->vg, "v"), &err);
    CU_ASSERT_EQUAL(blockdev_read_bytes(dev, bits, AT_INCOMPATIBLE, 8), 0);
    put_be64(bits, get_be64(bits) | QCOW2_CORRUPT);
    CU_ASSERT_EQUAL(blockdev_write_bytes(dev, bits, AT_INCOMPATIBLE, 8, 0), 0);
    images_bring_up(&f->daemon);
    i = find(f, v, "v");
    CU_ASSERT_PTR_NOT_NULL_FATAL(i->q);
    CU_ASSERT(i->read_only);
    CU_ASSERT_PTR_NOT_NULL(strstr(i->reason, "corrupt"));
    CU_ASSERT(qcow2_blockdev(i->q)->capabilities & BLOCK_READ_ONLY);
    CU_ASSERT_EQUAL(volumes_resize(&f->daemon, v, i->lv, 32 * MIB, false, false, &err), -EROFS);
    end(f);
}

/* What a guest writes to a raw volume, or to the raw volume that another is a clone of, is bytes,
 * even when it is an image that names a backing. */
static void format_by_tag(struct fixture *f)
{
    const struct volume_plan raw = {.name = "raw", .size_bytes = 4 * MIB};
    const struct qcow2_plan image = {.size_bytes = MIB, .backing_name = "/proc/self/exe"};
    struct catalog_vg *v = make_group(f);
    struct blockdev *dev;
    struct lv *lv = NULL;
    uint8_t bytes[4] = {0};

    CU_ASSERT_EQUAL_FATAL(volumes_create(&f->daemon, v, &raw, &lv, &err), 0);
    dev = lv_blockdev(lv, &err);
    CU_ASSERT_EQUAL(qcow2_format(dev, &image, &err), 0);
    CU_ASSERT_EQUAL(create(f, v, "clone", lv), 0);
    reopen(f, v);
    CU_ASSERT_PTR_NULL(images_find(&f->daemon, lv));
    CU_ASSERT_EQUAL(volume_size_bytes(&f->daemon, lv), 4 * MIB);
    CU_ASSERT_PTR_NOT_NULL_FATAL(find(f, v, "clone")->q);
    dev = qcow2_blockdev(find(f, v, "clone")->q);
    CU_ASSERT_EQUAL(dev->size_bytes, 4 * MIB);
    CU_ASSERT_EQUAL(blockdev_read_bytes(dev, bytes, 0, sizeof bytes), 0);
    CU_ASSERT_EQUAL(memcmp(bytes, "QFI\xfb", sizeof bytes), 0);
    end(f);
}

static void growth(struct fixture *f)
{
    struct catalog_vg *v = make_group(f);
    struct catalog_image *i;
    uint64_t before;

    CU_ASSERT_EQUAL(create(f, v, "v", NULL), 0);
    i = find(f, v, "v");
    before = lv_size_bytes(i->lv);
    CU_ASSERT_EQUAL(image_file_ops.grow(i, before), 0);
    CU_ASSERT_EQUAL(lv_size_bytes(i->lv), before);
    CU_ASSERT_EQUAL(image_file_ops.grow(i, before + 1), 0);
    CU_ASSERT(lv_size_bytes(i->lv) > before + MIB);
    CU_ASSERT_EQUAL(group_set_reserve_bytes(&f->daemon, v, 20 * MIB, false, &err), 0);
    CU_ASSERT_EQUAL(image_file_ops.grow(i, 44 * MIB), -ENOSPC);
    CU_ASSERT_EQUAL(image_file_ops.grow(i, 43 * MIB), 0);
    CU_ASSERT_EQUAL(lv_size_bytes(i->lv), 43 * MIB);
    CU_ASSERT_EQUAL(group_growth_bytes(v), 0);
    CU_ASSERT_EQUAL(group_set_reserve_bytes(&f->daemon, v, 0, false, &err), 0);
    CU_ASSERT_EQUAL(image_file_ops.grow(i, 63 * MIB), 0);
    CU_ASSERT_EQUAL(image_file_ops.grow(i, 63 * MIB + 1), -ENOSPC);
    end(f);
}

static void settings(struct fixture *f)
{
    struct catalog_vg *v = make_group(f);

    CU_ASSERT_EQUAL(group_warn_percent(v), GROUP_WARN_PERCENT_DEFAULT);
    CU_ASSERT_EQUAL(group_reserve_bytes(v), 0);
    CU_ASSERT_EQUAL(group_set_warn_percent(&f->daemon, v, 101, false, &err), -EINVAL);
    CU_ASSERT_EQUAL(group_set_warn_percent(&f->daemon, v, 1, true, &err), 0);
    CU_ASSERT_EQUAL(group_warn_percent(v), GROUP_WARN_PERCENT_DEFAULT);
    CU_ASSERT_EQUAL(group_set_warn_percent(&f->daemon, v, 1, false, &err), 0);
    CU_ASSERT_EQUAL(group_warn_percent(v), 1);
    group_space_look(&f->daemon, v);
    CU_ASSERT(!v->space_low); /* it has no sparse volumes */
    CU_ASSERT_EQUAL(create(f, v, "v", NULL), 0);
    group_space_look(&f->daemon, v);
    CU_ASSERT(v->space_low);
    CU_ASSERT_EQUAL(vg_replace_tag(v->vg, "ashlar.warn=", "ashlar.warn=200", 0, &err), 0);
    CU_ASSERT_EQUAL(vg_replace_tag(v->vg, "ashlar.reserve=", "ashlar.reserve=1x", 0, &err), 0);
    CU_ASSERT_EQUAL(group_warn_percent(v), GROUP_WARN_PERCENT_DEFAULT);
    CU_ASSERT_EQUAL(group_reserve_bytes(v), 0);
    group_space_look(&f->daemon, v);
    CU_ASSERT(!v->space_low);
    end(f);
}

#define TEST(name)                                                                                 \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        fixture_run(name);                                                                         \
    }
TEST(not_whole)
TEST(chain)
TEST(strange_tags)
TEST(corrupt)
TEST(format_by_tag)
TEST(growth)
TEST(settings)

CU_TestInfo images_tests[] = {
    {"what is not whole", test_not_whole},
    {"chains of clones", test_chain},
    {"tags that do not fit", test_strange_tags},
    {"a corrupt image is read", test_corrupt},
    {"a format is what the volume says it is", test_format_by_tag},
    {"growth", test_growth},
    {"settings of groups", test_settings},
    CU_TEST_INFO_NULL,
};
