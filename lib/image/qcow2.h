/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A qcow2 image as a guest's disk: a block device over a block device.
 *
 * The caller owns the file (the device that the image is in) and the backing, and keeps them until
 * qcow2_close has returned. I/O comes from any worker; control calls run in coroutines of any
 * worker, one at a time each image (its own mutex sees to it).
 *
 * What a guest wrote is in the map in memory when the write is acknowledged, and on the disk after
 * the next flush: data before map, map before reuse (docs/architecture.md). A crash in between
 * leaves an image that is whole, with the map of the last flush.
 */
#ifndef ASHLAR_IMAGE_QCOW2_H
#define ASHLAR_IMAGE_QCOW2_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/blockdev.h"
#include "image/header.h"

struct qcow2;

/* A new image. Zero: the default. */
struct qcow2_plan {
    uint64_t size_bytes;     /* a multiple of 512 */
    unsigned cluster_bits;   /* default QCOW2_DEFAULT_CLUSTER_BITS */
    bool standard_l2;        /* without subclusters; so are clusters below 16 KiB */
    unsigned refcount_order; /* default 4; 0 cannot be asked for */
    bool no_lazy_refcounts;
    enum qcow2_compression compression;
    const char *backing_name, *backing_format; /* NULL: none */
};
#define QCOW2_DEFAULT_CLUSTER_BITS 17

/* Bytes of the file that a new image takes before anything is written to it, with room for its
 * metadata. */
int qcow2_plan_bytes(const struct qcow2_plan *plan, uint64_t *bytes, struct error *err);
/* Writes an empty image, durably; the header last. The file's bytes need not be zeros. */
int qcow2_format(struct blockdev *file, const struct qcow2_plan *plan, struct error *err);

/* Of the file below, called from a coroutine of any worker. */
struct qcow2_file_ops {
    /* Makes the file longer, to at least size_bytes; new bytes read as zeros. -ENOSPC: it cannot be
     * just now; waited for. May wait. NULL: the file's size is what there is. */
    int (*grow)(void *arg, uint64_t size_bytes);
    /* The image needs no more than size_bytes of the file any more. May wait. NULL: it stays as it
     * is. */
    int (*shrink)(void *arg, uint64_t size_bytes);
    /* Writes began to wait for space, or no longer do. NULL: nobody asks. Must not wait. */
    void (*starving)(void *arg, bool starving);
};

struct qcow2_options {
    bool read_only;
    const char *snapshot; /* with read_only: the disk as it was then (-ENOENT); also while another
                             has the image open for writing, as long as that keeps the snapshot */
    struct blockdev *backing; /* NULL: what is not in the image reads as zeros. One whose header
                                 names a backing is not written without it: -EINVAL */
    const struct qcow2_file_ops *file_ops;
    void *file_arg;
    uint64_t map_bytes_max; /* memory for L2 tables; 0: 256 MiB */
    uint64_t ahead_bytes;   /* free ahead: the file grows when half of it is left; 0: 64 MiB */
    uint64_t space_wait_ns; /* a write waits so long for space; 0: 30 s */
    bool discard;           /* freed clusters are discarded below */
};

/*
 * Opens it. An image that was not closed is checked first and its refcounts are put right (unless
 * read_only). -ENOEXEC, -EOPNOTSUPP, -EBADMSG as qcow2_header_read; -EUCLEAN: it is marked corrupt
 * (read_only opens it); -EROFS: version 2 can only be read.
 */
int qcow2_open(struct qcow2 **q, struct blockdev *file, const char *name,
    const struct qcow2_options *options, struct error *err);
/* Nobody uses its block device. Makes all durable and marks it closed; what failed in that is
 * returned, and freed it is all the same. */
int qcow2_close(struct qcow2 *q);

struct blockdev *qcow2_blockdev(struct qcow2 *q);
/* As of the last change; valid until the caller waits, and while no guest writes. */
const struct qcow2_header *qcow2_header(const struct qcow2 *q);
/* Does not change. */
const struct qcow2_geometry *qcow2_geometry(const struct qcow2 *q);

/* Space was added below, or a limit raised: those who wait for space try again. Any worker. */
void qcow2_space_changed(struct qcow2 *q);

struct qcow2_status {
    uint64_t size_bytes;
    uint64_t file_bytes;      /* as far as the file is used or may be */
    uint64_t allocated_bytes; /* clusters in use, metadata too */
    uint64_t free_bytes;      /* clusters free in the file */
    uint64_t map_bytes;       /* memory taken by the map and the refcounts */
    bool starving, corrupt;
    unsigned snapshots;
};
void qcow2_status(struct qcow2 *q, struct qcow2_status *status);

/* The guest's disk becomes larger or smaller; what a shrink cuts off is freed. -EFBIG. */
int qcow2_resize(struct qcow2 *q, uint64_t size_bytes, struct error *err);

/* Internal snapshots, under guest I/O. Names: at most 255 bytes. */
struct qcow2_snapshot_status {
    const char *id, *name;
    uint64_t seconds;    /* since 1970 */
    uint64_t size_bytes; /* of the disk then */
};
int qcow2_snapshot_create(struct qcow2 *q, const char *name, struct error *err); /* -EEXIST */
int qcow2_snapshot_delete(struct qcow2 *q, const char *name, struct error *err); /* -ENOENT */
/* The disk reads as it did then, its size included. */
int qcow2_snapshot_revert(struct qcow2 *q, const char *name, struct error *err);
/* The first `max` of them; returns how many there are. Valid until the caller waits. */
unsigned qcow2_snapshots(const struct qcow2 *q, struct qcow2_snapshot_status *list, unsigned max);

#endif
