/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/metadata_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts `texts`. */
static int check_unique(const char **texts, unsigned count, const char *what, struct error *err)
{
    qsort(texts, count, sizeof *texts, by_text);
    for (unsigned i = 1; i < count; i++)
        if (strcmp(texts[i - 1], texts[i]) == 0)
            return error_set(err, EBADMSG, "two %s are called %s", what, texts[i]);
    return 0;
}

static int check_names(const struct vg_metadata *m, struct error *err)
{
    unsigned count = m->lv_count + m->pv_count;
    const char **texts = arena_get(m->arena, count * sizeof *texts);

    if (!texts)
        return -ENOMEM;
    for (unsigned i = 0; i < m->lv_count; i++) {
        texts[i] = m->lvs[i].name;
        if (vg_name_check(texts[i], NULL))
            return error_set(err, EBADMSG, "a volume has an impossible name");
    }
    for (unsigned i = 0; i < m->pv_count; i++)
        texts[m->lv_count + i] = m->pvs[i].key;
    int rc = check_unique(texts, m->lv_count, "volumes", err);
    if (!rc)
        rc = check_unique(texts + m->lv_count, m->pv_count, "PVs", err);
    for (unsigned i = 0; i < m->lv_count; i++)
        texts[i] = m->lvs[i].id;
    for (unsigned i = 0; i < m->pv_count; i++)
        texts[m->lv_count + i] = m->pvs[i].id;
    return rc ?: check_unique(texts, count, "volumes or PVs", err);
}

static int check_segments(const struct vg_lv *lv, struct error *err)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < lv->segment_count; i++) {
        const struct vg_segment *s = &lv->segments[i];

        if (s->start_extent != end || !s->extent_count)
            return error_set(
                err, EBADMSG, "the segments of volume %s leave a gap or overlap", lv->name);
        end += s->extent_count;
        if (end > LVM_EXTENTS_MAX)
            return error_set(err, EBADMSG, "the volume %s has too many extents", lv->name);
    }
    return 0;
}

struct range {
    unsigned pv;
    uint32_t start, count;
    const char *lv;
};

static int by_place(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    if (x->pv != y->pv)
        return x->pv < y->pv ? -1 : 1;
    return (x->start > y->start) - (x->start < y->start);
}

/* With out NULL: only counts. */
static size_t list_ranges(const struct vg_metadata *m, struct range *out)
{
    size_t count = 0;

    for (unsigned i = 0; i < m->lv_count; i++)
        for (unsigned k = 0; k < m->lvs[i].segment_count; k++) {
            const struct vg_segment *s = &m->lvs[i].segments[k];

            for (unsigned n = 0; n < s->stripe_count; n++, count++)
                if (out)
                    out[count] = (struct range){s->stripes[n].pv, s->stripes[n].start_pe,
                        vg_segment_pes_per_stripe(s), m->lvs[i].name};
        }
    return count;
}

static int check_extents(const struct vg_metadata *m, struct error *err)
{
    size_t count = list_ranges(m, NULL);
    struct range *ranges = arena_get(m->arena, count * sizeof *ranges);

    if (!ranges)
        return -ENOMEM;
    list_ranges(m, ranges);
    qsort(ranges, count, sizeof *ranges, by_place);
    for (size_t i = 0; i < count; i++) {
        const struct range *r = &ranges[i];
        const struct vg_pv *pv = &m->pvs[r->pv];

        if ((uint64_t)r->start + r->count > pv->pe_count)
            return error_set(err, EBADMSG, "volume %s lies outside of PV %s", r->lv, pv->key);
        if (i && r[-1].pv == r->pv && r[-1].start + r[-1].count > r->start)
            return error_set(
                err, EBADMSG, "volumes %s and %s share extents of PV %s", r[-1].lv, r->lv, pv->key);
    }
    return 0;
}

/* No byte offset on a PV overflows afterwards. */
static int check_pv(const struct vg_metadata *m, const struct vg_pv *pv, struct error *err)
{
    uint64_t sectors = pv->pe_start_sectors + (uint64_t)pv->pe_count * m->extent_size_sectors;

    if (sectors > INT64_MAX / LVM_SECTOR_BYTES)
        return error_set(err, EBADMSG, "PV %s is impossibly large", pv->key);
    return 0;
}

int vg_metadata_check(const struct vg_metadata *m, struct error *err)
{
    int rc = check_names(m, err);

    for (unsigned i = 0; !rc && i < m->pv_count; i++)
        rc = check_pv(m, &m->pvs[i], err);
    for (unsigned i = 0; !rc && i < m->lv_count; i++)
        rc = check_segments(&m->lvs[i], err);
    return rc ?: check_extents(m, err);
}
