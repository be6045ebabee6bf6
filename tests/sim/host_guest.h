/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests of a simulated host: NBD clients that read and write volumes, any number at once, and hold
 * what they read against the volumes' models. They bear with nothing but the end of a connection
 * whose export is being removed.
 */
#ifndef ASHLAR_TESTS_SIM_HOST_GUEST_H
#define ASHLAR_TESTS_SIM_HOST_GUEST_H

#include <stdint.h>

#include "host_world.h"
#include "rt/sync.h"

/* So many guests with so many requests each; `g` hears of their ends. */
void guests_start(unsigned guests, unsigned requests, struct wait_group *g);
/* Reads all of every volume that is served. */
void guests_verify(void);

/* What the administrator tells them: from now on no guest is to use more of a volume than that (0:
 * all of it); waits until none does. */
void guests_limit(unsigned volume, uint64_t bytes);
/* Its export is going to be removed; has been (waits until they have seen it); it is served again.
 */
void guests_withdraw(unsigned volume);
void guests_leave(unsigned volume);
void guests_serve(unsigned volume);

#endif
