/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image_tasks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "image/compact.h"
#include "image/flatten.h"
#include "images.h"
#include "task.h"

#define SNAPSHOT_NAME_MAX 256

struct image_task {
    struct task task;
    struct catalog_image *image;
    char snapshot[SNAPSHOT_NAME_MAX];
};

int image_refuse_busy(const struct catalog_image *i, struct error *err)
{
    if (!i->task)
        return 0;
    return error_set(err, EBUSY, "a job is at work on %s (%s)", i->target, i->task->job->kind);
}

int image_refuse_unwritable(const struct catalog_image *i, struct error *err)
{
    if (!i->q)
        return error_set(err, ENXIO, "volume %s cannot be used: %s", i->target, i->reason);
    if (i->read_only)
        return error_set(err, EROFS, "volume %s can only be read: %s", i->target, i->reason);
    return 0;
}

void image_stop_task(struct catalog_image *i)
{
    while (i->task) {
        task_cancel(i->task);
        co_event_wait(&i->task_ended);
    }
}

void image_begin_task(struct catalog_image *i, struct task *t)
{
    i->task = t;
    co_event_clear(&i->task_ended);
}

void image_end_task(struct catalog_image *i)
{
    i->task = NULL;
    co_event_set(&i->task_ended);
}

static void end_task(struct task *t)
{
    image_end_task(container_of(t, struct image_task, task)->image);
    free(container_of(t, struct image_task, task));
}

static int start(struct catalog_image *i, const char *kind, const char *snapshot,
    int (*work)(struct task *t, struct error *err), uint64_t *job_id)
{
    struct image_task *t = calloc(1, sizeof *t);
    int rc;

    if (!t)
        return -ENOMEM;
    t->image = i;
    snprintf(t->snapshot, sizeof t->snapshot, "%s", snapshot);
    image_begin_task(i, &t->task);
    rc = task_start(&t->task, i->daemon, kind, i->target, work, end_task, job_id);
    if (rc) {
        i->task = NULL;
        free(t);
    }
    return rc;
}

/* The image needs the backing no more before the volume says so: images_bring_up settles it when
 * the daemon ends between the two. */
static int flatten(struct task *t, struct error *err)
{
    struct catalog_image *i = container_of(t, struct image_task, task)->image;
    int rc = qcow2_flatten(i->q, task_go_on, t, err);

    return rc ? rc : image_leave_backing(i, err);
}

int image_flatten(struct catalog_image *i, bool dry, uint64_t *job_id, struct error *err)
{
    int rc = image_refuse_busy(i, err);

    if (rc == 0)
        rc = image_refuse_unwritable(i, err);
    if (rc == 0 && !i->backing)
        rc = error_set(err, ENOENT, "%s does not build upon another volume", i->target);
    if (rc == 0 && qcow2_snapshots(i->q, NULL, 0))
        rc = error_set(
            err, EBUSY, "%s has snapshots, which build upon the other volume too", i->target);
    return rc || dry ? rc : start(i, "flatten", "", flatten, job_id);
}

static int compact(struct task *t, struct error *err)
{
    return qcow2_compact(container_of(t, struct image_task, task)->image->q, task_go_on, t, err);
}

int image_compact(struct catalog_image *i, bool dry, uint64_t *job_id, struct error *err)
{
    int rc = image_refuse_busy(i, err);

    if (rc == 0)
        rc = image_refuse_unwritable(i, err);
    return rc || dry ? rc : start(i, "compact", "", compact, job_id);
}

static int delete_snapshot(struct task *t, struct error *err)
{
    struct image_task *it = container_of(t, struct image_task, task);

    return qcow2_snapshot_delete(it->image->q, it->snapshot, err);
}

int image_find_snapshot(
    const struct catalog_image *i, const char *name, uint64_t *size_bytes, struct error *err)
{
    unsigned count = qcow2_snapshots(i->q, NULL, 0);
    struct qcow2_snapshot_status *list = calloc(count + 1, sizeof *list);
    int rc = list ? -ENOENT : -ENOMEM;

    count = list ? qcow2_snapshots(i->q, list, count) : 0;
    for (unsigned k = 0; k < count; k++)
        if (!strcmp(list[k].name, name)) {
            *size_bytes = list[k].size_bytes;
            rc = 0;
        }
    free(list);
    return rc == -ENOENT
               ? error_set(err, ENOENT, "volume %s has no snapshot %.200s", i->target, name)
               : rc;
}

int image_delete_snapshot(
    struct catalog_image *i, const char *name, bool dry, uint64_t *job_id, struct error *err)
{
    uint64_t size_bytes;
    int rc = image_refuse_busy(i, err);

    if (rc == 0)
        rc = image_refuse_unwritable(i, err);
    if (rc == 0)
        rc = image_find_snapshot(i, name, &size_bytes, err);
    if (rc == 0)
        rc = images_refuse_snapshot_cloned(i->vg, i->lv, name, err);
    return rc || dry ? rc : start(i, "snapshot-delete", name, delete_snapshot, job_id);
}
