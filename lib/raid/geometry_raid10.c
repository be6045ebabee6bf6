/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAID10. Each chunk has `near` copies on neighbouring members, laid out like text: chunk * near is
 * the number of a cell, cells fill one row of members after the other. All of that is then repeated
 * `far` times, each time `near` members to the right (within a set of members, round and round),
 * and either far below (far) or in the next row (offset).
 *
 *     near2, 3 members   far2, 3 members    offset2, 3 members
 *     0 0 1              0 1 2              0 1 2
 *     1 2 2              3 4 5              2 0 1
 *     3 3 4              2 0 1              3 4 5
 *     4 5 5              5 3 4              5 3 4
 */
#include "raid/geometry_level.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"

#define LAYOUT_BITS 19

enum far_set_mode {
    SETS_NONE,     /* one set: all members */
    SETS_BY_FAR,   /* as many sets as far copies (a kernel's slip, kept for what it has written) */
    SETS_BY_COPIES /* sets of as many members as there are copies */
};

static int check_layout(const struct raid_shape *shape, struct error *err)
{
    unsigned near = raid10_near_copies(shape->layout), far = raid10_far_copies(shape->layout);
    unsigned copies = near * far;

    if (shape->layout >> LAYOUT_BITS || shape->layout >> 17 > SETS_BY_COPIES || copies < 2)
        return error_set(err, EINVAL, "0x%" PRIx32 " is no layout of raid10", shape->layout);
    if (copies > shape->raid_disks)
        return error_set(
            err, EINVAL, "%u copies need as many members, not %u", copies, shape->raid_disks);
    if (copies > RAID_COPIES_MAX)
        return error_set(err, EOPNOTSUPP, "more than %u copies are not supported", RAID_COPIES_MAX);
    return 0;
}

static unsigned set_size_of(const struct raid_shape *shape)
{
    unsigned near = raid10_near_copies(shape->layout), far = raid10_far_copies(shape->layout);

    switch (shape->layout >> 17) {
    case SETS_BY_FAR:
        return shape->raid_disks / far;
    case SETS_BY_COPIES:
        return near * far;
    default:
        return shape->raid_disks;
    }
}

/*
 * In some combinations, which mdadm does not make, Linux puts two chunks in one place: near copies
 * that go on in the next row with offset, or far copies next to a last set that is larger than the
 * others. Or two copies of a chunk on one member: sets smaller than the number of copies.
 */
static int check_overlap(const struct raid_geometry *g, struct error *err)
{
    bool offset = g->layout & RAID10_LAYOUT_OFFSET;
    bool wraps = g->raid10.near > 1 && g->raid_disks % g->raid10.near;
    bool odd_set = g->raid10.near > 1 && g->raid_disks % g->raid10.set_size &&
                   g->raid_disks / g->raid10.set_size > 1;

    if ((g->raid10.far > 1 && ((offset && wraps) || odd_set)) || g->raid10.set_size < g->copies)
        return error_set(err, EOPNOTSUPP,
            "raid10 layout 0x%" PRIx32 " over %u members is not supported: copies overlap",
            g->layout, g->raid_disks);
    return 0;
}

static int set_sizes(struct raid_geometry *g, const struct raid_shape *shape, struct error *err)
{
    bool offset = g->layout & RAID10_LAYOUT_OFFSET;
    uint64_t rows = shape->member_bytes / shape->chunk_bytes / g->raid10.far;

    g->raid10.row_step = offset ? g->raid10.far : 1;
    g->raid10.far_rows = offset ? 1 : rows;
    g->raid10.chunks = rows * g->raid_disks / g->raid10.near;
    if (g->raid10.chunks == 0)
        return error_set(err, EINVAL, "members have no room for a chunk");
    if (g->raid10.chunks > INT64_MAX / shape->chunk_bytes)
        return error_set(err, EFBIG, "the array is too large");
    g->member_bytes = rows * g->raid10.far * shape->chunk_bytes;
    g->size_bytes = g->sync_bytes = g->raid10.chunks * shape->chunk_bytes;
    return 0;
}

