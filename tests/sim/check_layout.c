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

/* RAID6 codes from 16 on: RAID5 on all members but the last, which has Q. */
static bool q_is_apart(const struct check_layout *l)
{
    return l->parity == 2 && l->code >= 16;
}

static bool init_parity(struct check_layout *l, uint64_t component_bytes)
{
    l->parity = l->level == 6 ? 2 : 1;
    if (l->disks < 2 * l->parity || l->chunk_bytes < 4096 ||
        (l->chunk_bytes & (l->chunk_bytes - 1)))
        return false;
    if (l->code > 5 && !(l->level == 6 && l->code >= 16 && l->code <= 20))
        return false;
    l->rows = component_bytes / l->chunk_bytes;
    l->covered_bytes = l->rows * l->chunk_bytes;
    l->size_bytes = l->covered_bytes * (l->disks - l->parity);
    return true;
}

bool check_layout_init(struct check_layout *l, int level, uint32_t code, unsigned disks,
    uint64_t chunk_bytes, uint64_t component_bytes, const uint64_t *data_bytes)
{
    bool possible = disks > 0 && disks <= CHECK_ROLES_MAX;

    memset(l, 0, sizeof *l);
    l->level = level;
    l->code = code;
    l->disks = disks;
    if (possible && level == 0) {
        l->chunk_bytes = chunk_bytes;
        possible = init_striped(l, code, data_bytes);
    } else if (possible && level == 1) {
        l->size_bytes = l->covered_bytes = component_bytes;
    } else if (possible && level == 10) {
        l->chunk_bytes = chunk_bytes;
        possible = init_mirrored(l, code, component_bytes);
    } else if (possible && (level == 5 || level == 6)) {
        l->chunk_bytes = chunk_bytes;
        possible = init_parity(l, component_bytes);
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

/* P of RAID5 over so many members. */
static unsigned find_p(unsigned rotation, unsigned members, uint64_t number)
{
    unsigned turn = (unsigned)(number % members);

    switch (rotation) {
    case 0: /* to the left */
    case 2:
        return members - 1 - turn;
    case 1:
    case 3:
        return turn;
    case 4:
        return 0;
    default:
        return members - 1;
    }
}

/* In Q the data count from the member behind it on, round and round. */
static void find_powers(const struct check_layout *l, struct check_stripe *s)
{
    unsigned power = 0;

    for (unsigned step = 1; step < l->disks; step++) {
        unsigned role = (s->q + step) % l->disks;
        if (role != s->p)
            s->powers[role] = power++;
    }
}

struct check_stripe check_layout_stripe(const struct check_layout *l, uint64_t number)
{
    unsigned rotation = l->code % 16, members = l->disks - q_is_apart(l), count = 0;
    bool last = rotation == 5 && l->parity == 2; /* and Q behind it */
    bool symmetric = rotation == 2 || rotation == 3;
    struct check_stripe s = {.p = find_p(rotation, members, number) - last, .q = l->disks};

    if (l->parity == 2)
        s.q = q_is_apart(l) ? members : (s.p + 1) % l->disks;
    for (unsigned step = 0; step < members; step++) {
        unsigned role = symmetric ? (s.p + 1 + step) % members : step;
        if (role != s.p && role != s.q)
            s.data[count++] = role;
    }
    if (l->parity == 2)
        find_powers(l, &s);
    return s;
}

static unsigned map_parity(
    const struct check_layout *l, uint64_t offset, struct check_place *places, uint64_t *run_bytes)
{
    uint64_t data = l->disks - l->parity, within = offset % l->chunk_bytes;
    uint64_t number = offset / l->chunk_bytes / data;
    struct check_stripe s = check_layout_stripe(l, number);

    places->role = s.data[offset / l->chunk_bytes % data];
    places->offset_bytes = number * l->chunk_bytes + within;
    *run_bytes = l->chunk_bytes - within;
    return 1;
}

uint64_t check_layout_covered(const struct check_layout *l, uint64_t offset)
{
    uint64_t row_bytes = (l->disks - l->parity) * l->chunk_bytes;

    if (l->parity == 0)
        return offset;
    return offset / row_bytes * l->chunk_bytes + offset % l->chunk_bytes;
}

unsigned check_layout_map(const struct check_layout *l, uint64_t offset,
    struct check_place places[CHECK_ROLES_MAX], uint64_t *run_bytes)
{
    if (l->parity)
        return map_parity(l, offset, places, run_bytes);
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
    unsigned missing = 0;

    for (unsigned role = 0; role < l->disks; role++)
        missing += !present[role];
    if (l->parity)
        return missing <= l->parity;
    /* who holds chunk n repeats after as many chunks as there are members */
    for (unsigned n = 0; l->level == 10 && n < l->disks; n++)
        if (n * l->chunk_bytes < l->size_bytes && !has_copy(l, n * l->chunk_bytes, present))
            return false;
    for (unsigned role = 0; l->level == 0 && role < l->disks; role++)
        if (!present[role])
            return false;
    return l->level == 10 || has_copy(l, 0, present);
}
