/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sparse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "daemon.h"
#include "exports.h"
#include "image_tasks.h"
#include "images.h"
#include "volumes.h"

#define SECTOR_BYTES      512u
#define CLUSTER_MIN_BYTES (UINT64_C(1) << QCOW2_CLUSTER_BITS_MIN)
#define CLUSTER_MAX_BYTES (UINT64_C(1) << QCOW2_CLUSTER_BITS_MAX)

/* What a new image is made from. */
struct recipe {
    struct qcow2_plan image;
    char backing_name[CATALOG_NAME_MAX + 256], backing_tag[80], snapshot_tag[280];
    const char *tags[4];
    unsigned tag_count;
    uint64_t lv_bytes;
};

static int check_cluster(uint64_t bytes, unsigned *bits, struct error *err)
{
    if (!is_power_of_2(bytes) || bytes < CLUSTER_MIN_BYTES || bytes > CLUSTER_MAX_BYTES)
        return error_set(
            err, EINVAL, "the cluster size is no power of two from 512 bytes to 2 MiB");
    *bits = (unsigned)__builtin_ctzll(bytes);
    return 0;
}

static int check_size(uint64_t bytes, struct error *err)
{
    if (!bytes)
        return error_set(err, EINVAL, "a volume has at least one sector");
    if (bytes > VOLUME_SPARSE_MAX_BYTES)
        return error_set(err, EFBIG, "a sparse volume has at most 64 TiB");
    return 0;
}

static unsigned chain_length(const struct daemon *d, const struct lv *lv)
{
    const struct catalog_image *i = images_find(d, lv);
    unsigned length = 1;

    while (i && i->backing && length < IMAGE_CHAIN_MAX) {
        length++;
        i = images_find(d, i->backing);
    }
    return length;
}

static int refuse_written(struct daemon *d, const char *target, struct error *err)
{
    list_for_each (it, &d->catalog.exports) {
        const struct catalog_export *e = container_of(it, struct catalog_export, link);

        if (!e->read_only && !strcmp(e->target, target))
            return error_set(err, EBUSY,
                "%s is exported for writing, and a clone needs it as it is (export it read-only)",
                target);
    }
    return 0;
}

/* The volume itself: it does not change any more, and is durable. */
static int take_volume(
    struct daemon *d, const struct volume_plan *plan, struct recipe *r, struct error *err)
{
    struct blockdev *dev;
    int rc = images_device(d, plan->from, &dev, err);

    if (rc == 0)
        rc = refuse_written(d, r->backing_name, err);
    if (rc)
        return rc;
    if (!r->image.size_bytes)
        r->image.size_bytes = dev->size_bytes;
    return plan->dry ? 0 : blockdev_flush(dev);
}

/* A snapshot of it, which is kept as long as it is needed. */
static int take_snapshot(
    struct daemon *d, const struct volume_plan *plan, struct recipe *r, struct error *err)
{
    const struct catalog_image *i = images_find(d, plan->from);
    size_t length = strlen(r->backing_name);
    uint64_t size_bytes;
    int rc;

    if (!i || !i->q)
        return error_set(err, ENOENT, "%s has no snapshots that can be read", r->backing_name);
    rc = image_refuse_busy(i, err);
    if (rc == 0)
        rc = image_find_snapshot(i, plan->snapshot, &size_bytes, err);
    if (rc)
        return rc;
    snprintf(r->backing_name + length, sizeof r->backing_name - length, "@%s", plan->snapshot);
    snprintf(r->snapshot_tag, sizeof r->snapshot_tag, IMAGE_TAG_SNAPSHOT "%s", plan->snapshot);
    r->tags[r->tag_count++] = r->snapshot_tag;
    if (!r->image.size_bytes)
        r->image.size_bytes = size_bytes;
    return 0;
}

static int take_backing(struct daemon *d, struct catalog_vg *v, const struct volume_plan *plan,
    struct recipe *r, struct error *err)
{
    int rc;

