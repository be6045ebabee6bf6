/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scratch directories for the suites of rt/: one on tmpfs, one on a disk. */
#ifndef ASHLAR_TESTS_SCRATCH_H
#define ASHLAR_TESTS_SCRATCH_H

#include "rt/worker.h"

/* Runs `body` as the main coroutine of a worker of its own. */
void scratch_run(co_entry *body);
/* Runs it once for each directory, which it gets as its argument; the directories are removed with
 * what is in them. */
void scratch_run_each(co_entry *body);
/* "DIR/NAME" in a static buffer, one for each of the last few calls. */
const char *scratch_path(const char *dir, const char *name);

#endif
