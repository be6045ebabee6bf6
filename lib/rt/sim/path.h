/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths of simulated files and disks. Pure. Internal to rt/sim/. */
#ifndef ASHLAR_RT_SIM_PATH_H
#define ASHLAR_RT_SIM_PATH_H

#include <stddef.h>

#define SIM_PATH_BYTES 192u

/* Each name with one slash before it: "/a/b", and "" for the root. -ENOENT when there is none,
 * -ENAMETOOLONG. */
int sim_path_clean(const char *path, char clean[SIM_PATH_BYTES]);
/* The length of the directory's part of a clean path. */
size_t sim_path_above(const char *clean);
void sim_path_sort(char **paths, size_t count);

#endif
