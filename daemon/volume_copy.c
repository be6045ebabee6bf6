/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume_copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/log.h"
#include "block/member.h"
#include "daemon.h"
#include "exports.h"
#include "image/copy.h"
#include "image/load.h"
#include "image/save.h"
#include "image_rewrite.h"
#include "image_tasks.h"
#include "images.h"
#include "lvm/vg.h"
#include "overlay.h"
#include "rt/fs.h"
#include "task.h"

#define SAVED_CLUSTER_BITS 16 /* QEMU's own default */

struct volume_copy {
    struct task task;
    struct list link; /* catalog.copies */
    struct daemon *daemon;
    int (*run)(struct volume_copy *c, struct error *err);
    char target[CATALOG_NAME_MAX];
    struct catalog_image *image; /* NULL: raw */
    struct qcow2 *snapshot;      /* save: read beside `image`; NULL: what it is now */
    struct blockdev *dev;        /* the volume's, in use; NULL while the image is rewritten */
    char *path;                  /* save: of `file` */
    struct blockdev *file;       /* save */
    struct source source;        /* load */
    enum source_format format;
    bool compress, verify, has_sha256;
    enum qcow2_compression compression;
    struct qcow2_plan rewritten; /* load with compress */
    uint8_t sha256[DIGEST_BYTES];
};

static struct volume_copy *copy_of(struct task *t)
{
    return container_of(t, struct volume_copy, task);
}

/* What it holds is given up, in reverse. */
static void give_up(struct volume_copy *c)
{
    if (c->source.file)
        source_close(&c->source);
    if (c->file)
        blockdev_close(c->file);
    c->file = NULL;
    if (c->dev)
        blockdev_unuse(c->dev);
    c->dev = NULL;
    if (c->snapshot)
        qcow2_close(c->snapshot);
    c->snapshot = NULL;
    if (c->image && c->image->task == &c->task) {
        c->image->task = NULL;
        co_event_set(&c->image->task_ended);
    }
    c->image = NULL;
}

static void release(struct volume_copy *c)
{
    give_up(c);
    free(c->path);
    free(c);
}

static void end(struct task *t)
{
    struct volume_copy *c = copy_of(t);
    struct catalog *catalog = &c->daemon->catalog;

    list_remove(&c->link);
    release(c);
    co_event_set(&catalog->copy_ended);
}

/* Whoever sees that the job has ended finds the volume free. */
static int work(struct task *t, struct error *err)
{
    struct volume_copy *c = copy_of(t);
    int rc = c->run(c, err);

    give_up(c);
    return rc;
}

/* While clones read from it, it is only read, by whom else ever. */
static int take_volume(
    struct volume_copy *c, const struct volume_copy_plan *plan, bool write, struct error *err)
{
    bool shared = !write && images_clone_of(plan->vg, plan->lv);
    struct blockdev *dev = NULL;
    int rc = exports_refuse_exported(c->daemon, c->target, err);

    c->image = images_guest(c->daemon, plan->lv);
    if (rc == 0 && write)
        rc = images_refuse_overlay(c->daemon, plan->lv, err);
    if (rc == 0 && c->image)
        rc = image_refuse_busy(c->image, err);
    if (rc == 0 && c->image && write)
        rc = image_refuse_unwritable(c->image, err);
    if (rc == 0 && write)
        rc = images_refuse_cloned(plan->vg, plan->lv, err);
    if (rc == 0)
        rc = images_device(c->daemon, plan->lv, &dev, err);
    if (rc)
        return rc;
    rc = blockdev_use(dev, !shared);
    if (rc)
        return error_set(err, -rc, "volume %s is in use", c->target);
    c->dev = dev;
    return 0;
}

/* A snapshot of a raw volume: that is it, and stays so as long as no job but this is at work. */
static int take_overlaid(
    struct volume_copy *c, struct catalog_image *i, const char *snapshot, struct error *err)
{
    int rc = overlay_refuse_other(i, snapshot, err);

    if (rc == 0)
        rc = overlay_refuse_committing(i, err);
    if (rc == 0)
        rc = blockdev_use(i->below, false);
    if (rc)
        return rc;
    c->image = i;
    c->dev = i->below;
    return 0;
}

