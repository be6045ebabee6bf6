/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an open file is to the simulated engine. Internal to rt/sim. */
#ifndef ASHLAR_RT_SIM_FILE_H
#define ASHLAR_RT_SIM_FILE_H

#include "rt/io.h"

struct sim_disk;

struct file {
    struct sim_disk *disk;
    struct file_info info;
};

#endif
