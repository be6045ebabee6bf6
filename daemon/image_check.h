/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking images, of volumes and in files, and repairing them. The calls wait for the end; what
 * they do is seen as a job, and can be cancelled. */
#ifndef ASHLAR_DAEMON_IMAGE_CHECK_H
#define ASHLAR_DAEMON_IMAGE_CHECK_H

#include <stdbool.h>

#include "base/error.h"
#include "image/check.h"

struct catalog_image;
struct daemon;

/* Also while guests are at work. The caller does not hold `change`, and does not look at `i` after
 * it. */
int image_check(struct catalog_image *i, struct check_result *result, struct error *err);
/* Under `change`: of a volume that is neither exported nor cloned, or of one that could not be
 * opened; it is closed meanwhile. */
int image_repair(struct catalog_image *i, struct check_result *result, struct error *err);
/* A file that nobody uses. */
int image_check_file(struct daemon *d, const char *path, bool repair, struct check_result *result,
    struct error *err);

#endif
