/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files that make up a volume group share: vg.c (groups), vg_open.c (reading one),
 * vg_pvs.c (PVs that come and go), lv.c and lv_blockdev.c (volumes), change.c (how a change is
 * made), vg_status.c. Internal to lvm/.
 */
#ifndef ASHLAR_LVM_VG_IMPL_H
#define ASHLAR_LVM_VG_IMPL_H

#include "base/list.h"
#include "lvm/alloc.h"
#include "lvm/metadata.h"
#include "lvm/pv.h"
#include "lvm/vg.h"

struct vg {
    struct co_mutex mutex; /* held by who changes the group */
    struct vg_metadata *metadata;
    char *text; /* as committed, with its NUL */
    size_t text_bytes;
    struct pv **pvs; /* of metadata->pvs, in their order */
    struct list lvs;
    struct vg_settings settings; /* the texts are ours */
    char conflict[256]; /* why nobody knows what is on disk, or which copy counts; empty: known */
    char warning[256];
};

struct lv {
    struct list link;
    struct vg *vg;
    char id[LVM_UUID_TEXT_CHARS + 1];
    char name[LVM_NAME_CHARS + 1];
    struct blockdev *volume; /* NULL: nobody has asked for it yet */
};

/* An empty shell with the settings copied, for create and open. -ENOMEM. */
int vg_new(struct vg **vg, const struct vg_settings *settings);
/* Ends the volumes and everything in memory; PVs are no longer in use. */
void vg_free(struct vg *vg);
/* Not in the list yet; NULL: out of memory. */
struct lv *lv_new(struct vg *vg, const struct vg_lv *meta);

uint64_t vg_extent_bytes(const struct vg *vg);
struct vg_lv *lv_meta(const struct lv *lv);
/* Gives its block device the name that it has now. */
void lv_name_volume(struct lv *lv);
/* A map of a volume in m, whose PVs are vg's; NULL: out of memory. */
struct volume_map *lv_map(const struct vg *vg, const struct vg_metadata *m, const struct vg_lv *lv);
/* Why its blocks cannot be used, -errno with the text; 0: they can. */
int lv_usable(const struct vg *vg, const struct vg_lv *lv, struct error *err);

/* 0, or -EROFS with why the group must not be changed. */
int vg_writable(const struct vg *vg, struct error *err);

/* Locks the group and gives a clone to work on, seqno advanced. On failure it is not locked. */
int change_begin(struct vg *vg, struct vg_metadata **m, struct error *err);
/*
 * Archives what is, zeroes what `m` takes into use, commits, makes `m` (and `pvs`, in its order)
 * the group's, brings `lv` (whose segments may have changed; NULL: none) up to date, and gives back
 * what is no longer used. On failure nothing has changed and m and pvs are still the caller's.
 * `what`: the command that is told in the archive.
 */
int change_apply(struct vg *vg, struct vg_metadata *m, struct pv **pvs, struct lv *lv,
    const char *what, struct error *err);
/* Keeps the present metadata before `what` is done. */
int vg_archive(struct vg *vg, const char *what, struct error *err);
/* Unlocks; frees m unless it was applied (rc is 0 and not `dry`). Returns rc. */
int change_end(struct vg *vg, struct vg_metadata *m, int rc, bool dry);
/* Makes PVs of devices and m's (and the group's, unless VG_DRY_RUN) of them. On failure, and for a
 * dry run, m is still the caller's. */
int vg_add_pvs(struct vg *vg, struct vg_metadata *m, struct blockdev **devs, unsigned count,
    unsigned flags, const char *what, struct error *err);
/* Tells the devices of what no volume uses, when that is known for sure. */
void vg_report_unused(const struct vg *vg);
/* Writes vg->text to the PVs' areas that are not known to hold it. */
void vg_repair(struct vg *vg, struct pv *const *pvs, unsigned count);

#endif
