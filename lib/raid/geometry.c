/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all levels share, and RAID1, whose geometry is the identity. */
#include "raid/geometry.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "raid/geometry_level.h"

#define CHUNK_MIN_BYTES 4096u
#define CHUNK_MAX_BYTES (1u << 30)

static const struct raid_level *const levels[] = {
    &raid0_level, &raid1_level, &raid5_level, &raid6_level, &raid10_level};

int raid_chunk_check(uint64_t chunk_bytes, struct error *err)
{
    if (chunk_bytes >= CHUNK_MIN_BYTES && chunk_bytes <= CHUNK_MAX_BYTES &&
        is_power_of_2(chunk_bytes))
        return 0;
    return error_set(err, EINVAL,
        "chunk size %" PRIu64 " is not a power of two from 4 KiB to 1 GiB", chunk_bytes);
}

int raid_geometry_init(struct raid_geometry *g, const struct raid_shape *shape, struct error *err)
{
    struct raid_geometry made = {
        .level = shape->level,
        .layout = shape->layout,
        .raid_disks = shape->raid_disks,
        .chunk_bytes = shape->chunk_bytes,
    };
    int rc;

    for (unsigned i = 0; i < ARRAY_LEN(levels); i++)
        if (levels[i]->level == shape->level)
            made.ops = levels[i];
    if (!made.ops)
        return error_set(err, EOPNOTSUPP, "%s is not supported", raid_level_name(shape->level));
    if (shape->raid_disks == 0 || shape->raid_disks > RAID_DISKS_MAX)
        return error_set(
            err, EINVAL, "an array has 1 to %u members, not %u", RAID_DISKS_MAX, shape->raid_disks);
    if (shape->member_bytes > INT64_MAX)
        return error_set(err, EFBIG, "members are too large");
    rc = made.ops->init(&made, shape, err);
    if (rc)
        return rc;
    *g = made;
    return 0;
}

void raid_geometry_destroy(struct raid_geometry *g)
{
    if (g->ops->destroy)
        g->ops->destroy(g);
}

unsigned raid_geometry_map(const struct raid_geometry *g, uint64_t offset_bytes,
    struct raid_location *copies, uint64_t *run_bytes)
{
    assert(offset_bytes < g->size_bytes);
    return g->ops->map(g, offset_bytes, copies, run_bytes);
}

bool raid_geometry_unmap(const struct raid_geometry *g, unsigned role, uint64_t member_offset_bytes,
    uint64_t *offset_bytes, unsigned *copy, uint64_t *run_bytes)
{
    assert(member_offset_bytes < raid_geometry_member_bytes(g, role));
    return g->ops->unmap(g, role, member_offset_bytes, offset_bytes, copy, run_bytes);
}

uint64_t raid_geometry_member_bytes(const struct raid_geometry *g, unsigned role)
{
    assert(role < g->raid_disks);
    return g->ops->member_bytes(g, role);
}

void raid_geometry_bitmap_range(const struct raid_geometry *g, uint64_t bit,
    uint64_t bitmap_chunk_bytes, uint64_t *offset_bytes, uint64_t *bytes)
{
    uint64_t past = div_round_up(g->sync_bytes, bitmap_chunk_bytes);
    uint64_t start = MIN(bit, past) * bitmap_chunk_bytes;

    *offset_bytes = start;
    *bytes = bit < past ? MIN(bitmap_chunk_bytes, g->sync_bytes - start) : 0;
}

static bool any_present(const struct raid_geometry *g, uint64_t offset_bytes, const bool *present)
{
    struct raid_location copies[RAID_COPIES_MAX];
    uint64_t run_bytes;
    unsigned count = raid_geometry_map(g, offset_bytes, copies, &run_bytes);

    for (unsigned i = 0; i < count; i++)
        if (present[copies[i].role])
            return true;
    return false;
}

bool raid_geometry_complete(const struct raid_geometry *g, const bool *present)
{
    uint64_t step = g->boundary_bytes ? g->boundary_bytes : g->size_bytes;
    uint64_t offset = 0;

    if (g->copies == 1) {
        unsigned missing = 0;
        for (unsigned role = 0; role < g->raid_disks; role++)
            missing += !present[role];
        return missing <= g->parity;
    }
    /* which roles hold a chunk repeats after raid_disks chunks at most */
    for (unsigned i = 0; i < g->raid_disks && offset < g->size_bytes; i++, offset += step)
        if (!any_present(g, offset, present))
            return false;
    return true;
}

static int raid1_init(struct raid_geometry *g, const struct raid_shape *shape, struct error *err)
{
    if (shape->layout != 0)
        return error_set(err, EINVAL, "raid1 has no layouts");
    if (shape->raid_disks > RAID_COPIES_MAX)
        return error_set(err, EOPNOTSUPP, "more than %u copies are not supported", RAID_COPIES_MAX);
    if (shape->member_bytes == 0)
        return error_set(err, EINVAL, "members without room for data");
    g->copies = shape->raid_disks;
    g->chunk_bytes = 0;
    g->size_bytes = g->member_bytes = g->sync_bytes = shape->member_bytes;
    return 0;
}

static unsigned raid1_map(const struct raid_geometry *g, uint64_t offset_bytes,
    struct raid_location *copies, uint64_t *run_bytes)
{
    for (unsigned i = 0; i < g->copies; i++)
        copies[i] = (struct raid_location){i, offset_bytes};
    *run_bytes = g->size_bytes - offset_bytes;
    return g->copies;
}

static bool raid1_unmap(const struct raid_geometry *g, unsigned role, uint64_t member_offset_bytes,
    uint64_t *offset_bytes, unsigned *copy, uint64_t *run_bytes)
{
    *offset_bytes = member_offset_bytes;
    *copy = role;
    *run_bytes = g->size_bytes - member_offset_bytes;
    return true;
}

static uint64_t raid1_member_bytes(const struct raid_geometry *g, unsigned role)
{
    return g->member_bytes;
}

const struct raid_level raid1_level = {
    .level = 1,
    .init = raid1_init,
    .map = raid1_map,
    .unmap = raid1_unmap,
    .member_bytes = raid1_member_bytes,
};