    snprintf(r->backing_name, sizeof r->backing_name, "%s/%s", vg_name(v->vg), lv_name(plan->from));
    rc = images_refuse_overlay(d, plan->from, err);
    if (rc)
        return rc;
    if (chain_length(d, plan->from) >= IMAGE_CHAIN_MAX)
        return error_set(err, ELOOP,
            "%s is the last of a chain of %u clones, and more is not read through (volume flatten)",
            r->backing_name, IMAGE_CHAIN_MAX);
    rc = plan->snapshot ? take_snapshot(d, plan, r, err) : take_volume(d, plan, r, err);
    if (rc)
        return rc;
    snprintf(r->backing_tag, sizeof r->backing_tag, IMAGE_TAG_BACKING "%s", lv_uuid(plan->from));
    r->tags[r->tag_count++] = r->backing_tag;
    r->image.backing_name = r->backing_name;
    r->image.backing_format = images_find(d, plan->from) ? "qcow2" : "raw";
    return 0;
}

static int write_recipe(struct daemon *d, struct catalog_vg *v, const struct volume_plan *plan,
    struct recipe *r, struct error *err)
{
    uint64_t bytes;
    int rc = 0;

    r->image.size_bytes = round_up(plan->size_bytes, SECTOR_BYTES);
    r->tags[r->tag_count++] = IMAGE_TAG;
    r->tags[r->tag_count++] = IMAGE_TAG_NEW;
    if (plan->cluster_bytes)
        rc = check_cluster(plan->cluster_bytes, &r->image.cluster_bits, err);
    if (rc == 0 && plan->from)
        rc = take_backing(d, v, plan, r, err);
    if (rc == 0)
        rc = check_size(r->image.size_bytes, err);
    if (rc == 0)
        rc = qcow2_plan_bytes(&r->image, &bytes, err);
    if (rc == 0)
        r->lv_bytes = bytes + image_ahead_bytes(r->image.size_bytes);
    return rc;
}

/* Subclusters no smaller than a block: else clusters without them. */
int sparse_format(struct lv *lv, struct qcow2_plan *plan, struct error *err)
{
    unsigned bits = plan->cluster_bits ? plan->cluster_bits : QCOW2_DEFAULT_CLUSTER_BITS;
    struct blockdev *file = lv_blockdev(lv, err);
    int rc = -ENXIO;

    if (file) {
        plan->standard_l2 = (UINT64_C(1) << bits) / QCOW2_SUBCLUSTERS < file->logical_block_bytes;
        rc = qcow2_format(file, plan, err);
    }
    return rc ? rc : lv_remove_tag(lv, IMAGE_TAG_NEW, 0, err);
}

int sparse_create(struct daemon *d, struct catalog_vg *v, const struct volume_plan *plan,
    struct lv **lv, struct error *err)
{
    struct recipe r = {0};
    struct lv *new;
    int rc = write_recipe(d, v, plan, &r, err);

    if (rc == 0 && !plan->dry)
        rc = images_sweep(v, err); /* what may be in the way */
    if (rc == 0)
        rc = lv_create(v->vg, plan->name, r.lv_bytes, r.tags, r.tag_count,
            plan->dry ? VG_DRY_RUN : 0, &new, err);
    if (rc || plan->dry)
        return rc;
    rc = sparse_format(new, &r.image, err);
    if (rc == 0)
        rc = images_add(d, v, new, err);
    if (rc)
        lv_remove(new, 0, NULL);
    else
        *lv = new;
    return rc;
}

int sparse_resize(struct catalog_image *i, uint64_t size_bytes, bool dry, struct error *err)
{
    uint64_t bytes = round_up(size_bytes, SECTOR_BYTES);
    int rc = check_size(bytes, err);

    if (rc == 0)
        rc = image_refuse_unwritable(i, err);
    return rc || dry ? rc : qcow2_resize(i->q, bytes, err);
}

int sparse_remove(struct catalog_image *i, bool dry, struct error *err)
{
    struct lv *lv = i->lv;
    int rc;

    /* A dry run of what any change of the group needs: the LV itself is in use by its image. */
    if (dry)
        return lv_remove_tag(lv, IMAGE_TAG, VG_DRY_RUN, err);
    image_close(i);
    rc = lv_remove(lv, 0, err);
    if (rc)
        image_open(i, NULL);
    else
        images_drop(i->daemon, i);
    return rc;
}
