/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between two machines: what stands on the disks, by our own strict checks, against what is known.
 */
#ifndef ASHLAR_TESTS_SIM_HOST_CHECK_H
#define ASHLAR_TESTS_SIM_HOST_CHECK_H

#include <stdbool.h>

/* All that was there, but for what was being changed when the machine ended: metadata is as it must
 * be, copies that count as the same are, and volumes hold what they may, read past the daemon;
 * closed: their images have been. What is wrong becomes sim->failure. */
void host_check(bool closed);

#endif
