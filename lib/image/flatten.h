/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making an image stand on its own: what it reads from its backing is copied into it, then the
 * backing is given up. */
#ifndef ASHLAR_IMAGE_FLATTEN_H
#define ASHLAR_IMAGE_FLATTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct qcow2;

/* Called now and then; returns false to stop (-ECANCELED). May wait. */
typedef bool flatten_progress(void *arg, uint64_t done, uint64_t total);

/*
 * Under guest I/O. On success the image names no backing any more, durably, and does not use it.
 * -ECANCELED and failures (-ENOSPC, -EIO) leave what was copied, and the backing. -ENXIO: it has
 * none.
 */
int qcow2_flatten(struct qcow2 *q, flatten_progress *progress, void *arg, struct error *err);

#endif
