/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "places.h"

#include <stdio.h>
#include <string.h>

#include "lvm/vg.h"

void place_find(const struct catalog_array *a, uint64_t array_offset_bytes, uint64_t length_bytes,
    struct place *place)
{
    static const enum place_use uses[] = {[VG_USE_VOLUME] = PLACE_VOLUME,
        [VG_USE_FREE] = PLACE_FREE,
        [VG_USE_METADATA] = PLACE_METADATA};
    struct vg_place found;

    *place = (struct place){
        .use = PLACE_ARRAY, .array_offset_bytes = array_offset_bytes, .length_bytes = length_bytes};
    if (!a->vg ||
        vg_locate(a->vg->vg, array_blockdev(a->array), array_offset_bytes, length_bytes, &found))
        return;
    place->use = uses[found.use];
    place->length_bytes = found.length_bytes;
    if (found.use != VG_USE_VOLUME)
        return;
    place->offset_bytes = found.offset_bytes;
    snprintf(place->volume, sizeof place->volume, "%s/%s", vg_name(a->vg->vg), found.volume);
}

static bool goes_on(const struct place *p, const struct place *next)
{
    return p->use == next->use && !strcmp(p->volume, next->volume) &&
           p->array_offset_bytes + p->length_bytes == next->array_offset_bytes &&
           (p->use != PLACE_VOLUME || p->offset_bytes + p->length_bytes == next->offset_bytes);
}

static void add(struct place *so_far, const struct place *next, place_fn *fn, void *arg)
{
    if (so_far->length_bytes && goes_on(so_far, next)) {
        so_far->length_bytes += next->length_bytes;
        return;
    }
    if (so_far->length_bytes)
        fn(arg, so_far);
    *so_far = *next;
}

void places_of(
    const struct catalog_array *a, const struct array_mismatch *m, place_fn *fn, void *arg)
{
    struct place so_far = {0}, next;

    for (unsigned i = 0; i < m->count; i++) {
        uint64_t at = m->offset_bytes + i * m->stride_bytes;
        for (uint64_t end = at + m->length_bytes; at < end; at += next.length_bytes) {
            place_find(a, at, end - at, &next);
            add(&so_far, &next, fn, arg);
        }
    }
    fn(arg, &so_far);
}

const char *place_use_name(enum place_use use)
{
    static const char *const names[] = {
        [PLACE_ARRAY] = "array",
        [PLACE_VOLUME] = "volume",
        [PLACE_FREE] = "free",
        [PLACE_METADATA] = "metadata",
    };
    return names[use];
}
