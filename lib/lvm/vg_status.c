/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot of a group for people and programs to look at. */
#include <errno.h>
#include <stdlib.h>

#include "lvm/unmap.h"
#include "lvm/vg_impl.h"

/* Texts are copied: the group changes while the snapshot is shown. NULL stays NULL. */
static const char *copy(struct vg_status *s, const char *text)
{
    return text ? arena_text(s->arena, text) : NULL;
}

static const char *const *copy_list(struct vg_status *s, const char *const *items, unsigned count)
{
    const char **out = arena_get(s->arena, count * sizeof *out);

    for (unsigned i = 0; out && i < count; i++)
        out[i] = copy(s, items[i]);
    return out;
}

static const char *pv_name(const struct vg *vg, unsigned index)
{
    return vg->pvs[index]->dev ? vg->pvs[index]->dev->name : vg->metadata->pvs[index].device;
}

static void fill_pv(struct vg_status *s, struct vg_pv_status *out, const struct vg *vg,
    unsigned index, const struct pe_ranges *free)
{
    const struct vg_pv *pv = &vg->metadata->pvs[index];

    *out = (struct vg_pv_status){
        .name = copy(s, pv_name(vg, index)),
        .uuid = copy(s, pv->id),
        .size_bytes = pv->pe_count * vg_extent_bytes(vg),
        .free_bytes = pe_ranges_count(free, index) * vg_extent_bytes(vg),
        .missing = !vg->pvs[index]->dev,
        .stale = vg->pvs[index]->stale,
    };
    s->size_bytes += out->size_bytes;
    s->free_bytes += out->free_bytes;
    s->missing_pvs += out->missing;
}

static void fill_segment(struct vg_status *s, struct lv_segment_status *out, const struct vg *vg,
    const struct vg_segment *segment)
{
    const char **pvs = arena_get(s->arena, segment->stripe_count * sizeof *pvs);

    for (unsigned i = 0; pvs && i < segment->stripe_count; i++)
        pvs[i] = copy(s, pv_name(vg, segment->stripes[i].pv));
    *out = (struct lv_segment_status){
        .type = segment->stripe_count == 1 ? "linear" : copy(s, segment->type),
        .start_extent = segment->start_extent,
        .extent_count = segment->extent_count,
        .pv_count = segment->stripe_count,
        .pvs = pvs,
    };
}

static void fill_segments(
    struct vg_status *s, struct lv_status *out, const struct vg *vg, const struct vg_lv *meta)
{
    struct lv_segment_status *segments =
        arena_get(s->arena, meta->segment_count * sizeof *segments);

    for (unsigned i = 0; segments && i < meta->segment_count; i++) {
        fill_segment(s, &segments[i], vg, &meta->segments[i]);
        if (meta->segments[i].stripe_count)
            out->allocated_bytes += meta->segments[i].extent_count * vg_extent_bytes(vg);
    }
    out->segment_count = meta->segment_count;
    out->segments = segments;
}

static void fill_lv(struct vg_status *s, struct lv_status *out, struct lv *lv)
{
    const struct vg_lv *meta = lv_meta(lv);
    struct error reason = {0};

    *out = (struct lv_status){
        .lv = lv,
        .name = copy(s, lv->name),
        .uuid = copy(s, lv->id),
        .size_bytes = lv_size_bytes(lv),
        .hidden = !text_list_has(&meta->status, "VISIBLE"),
        .unusable = lv_usable(lv->vg, meta, &reason) ? copy(s, reason.text) : NULL,
        .tag_count = meta->tags.count,
        .tags = copy_list(s, meta->tags.items, meta->tags.count),
    };
    fill_segments(s, out, lv->vg, meta);
}

static void fill_lvs(struct vg_status *s, const struct vg *vg)
{
    struct lv_status *lvs = arena_get(s->arena, vg->metadata->lv_count * sizeof *lvs);

    s->lvs = lvs;
    if (!lvs)
        return;
    list_for_each (it, &vg->lvs) {
        struct lv *lv = container_of(it, struct lv, link);

        /* One that is being made, or whose removal is committed, is not in the metadata. */
        if (lv_meta(lv))
            fill_lv(s, &lvs[s->lv_count++], lv);
    }
}

static void fill_pvs(struct vg_status *s, const struct vg *vg, const struct pe_ranges *free)
{
    struct vg_pv_status *pvs = arena_get(s->arena, vg->metadata->pv_count * sizeof *pvs);

    s->pvs = pvs;
    for (; pvs && s->pv_count < vg->metadata->pv_count; s->pv_count++)
        fill_pv(s, &pvs[s->pv_count], vg, s->pv_count, free);
}

struct vg_status *vg_status(const struct vg *vg)
{
    struct arena *a = arena_create();
    struct vg_status *s = a ? arena_get(a, sizeof *s) : NULL;
    struct error reason = {0};
    struct pe_ranges free;

    if (!s || pe_ranges_free(vg->metadata, &free)) {
        arena_free(a);
        return NULL;
    }
    s->arena = a;
    s->name = copy(s, vg_name(vg));
    s->uuid = copy(s, vg_uuid(vg));
    s->extent_size_bytes = vg_extent_bytes(vg);
    s->seqno = vg->metadata->seqno;
    s->read_only_reason = vg_writable(vg, &reason) ? copy(s, reason.text) : NULL;
    s->warning = vg->warning[0] ? copy(s, vg->warning) : NULL;
    fill_pvs(s, vg, &free);
    fill_lvs(s, vg);
    if (!arena_failed(a))
        return s;
    arena_free(a);
    return NULL;
}

void vg_space(const struct vg *vg, uint64_t *size_bytes, uint64_t *free_bytes)
{
    const struct vg_metadata *m = vg->metadata;
    uint64_t all = 0, used = 0;

    for (unsigned i = 0; i < m->pv_count; i++)
        all += m->pvs[i].pe_count;
    for (unsigned i = 0; i < m->lv_count; i++)
        for (unsigned k = 0; k < m->lvs[i].segment_count; k++)
            if (m->lvs[i].segments[k].stripe_count)
                used += m->lvs[i].segments[k].extent_count;
    *size_bytes = all * vg_extent_bytes(vg);
    *free_bytes = (all - used) * vg_extent_bytes(vg);
}

int vg_locate(const struct vg *vg, const struct blockdev *pv, uint64_t offset_bytes,
    uint64_t length_bytes, struct vg_place *place)
{
    struct pv_piece piece;
    unsigned index = 0;

    while (index < vg->metadata->pv_count && vg->pvs[index]->dev != pv)
        index++;
    if (index == vg->metadata->pv_count)
        return -ENXIO;
    pv_unmap(vg->metadata, index, offset_bytes, length_bytes, &piece);
    *place = (struct vg_place){.use = piece.use,
        .volume = piece.lv ? piece.lv->name : NULL,
        .offset_bytes = piece.offset_bytes,
        .length_bytes = piece.length_bytes};
    return 0;
}

void vg_status_free(struct vg_status *s)
{
    if (s)
        arena_free(s->arena);
}
