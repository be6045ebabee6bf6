/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that somebody names, as a disk to be read: raw or qcow2, as he says, never by looking. A
 * raw file that begins like qcow2 is refused unless he has said that it is raw. No file that an
 * image names is opened. What a file lacks to a whole block reads as zeros.
 */
#ifndef ASHLAR_IMAGE_SOURCE_H
#define ASHLAR_IMAGE_SOURCE_H

#include "base/error.h"
#include "block/blockdev.h"
#include "image/qcow2.h"

enum source_format { SOURCE_UNSAID, SOURCE_RAW, SOURCE_QCOW2 };

struct source {
    struct blockdev *disk; /* read-only; the source's */
    struct blockdev *file;
    struct qcow2 *image; /* NULL: raw */
};

/* Regular files and block devices; nobody writes to them meanwhile (-EBUSY). The errors of
 * member_open and qcow2_open; -EINVAL: what the file is does not fit; -EOPNOTSUPP: an image over
 * another. */
int source_open(struct source *s, const char *path, enum source_format format, struct error *err);
void source_close(struct source *s);

#endif
