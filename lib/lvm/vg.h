/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volume groups over physical volumes given as block devices, and their volumes as block devices.
 *
 * The caller owns the PVs' block devices and keeps them until vg_close (or vg_reduce, vg_remove)
 * has returned; the group marks them in use, exclusively. Control calls run in coroutines of one
 * worker (control), one change at a time (the group's own mutex sees to it); those that only look
 * neither wait nor fail, but for memory. I/O to volumes comes from any worker.
 *
 * A change is made on a copy of the metadata, archived, committed on every PV as LVM2 does it
 * (text, precommit, commit; lvm/commit.c), and only then seen: a call that fails has changed
 * nothing, in memory or, before its commit point, on disk. When no PV could be written at the
 * commit point itself, nobody knows what is on disk: the group then refuses changes until it is
 * opened again. PVs that could not be written while another was are told in the status (`warning`)
 * and caught up by the next change or vg_open.
 *
 * New extents are zeroed, durably, before the commit that gives them to a volume; freed ones are
 * reported unused and discarded after the commit that takes them away.
 *
 * A group with PVs missing, or with anything in its metadata that we do not know (see
 * lvm/metadata.h), is shown and its volumes that we understand and that are whole can be used;
 * every change is refused with -EROFS and the reason.
 */
#ifndef ASHLAR_LVM_VG_H
#define ASHLAR_LVM_VG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/blockdev.h"
#include "lvm/uuid.h"

struct vg;
struct lv;

#define VG_DRY_RUN 1u /* checks everything, changes nothing */
#define VG_FORCE   2u /* vg_create, vg_extend: take PVs of other groups */

#define VG_EXTENT_DEFAULT_BYTES (4u << 20)

struct vg_settings {
    const char *archive_dir; /* earlier metadata, VG_NNNNN-RANDOM.vg; NULL: none is kept */
    unsigned archive_keep;   /* files per group; the oldest go */
    const char *backup_dir;  /* the current metadata, one file per group; NULL: none */
    const char *host;        /* written as creation_host */
};

/* What stands on a device. */
struct vg_examination {
    char pv_uuid[LVM_UUID_TEXT_CHARS + 1];
    uint64_t size_bytes;     /* as its label says */
    unsigned metadata_areas; /* in use */
    char
        vg_name[128]; /* this and what follows: empty when it is of no group or keeps no metadata */
    char vg_uuid[LVM_UUID_TEXT_CHARS + 1];
    uint32_t seqno;
};

/* -ENODATA: no PV; -EBADMSG: a damaged one; -EIO... */
int vg_examine(struct blockdev *d, struct vg_examination *x, struct error *err);

/*
 * A new group over devices that become PVs; extent_size_bytes 0: the default, else a power of two
 * from 4 KiB on (LVM2 recommends no less than 4 MiB). settings are copied. With VG_DRY_RUN *vg is
 * set to NULL. -EINVAL (name, extent size, different block sizes), -EEXIST (of another group),
 * -EBUSY, -ENOSPC (too small).
 */
int vg_create(struct vg **vg, const char *name, struct blockdev **pvs, unsigned pv_count,
    uint64_t extent_size_bytes, const struct vg_settings *settings, unsigned flags,
    struct error *err);

/*
 * Opens the group of which pvs are the PVs: the newest valid metadata counts; stale and torn copies
 * are repaired from it when the group is whole. Devices without metadata that turn out not to be of
 * the group are left alone (vg_has_pv). Free extents are reported unused. -ENODATA: no PV, or none
 * carries metadata; -EXDEV: of different groups; -EBADMSG: no valid copy is left; -EBUSY.
 */
int vg_open(struct vg **vg, struct blockdev **pvs, unsigned pv_count,
    const struct vg_settings *settings, struct error *err);
/* A PV of the group that was missing has come. -ENXIO: none such is missed. */
int vg_attach_pv(struct vg *vg, struct blockdev *pv, struct error *err);
bool vg_has_pv(const struct vg *vg, const struct blockdev *pv);
/* -EBUSY (with the name) while a volume's block device is in use. Frees vg on success. */
int vg_close(struct vg *vg, struct error *err);

int vg_extend(
    struct vg *vg, struct blockdev **pvs, unsigned pv_count, unsigned flags, struct error *err);
/* `pv`: a block device's name. -EBUSY while extents of it are used, or it is the last; wipes its
 * label. */
int vg_reduce(struct vg *vg, const char *pv, unsigned flags, struct error *err);
int vg_rename(struct vg *vg, const char *name, unsigned flags, struct error *err);
/* Takes away the group's tags that begin with `prefix` and adds `tag` (NULL: none). */
int vg_replace_tag(
    struct vg *vg, const char *prefix, const char *tag, unsigned flags, struct error *err);
/* Refused (-ENOTEMPTY) while it has volumes. Wipes the labels; frees vg on success, but for
 * VG_DRY_RUN. */
int vg_remove(struct vg *vg, unsigned flags, struct error *err);

/* size_bytes is rounded up to extents. *lv (NULL with VG_DRY_RUN) stays valid until lv_remove or
 * vg_close. -EINVAL (name, size 0), -EEXIST, -ENOSPC (with what is free). */
int lv_create(struct vg *vg, const char *name, uint64_t size_bytes, const char *const *tags,
    unsigned tag_count, unsigned flags, struct lv **lv, struct error *err);
/* While in use too: its block device has the new size on return. Rounded up to extents (a striped
 * segment is cut at whole stripes). What a shrink cuts off is the caller's decision. */
int lv_resize(struct lv *lv, uint64_t size_bytes, unsigned flags, struct error *err);
/* The block device takes the new name too. */
int lv_rename(struct lv *lv, const char *name, unsigned flags, struct error *err);
/* -EBUSY while its block device is in use. Frees lv, but for VG_DRY_RUN. */
int lv_remove(struct lv *lv, unsigned flags, struct error *err);
int lv_add_tag(struct lv *lv, const char *tag, unsigned flags, struct error *err);
/* -ENOENT: it has no such tag. */
int lv_remove_tag(struct lv *lv, const char *tag, unsigned flags, struct error *err);

const char *vg_name(const struct vg *vg);
const char *vg_uuid(const struct vg *vg);
/* Of its extents; takes no memory. */
void vg_space(const struct vg *vg, uint64_t *size_bytes, uint64_t *free_bytes);
/* What follows `prefix` in the first tag that begins with it, valid until the caller waits; NULL:
 * there is none. */
const char *vg_find_tag(const struct vg *vg, const char *prefix);
const char *lv_find_tag(const struct lv *lv, const char *prefix);
/* NULL: there is none. */
struct lv *vg_find_lv(struct vg *vg, const char *name);
const char *lv_name(const struct lv *lv);
const char *lv_uuid(const struct lv *lv);
uint64_t lv_size_bytes(const struct lv *lv);
/* When it was made, since 1970; 0: not known. */
uint64_t lv_creation_seconds(const struct lv *lv);
bool lv_has_tag(const struct lv *lv, const char *tag);
/* The same pointer for the life of the volume; users call blockdev_use on it. NULL when it cannot
 * be used (segments of other types, PVs missing): the text says why. */
struct blockdev *lv_blockdev(struct lv *lv, struct error *err);

struct vg_pv_status {
    const char *name; /* its block device's; the hint in the metadata when missing */
    const char *uuid;
    uint64_t size_bytes, free_bytes; /* of its extents */
    bool missing;
    bool stale; /* its metadata could not be written by the last change */
};

struct lv_segment_status {
    const char *type; /* "linear", "striped", or what LVM2 calls it */
    uint32_t start_extent, extent_count;
    unsigned pv_count;      /* 0 for types that we do not know */
    const char *const *pvs; /* names */
};

struct lv_status {
    struct lv *lv;
    const char *name, *uuid;
    uint64_t size_bytes;
    uint64_t allocated_bytes; /* of the segments that we know */
    bool hidden;              /* LVM2's own, part of another volume */
    const char *unusable;     /* why lv_blockdev refuses; NULL: it does not */
    unsigned tag_count;
    const char *const *tags;
    unsigned segment_count;
    const struct lv_segment_status *segments;
};

struct vg_status {
    const char *name, *uuid;
    uint64_t extent_size_bytes, size_bytes, free_bytes;
    uint32_t seqno;
    unsigned missing_pvs;
    const char *read_only_reason; /* NULL: it may be changed */
    const char *warning;          /* NULL: none */
    unsigned pv_count;
    const struct vg_pv_status *pvs;
    unsigned lv_count;
    const struct lv_status *lvs;
    struct arena *arena; /* all of the above */
};

enum vg_use {
    VG_USE_VOLUME,
    VG_USE_FREE,    /* extents of no volume */
    VG_USE_METADATA /* labels, metadata areas, and what no extent reaches */
};

/* What stands at a place of a PV. */
struct vg_place {
    enum vg_use use;
    const char *volume;    /* VG_USE_VOLUME: its name, valid until the caller waits; else NULL */
    uint64_t offset_bytes; /* in it */
    uint64_t length_bytes; /* so far goes the answer, in one piece */
};

/* Of at most length_bytes (not 0) at offset_bytes of `pv`. -ENXIO: no PV of the group. */
int vg_locate(const struct vg *vg, const struct blockdev *pv, uint64_t offset_bytes,
    uint64_t length_bytes, struct vg_place *place);

/* A snapshot, freed by vg_status_free; NULL: out of memory. */
struct vg_status *vg_status(const struct vg *vg);
void vg_status_free(struct vg_status *s);

#endif
