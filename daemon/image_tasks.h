/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What takes a while on the image of a sparse volume, as jobs: one at a time each image. Meanwhile
 * guests go on, and the volume is neither resized, renamed nor removed. When the image has to be
 * closed the job is cancelled.
 *
 * Those that start a job are called under the catalog's `change`; the job holds nothing.
 */
#ifndef ASHLAR_DAEMON_IMAGE_TASKS_H
#define ASHLAR_DAEMON_IMAGE_TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct catalog_image;
struct task;

/* -EBUSY while a job is at work on it. */
int image_refuse_busy(const struct catalog_image *i, struct error *err);
/* -ENXIO, -EROFS: it is not open, or cannot be written. */
int image_refuse_unwritable(const struct catalog_image *i, struct error *err);
/* Around work that is somebody else's coroutine. */
void image_begin_task(struct catalog_image *i, struct task *t);
void image_end_task(struct catalog_image *i);
/* Cancels what is at work, and waits for its end. */
void image_stop_task(struct catalog_image *i);

/* Copies what it reads from the volume that it was cloned from; then it needs that no more. */
int image_flatten(struct catalog_image *i, bool dry, uint64_t *job_id, struct error *err);
/* Gives the group back the extents that its image does not need. */
int image_compact(struct catalog_image *i, bool dry, uint64_t *job_id, struct error *err);
/* Of one that is open. -ENOENT. */
int image_find_snapshot(
    const struct catalog_image *i, const char *name, uint64_t *size_bytes, struct error *err);
int image_delete_snapshot(
    struct catalog_image *i, const char *name, bool dry, uint64_t *job_id, struct error *err);

#endif
