/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a change of a group is made. Nothing is seen of it before its commit: extents that a volume
 * takes are zeroed first, those that it leaves are given back afterwards, and all that may fail
 * (memory, the archive) comes before, too.
 */
#include "lvm/vg_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "lvm/archive.h"
#include "lvm/commit.h"
#include "lvm/volume.h"
#include "rt/worker.h"

/* Zeroing goes in steps, so that other work of the worker gets its turn. */
#define ZERO_STEP_BYTES   (64u << 20)
#define DESCRIPTION_CHARS 640

int change_begin(struct vg *vg, struct vg_metadata **m, struct error *err)
{
    co_mutex_lock(&vg->mutex);
    int rc = vg_writable(vg, err);
    if (!rc)
        rc = vg_metadata_clone(vg->metadata, m);
    if (rc == -ENOMEM)
        error_set(err, ENOMEM, "out of memory");
    if (rc) {
        co_mutex_unlock(&vg->mutex);
        return rc;
    }
    (*m)->seqno++;
    for (unsigned i = 0; i < (*m)->pv_count; i++)
        (*m)->pvs[i].device = vg->pvs[i]->dev->name; /* where it is now; outlives m */
    return 0;
}

int change_end(struct vg *vg, struct vg_metadata *m, int rc, bool dry)
{
    co_mutex_unlock(&vg->mutex);
    if (rc || dry)
        vg_metadata_free(m);
    return rc;
}

static uint64_t range_offset(const struct vg *vg, const struct pe_range *r)
{
    return vg->metadata->pvs[r->pv].pe_start_sectors * LVM_SECTOR_BYTES +
           r->start * vg_extent_bytes(vg);
}

static int zero_bytes(struct blockdev *d, uint64_t offset, uint64_t length)
{
    int rc = 0;

    while (!rc && length) {
        uint64_t n = MIN(length, (uint64_t)ZERO_STEP_BYTES);

        rc = blockdev_write_zeroes(d, offset, n, BLOCK_MAY_UNMAP | BLOCK_BACKGROUND);
        offset += n;
        length -= n;
    }
    return rc;
}

static int zero_ranges(struct vg *vg, const struct pe_ranges *ranges, struct error *err)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        const struct pe_range *r = &ranges->items[i];
        struct blockdev *d = vg->pvs[r->pv]->dev;
        int rc = zero_bytes(d, range_offset(vg, r), r->count * vg_extent_bytes(vg));

        if (!rc && (i + 1 == ranges->count || r[1].pv != r->pv))
            rc = blockdev_flush(d);
        if (rc)
            return error_set(
                err, -rc, "new extents on %s cannot be zeroed: %s", d->name, strerror(-rc));
    }
    return 0;
}

/* `wipe`: they held something until now. */
static void give_back(const struct vg *vg, const struct pe_ranges *ranges, bool wipe)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        const struct pe_range *r = &ranges->items[i];
        struct blockdev *d = vg->pvs[r->pv]->dev;
        uint64_t offset = range_offset(vg, r), length = r->count * vg_extent_bytes(vg);

        if (wipe)
            blockdev_discard(d, offset, length);
        blockdev_unused(d, offset, length);
    }
}

/* A PV that is missing, or another copy of the same seqno, may know of volumes there. */
void vg_report_unused(const struct vg *vg)
{
    struct pe_ranges free;

    if (!vg_writable(vg, NULL) && !pe_ranges_free(vg->metadata, &free))
        give_back(vg, &free, false);
}

static int collect_targets(struct pv *const *pvs, unsigned pv_count, bool only_stale,
    struct commit_target **targets, unsigned *count)
{
    struct commit_target *t = calloc(pv_count * LVM_AREAS_MAX, sizeof *t);

    if (!t)
        return -ENOMEM;
    *count = 0;
    for (unsigned i = 0; i < pv_count; i++)
        for (unsigned k = 0; k < pvs[i]->label.metadata_area_count; k++)
            if (pvs[i]->dev && !pvs[i]->mdas[k].ignored && (pvs[i]->stale || !only_stale))
                t[(*count)++] = (struct commit_target){.pv = pvs[i], .mda = &pvs[i]->mdas[k]};
    *targets = t;
    return 0;
}

static void tell_stale(struct vg *vg, struct pv *const *pvs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (pvs[i]->stale)
            snprintf(vg->warning, sizeof vg->warning, "the metadata on %s could not be written",
                pvs[i]->dev->name);
}

void vg_repair(struct vg *vg, struct pv *const *pvs, unsigned count)
{
    struct commit_target *targets;
    unsigned target_count;
    bool uncertain;

    if (collect_targets(pvs, count, true, &targets, &target_count))
        return;
    if (target_count)
        metadata_commit(targets, target_count, vg->text, vg->text_bytes, &uncertain, NULL);
    free(targets);
    tell_stale(vg, pvs, count);
}

static int write_metadata(struct vg *vg, struct pv *const *pvs, unsigned pv_count, const char *text,
    size_t bytes, struct error *err)
{
    struct commit_target *targets;
    unsigned count;
    bool uncertain = false;
    int rc = collect_targets(pvs, pv_count, false, &targets, &count);

    if (rc)
        return error_set(err, ENOMEM, "out of memory");
    rc = metadata_commit(targets, count, text, bytes, &uncertain, err);
    if (uncertain)
        snprintf(vg->conflict, sizeof vg->conflict,
            "its last commit failed half way (%s): open it again", strerror(-rc));
    free(targets);
    return rc;
}

