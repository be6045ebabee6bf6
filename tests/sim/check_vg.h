/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one text says of its volume group. Part of check_lvm. */
#ifndef ASHLAR_TESTS_SIM_CHECK_VG_H
#define ASHLAR_TESTS_SIM_CHECK_VG_H

#include "check_lvm.h"
#include "check_text.h"

/* Name, uuid, seqno and extent size of the group, the only one in the text: NULL, or what is wrong.
 */
const char *check_vg_identify(struct check_lvm_vg *vg, const struct check_text *t);

/* All the rest, into the tables of c, behind what is there, and into vg, identified and at
 * c->vgs[number]. Problems name the group and its seqno. */
void check_vg_read(
    struct check_lvm *c, struct check_lvm_vg *vg, int number, const struct check_text *t);

#endif
