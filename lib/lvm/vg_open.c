/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a group: every label, every metadata area, every copy. The newest valid one counts; PVs
 * are found by the identifiers that it names, and copies that are not it are written anew.
 */
#include "lvm/vg_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lvm/crc.h"

/* The best copy so far. */
struct best {
    struct vg_metadata *metadata;
    char *text;
    size_t bytes;
    uint32_t crc;
    bool ambiguous; /* another of its seqno differs */
    struct error first_error;
};

static void best_take(struct best *b, struct vg_metadata *m, char *text, const struct pv_mda *mda)
{
    vg_metadata_free(b->metadata);
    free(b->text);
    b->metadata = m;
    b->text = text;
    b->bytes = mda->header.committed.size;
    b->crc = mda->header.committed.crc;
    b->ambiguous = false;
}

static bool holds_best(const struct best *b, const struct pv_mda *mda)
{
    return !mda->damaged && mda->header.committed.crc == b->crc &&
           mda->header.committed.size == b->bytes;
}

/* One good copy; takes m and text over. */
static int best_consider(struct best *b, const struct pv *pv, const struct pv_mda *mda,
    struct vg_metadata *m, char *text, struct error *err)
{
    int rc = 0;

    if (b->metadata && strcmp(b->metadata->id, m->id) != 0) {
        rc = error_set(err, EXDEV, "%s is of volume group %s, others are of %s", pv->dev->name,
            m->name, b->metadata->name);
    } else if (!b->metadata || m->seqno > b->metadata->seqno) {
        best_take(b, m, text, mda);
        return 0;
    } else if (m->seqno == b->metadata->seqno && !holds_best(b, mda)) {
        b->ambiguous = true;
    }
    vg_metadata_free(m);
    free(text);
    return rc;
}

static int read_copy(const struct pv *pv, const struct pv_mda *mda, struct vg_metadata **m,
    char **text, struct error *err)
{
    int rc = pv_read_text(pv, mda, text, err);

    if (rc)
        return rc;
    rc = vg_metadata_decode(m, *text, mda->header.committed.size, err);
    if (rc)
        free(*text);
    return rc ? error_prefix(err, rc, "%s", pv->dev->name) : 0;
}

/* Reads every copy on a PV; those that are no good are skipped, their first error is kept. */
static int read_copies(struct best *b, struct pv *pv, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < pv->label.metadata_area_count; i++) {
        struct pv_mda *mda = &pv->mdas[i];
        struct error e = {0};
        struct vg_metadata *m;
        char *text;

        if (mda->ignored || !mda->header.committed.offset)
            continue;
        if (read_copy(pv, mda, &m, &text, &e) == 0) {
            rc = best_consider(b, pv, mda, m, text, err);
            continue;
        }
        mda->damaged = true;
        if (!b->first_error.code)
            b->first_error = e;
    }
    return rc;
}

static int read_pvs(
    struct pv *pvs, struct blockdev **devs, unsigned count, struct best *b, struct error *err)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < count; i++)
        rc = pv_read(&pvs[i], devs[i], err);
    for (unsigned i = 0; !rc && i < count; i++)
        rc = read_copies(b, &pvs[i], err);
    if (rc || b->metadata)
        return rc;
    if (b->first_error.code)
        return error_set(
            err, b->first_error.code, "no valid metadata is left: %.400s", b->first_error.text);
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k < pvs[i].label.metadata_area_count; k++)
            if (pvs[i].mdas[k].damaged)
                return error_set(err, EBADMSG, "%s: its metadata area is damaged", devs[i]->name);
    return error_set(err, ENODATA, "no device carries metadata of a volume group");
}

/* A PV of the group: in use from now on. */
static int take_pv(struct vg *vg, unsigned index, const struct pv *pv, struct error *err)
{
    if (vg->pvs[index]->dev)
        return error_set(
            err, EEXIST, "%s and %s carry the same PV", vg->pvs[index]->dev->name, pv->dev->name);
    if (blockdev_use(pv->dev, true))
        return error_set(err, EBUSY, "%s is in use", pv->dev->name);
    *vg->pvs[index] = *pv;
    return 0;
}

static void find_stale(struct vg *vg, const struct best *b)
{
    for (unsigned i = 0; i < vg->metadata->pv_count; i++) {
        struct pv *pv = vg->pvs[i];

        for (unsigned k = 0; pv->dev && k < pv->label.metadata_area_count; k++)
            if (!pv->mdas[k].ignored && !holds_best(b, &pv->mdas[k]))
                pv->stale = true;
    }
}

static int take_pvs(struct vg *vg, const struct pv *pvs, unsigned count, struct error *err)
{
    int rc = 0;

    vg->pvs = calloc(vg->metadata->pv_count + 1, sizeof *vg->pvs);
    for (unsigned i = 0; vg->pvs && !rc && i < vg->metadata->pv_count; i++)
        if (!(vg->pvs[i] = calloc(1, sizeof **vg->pvs)))
            rc = -ENOMEM;
    if (rc || !vg->pvs)
        return error_set(err, ENOMEM, "out of memory");
    for (unsigned i = 0; !rc && i < count; i++) {
        int index = vg_metadata_find_pv(vg->metadata, pvs[i].label.id);

        if (index >= 0)
            rc = take_pv(vg, (unsigned)index, &pvs[i], err);
    }
    return rc;
}