static int raid10_init(struct raid_geometry *g, const struct raid_shape *shape, struct error *err)
{
    int rc = check_layout(shape, err);

    if (!rc)
        rc = raid_chunk_check(shape->chunk_bytes, err);
    if (rc)
        return rc;
    g->raid10.near = raid10_near_copies(shape->layout);
    g->raid10.far = raid10_far_copies(shape->layout);
    g->raid10.set_size = set_size_of(shape);
    g->copies = g->raid10.near * g->raid10.far;
    rc = check_overlap(g, err);
    if (!rc)
        rc = set_sizes(g, shape, err);
    /* a mirror of all members in all but name is in one piece */
    g->boundary_bytes = g->raid10.near == g->raid_disks ? 0 : shape->chunk_bytes;
    return rc;
}

/* The member that is `by` places to the right of `role` (left when negative) in its set; the last
 * set takes what is left over. */
static unsigned shifted(const struct raid_geometry *g, unsigned role, int by)
{
    unsigned last = g->raid_disks / g->raid10.set_size - 1;
    unsigned set = MIN(role / g->raid10.set_size, last);
    unsigned start = set * g->raid10.set_size;
    unsigned size = set == last ? g->raid_disks - start : g->raid10.set_size;
    int place = (int)(role - start + size) + by % (int)size;

    return start + (unsigned)place % size;
}

static unsigned raid10_map(const struct raid_geometry *g, uint64_t offset_bytes,
    struct raid_location *copies, uint64_t *run_bytes)
{
    uint64_t in_chunk = offset_bytes & (g->chunk_bytes - 1);
    uint64_t cell = offset_bytes / g->chunk_bytes * g->raid10.near;
    uint64_t row = cell / g->raid_disks * g->raid10.row_step;
    unsigned role = (unsigned)(cell % g->raid_disks);

    for (unsigned n = 0; n < g->raid10.near; n++) {
        for (unsigned f = 0; f < g->raid10.far; f++, copies++) {
            copies->role = shifted(g, role, (int)(f * g->raid10.near));
            copies->offset_bytes = (row + f * g->raid10.far_rows) * g->chunk_bytes + in_chunk;
        }
        if (++role == g->raid_disks) {
            role = 0;
            row += g->raid10.row_step;
        }
    }
    *run_bytes = g->boundary_bytes ? g->chunk_bytes - in_chunk : g->size_bytes - offset_bytes;
    return g->copies;
}

static bool raid10_unmap(const struct raid_geometry *g, unsigned role, uint64_t member_offset_bytes,
    uint64_t *offset_bytes, unsigned *copy, uint64_t *run_bytes)
{
    uint64_t in_chunk = member_offset_bytes & (g->chunk_bytes - 1);
    uint64_t row = member_offset_bytes / g->chunk_bytes;
    bool offset = g->layout & RAID10_LAYOUT_OFFSET;
    unsigned f = (unsigned)(offset ? row % g->raid10.far : row / g->raid10.far_rows);
    uint64_t base_row = offset ? row / g->raid10.far : row % g->raid10.far_rows;
    uint64_t cell = base_row * g->raid_disks + shifted(g, role, -(int)(f * g->raid10.near));
    uint64_t chunk = cell / g->raid10.near;

    *run_bytes =
        g->boundary_bytes ? g->chunk_bytes - in_chunk : g->member_bytes - member_offset_bytes;
    if (chunk >= g->raid10.chunks)
        return false;
    *offset_bytes = chunk * g->chunk_bytes + in_chunk;
    *copy = (unsigned)(cell % g->raid10.near) * g->raid10.far + f;
    return true;
}

static uint64_t raid10_member_bytes(const struct raid_geometry *g, unsigned role)
{
    return g->member_bytes;
}

const struct raid_level raid10_level = {
    .level = 10,
    .init = raid10_init,
    .map = raid10_map,
    .unmap = raid10_unmap,
    .member_bytes = raid10_member_bytes,
};
