/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disks of the world as files, for other programs to look at. */
#ifndef ASHLAR_TESTS_SIM_DUMP_H
#define ASHLAR_TESTS_SIM_DUMP_H

#include <stdint.h>

/*
 * Writes each disk as the sparse file DIR/SEED/NAME.img (NAME: the last part of its path) and
 * world.json, which names them. Sectors that were never written are holes. 0 or -errno.
 */
int dump_world(const char *dir, const char *scenario);

/* Of what every disk holds and of all that happened. */
uint64_t world_hash(void);

#endif
