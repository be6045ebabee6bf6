/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a level gives to raid/geometry.c; seen only by raid/geometry*.c. */
#ifndef ASHLAR_RAID_GEOMETRY_LEVEL_H
#define ASHLAR_RAID_GEOMETRY_LEVEL_H

#include "raid/geometry.h"

struct raid_level {
    int level;
    /* Fills what the shape does not say: copies, sizes, boundary and its part of the union.
     * raid_disks, layout and chunk_bytes are set. */
    int (*init)(struct raid_geometry *g, const struct raid_shape *shape, struct error *err);
    void (*destroy)(struct raid_geometry *g); /* NULL: nothing is owned */
    unsigned (*map)(const struct raid_geometry *g, uint64_t offset_bytes,
        struct raid_location *copies, uint64_t *run_bytes);
    bool (*unmap)(const struct raid_geometry *g, unsigned role, uint64_t member_offset_bytes,
        uint64_t *offset_bytes, unsigned *copy, uint64_t *run_bytes);
    uint64_t (*member_bytes)(const struct raid_geometry *g, unsigned role);
};

extern const struct raid_level raid0_level, raid1_level, raid5_level, raid6_level, raid10_level;

#endif
