/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One PV by itself: label, header, metadata area, and the text that it points to. Part of
 * check_lvm. */
#ifndef ASHLAR_TESTS_SIM_CHECK_PV_H
#define ASHLAR_TESTS_SIM_CHECK_PV_H

#include "check_lvm.h"

/* Fills *pv: NONE or DAMAGED, or else ORPHAN for now. *text: the committed one without its final
 * NUL, to be freed; NULL when there is none. False: out of memory. */
bool check_pv_read(struct check_pv *pv, const struct check_disk *d, char **text, size_t *bytes,
    struct check_problems *p);

#endif
