/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Groups that the real LVM2 made: tests/data/lvm/NAME.dN.gz is the first MiB of a PV, NAME.VG.vg
 * what vgcfgbackup wrote. */
#ifndef ASHLAR_TESTS_LVM_GOLDEN_H
#define ASHLAR_TESTS_LVM_GOLDEN_H

#include <stddef.h>

#include "lvm/label.h"
#include "lvm/mda.h"

#define GOLDEN_HEAD_BYTES (1u << 20)

struct golden {
    const char *name, *vg;
    unsigned pvs; /* heads that there are */
    unsigned lvs;
    const char *reason; /* why it is never modified: a part of the text; NULL: it may be */
};

extern const struct golden goldens[];
extern const unsigned golden_count;

/* Freed by the caller. Aborts when the file cannot be read. */
char *golden_head(const struct golden *g, unsigned pv);
char *golden_backup(const struct golden *g, size_t *length);
/* The committed text in a head; NULL: it has none. */
char *golden_text(const char *head, size_t *length);

#endif
