/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAID0. Members of unequal size make zones: the first goes round all members up to the end of the
 * smallest, the next round those that have more, and so on. The two layouts differ in where the
 * round of a zone begins: at the member that the array's chunk number falls on (original), or at
 * the zone's first (alternate). A chunk may be any multiple of a sector here, as in Linux.
 */
#include "raid/geometry_level.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"

struct raid0_zone {
    uint64_t start_bytes, end_bytes; /* in the array */
    uint64_t member_start_bytes;     /* on each of its members */
    unsigned count;                  /* of its members */
    uint16_t *roles;                 /* in order; in the same allocation as the zones */
};

static uint64_t rounded_bytes(const struct raid_shape *shape, unsigned role)
{
    return round_down(shape->data_bytes[role], shape->chunk_bytes);
}

/* The size of the smallest member above `floor`; 0 when there is none. */
static uint64_t next_size(const struct raid_shape *shape, uint64_t floor)
{
    uint64_t smallest = 0;

    for (unsigned role = 0; role < shape->raid_disks; role++) {
        uint64_t bytes = rounded_bytes(shape, role);
        if (bytes > floor && (!smallest || bytes < smallest))
            smallest = bytes;
    }
    return smallest;
}

static int check_sizes(const struct raid_shape *shape, struct error *err)
{
    uint64_t sum = 0;

    if (shape->chunk_bytes == 0 || shape->chunk_bytes % 512 || shape->chunk_bytes > UINT32_MAX)
        return error_set(err, EINVAL, "chunk size %" PRIu64 " makes no sense", shape->chunk_bytes);
    for (unsigned role = 0; role < shape->raid_disks; role++) {
        uint64_t bytes = rounded_bytes(shape, role);
        if (bytes == 0)
            return error_set(err, EINVAL, "member %u has no room for a chunk", role);
        if (bytes > INT64_MAX - sum)
            return error_set(err, EFBIG, "the array is too large");
        sum += bytes;
    }
    return 0;
}

static void make_zones(struct raid_geometry *g, const struct raid_shape *shape, uint16_t *roles)
{
    uint64_t floor = 0;

    for (unsigned i = 0; i < g->raid0.count; i++) {
        struct raid0_zone *z = &g->raid0.zones[i];
        uint64_t top = next_size(shape, floor);
        z->roles = roles;
        for (unsigned role = 0; role < shape->raid_disks; role++)
            if (rounded_bytes(shape, role) > floor)
                z->roles[z->count++] = (uint16_t)role;
        roles += z->count;
        z->member_start_bytes = floor;
        z->start_bytes = g->size_bytes;
        z->end_bytes = z->start_bytes + (top - floor) * z->count;
        g->size_bytes = z->end_bytes;
        floor = top;
    }
    g->member_bytes = floor;
}

/* Whether original and alternate place anything differently. */
static bool layout_matters(const struct raid_geometry *g)
{
    return g->raid0.count > 1 && g->raid0.zones[1].count > 1;
}

static void raid0_destroy(struct raid_geometry *g)
{
    free(g->raid0.zones);
    g->raid0.zones = NULL;
}

static int raid0_init(struct raid_geometry *g, const struct raid_shape *shape, struct error *err)
{
    int rc = check_sizes(shape, err);

    if (rc)
        return rc;
    for (uint64_t size = 0; (size = next_size(shape, size)) != 0;)
        g->raid0.count++;
    size_t zones_bytes = g->raid0.count * sizeof(struct raid0_zone);
    void *block = calloc(1, zones_bytes + g->raid0.count * shape->raid_disks * sizeof(uint16_t));
    if (!block)
        return error_set(err, ENOMEM, "out of memory");
    g->raid0.zones = block;
    make_zones(g, shape, (uint16_t *)((char *)block + zones_bytes));
    g->copies = 1;
    g->boundary_bytes = shape->chunk_bytes;
    if (layout_matters(g) && shape->layout != RAID0_LAYOUT_ORIGINAL &&
        shape->layout != RAID0_LAYOUT_ALTERNATE) {
        raid0_destroy(g);
        return error_set(err, EINVAL,
            "raid0 over members of unequal size does not say whether its layout is original or "
            "alternate");
    }
    return 0;
}

/* By how many places the round of a zone is shifted. */
static unsigned first_place(const struct raid_geometry *g, const struct raid0_zone *z)
{
    if (g->layout == RAID0_LAYOUT_ALTERNATE)
        return 0;
    return (unsigned)(z->start_bytes / g->chunk_bytes % z->count);
}

static unsigned raid0_map(const struct raid_geometry *g, uint64_t offset_bytes,
    struct raid_location *copies, uint64_t *run_bytes)
{
    const struct raid0_zone *z = g->raid0.zones;

    while (offset_bytes >= z->end_bytes)
        z++;
    uint64_t chunk = (offset_bytes - z->start_bytes) / g->chunk_bytes;
    uint64_t in_chunk = (offset_bytes - z->start_bytes) % g->chunk_bytes;
    unsigned place = (unsigned)((chunk + first_place(g, z)) % z->count);
    copies->role = z->roles[place];
    copies->offset_bytes = z->member_start_bytes + chunk / z->count * g->chunk_bytes + in_chunk;
    *run_bytes = g->chunk_bytes - in_chunk;
    return 1;
}

static uint64_t zone_member_end(const struct raid0_zone *z)
{
    return z->member_start_bytes + (z->end_bytes - z->start_bytes) / z->count;
}

static bool raid0_unmap(const struct raid_geometry *g, unsigned role, uint64_t member_offset_bytes,
    uint64_t *offset_bytes, unsigned *copy, uint64_t *run_bytes)
{
    const struct raid0_zone *z = g->raid0.zones;
    unsigned place = 0;

    while (member_offset_bytes >= zone_member_end(z))
        z++;
    while (z->roles[place] != role)
        place++;
    uint64_t row = (member_offset_bytes - z->member_start_bytes) / g->chunk_bytes;
    uint64_t in_chunk = (member_offset_bytes - z->member_start_bytes) % g->chunk_bytes;
    uint64_t chunk = row * z->count + (place + z->count - first_place(g, z)) % z->count;
    *offset_bytes = z->start_bytes + chunk * g->chunk_bytes + in_chunk;
    *copy = 0;
    *run_bytes = g->chunk_bytes - in_chunk;
    return true;
}

static uint64_t raid0_member_bytes(const struct raid_geometry *g, unsigned role)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < g->raid0.count; i++)
        for (unsigned k = 0; k < g->raid0.zones[i].count; k++)
            if (g->raid0.zones[i].roles[k] == role)
                bytes = zone_member_end(&g->raid0.zones[i]);
    return bytes;
}

const struct raid_level raid0_level = {
    .level = 0,
    .init = raid0_init,
    .destroy = raid0_destroy,
    .map = raid0_map,
    .unmap = raid0_unmap,
    .member_bytes = raid0_member_bytes,
};
