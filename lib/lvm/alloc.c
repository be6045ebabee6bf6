/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

static int by_place(const void *a, const void *b)
{
    const struct pe_range *x = a, *y = b;

    if (x->pv != y->pv)
        return x->pv < y->pv ? -1 : 1;
    return (x->start > y->start) - (x->start < y->start);
}

/* Sorts, and joins neighbours. */
static void tidy(struct pe_ranges *r)
{
    unsigned kept = 0;

    qsort(r->items, r->count, sizeof *r->items, by_place);
    for (unsigned i = 0; i < r->count; i++) {
        struct pe_range *last = kept ? &r->items[kept - 1] : NULL;

        if (last && last->pv == r->items[i].pv && last->start + last->count == r->items[i].start)
            last->count += r->items[i].count;
        else
            r->items[kept++] = r->items[i];
    }
    r->count = kept;
}

static unsigned count_stripes(const struct vg_metadata *m)
{
    unsigned count = 0;

    for (unsigned i = 0; i < m->lv_count; i++)
        for (unsigned k = 0; k < m->lvs[i].segment_count; k++)
            count += m->lvs[i].segments[k].stripe_count;
    return count;
}

static void add_segment_ranges(struct pe_ranges *used, const struct vg_segment *s)
{
    for (unsigned i = 0; i < s->stripe_count; i++)
        used->items[used->count++] = (struct pe_range){
            s->stripes[i].pv, s->stripes[i].start_pe, vg_segment_pes_per_stripe(s)};
}

int pe_ranges_used(const struct vg_metadata *m, struct pe_ranges *used)
{
    struct pe_ranges r = {.items = arena_get(m->arena, count_stripes(m) * sizeof *r.items)};

    if (!r.items)
        return -ENOMEM;
    for (unsigned i = 0; i < m->lv_count; i++)
        for (unsigned k = 0; k < m->lvs[i].segment_count; k++)
            add_segment_ranges(&r, &m->lvs[i].segments[k]);
    tidy(&r);
    *used = r;
    return 0;
}

int pe_ranges_free(const struct vg_metadata *m, struct pe_ranges *free)
{
    struct pe_ranges all = {.items = arena_get(m->arena, m->pv_count * sizeof *all.items)}, used;
    int rc = all.items ? pe_ranges_used(m, &used) : -ENOMEM;

    if (rc)
        return rc;
    for (unsigned i = 0; i < m->pv_count; i++)
        if (m->pvs[i].pe_count)
            all.items[all.count++] = (struct pe_range){i, 0, m->pvs[i].pe_count};
    return pe_ranges_subtract(m->arena, &all, &used, free);
}

/* Appends what of `a` is left between the ranges of `b`, of which *next is the first that may meet
 * it. */
static void subtract_from(
    const struct pe_range *a, const struct pe_ranges *b, unsigned *next, struct pe_ranges *out)
{
    uint32_t start = a->start, end = a->start + a->count;

    while (
        *next < b->count && by_place(&b->items[*next], a) < 0 &&
        (b->items[*next].pv < a->pv || b->items[*next].start + b->items[*next].count <= a->start))
        ++*next;
    for (unsigned i = *next; i < b->count && b->items[i].pv == a->pv && b->items[i].start < end;
         i++) {
        if (b->items[i].start > start)
            out->items[out->count++] = (struct pe_range){a->pv, start, b->items[i].start - start};
        start = b->items[i].start + b->items[i].count;
    }
    if (start < end)
        out->items[out->count++] = (struct pe_range){a->pv, start, end - start};
}

int pe_ranges_subtract(struct arena *arena, const struct pe_ranges *a, const struct pe_ranges *b,
    struct pe_ranges *difference)
{
    /* Each range of b splits at most one of a. */
    struct pe_ranges out = {.items = arena_get(arena, (a->count + b->count) * sizeof *out.items)};
    unsigned next = 0;

    if (!out.items)
        return -ENOMEM;
    for (unsigned i = 0; i < a->count; i++)
        subtract_from(&a->items[i], b, &next, &out);
    *difference = out;
    return 0;
}

uint32_t pe_ranges_count(const struct pe_ranges *r, unsigned pv)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < r->count; i++)
        if (r->items[i].pv == pv)
            count += r->items[i].count;
    return count;
}

