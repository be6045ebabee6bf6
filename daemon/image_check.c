/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image_check.h"

#include <errno.h>

#include "base/arith.h"
#include "block/member.h"
#include "daemon.h"
#include "exports.h"
#include "image_tasks.h"
#include "images.h"
#include "members.h"
#include "task.h"

#define REPAIR_FLAGS (CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL)

int image_check(struct catalog_image *i, struct check_result *result, struct error *err)
{
    struct error why = {0};
    struct task t;
    int rc = image_refuse_busy(i, err);

    if (rc == 0 && !i->q)
        rc = error_set(err, ENXIO, "volume %s cannot be used: %s", i->target, i->reason);
    if (rc == 0)
        rc = task_begin(&t, i->daemon, "volume-check", i->target);
    if (rc)
        return rc;
    image_begin_task(i, &t);
    rc = qcow2_check_online(i->q, task_hurry_on, &t, result, &why);
    task_end(&t, rc, &why);
    image_end_task(i);
    if (why.code)
        *err = why;
    return rc;
}

/* What the volume is for nobody may use meanwhile. */
static int refuse_repair(struct catalog_image *i, struct error *err)
{
    int rc = exports_refuse_exported(i->daemon, i->target, err);

    if (rc == 0)
        rc = images_refuse_needed(i->vg, i->lv, err);
    return rc ? rc : image_refuse_busy(i, err);
}

static int check_device(struct daemon *d, struct blockdev *dev, const char *target, bool repair,
    struct check_result *result, struct error *err)
{
    struct error why = {0};
    struct task t;
    int rc = task_begin(&t, d, "volume-check", target);

    if (rc)
        return rc;
    rc = qcow2_check(dev, repair ? REPAIR_FLAGS : 0, task_go_on, &t, result, &why);
    task_end(&t, rc, &why);
    if (why.code)
        *err = why;
    return rc;
}

int image_repair(struct catalog_image *i, struct check_result *result, struct error *err)
{
    struct blockdev *dev;
    int rc = refuse_repair(i, err);

    if (rc)
        return rc;
    image_close(i);
    dev = lv_blockdev(i->lv, err);
    rc = dev ? blockdev_use(dev, true) : -ENXIO;
    if (rc)
        return rc;
    rc = check_device(i->daemon, dev, i->target, true, result, err);
    blockdev_unuse(dev);
    image_open(i, rc ? NULL : err);
    return rc;
}

/* Its last cluster may end within a block. */
static int open_file(const char *path, bool repair, struct blockdev **dev, struct error *err)
{
    uint64_t size_bytes;
    int rc = member_open(path, MEMBER_READ_ONLY | MEMBER_PADDED, dev, err);

    if (rc || !repair)
        return rc;
    size_bytes = (*dev)->size_bytes;
    blockdev_close(*dev);
    rc = member_open(path, 0, dev, err);
    if (rc || (*dev)->size_bytes == size_bytes)
        return rc;
    rc = member_resize(*dev, size_bytes);
    if (rc)
        blockdev_close(*dev);
    return rc;
}

int image_check_file(
    struct daemon *d, const char *path, bool repair, struct check_result *result, struct error *err)
{
    struct blockdev *dev;
    int rc = member_refuse_path(path, err);

    if (rc == 0)
        rc = member_refuse_own(d, path, err);
    if (rc == 0)
        rc = open_file(path, repair, &dev, err);
    if (rc)
        return rc;
    rc = check_device(d, dev, path, repair, result, err);
    blockdev_close(dev);
    return rc;
}
