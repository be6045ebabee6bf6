/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new qcow2 image, written from its beginning to its end: who gives out its clusters, and keeps
 * its tables. Data are the caller's to write.
 *
 * Life: writer_begin -> (writer_take or writer_take_packed, writer_map)* -> writer_end -> free.
 * Guest's clusters are mapped in ascending order, so that one L2 table at a time is in memory; it
 * is written when its last cluster is passed. Refcounts are in memory only where clusters have
 * compressed data, all others are 1; they and L1 are written at the end, and the header last of
 * all.
 *
 * Until then the file has no header, or, with plan->first_bytes, the image that it had.
 */
#ifndef ASHLAR_IMAGE_WRITER_H
#define ASHLAR_IMAGE_WRITER_H

#include <stdint.h>

#include "base/error.h"
#include "block/blockdev.h"
#include "image/entry.h"
#include "image/header.h"
#include "image/qcow2.h"

struct writer_plan {
    struct blockdev *file;
    struct qcow2_plan image; /* without a backing */
    const struct qcow2_file_ops
        *file_ops; /* `grow` of it; NULL: the file's size is what there is */
    void *file_arg;
    uint64_t first_bytes; /* 0, or what an image in the file takes that stays as it is until the
                             header changes; its clusters are free then */
};

struct writer {
    const struct writer_plan *plan;
    struct qcow2_header header;
    struct qcow2_geometry geometry;
    uint64_t cluster_bytes;
    uint64_t first_free, end; /* clusters: the first given out behind the header, one behind the
                                 last */
    uint64_t packed_at;       /* where more compressed bytes fit; a multiple of cluster_bytes: no
                                 cluster is open for them */
    uint8_t *l1, *l2;
    uint64_t l2_index; /* of its entry in L1 */
    bool l2_used;
    uint8_t **blocks; /* refcount blocks; NULL: each refcount in it is 1 */
    uint64_t block_count;
};

/* -EINVAL: a plan that cannot be; -EFBIG. On failure it is freed. */
int writer_begin(struct writer *w, const struct writer_plan *plan, struct error *err);
/* So many clusters in a row. -ENOSPC. */
int writer_take(struct writer *w, uint64_t clusters, uint64_t *offset, struct error *err);
/* Room for `count` compressed clusters one behind the other; begins at a multiple of the file's
 * blocks, and up to the next multiple behind them nothing else will be. */
int writer_take_packed(
    struct writer *w, const uint32_t *lengths, unsigned count, uint64_t *offset, struct error *err);
/* Of a cluster that is all data. */
struct qcow2_entry writer_plain_entry(const struct writer *w, uint64_t offset);
/* What a guest's cluster is: ascending. */
int writer_map(struct writer *w, uint64_t guest_cluster, struct qcow2_entry e, struct error *err);
/* Data and all are durable; then the header is written, durably. *end_bytes: the image's. */
int writer_end(struct writer *w, uint64_t *end_bytes, struct error *err);
void writer_free(struct writer *w);

#endif