/* Guests go on, on their own view of the same image. */
static int take_snapshot(
    struct volume_copy *c, const struct volume_copy_plan *plan, struct error *err)
{
    struct catalog_image *i = images_guest(c->daemon, plan->lv);
    struct qcow2_options options = {.read_only = true, .snapshot = plan->snapshot};
    int rc;

    if (!i || !i->q)
        return error_set(err, ENOENT, "%s has no snapshots that can be read", c->target);
    rc = image_refuse_busy(i, err);
    if (rc)
        return rc;
    if (i->overlay)
        return take_overlaid(c, i, plan->snapshot, err);
    options.backing = i->below;
    rc = qcow2_open(&c->snapshot, i->file, c->target, &options, err);
    if (rc)
        return rc;
    c->image = i;
    c->dev = qcow2_blockdev(c->snapshot);
    return blockdev_use(c->dev, true);
}

static int make(struct daemon *d, const struct volume_copy_plan *plan, bool write,
    struct volume_copy **copy, struct error *err)
{
    struct volume_copy *c;
    int rc;

    if (plan->path[0] != '/')
        return error_set(err, EINVAL, "%s is not an absolute path", plan->path);
    c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->daemon = d;
    c->format = plan->format;
    c->compress = plan->compress;
    c->compression = plan->compression;
    c->verify = plan->verify;
    c->has_sha256 = plan->sha256;
    if (plan->sha256)
        memcpy(c->sha256, plan->sha256, DIGEST_BYTES);
    snprintf(c->target, sizeof c->target, "%s", plan->target);
    c->path = strdup(plan->path);
    rc = !c->path         ? -ENOMEM
         : plan->snapshot ? take_snapshot(c, plan, err)
                          : take_volume(c, plan, write, err);
    if (rc)
        release(c);
    else
        *copy = c;
    return rc;
}

static int start(struct volume_copy *c, const char *kind,
    int (*run)(struct volume_copy *c, struct error *err), uint64_t *job_id)
{
    int rc;

    c->run = run;
    if (c->image) {
        c->image->task = &c->task;
        co_event_clear(&c->image->task_ended);
    }
    rc = task_start(&c->task, c->daemon, kind, c->target, work, end, job_id);
    if (rc == 0)
        list_append(&c->daemon->catalog.copies, &c->link);
    return rc;
}

static struct load_plan load_plan(struct volume_copy *c)
{
    return (struct load_plan){.from = c->source.disk,
        .to = c->dev,
        .verify = c->verify,
        .sha256 = c->has_sha256 ? c->sha256 : NULL,
        .progress = task_go_on,
        .progress_arg = &c->task};
}

static int load(struct volume_copy *c, struct error *err)
{
    struct load_plan plan = load_plan(c);

    return load_disk(&plan, err);
}

static int load_compressed(struct volume_copy *c, struct error *err)
{
    struct load_plan plan = load_plan(c);
    struct digest digest;
    struct save_plan save = {.from = c->source.disk,
        .to.image = c->rewritten,
        .digest = load_needs_digest(&plan) ? &digest : NULL,
        .progress = load_progress,
        .progress_arg = &plan};
    int rc, end_rc;

    digest_init(&digest);
    rc = image_rewrite(c->image, &save, err);
    end_rc = image_rewrite_end(c->image, &c->dev, rc ? NULL : err);
    if (rc || end_rc)
        return rc ? rc : end_rc;
    plan.to = c->dev;
    return load_check(&plan, &digest, err);
}

static int check_load(const struct volume_copy *c, struct error *err)
{
    uint64_t size_bytes = c->source.disk->size_bytes;

    if (c->compress && !c->image)
        return error_set(err, EINVAL, "volume %s is raw: nothing in it is compressed", c->target);
    if (size_bytes <= c->dev->size_bytes)
        return c->compress ? image_refuse_rewrite(c->image, err) : 0;
    return error_set(err, EFBIG, "the disk in %s has %" PRIu64 " bytes, volume %s only %" PRIu64,
        c->path, size_bytes, c->target, (uint64_t)c->dev->size_bytes);
}

static int start_load(struct volume_copy *c, uint64_t *job_id, struct error *err)
{
    int rc;

    if (!c->compress)
        return start(c, "load", load, job_id);
    blockdev_unuse(c->dev);
    c->dev = NULL;
    rc = image_rewrite_begin(c->image, c->compression, &c->rewritten, err);
    if (rc)
        return rc;
    rc = start(c, "load", load_compressed, job_id);
    if (rc)
        image_rewrite_abandon(c->image);
    return rc;
}

