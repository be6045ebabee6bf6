/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images made field by field, whole or with any fault, for tests of the check. Host clusters are
 * given out in order: header, refcount table, blocks (for the whole file), L1, then what is asked
 * for. Refcounts follow references until the test changes them. A data cluster is filled with a
 * byte that tells its guest cluster.
 */
#ifndef ASHLAR_TESTS_IMAGE_MADE_H
#define ASHLAR_TESTS_IMAGE_MADE_H

#include "image/entry.h"
#include "image/header.h"

#include "block/blockdev.h"

#define MADE_L1_ENTRIES 4 /* the disk is so many L2 tables long */
#define MADE_SNAPSHOTS  4

struct made_plan {
    unsigned version; /* default 3 */
    unsigned cluster_bits, refcount_order;
    bool extended;
    uint64_t file_clusters;
    uint32_t block_bytes; /* of the file; default 512 */
};

struct made {
    struct blockdev *memory, *file; /* file: a fault device over the memory, which it owns */
    struct qcow2_header h;
    struct qcow2_geometry g;
    uint64_t cluster_bytes, next; /* cluster that is given out next */
    unsigned snapshot_count;
    uint64_t snapshot_l1s[MADE_SNAPSHOTS];
};

void made_begin(struct made *m, const struct made_plan *plan);
void made_end(struct made *m);

uint64_t made_get(struct made *m, uint64_t at);
void made_put(struct made *m, uint64_t at, uint64_t value);
/* `count` clusters with refcount 1; their offset. */
uint64_t made_take(struct made *m, uint64_t count);
uint64_t made_refcount(struct made *m, uint64_t offset);
void made_set_refcount(struct made *m, uint64_t offset, uint64_t value);
/* The header's fields as they are in m->h. */
void made_write_header(struct made *m);

/* A data cluster; with subclusters: all of them allocated. Returns where its L2 entry stands. */
uint64_t made_data(struct made *m, uint64_t guest_cluster);
/* The same without the data. */
uint64_t made_data_entry(struct made *m, uint64_t guest_cluster);
/* `length` bytes at `offset` in a cluster that the test took. */
uint64_t made_packed(struct made *m, uint64_t guest_cluster, uint64_t offset, uint64_t length);
uint64_t made_l1_at(const struct made *m, unsigned index);
/* Of the disk as it is: refcounts go up, COPIED flags off. */
void made_snapshot(struct made *m, const char *name);
/* A bitmap whose table has one cluster; returns where the table's entry stands. */
uint64_t made_bitmap(struct made *m);

/* The byte that a guest reads there, if its entry leads to a whole cluster of it; -1: zeros or
 * nothing. -2: not all of it is the same. */
int made_read(struct made *m, uint64_t guest_cluster);
int made_byte(uint64_t guest_cluster);

#endif
