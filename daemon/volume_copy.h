/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volumes loaded from files and saved to files, as jobs. A job has its volume for itself
 * (blockdev_use, exclusively), from the call that starts it, under the catalog's `change`, to its
 * end.
 *
 * The file's format is what the caller says; nothing is guessed, and no other file is opened.
 */
#ifndef ASHLAR_DAEMON_VOLUME_COPY_H
#define ASHLAR_DAEMON_VOLUME_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/digest.h"
#include "image/header.h"
#include "image/source.h"

struct catalog_vg;
struct daemon;
struct lv;

struct volume_copy_plan {
    const char *target; /* VG/NAME, as it is shown */
    struct catalog_vg *vg;
    struct lv *lv;
    const char *snapshot; /* save: NULL, or the state to be saved, also while it is in use */
    const char *path;     /* absolute */
    enum source_format format;
    bool compress; /* load: into a sparse volume, of which all is written anew; save: to qcow2 */
    enum qcow2_compression compression;
    bool verify;           /* load: read back and compared */
    const uint8_t *sha256; /* load: NULL, or what the content is to have */
    bool dry;
};

/* What the volume holds is lost from the start on, but with `compress` not before the end. -EFBIG:
 * the file's disk is larger; -EBUSY: the volume or the file is in use; the errors of source_open.
 */
int volume_load(
    struct daemon *d, const struct volume_copy_plan *plan, uint64_t *job_id, struct error *err);
/* To a new file, which is removed again unless all went well. -EEXIST; -EBUSY: the volume is in
 * use. */
int volume_save(
    struct daemon *d, const struct volume_copy_plan *plan, uint64_t *job_id, struct error *err);

/* For the daemon's end: cancels what is under way, and waits for its end. */
void volume_copies_stop(struct daemon *d);

#endif
