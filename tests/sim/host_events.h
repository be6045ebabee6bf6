/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Somebody who watches the daemon's events, and finds them in order, and looks at everything. */
#ifndef ASHLAR_TESTS_SIM_HOST_EVENTS_H
#define ASHLAR_TESTS_SIM_HOST_EVENTS_H

#include "rt/sync.h"

/* Until events_leave; `g` hears of the end. */
void events_watch(struct wait_group *g);
void events_leave(void);

#endif
