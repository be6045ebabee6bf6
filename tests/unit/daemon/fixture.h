/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon without disks, inside a coroutine of the main worker, with a scratch directory. */
#ifndef ASHLAR_TESTS_DAEMON_FIXTURE_H
#define ASHLAR_TESTS_DAEMON_FIXTURE_H

#include "daemon.h"
#include "unit.h"

struct fixture {
    struct daemon daemon;
    struct config config;
    char dir[64];
};

/* Runs `body` with a fresh one; what it leaves in the directory is removed. */
void fixture_run(void (*body)(struct fixture *f));
/* "DIR/NAME" in a static buffer. */
const char *fixture_path(const struct fixture *f, const char *name);

#endif
