/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_layout.h"

#include <string.h>

/* The next zone begins where the shortest member that goes on ends. */
static uint64_t next_zone(const struct check_layout *l, const uint64_t *data_bytes,
    uint64_t member_start, struct check_zone *z)
{
    uint64_t shortest = UINT64_MAX;

    z->count = 0;
    z->member_start = member_start;
    for (unsigned role = 0; role < l->disks; role++) {
        uint64_t bytes = data_bytes[role] - data_bytes[role] % l->chunk_bytes;
        if (bytes <= member_start)
            continue;
        z->roles[z->count++] = role;
        if (bytes < shortest)
            shortest = bytes;
    }
    return shortest;
}

static bool init_striped(struct check_layout *l, uint32_t code, const uint64_t *data_bytes)
{
    uint64_t member_start = 0;

    if (l->chunk_bytes == 0 || l->chunk_bytes % 4096)
        return false;
    l->original = code == 1;
    for (;;) {
        struct check_zone *z = &l->zones[l->zone_count];
        uint64_t member_end = next_zone(l, data_bytes, member_start, z);
        if (z->count == 0)
            break;
        z->start = l->size_bytes;
        z->end = l->size_bytes += (member_end - member_start) * z->count;
        member_start = member_end;
        if (++l->zone_count == CHECK_ROLES_MAX)
            break;
    }
    return l->zone_count == 1 || (l->zone_count > 1 && (code == 1 || code == 2));
}

static bool init_mirrored(struct check_layout *l, uint32_t code, uint64_t component_bytes)
{
    l->near = code & 0xff;
    l->far = code >> 8 & 0xff;
    l->offset = code >> 16 & 1;
    if (code >> 17 || l->near == 0 || l->far == 0 || l->near * l->far > l->disks)
        return false;
    if (l->chunk_bytes < 4096 || (l->chunk_bytes & (l->chunk_bytes - 1)))
        return false;
    /* Linux lays these over one another */
    if (l->offset && l->near > 1 && l->disks % l->near)
        return false;
    l->rows = component_bytes / l->chunk_bytes / l->far;
    l->size_bytes = l->rows * l->disks / l->near * l->chunk_bytes;
    l->covered_bytes = l->size_bytes;
    return true;
}

bool check_layout_init(struct check_layout *l, int level, uint32_t code, unsigned disks,
    uint64_t chunk_bytes, uint64_t component_bytes, const uint64_t *data_bytes)
{
    bool possible = disks > 0 && disks <= CHECK_ROLES_MAX;

    memset(l, 0, sizeof *l);
    l->level = level;
    l->disks = disks;
    if (possible && level == 0) {
        l->chunk_bytes = chunk_bytes;
        possible = init_striped(l, code, data_bytes);
    } else if (possible && level == 1) {
        l->size_bytes = l->covered_bytes = component_bytes;
    } else if (possible && level == 10) {
        l->chunk_bytes = chunk_bytes;
        possible = init_mirrored(l, code, component_bytes);
    } else {
        possible = false;
    }
    if (!possible)
        l->size_bytes = 0;
    return l->size_bytes > 0;
}

static unsigned map_striped(
    const struct check_layout *l, uint64_t offset, struct check_place *places, uint64_t *run_bytes)
{
    const struct check_zone *z = l->zones;
    uint64_t chunk = l->chunk_bytes, number;

    while (offset >= z->end)
        z++;
    number = (offset - z->start) / chunk;
    places->role = z->roles[(l->original ? offset / chunk : number) % z->count];
    places->offset_bytes = z->member_start + number / z->count * chunk + offset % chunk;
    *run_bytes = chunk - offset % chunk;
    return 1;
}

static unsigned map_mirrored(
    const struct check_layout *l, uint64_t offset, struct check_place *places, uint64_t *run_bytes)
{
    uint64_t within = offset % l->chunk_bytes, cell = offset / l->chunk_bytes * l->near;
    unsigned count = 0;

    for (unsigned n = 0; n < l->near; n++, cell++) {
        uint64_t row = cell / l->disks;
        for (unsigned f = 0; f < l->far; f++) {
            uint64_t r = l->offset ? row * l->far + f : row + f * l->rows;
            places[count].role = (unsigned)((cell + (uint64_t)f * l->near) % l->disks);
            places[count++].offset_bytes = r * l->chunk_bytes + within;
        }
    }
    *run_bytes = l->chunk_bytes - within;
    return count;
}

unsigned check_layout_map(const struct check_layout *l, uint64_t offset,
    struct check_place places[CHECK_ROLES_MAX], uint64_t *run_bytes)
{
    if (l->level == 0)
        return map_striped(l, offset, places, run_bytes);
    if (l->level == 10)
        return map_mirrored(l, offset, places, run_bytes);
    for (unsigned role = 0; role < l->disks; role++)
        places[role] = (struct check_place){role, offset};
    *run_bytes = l->size_bytes - offset;
    return l->disks;
}

static bool has_copy(const struct check_layout *l, uint64_t offset, const bool *present)
{
    struct check_place places[CHECK_ROLES_MAX];
    uint64_t run;
    unsigned count = check_layout_map(l, offset, places, &run);

    for (unsigned i = 0; i < count; i++)
        if (present[places[i].role])
            return true;
    return false;
}

bool check_layout_complete(const struct check_layout *l, const bool *present)
{
    /* who holds chunk n repeats after as many chunks as there are members */
    for (unsigned n = 0; l->level == 10 && n < l->disks; n++)
        if (n * l->chunk_bytes < l->size_bytes && !has_copy(l, n * l->chunk_bytes, present))
            return false;
    for (unsigned role = 0; l->level == 0 && role < l->disks; role++)
        if (!present[role])
            return false;
    return l->level == 10 || has_copy(l, 0, present);
}
