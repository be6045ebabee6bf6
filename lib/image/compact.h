/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making an image's file shorter while guests use it. */
#ifndef ASHLAR_IMAGE_COMPACT_H
#define ASHLAR_IMAGE_COMPACT_H

#include "image/qcow2.h"

/* Called now and then; returns false to stop (-ECANCELED). */
typedef bool compact_progress(void *arg, uint64_t moved_bytes, uint64_t most_bytes);

/* Moves what is at the file's end to free clusters before it, and has the file cut
 * (qcow2_file_ops.shrink). Guests wait for a moment each MiB moved. What snapshots refer to stays
 * where it is. -ECANCELED, -EIO, -ENOSPC... : what was moved stays moved. */
int qcow2_compact(struct qcow2 *q, compact_progress *progress, void *arg, struct error *err);

#endif
