/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The space of a group: what its sparse volumes may take of it, and when people are told.
 *
 * Kept as tags of the group, so that it goes where the disks go: `ashlar.warn=PERCENT` (an event
 * when more than that is in use; 100: never) and `ashlar.reserve=BYTES` (what growing images leave
 * free, for volumes that are made by hand, or to be given to them when all else is full).
 *
 * Control worker only.
 */
#ifndef ASHLAR_DAEMON_GROUP_SPACE_H
#define ASHLAR_DAEMON_GROUP_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct catalog_vg;
struct daemon;

#define GROUP_WARN_PERCENT_DEFAULT 80

unsigned group_warn_percent(const struct catalog_vg *v);
uint64_t group_reserve_bytes(const struct catalog_vg *v);
/* What images may take. */
uint64_t group_growth_bytes(const struct catalog_vg *v);

/* Under `change`; -EINVAL, and what lvm/vg.h says of changes. */
int group_set_warn_percent(
    struct daemon *d, struct catalog_vg *v, uint64_t percent, bool dry, struct error *err);
int group_set_reserve_bytes(
    struct daemon *d, struct catalog_vg *v, uint64_t bytes, bool dry, struct error *err);

/* After extents were taken or became free: tells when a threshold was passed, and lets images that
 * wait for space try again when there is more of it. Does not wait. */
void group_space_look(struct daemon *d, struct catalog_vg *v);
void group_space_look_all(struct daemon *d);

#endif
