/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image_rewrite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "image/check.h"
#include "images.h"

static void plan_like(const struct qcow2_header *h, struct qcow2_plan *plan)
{
    *plan = (struct qcow2_plan){.size_bytes = h->size_bytes,
        .cluster_bits = h->cluster_bits,
        .standard_l2 = !(h->incompatible & QCOW2_EXTENDED_L2),
        .refcount_order = h->refcount_order,
        .no_lazy_refcounts = !(h->compatible & QCOW2_LAZY_REFCOUNTS)};
}

int image_refuse_rewrite(const struct catalog_image *i, struct error *err)
{
    if (i->backing)
        return error_set(err, EINVAL, "%s is a clone (volume flatten comes first)", i->target);
    if (qcow2_header(i->q)->snapshot_count)
        return error_set(err, EINVAL, "%s has snapshots, which would be lost", i->target);
    return 0;
}

int image_rewrite_begin(struct catalog_image *i, enum qcow2_compression compression,
    struct qcow2_plan *plan, struct error *err)
{
    int rc;

    plan_like(qcow2_header(i->q), plan);
    plan->compression = compression;
    rc = image_close(i);
    if (rc == 0)
        rc = blockdev_use(i->file, true);
    if (rc) {
        image_open(i, NULL);
        return error_set(err, -rc, "%s cannot be closed well: %s", i->target, strerror(-rc));
    }
    snprintf(i->reason, sizeof i->reason, "it is being loaded");
    return 0;
}

void image_rewrite_abandon(struct catalog_image *i)
{
    blockdev_unuse(i->file);
    image_open(i, NULL);
}

static bool goes_on(void *arg, uint64_t done, uint64_t total)
{
    const struct save_plan *save = arg;

    return save->progress(save->progress_arg, 0, save->from->size_bytes);
}

/* Where the image that is there ends. */
static int find_end(
    struct catalog_image *i, struct save_plan *save, uint64_t *end_bytes, struct error *err)
{
    struct check_result *result = calloc(1, sizeof *result);
    int rc = result ? qcow2_check(i->file, 0, goes_on, save, result, err) : -ENOMEM;

    if (rc == 0)
        *end_bytes = result->image_end_bytes;
    free(result);
    return rc;
}

int image_rewrite(struct catalog_image *i, struct save_plan *save, struct error *err)
{
    uint64_t end_bytes;
    int rc;

    save->to.file = i->file;
    save->to.file_ops = &image_file_ops;
    save->to.file_arg = i;
    save->compress = true;
    rc = find_end(i, save, &save->to.first_bytes, err);
    return rc ? rc : save_qcow2(save, &end_bytes, err);
}

int image_rewrite_end(struct catalog_image *i, struct blockdev **dev, struct error *err)
{
    int rc;

    catalog_change_begin(i->daemon);
    blockdev_unuse(i->file);
    rc = image_open(i, err);
    if (rc == 0) {
        *dev = qcow2_blockdev(i->q);
        rc = blockdev_use(*dev, true);
    }
    return catalog_change_end(i->daemon, rc, err);
}
