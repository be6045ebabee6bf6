/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the bytes of a volume are. Pure: block devices are only pointed to. A map never changes;
 * a volume that grows gets another.
 */
#ifndef ASHLAR_LVM_MAP_H
#define ASHLAR_LVM_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "lvm/metadata.h"

struct blockdev;

struct map_stripe {
    struct blockdev *dev;
    uint64_t offset_bytes;
};

struct map_segment {
    uint64_t start_bytes, length_bytes; /* of the volume */
    uint64_t stripe_bytes;              /* all of it with one stripe */
    unsigned stripe_count;
    struct map_stripe *stripes;
};

struct volume_map {
    uint64_t size_bytes;
    unsigned segment_count;
    struct map_segment *segments;
    unsigned dev_count; /* each once */
    struct blockdev **devs;
    struct arena *arena; /* all of it */
};

struct map_piece {
    struct blockdev *dev;
    uint64_t offset_bytes, length_bytes;
};

/* `lv` is of m and known (vg_lv_known); devs[i] is m->pvs[i]'s, present where the volume uses it.
 * NULL: out of memory. */
struct volume_map *volume_map_build(
    const struct vg_metadata *m, const struct vg_lv *lv, struct blockdev *const *devs);
void volume_map_free(struct volume_map *map);

/* Where `offset` is, and how much of `length` lies there in one piece. False: outside. */
bool volume_map_find(
    const struct volume_map *map, uint64_t offset, uint64_t length, struct map_piece *piece);

#endif