static struct vg_text_header text_header(const struct vg *vg, const char *description)
{
    return (struct vg_text_header){description, vg->settings.host, rt_wall_seconds()};
}

int vg_archive(struct vg *vg, const char *what, struct error *err)
{
    const struct vg_settings *s = &vg->settings;
    char description[DESCRIPTION_CHARS];

    /* A new group has no past. */
    if (!s->archive_dir || !vg->text)
        return 0;
    snprintf(description, sizeof description, "Created *before* executing '%s'", what);
    struct vg_text_header header = text_header(vg, description);
    return archive_save(s->archive_dir, s->archive_keep, vg->metadata, &header, err);
}

/* The change is made: a backup that fails is told, no more. */
static void backup(struct vg *vg, const char *what)
{
    char description[DESCRIPTION_CHARS];
    struct error err = {0};

    if (!vg->settings.backup_dir)
        return;
    snprintf(description, sizeof description, "Created *after* executing '%s'", what);
    struct vg_text_header header = text_header(vg, description);
    if (backup_save(vg->settings.backup_dir, vg->metadata, &header, &err))
        snprintf(vg->warning, sizeof vg->warning, "%.255s", err.text);
}

/* What a change needs in memory before anything is done. */
struct plan {
    struct pe_ranges gained, freed;
    struct volume_map *map; /* NULL: no volume's blocks move */
    char *text;
    size_t text_bytes; /* with its NUL */
};

static int plan_extents(struct plan *p, const struct vg *vg, const struct vg_metadata *m)
{
    struct pe_ranges before, after;
    int rc = pe_ranges_used(vg->metadata, &before);

    if (!rc)
        rc = pe_ranges_used(m, &after);
    if (!rc)
        rc = pe_ranges_subtract(m->arena, &after, &before, &p->gained);
    return rc ? rc : pe_ranges_subtract(m->arena, &before, &after, &p->freed);
}

/* Only changes of one volume move extents; others may number the PVs anew. */
static int plan_volume(
    struct plan *p, const struct vg *vg, const struct vg_metadata *m, const struct lv *lv)
{
    const struct vg_lv *meta = vg_metadata_find_lv_by_id(m, lv->id);
    int rc = plan_extents(p, vg, m);

    if (!rc && meta && lv->volume && !(p->map = lv_map(vg, m, meta)))
        rc = -ENOMEM;
    return rc;
}

/* What we could not read again is never written. */
static int check_text(const struct plan *p, struct error *err)
{
    struct vg_metadata *again;
    int rc = vg_metadata_decode(&again, p->text, p->text_bytes, err);

    if (!rc)
        vg_metadata_free(again);
    return rc;
}

static int plan_change(struct plan *p, const struct vg *vg, const struct vg_metadata *m,
    const struct lv *lv, const char *what, struct error *err)
{
    char description[DESCRIPTION_CHARS];
    int rc = lv ? plan_volume(p, vg, m, lv) : 0;

    snprintf(description, sizeof description, "Write from %s.", what);
    struct vg_text_header header = text_header(vg, description);
    if (!rc)
        rc = vg_metadata_encode(m, &header, VG_TEXT_DISK, &p->text, &p->text_bytes);
    if (rc)
        return error_set(err, -rc, "out of memory");
    p->text_bytes++;
    return check_text(p, err);
}

/* Committed: from here on nothing fails. */
static void adopt(struct vg *vg, struct vg_metadata *m, struct pv **pvs, struct plan *p)
{
    vg_metadata_free(vg->metadata);
    vg->metadata = m;
    free(vg->text);
    vg->text = p->text;
    vg->text_bytes = p->text_bytes;
    p->text = NULL;
    if (pvs != vg->pvs)
        free(vg->pvs);
    vg->pvs = pvs;
    vg->warning[0] = 0;
    tell_stale(vg, pvs, m->pv_count);
}

int change_apply(struct vg *vg, struct vg_metadata *m, struct pv **pvs, struct lv *lv,
    const char *what, struct error *err)
{
    struct plan p = {0};
    int rc = plan_change(&p, vg, m, lv, what, err);

    if (!rc)
        rc = vg_archive(vg, what, err);
    if (!rc && !MUTANT(EXTENTS_NOT_ZEROED))
        rc = zero_ranges(vg, &p.gained, err);
    if (!rc && MUTANT(GIVE_BACK_EARLY))
        give_back(vg, &p.freed, true);
    if (!rc)
        rc = write_metadata(vg, pvs, m->pv_count, p.text, p.text_bytes, err);
    if (rc) {
        if (!vg->conflict[0])
            give_back(vg, &p.gained, true);
        volume_map_free(p.map);
        free(p.text);
        return rc;
    }
    adopt(vg, m, pvs, &p);
    if (p.map)
        volume_set_map(lv->volume, p.map);
    give_back(vg, &p.freed, true);
    backup(vg, what);
    return 0;
}
