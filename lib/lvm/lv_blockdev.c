/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A volume's block device: whether it may be used, and making it when somebody asks first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lvm/vg_impl.h"
#include "lvm/volume.h"

static int stripe_usable(const struct vg *vg, const struct vg_lv *lv, const struct vg_segment *s,
    const struct vg_stripe *stripe, struct error *err)
{
    const struct vg_pv *pv = &vg->metadata->pvs[stripe->pv];
    const struct blockdev *d = vg->pvs[stripe->pv]->dev;
    uint64_t extent_bytes = vg_extent_bytes(vg), start = pv->pe_start_sectors * LVM_SECTOR_BYTES;
    uint64_t end = start + (stripe->start_pe + vg_segment_pes_per_stripe(s)) * extent_bytes;

    if (!d)
        return error_set(err, ENXIO, "volume %s/%s lies on the missing PV %s (%s)", vg_name(vg),
            lv->name, pv->id, pv->device);
    if (end > d->size_bytes)
        return error_set(
            err, ENXIO, "volume %s/%s lies beyond the end of %s", vg_name(vg), lv->name, d->name);
    if ((start | extent_bytes | (uint64_t)s->stripe_size_sectors * LVM_SECTOR_BYTES) %
        d->logical_block_bytes)
        return error_set(err, EINVAL, "volume %s/%s is not aligned to the blocks of %s",
            vg_name(vg), lv->name, d->name);
    return 0;
}

static int segment_usable(
    const struct vg *vg, const struct vg_lv *lv, const struct vg_segment *s, struct error *err)
{
    int rc = 0;

    if (!s->stripe_count)
        return error_set(err, EOPNOTSUPP, "volume %s/%s has a segment of type %s", vg_name(vg),
            lv->name, s->type);
    if (s->stripe_size_sectors && vg->metadata->extent_size_sectors % s->stripe_size_sectors)
        return error_set(err, EOPNOTSUPP, "the stripes of volume %s/%s do not fit into extents",
            vg_name(vg), lv->name);
    for (unsigned i = 0; !rc && i < s->stripe_count; i++)
        rc = stripe_usable(vg, lv, s, &s->stripes[i], err);
    return rc;
}

int lv_usable(const struct vg *vg, const struct vg_lv *lv, struct error *err)
{
    int rc = 0;

    if (!text_list_has(&lv->status, "VISIBLE"))
        return error_set(
            err, EOPNOTSUPP, "volume %s/%s is a part of another one", vg_name(vg), lv->name);
    if (!lv->segment_count)
        return error_set(err, EINVAL, "volume %s/%s has no extents", vg_name(vg), lv->name);
    for (unsigned i = 0; !rc && i < lv->segment_count; i++)
        rc = segment_usable(vg, lv, &lv->segments[i], err);
    return rc;
}

static bool nodes_name(const struct config_node *nodes, const char *name)
{
    for (; nodes; nodes = nodes->next) {
        for (unsigned i = 0; i < nodes->value_count; i++)
            if (nodes->values[i].text && strcmp(nodes->values[i].text, name) == 0)
                return true;
        if (nodes_name(nodes->children, name))
            return true;
    }
    return false;
}

/* Something that we do not understand builds on it (a snapshot's origin, say): writing would damage
 * that. */
static bool is_built_upon(const struct vg *vg, const char *name)
{
    const struct vg_metadata *m = vg->metadata;

    for (unsigned i = 0; i < m->lv_count; i++)
        for (unsigned k = 0; k < m->lvs[i].segment_count; k++)
            if (nodes_name(m->lvs[i].segments[k].extra, name))
                return true;
    return false;
}

void lv_name_volume(struct lv *lv)
{
    char name[2 * LVM_NAME_CHARS + 2];

    snprintf(name, sizeof name, "%s/%s", vg_name(lv->vg), lv->name);
    if (lv->volume)
        snprintf(lv->volume->name, sizeof lv->volume->name, "%.127s", name);
}

struct volume_map *lv_map(const struct vg *vg, const struct vg_metadata *m, const struct vg_lv *lv)
{
    struct blockdev **devs = calloc(m->pv_count, sizeof *devs);
    struct volume_map *map = NULL;

    for (unsigned i = 0; devs && i < m->pv_count; i++)
        devs[i] = vg->pvs[i]->dev;
    if (devs)
        map = volume_map_build(m, lv, devs);
    free(devs);
    return map;
}

static int open_volume(struct lv *lv, struct error *err)
{
    const struct vg_lv *meta = lv_meta(lv);
    int rc = lv_usable(lv->vg, meta, err);

    if (rc)
        return rc;
    bool read_only = !text_list_has(&meta->status, "WRITE") || is_built_upon(lv->vg, lv->name);
    struct volume_map *map = lv_map(lv->vg, lv->vg->metadata, meta);
    rc = map ? volume_create("", map, read_only, &lv->volume) : -ENOMEM;
    if (!rc) {
        lv_name_volume(lv);
        return 0;
    }
    volume_map_free(map);
    return error_set(err, -rc, "out of memory");
}

struct blockdev *lv_blockdev(struct lv *lv, struct error *err)
{
    return lv->volume || open_volume(lv, err) == 0 ? lv->volume : NULL;
}
