/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What goes wrong on a simulated host besides cuts. A seed has one kind, or none:
 *
 * - members: at most one disk of an array with redundancy at a time, of RAID6 two, and only while
 *   all the others are good: nobody notices.
 * - single: errors in the data of disks without copies, which may then be handed on.
 * - files: small files cannot be written: what has been done may not be remembered.
 * - beyond: errors of any disks, also of all copies. Until the machine ends anything may fail; the
 *   next one, whose disks are well again, has it all.
 *
 * Nothing here ever excuses wrong data.
 */
#ifndef ASHLAR_TESTS_SIM_HOST_TROUBLE_H
#define ASHLAR_TESTS_SIM_HOST_TROUBLE_H

#include <stdbool.h>

#include "host_world.h"
#include "rt/sync.h"

/* In a machine whose status has been looked at: some trouble now and then, until trouble_end. */
void trouble_begin(struct wait_group *g);
void trouble_end(void);
/* Between two machines: some disks recover, others are hurt. */
void trouble_between(bool last);

/* Whether a request to that volume may end with this error. */
bool trouble_excuses(unsigned volume, int rc);
/* Whether errors beyond what arrays tolerate have begun in this machine. */
bool trouble_beyond(void);
/* Whether small files could not be written, or disks without copies had errors: a change may have
 * been refused for it, or been done and not be remembered. */
bool trouble_uncertain(void);

#endif
