/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/unmap.h"

#include "base/arith.h"

/* A place in the extents of a PV. */
struct place {
    unsigned pv;
    uint64_t extent_bytes;
    uint64_t inside; /* from the first extent on */
};

static bool in_stripe(const struct place *at, const struct vg_segment *s, unsigned number)
{
    uint64_t start = s->stripes[number].start_pe * at->extent_bytes;
    uint64_t length = vg_segment_pes_per_stripe(s) * at->extent_bytes;

    return s->stripes[number].pv == at->pv && at->inside >= start && at->inside - start < length;
}

static void place_in_volume(
    const struct place *at, const struct vg_segment *s, unsigned number, struct pv_piece *piece)
{
    uint64_t inside = at->inside - s->stripes[number].start_pe * at->extent_bytes;
    uint64_t unit = s->stripe_count == 1 ? s->extent_count * at->extent_bytes
                                         : (uint64_t)s->stripe_size_sectors * LVM_SECTOR_BYTES;
    uint64_t row = inside / unit, in_unit = inside % unit;

    piece->offset_bytes =
        s->start_extent * at->extent_bytes + (row * s->stripe_count + number) * unit + in_unit;
    piece->length_bytes = unit - in_unit;
}

static bool find_in_volume(const struct place *at, const struct vg_lv *lv, struct pv_piece *piece)
{
    for (unsigned i = 0; i < lv->segment_count; i++)
        for (unsigned k = 0; k < lv->segments[i].stripe_count; k++)
            if (in_stripe(at, &lv->segments[i], k)) {
                place_in_volume(at, &lv->segments[i], k, piece);
                return true;
            }
    return false;
}

/* Inside the extents; a free one by itself. */
static void find(const struct vg_metadata *m, const struct place *at, struct pv_piece *piece)
{
    for (unsigned i = 0; i < m->lv_count; i++)
        if (find_in_volume(at, &m->lvs[i], piece)) {
            piece->use = VG_USE_VOLUME;
            piece->lv = &m->lvs[i];
            return;
        }
    piece->use = VG_USE_FREE;
    piece->length_bytes = at->extent_bytes - at->inside % at->extent_bytes;
}

void pv_unmap(const struct vg_metadata *m, unsigned pv, uint64_t offset_bytes,
    uint64_t length_bytes, struct pv_piece *piece)
{
    struct place at = {
        .pv = pv, .extent_bytes = (uint64_t)m->extent_size_sectors * LVM_SECTOR_BYTES};
    uint64_t start = m->pvs[pv].pe_start_sectors * LVM_SECTOR_BYTES;
    uint64_t end = start + m->pvs[pv].pe_count * at.extent_bytes;

    *piece = (struct pv_piece){.use = VG_USE_METADATA, .length_bytes = length_bytes};
    if (offset_bytes < start) {
        piece->length_bytes = start - offset_bytes;
    } else if (offset_bytes < end) {
        at.inside = offset_bytes - start;
        find(m, &at, piece);
    }
    piece->length_bytes = MIN(piece->length_bytes, length_bytes);
}
