/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the plan of a new image to its header; for those in lib/image who write one. */
#ifndef ASHLAR_IMAGE_PLAN_H
#define ASHLAR_IMAGE_PLAN_H

#include "image/qcow2.h"

/* All of the header but where the tables are. The names stay the plan's. -EINVAL: a plan that
 * cannot be. */
int qcow2_plan_header(struct qcow2_header *h, struct qcow2_geometry *g,
    const struct qcow2_plan *plan, struct error *err);

#endif