/* Keeps what LVM2 would allocate from; returns the number of extents. */
static uint64_t drop_unallocatable(const struct vg_metadata *m, struct pe_ranges *r)
{
    uint64_t extents = 0;
    unsigned kept = 0;

    for (unsigned i = 0; i < r->count; i++)
        if (text_list_has(&m->pvs[r->items[i].pv].status, "ALLOCATABLE")) {
            extents += r->items[i].count;
            r->items[kept++] = r->items[i];
        }
    r->count = kept;
    return extents;
}

static bool follows(const struct vg_lv *lv, const struct pe_range *r)
{
    const struct vg_segment *last = lv->segment_count ? &lv->segments[lv->segment_count - 1] : NULL;

    return last && last->stripe_count == 1 && last->stripes->pv == r->pv &&
           last->stripes->start_pe + last->extent_count == r->start;
}

/* Takes up to `extents` from the front of a range; lengthens the last segment or adds one. */
static int append(struct vg_metadata *m, struct vg_lv *lv, struct pe_range *r, uint32_t extents)
{
    if (follows(lv, r)) {
        lv->segments[lv->segment_count - 1].extent_count += extents;
    } else {
        struct vg_segment *segments =
            arena_grow(m->arena, lv->segments, lv->segment_count, 1, sizeof *segments);
        struct vg_stripe *stripe = arena_get(m->arena, sizeof *stripe);

        if (!segments || !stripe)
            return -ENOMEM;
        *stripe = (struct vg_stripe){r->pv, r->start};
        segments[lv->segment_count] = (struct vg_segment){
            vg_lv_extents(lv), extents, LVM_SEGMENT_STRIPED, 1, 0, stripe, NULL};
        lv->segments = segments;
        lv->segment_count++;
    }
    r->start += extents;
    r->count -= extents;
    return 0;
}

static struct pe_range *choose(const struct vg_lv *lv, struct pe_ranges *free, uint32_t extents)
{
    struct pe_range *fits = NULL, *largest = &free->items[0];

    for (unsigned i = 0; i < free->count; i++) {
        struct pe_range *r = &free->items[i];

        if (r->count && follows(lv, r))
            return r;
        if (!fits && r->count >= extents)
            fits = r;
        if (r->count > largest->count)
            largest = r;
    }
    return fits ? fits : largest;
}

int lv_allocate(struct vg_metadata *m, struct vg_lv *lv, uint32_t extents, struct error *err)
{
    struct pe_ranges free;
    int rc = pe_ranges_free(m, &free);

    if (rc)
        return rc;
    uint64_t available = drop_unallocatable(m, &free);
    if (extents > LVM_EXTENTS_MAX - vg_lv_extents(lv))
        return error_set(err, EFBIG, "a volume has at most %u extents", LVM_EXTENTS_MAX);
    if (extents > available)
        return error_set(err, ENOSPC, "%u extents are needed, %llu are free in volume group %s",
            extents, (unsigned long long)available, m->name);
    while (!rc && extents) {
        struct pe_range *r = choose(lv, &free, extents);
        uint32_t n = MIN(r->count, extents);

        rc = append(m, lv, r, n);
        extents -= n;
    }
    return rc;
}

/* The segment that extent belongs to, which is within the volume. */
static unsigned find_segment(const struct vg_lv *lv, uint32_t extent)
{
    unsigned i = lv->segment_count - 1;

    while (lv->segments[i].start_extent > extent)
        i--;
    return i;
}

uint32_t lv_cut_extents(const struct vg_lv *lv, uint32_t extents)
{
    if (!extents)
        return 0;
    const struct vg_segment *s = &lv->segments[find_segment(lv, extents - 1)];
    return s->start_extent + (uint32_t)round_up(extents - s->start_extent, s->stripe_count);
}

void lv_cut(struct vg_lv *lv, uint32_t extents)
{
    extents = lv_cut_extents(lv, extents);
    if (!extents) {
        lv->segment_count = 0;
        return;
    }
    lv->segment_count = find_segment(lv, extents - 1) + 1;
    struct vg_segment *last = &lv->segments[lv->segment_count - 1];
    last->extent_count = extents - last->start_extent;
}