int volume_load(
    struct daemon *d, const struct volume_copy_plan *plan, uint64_t *job_id, struct error *err)
{
    struct volume_copy *c;
    int rc = make(d, plan, true, &c, err);

    if (rc)
        return rc;
    rc = source_open(&c->source, plan->path, plan->format, err);
    if (rc == 0)
        rc = check_load(c, err);
    if (rc == 0 && !plan->dry)
        rc = start_load(c, job_id, err);
    if (rc || plan->dry)
        release(c);
    return rc;
}

static int grow_file(void *file, uint64_t size_bytes)
{
    return member_resize(file, size_bytes);
}

/* As the last step of either, the file gets its exact length. */
static int save_raw(struct volume_copy *c, struct error *err)
{
    uint64_t size_bytes = c->dev->size_bytes;
    struct copy_plan plan = {
        .from = c->dev, .to = c->file, .progress = task_go_on, .progress_arg = &c->task};
    int rc = member_resize(c->file, round_up(size_bytes, c->file->logical_block_bytes));

    if (rc == 0)
        rc = copy_disk(&plan, err);
    return rc ? rc : member_resize(c->file, size_bytes);
}

static int save_image(struct volume_copy *c, struct error *err)
{
    static const struct qcow2_file_ops ops = {.grow = grow_file};
    struct save_plan plan = {.from = c->dev,
        .to = {.file = c->file,
            .image = {.size_bytes = c->dev->size_bytes,
                .cluster_bits = SAVED_CLUSTER_BITS,
                .standard_l2 = true,
                .no_lazy_refcounts = true,
                .compression = c->compression},
            .file_ops = &ops,
            .file_arg = c->file},
        .compress = c->compress,
        .progress = task_go_on,
        .progress_arg = &c->task};
    uint64_t end_bytes = 0;
    int rc = save_qcow2(&plan, &end_bytes, err);

    return rc ? rc : member_resize(c->file, end_bytes);
}

static int save(struct volume_copy *c, struct error *err)
{
    int rc = c->format == SOURCE_QCOW2 ? save_image(c, err) : save_raw(c, err);

    if (rc == 0)
        rc = blockdev_flush(c->file);
    if (rc == 0)
        rc = fs_sync_name(c->path);
    if (rc == 0)
        return 0;
    blockdev_close(c->file);
    c->file = NULL;
    if (fs_remove(c->path))
        log_error("%s, of which only a part was written, cannot be removed", c->path);
    return error_prefix(err, rc, "%s", c->path);
}

static int refuse_existing(const char *path, struct error *err)
{
    struct file *file;
    struct error why = {0};
    int rc = file_open(path, FILE_READ_ONLY, &file, &why);

    if (rc == -ENOENT)
        return 0;
    if (rc == 0)
        file_close(file);
    return error_set(err, EEXIST, "%s is there already", path);
}

static int start_save(struct volume_copy *c, uint64_t *job_id, struct error *err)
{
    int rc = member_open(c->path, MEMBER_CREATE, &c->file, err);

    if (rc)
        return rc;
    rc = start(c, "save", save, job_id);
    if (rc)
        fs_remove(c->path);
    return rc;
}

int volume_save(
    struct daemon *d, const struct volume_copy_plan *plan, uint64_t *job_id, struct error *err)
{
    struct volume_copy *c;
    int rc;

    if (plan->compress && plan->format != SOURCE_QCOW2)
        return error_set(err, EINVAL, "only qcow2 is compressed: --format qcow2");
    rc = make(d, plan, false, &c, err);
    if (rc)
        return rc;
    rc = plan->dry ? refuse_existing(plan->path, err) : start_save(c, job_id, err);
    if (rc || plan->dry)
        release(c);
    return rc;
}

void volume_copies_stop(struct daemon *d)
{
    struct list *first;

    while ((first = list_first(&d->catalog.copies))) {
        co_event_clear(&d->catalog.copy_ended);
        task_cancel(&container_of(first, struct volume_copy, link)->task);
        co_event_wait(&d->catalog.copy_ended);
    }
}
