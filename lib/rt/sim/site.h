/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Write sites: the places in the code that write, zero, discard, flush, or replace or remove a
 * small file, told apart by the chain of their callers, and how often the machine was cut off
 * there. Counted over all machines of the process and its children.
 */
#ifndef ASHLAR_RT_SIM_SITE_H
#define ASHLAR_RT_SIM_SITE_H

#include <stdint.h>

#include "rt/sim/sim.h"

#define SIM_SITE_FRAMES 32

struct sim_site {
    const char *kind;              /* "write", "flush", "discard", "zero", "file" */
    void *frames[SIM_SITE_FRAMES]; /* return addresses, the innermost first; NULL: no more */
    uint64_t seen, cut[SIM_PHASES];
};

/* All there are so far. */
const struct sim_site *sim_sites(unsigned *count);

#endif
