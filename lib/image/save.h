/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk's content as a new qcow2 image: holes and whole clusters of zeros take no space in it,
 * clusters are compressed side by side on helper threads on request. (As a raw file: copy.h.)
 */
#ifndef ASHLAR_IMAGE_SAVE_H
#define ASHLAR_IMAGE_SAVE_H

#include "image/digest.h"
#include "image/pieces.h"
#include "image/writer.h"

struct save_plan {
    struct blockdev *from; /* the caller's; nobody writes to it meanwhile */
    struct writer_plan to; /* image.size_bytes: at least what `from` has; with `compress`, refcounts
                              of 16 bits or more */
    bool compress; /* by image.compression; a cluster that gets no smaller is left as it is */
    struct digest *digest; /* NULL: not wanted; else of what was read */
    pieces_progress *progress;
    void *progress_arg;
};

/* Durable on return. *end_bytes: of the image in its file. -ENOSPC, -EFBIG, -EINVAL; after a
 * failure the file has no image (but see writer_plan.first_bytes). */
int save_qcow2(const struct save_plan *plan, uint64_t *end_bytes, struct error *err);

#endif
