/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The images of sparse volumes, on the catalog: each LV that its tags call qcow2 has an entry here
 * and, as long as its group is open, an open image (an image that was not closed is checked then).
 * What cannot be opened keeps the reason. A clone is open only while what it was cloned from is.
 *
 * Tags of an LV: `ashlar.format=qcow2`; `ashlar.backing=UUID` (a clone: of the volume in the same
 * group that it builds upon; the name in the image is for people), with `ashlar.snapshot=NAME` of a
 * snapshot of that; `ashlar.new` as long as the image is not whole: nobody has been told of such a
 * volume, and it is removed when it is found. An overlay (overlay.h) is no volume of its own, but
 * what guests see of the raw volume that it builds upon.
 *
 * The caller holds the catalog's `change`, or `view` to look.
 *
 * Growth (image_space.c) comes from the image, on any worker, while somebody else may hold `change`
 * and wait for that image. So it takes neither `change` nor `view`: on the control worker it asks
 * the group for extents, under the group's own mutex, whose holder never waits for an image. Of the
 * catalog it looks only at the entry and its group, which both outlive the open image.
 */
#ifndef ASHLAR_DAEMON_IMAGES_H
#define ASHLAR_DAEMON_IMAGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "catalog.h"
#include "image/qcow2.h"
#include "lvm/vg.h"

#define IMAGE_TAG          "ashlar.format=qcow2"
#define IMAGE_TAG_NEW      "ashlar.new"
#define IMAGE_TAG_BACKING  "ashlar.backing="
#define IMAGE_TAG_SNAPSHOT "ashlar.snapshot="
/* Of overlays: the snapshot's name; it is being sunk; it is being made empty. */
#define IMAGE_TAG_OVERLAY    "ashlar.overlay="
#define IMAGE_TAG_COMMITTING "ashlar.committing"
#define IMAGE_TAG_REVERTING  "ashlar.reverting"

#define IMAGE_CHAIN_MAX 16 /* volumes that one reads through, itself included */

struct task;

struct catalog_image {
    struct list link; /* catalog_vg.images */
    struct daemon *daemon;
    struct catalog_vg *vg;
    struct lv *lv;
    struct lv *backing; /* NULL: none */
    char snapshot[256]; /* of the backing; empty: the backing as it is */
    struct qcow2 *view; /* of that snapshot, beside the image that has it; NULL: none, not open */
    struct qcow2 *q;    /* NULL: not open */
    struct blockdev *file, *below; /* in use while it is open; below NULL: no backing */
    bool read_only;
    bool overlay;      /* over `backing`, whose name it has as its target */
    bool sunk;         /* an overlay that has nothing any more: what it is asked for goes below */
    struct task *task; /* image_tasks.c's, at work on it; NULL: none */
    struct co_event task_ended;
    _Atomic bool starving;
    struct co_mutex growing;
    char target[CATALOG_NAME_MAX];
    char reason[256]; /* why it is not open, or only to be read */
};

/* Removes what is not whole, and opens what is not open yet, as far as it goes. */
void images_bring_up(struct daemon *d);
/* Removes what is not whole, under `change`: left by a crash, or when the group could not be
 * changed for a while. What cannot be removed is logged, too. */
int images_sweep(struct catalog_vg *v, struct error *err);
/* Those of a group that is to be closed; nothing of it is exported. */
void images_close_all(struct daemon *d, struct catalog_vg *v);
/* After a rename of the group. */
void images_rename_all(struct catalog_vg *v);

/* The image of a volume that is whole now. On failure there is no entry. */
int images_add(struct daemon *d, struct catalog_vg *v, struct lv *lv, struct error *err);
/* Not in use: closes it and forgets it. */
void images_drop(struct daemon *d, struct catalog_image *i);
int image_open(struct catalog_image *i, struct error *err);
/* -errno: what is in memory could not be written; it is closed all the same. */
int image_close(struct catalog_image *i);
/* It has been renamed. */
void image_rename(struct catalog_image *i);

/* The volume's own; NULL: it is raw. */
struct catalog_image *images_find(const struct daemon *d, const struct lv *lv);
/* The overlay over a raw volume; NULL: there is none. */
struct catalog_image *images_overlay(const struct daemon *d, const struct lv *lv);
/* The image that is the guest's disk: the volume's own, or the overlay; NULL: raw. */
struct catalog_image *images_guest(const struct daemon *d, const struct lv *lv);
/* The guest's disk. -ENXIO... with why it cannot be used. */
int images_device(struct daemon *d, struct lv *lv, struct blockdev **dev, struct error *err);
/* The first that was cloned from it, or from a snapshot of it; NULL: none. */
struct catalog_image *images_clone_of(const struct catalog_vg *v, const struct lv *lv);
/* -EBUSY while clones need it; while they need it as it is; while they need a snapshot of it. */
int images_refuse_needed(const struct catalog_vg *v, const struct lv *lv, struct error *err);
int images_refuse_cloned(const struct catalog_vg *v, const struct lv *lv, struct error *err);
int images_refuse_snapshot_cloned(
    const struct catalog_vg *v, const struct lv *lv, const char *snapshot, struct error *err);
/* -EBUSY while there is an overlay over it. */
int images_refuse_overlay(struct daemon *d, const struct lv *lv, struct error *err);
/* Its backing is needed no more: it is given up, and the tags that name it. */
int image_leave_backing(struct catalog_image *i, struct error *err);

/* image_space.c: how an image grows (its argument is the entry). */
extern const struct qcow2_file_ops image_file_ops;
/* What an LV has beyond a new image's own bytes, and an image keeps free. */
uint64_t image_ahead_bytes(uint64_t size_bytes);

#endif
