/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The opposite of flattening: what an image has goes down into its backing, under guest I/O.
 *
 * From the call on guests' writes go to the backing, once nothing of the image is above it: so
 * there is less and less in the image, whatever guests do. A crash in between leaves the same disk,
 * seen through what is left; the call is made again then. It is over when the image is empty;
 * guests then read and write the backing through it, as long as it is open.
 */
#ifndef ASHLAR_IMAGE_SINK_H
#define ASHLAR_IMAGE_SINK_H

#include "image/qcow2.h"

/* Called now and then; returns false to stop (-ECANCELED). */
typedef bool sink_progress(void *arg, uint64_t done, uint64_t total);

/*
 * The caller sees to it that nobody else uses the backing, and that it may be written. -EINVAL: no
 * backing, a shorter one, one that is read-only, or snapshots build upon it. -ECANCELED, -EIO...:
 * what has not gone down is still in the image, and may be sunk by another call.
 */
int qcow2_sink(struct qcow2 *q, sink_progress *progress, void *arg, struct error *err);

#endif
