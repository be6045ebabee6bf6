/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the program `check` says of a qcow2 image. */
#ifndef ASHLAR_TESTS_SIM_CHECK_MAIN_QCOW2_H
#define ASHLAR_TESTS_SIM_CHECK_MAIN_QCOW2_H

#include <jansson.h>

#include "check.h"

/* NULL: the disk holds none. What its disks hold is written to OUT/NAME.N.raw, N counting the
 * active one (0) and the snapshots; `out` NULL: is not. Problems are added to *problems. */
json_t *check_main_qcow2(const struct check_disk *file, const struct check_disk *backing,
    const char *out, unsigned *problems);

#endif