static int add_lvs(struct vg *vg, struct error *err)
{
    for (unsigned i = 0; i < vg->metadata->lv_count; i++) {
        struct lv *lv = lv_new(vg, &vg->metadata->lvs[i]);

        if (!lv)
            return error_set(err, ENOMEM, "out of memory");
        list_append(&vg->lvs, &lv->link);
    }
    return 0;
}

static int open_from(
    struct vg *vg, struct best *b, const struct pv *pvs, unsigned count, struct error *err)
{
    vg->metadata = b->metadata;
    vg->text = b->text;
    vg->text_bytes = b->bytes;
    b->metadata = NULL;
    b->text = NULL;
    if (b->ambiguous)
        snprintf(vg->conflict, sizeof vg->conflict,
            "its PVs carry different metadata of the same seqno %u", vg->metadata->seqno);
    int rc = take_pvs(vg, pvs, count, err);
    return rc ? rc : add_lvs(vg, err);
}

/*
 * What has been read is built upon, and must stay. A commit that a kill has cut short may still lie
 * in a disk's cache; one that a power cut has cut short may stand in one copy of a mirror only,
 * which may fail before the others are like it. So the last step of it is done again.
 */
static void make_firm(struct vg *vg)
{
    bool writable = !vg_writable(vg, NULL);

    for (unsigned i = 0; i < vg->metadata->pv_count; i++) {
        struct pv *pv = vg->pvs[i];
        int rc = 0;

        if (!pv->dev || pv->stale)
            continue;
        for (unsigned k = 0; writable && !rc && k < pv->label.metadata_area_count; k++)
            if (!pv->mdas[k].ignored)
                rc = pv_write_header(pv, &pv->mdas[k]);
        if (!rc)
            rc = blockdev_flush(pv->dev);
        pv->stale = rc != 0;
    }
}

int vg_open(struct vg **vg, struct blockdev **pvs, unsigned pv_count,
    const struct vg_settings *settings, struct error *err)
{
    struct pv *read = calloc(pv_count + 1, sizeof *read);
    struct vg *new = NULL;
    struct best b = {0};
    int rc = read ? vg_new(&new, settings) : -ENOMEM;

    if (rc)
        error_set(err, -rc, "out of memory");
    if (!rc)
        rc = read_pvs(read, pvs, pv_count, &b, err);
    if (!rc)
        rc = open_from(new, &b, read, pv_count, err);
    vg_metadata_free(b.metadata);
    free(b.text);
    free(read);
    if (rc) {
        vg_free(new);
        return rc;
    }
    find_stale(new, &b);
    make_firm(new);
    if (!vg_writable(new, NULL))
        vg_repair(new, new->pvs, new->metadata->pv_count);
    vg_report_unused(new);
    *vg = new;
    return 0;
}

static int attach_locked(struct vg *vg, const struct pv *pv, struct error *err)
{
    struct best b = {0}, ours = {.bytes = vg->text_bytes};
    int index = vg_metadata_find_pv(vg->metadata, pv->label.id);
    int rc = 0;

    ours.crc = lvm_crc(LVM_CRC_INITIAL, vg->text, vg->text_bytes);
    if (index < 0 || vg->pvs[index]->dev)
        return error_set(
            err, ENXIO, "%s is no PV that volume group %s misses", pv->dev->name, vg_name(vg));
    struct pv found = *pv;
    rc = read_copies(&b, &found, err);
    if (!rc && b.metadata && strcmp(b.metadata->id, vg->metadata->id) == 0 &&
        b.metadata->seqno > vg->metadata->seqno)
        rc = error_set(err, ESTALE, "%s carries newer metadata: open volume group %s again",
            pv->dev->name, vg_name(vg));
    vg_metadata_free(b.metadata);
    free(b.text);
    if (!rc)
        rc = take_pv(vg, (unsigned)index, &found, err);
    if (rc)
        return rc;
    find_stale(vg, &ours);
    if (!vg_writable(vg, NULL))
        vg_repair(vg, vg->pvs, vg->metadata->pv_count);
    vg_report_unused(vg);
    return 0;
}

int vg_attach_pv(struct vg *vg, struct blockdev *pv, struct error *err)
{
    struct pv read;
    int rc = pv_read(&read, pv, err);

    if (rc)
        return rc;
    co_mutex_lock(&vg->mutex);
    rc = attach_locked(vg, &read, err);
    co_mutex_unlock(&vg->mutex);
    return rc;
}

int vg_examine(struct blockdev *d, struct vg_examination *x, struct error *err)
{
    struct vg_examination found = {0};
    struct best b = {0};
    struct pv pv;
    int rc = pv_read(&pv, d, err);

    if (!rc)
        rc = read_copies(&b, &pv, err);
    if (!rc && !b.metadata && b.first_error.code)
        rc = error_set(err, b.first_error.code, "%.500s", b.first_error.text);
    if (rc)
        return rc;
    memcpy(found.pv_uuid, pv.label.id, sizeof found.pv_uuid);
    found.size_bytes = pv.label.device_size_bytes;
    for (unsigned i = 0; i < pv.label.metadata_area_count; i++)
        found.metadata_areas += !pv.mdas[i].ignored;
    if (b.metadata) {
        snprintf(found.vg_name, sizeof found.vg_name, "%s", b.metadata->name);
        memcpy(found.vg_uuid, b.metadata->id, sizeof found.vg_uuid);
        found.seqno = b.metadata->seqno;
    }
    vg_metadata_free(b.metadata);
    free(b.text);
    *x = found;
    return 0;
}
