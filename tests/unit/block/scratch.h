/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory for a suite's files, loop devices over them, and the tools that make images. All of
 * it blocks its worker, which is no matter in a test. */
#ifndef ASHLAR_TESTS_BLOCK_SCRATCH_H
#define ASHLAR_TESTS_BLOCK_SCRATCH_H

#include "rt/run.h"

/* Suite functions of CUnit. */
int scratch_begin(void);
int scratch_end(void);

/* A path in the directory, in one of a few static buffers. */
const char *scratch_path(const char *name);
/* A sparse file of that size, replacing an older one; returns its path. */
const char *scratch_file(const char *name, uint64_t size_bytes);
/* Runs a shell command, silently; false when it fails. */
bool scratch_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* False, and says so with the reason, when a program is missing. */
bool scratch_has(const char *program);
/* Attaches a loop device (options: losetup's, or ""); false, and says so, where that is not
 * possible. */
bool scratch_loop(const char *file, const char *options, char device[32]);
void scratch_skip(const char *why);

#endif
