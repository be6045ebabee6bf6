/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying a disk's content to another device: data as data, zeros as zeros,
 * which are not written where the device says that it has them. */
#ifndef ASHLAR_IMAGE_COPY_H
#define ASHLAR_IMAGE_COPY_H

#include "image/digest.h"
#include "image/pieces.h"

struct copy_plan {
    struct blockdev *from, *to; /* the caller's; nobody else writes to them meanwhile */
    struct digest *digest;      /* NULL: not wanted; else of what was read */
    pieces_progress *progress;
    void *progress_arg;
};

/* `to` is as large or larger; what is behind the end becomes zeros. Durable on return. -EFBIG: `to`
 * is too small. */
int copy_disk(const struct copy_plan *plan, struct error *err);

#endif
