/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Paths on their way into arrays and groups: the checks before one is taken, opening, giving back.
 */
#ifndef ASHLAR_DAEMON_MEMBERS_H
#define ASHLAR_DAEMON_MEMBERS_H

#include <stdbool.h>

#include "base/error.h"
#include "block/blockdev.h"

struct daemon;

/* Devices in the order of their paths; NULL where the path was "missing". */
struct members {
    struct blockdev **devs;
    unsigned count;
};

#define MEMBERS_FORCE 1u /* over signatures (never over a holder) */
#define MEMBERS_KNOWN 2u /* they bear what is looked for: signatures are no reason to refuse */

/* -EINVAL for a path that cannot be remembered: relative, longer than a device's name, not UTF-8.
 */
int member_refuse_path(const char *path, struct error *err);
/* -EBUSY when this daemon has it open, with what for. */
int member_refuse_own(struct daemon *d, const char *path, struct error *err);
/* Both, and -EBUSY with who else has the path: this daemon or somebody else; -EEXIST for a
 * signature. */
int member_refuse(struct daemon *d, const char *path, unsigned flags, struct error *err);
/* Checks and opens all, or none. */
int members_open(struct daemon *d, struct members *m, const char *const *paths, unsigned count,
    unsigned flags, struct error *err);
/* Zeroes what old signatures stand on: the first and last MiB. After this nothing is to be found
 * there. */
int members_wipe(const struct members *m, struct error *err);
/* Closes them. */
void members_close(struct members *m);
/* Frees the list alone: somebody else owns the devices now. */
void members_forget(struct members *m);

/* What stands on a device that we made ourselves (an array): -EEXIST unless force. */
int content_refuse(struct blockdev *dev, bool force, struct error *err);

#endif
