/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume as a block device over a map. I/O from any worker; the map is swapped while nothing is
 * inside (a drain gate), so that a volume grows and shrinks while it is used.
 */
#ifndef ASHLAR_LVM_VOLUME_H
#define ASHLAR_LVM_VOLUME_H

#include "block/blockdev.h"
#include "lvm/map.h"

/* Takes the map over. -ENOMEM (then it does not). Block sizes and capabilities are the least of
 * what the map's devices have. blockdev_close ends it. */
int volume_create(
    const char *name, struct volume_map *map, bool read_only, struct blockdev **volume);
/* Drains, takes the map over and frees the old one; requests beyond a smaller size, admitted
 * before, fail with -EIO. Waits. */
void volume_set_map(struct blockdev *volume, struct volume_map *map);

#endif
