/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/map.h"

#include "base/arith.h"

static void note_dev(struct volume_map *map, struct blockdev *dev)
{
    for (unsigned i = 0; i < map->dev_count; i++)
        if (map->devs[i] == dev)
            return;
    map->devs[map->dev_count++] = dev;
}

static bool build_segment(struct volume_map *map, const struct vg_metadata *m,
    const struct vg_segment *s, struct blockdev *const *devs)
{
    uint64_t extent_bytes = (uint64_t)m->extent_size_sectors * LVM_SECTOR_BYTES;
    struct map_segment *out = &map->segments[map->segment_count++];

    *out = (struct map_segment){
        .start_bytes = s->start_extent * extent_bytes,
        .length_bytes = s->extent_count * extent_bytes,
        .stripe_bytes = s->stripe_count == 1 ? s->extent_count * extent_bytes
                                             : (uint64_t)s->stripe_size_sectors * LVM_SECTOR_BYTES,
        .stripe_count = s->stripe_count,
        .stripes = arena_get(map->arena, s->stripe_count * sizeof *out->stripes),
    };
    for (unsigned i = 0; out->stripes && i < s->stripe_count; i++) {
        const struct vg_stripe *from = &s->stripes[i];

        out->stripes[i] = (struct map_stripe){devs[from->pv],
            m->pvs[from->pv].pe_start_sectors * LVM_SECTOR_BYTES + from->start_pe * extent_bytes};
        note_dev(map, devs[from->pv]);
    }
    return out->stripes;
}

struct volume_map *volume_map_build(
    const struct vg_metadata *m, const struct vg_lv *lv, struct blockdev *const *devs)
{
    struct arena *a = arena_create();
    struct volume_map *map = a ? arena_get(a, sizeof *map) : NULL;

    if (!map) {
        arena_free(a);
        return NULL;
    }
    map->arena = a;
    map->size_bytes = (uint64_t)vg_lv_extents(lv) * m->extent_size_sectors * LVM_SECTOR_BYTES;
    map->segments = arena_get(a, lv->segment_count * sizeof *map->segments);
    map->devs = arena_get(a, m->pv_count * sizeof(struct blockdev *));
    for (unsigned i = 0; map->segments && map->devs && i < lv->segment_count; i++)
        if (!build_segment(map, m, &lv->segments[i], devs))
            break;
    if (!arena_failed(a))
        return map;
    arena_free(a);
    return NULL;
}

void volume_map_free(struct volume_map *map)
{
    if (map)
        arena_free(map->arena);
}

static const struct map_segment *find_segment(const struct volume_map *map, uint64_t offset)
{
    unsigned low = 0, high = map->segment_count;

    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        if (map->segments[middle].start_bytes <= offset)
            low = middle;
        else
            high = middle;
    }
    return &map->segments[low];
}

bool volume_map_find(
    const struct volume_map *map, uint64_t offset, uint64_t length, struct map_piece *piece)
{
    if (offset >= map->size_bytes)
        return false;
    const struct map_segment *s = find_segment(map, offset);
    uint64_t inside = offset - s->start_bytes, chunk = inside / s->stripe_bytes;
    uint64_t in_chunk = inside % s->stripe_bytes;
    uint64_t here = MIN(s->stripe_bytes - in_chunk, s->length_bytes - inside);
    const struct map_stripe *stripe = &s->stripes[chunk % s->stripe_count];

    piece->dev = stripe->dev;
    piece->offset_bytes =
        stripe->offset_bytes + chunk / s->stripe_count * s->stripe_bytes + in_chunk;
    piece->length_bytes = MIN(length, here);
    return true;
}
