/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside the check: one run over one image, shared by the files check*.c and nobody else.
 *
 * A scan (check_scan.c, check_tables.c) reads refcounts as they stand, counts references, and tells
 * what it found. A repair (check_repair.c) works from what the last scan left in memory, and is
 * followed by another scan, which alone says what is still wrong.
 */
#ifndef ASHLAR_IMAGE_CHECK_PRIVATE_H
#define ASHLAR_IMAGE_CHECK_PRIVATE_H

#include "image/check.h"
#include "image/entry.h"
#include "image/header.h"
#include "image/snapshot_table.h"

/* What a cluster is used as. Data may share a cluster with data, L2 tables are shared by L1s;
 * nothing else is. */
#define CHECK_USE_DATA     1u
#define CHECK_USE_L2       2u
#define CHECK_USE_REFCOUNT 4u  /* the refcount table or a block */
#define CHECK_USE_BITMAP   8u  /* directory, table or data of a bitmap */
#define CHECK_USE_FIXED    16u /* header, L1, snapshot table: where they are, they stay */
#define CHECK_USES         5
#define CHECK_ACTIVE_L2    128u /* no use: the active L1 refers to it */

/* An L2 table, which is read once however many L1 entries refer to it. */
struct check_table {
    uint64_t offset;
    uint64_t moved_to;   /* by a repair; 0: it stays */
    uint32_t references; /* by entries of L1s */
    bool active;         /* one of them is the active L1's */
};

/* A table of L1: the active one, or a snapshot's. */
struct check_l1 {
    uint64_t offset;
    uint32_t entries;
    bool active;
    const char *name; /* the snapshot's */
};

struct check {
    struct blockdev *file;
    struct check_result *result;
    struct error *err;
    check_progress *progress; /* NULL after the first scan */
    void *arg;
    struct qcow2_header header;
    struct qcow2_geometry g;
    uint64_t file_bytes, cluster_bytes;
    uint64_t refcount_max;
    uint8_t *batch; /* CHECK_BATCH_BYTES, for tables that are read side by side */

    /* Of the last scan. */
    uint64_t clusters;    /* of the file; the next three have an element for each */
    uint32_t *refcounts;  /* as they stand; UINT32_MAX: that or more */
    uint32_t *references; /* as counted; UINT32_MAX: that or more */
    uint8_t *uses;
    uint64_t *blocks; /* offsets of refcount blocks; 0: none, or none that can be used */
    uint64_t block_count;
    struct check_table *tables; /* in the order of the file */
    size_t table_count;
    struct qcow2_snapshot *snapshots;
    unsigned snapshot_count; /* 0: their table cannot be read */
    size_t snapshots_bytes;  /* of their table */
    struct check_l1 *l1s;
    unsigned l1_count;
    uint64_t found[CHECK_FAULTS];
    bool rebuild;     /* refcounts do not fit into the blocks that there are */
    bool incomplete;  /* a table could not be read: there are more references than counted */
    bool overflow;    /* more references than a refcount can tell */
    bool bad_bitmaps; /* the same of bitmaps, which can be given up */
    bool quiet;       /* nothing goes into result->findings */
};
#define CHECK_BATCH_BYTES (2u << 20)
#define CHECK_BATCH_MAX   32u

static inline uint32_t check_add(uint32_t count, uint32_t n)
{
    return count > UINT32_MAX - n ? UINT32_MAX : count + n;
}

void check_found(struct check *c, enum check_fault fault, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* --- check_scan.c --- */
/* -ENOMEM, -ECANCELED. What cannot be read is a finding. */
int check_scan(struct check *c);
void check_scan_free(struct check *c);
/* `times` references to clusters that are inside the file. */
void check_use(struct check *c, uint64_t offset, uint64_t length, unsigned use, uint32_t times);
/* Whether bytes that are to begin at a cluster do, with all of them inside the file. */
bool check_inside(const struct check *c, uint64_t offset, uint64_t length);
/* Tables of one cluster, read side by side into c->batch. */
struct check_reads {
    unsigned count; /* <= check_batch_count */
    uint64_t offsets[CHECK_BATCH_MAX];
    int results[CHECK_BATCH_MAX]; /* 0 or -errno of each */
};
void check_read_batch(struct check *c, struct check_reads *reads);
/* One, to the start of c->batch. */
int check_read_cluster(struct check *c, uint64_t offset);
unsigned check_batch_count(const struct check *c);
/* Bytes of a table, to be freed. -ENOMEM, -EIO and the like. */
int check_read_table(struct check *c, uint64_t offset, uint64_t length, uint8_t **bytes);

/* --- check_refcounts.c --- */
/* Refcounts as they stand, and their table and blocks as uses. */
int check_load_refcounts(struct check *c);
void check_use_refcounts(struct check *c);
void check_compare_refcounts(struct check *c);
/* There is a block that tells its refcount. */
bool check_has_block(const struct check *c, uint64_t cluster);
/* Writes refcounts that differ from `wanted` into the blocks that there are. */
int check_write_refcounts(struct check *c, const uint32_t *wanted);

/* --- check_rebuild.c --- */
/* Writes all refcounts into a table and blocks at free places (where `wanted` is 0), durably, then
 * switches the header to it. -ENOSPC as check_repair. */
int check_rebuild_refcounts(struct check *c, const uint32_t *wanted);

/* --- check_tables.c --- */
/* Counts what the L1s refer to, then lists the L2 tables. */
int check_count_l1s(struct check *c);
/* Counts what the L2 tables refer to. */
int check_count_l2s(struct check *c);

/* --- check_snapshots.c --- */
/* The snapshots, and from them the list of all L1s that can be. */
int check_read_snapshots(struct check *c);
void check_use_snapshots(struct check *c);

/* --- check_bitmaps.c --- */
/* Uses of bitmaps, as long as the header says that they are valid. -ENOMEM. */
int check_use_bitmaps(struct check *c);

/* --- check_entry.c: pure --- */
/* What is kept of an entry that cannot be: what it may well mean, or zeros that are read. */
uint64_t check_mend_l1(const struct check *c, uint64_t word);
struct qcow2_entry check_mend_l2(const struct check *c, struct qcow2_entry e);
/* What takes the place of one that is given up: it reads as zeros (version 2: as the backing). */
struct qcow2_entry check_lost_l2(const struct check *c);
/* The clusters of the file that an entry refers to; false: none. */
bool check_extent(const struct check *c, struct qcow2_entry e, uint64_t *offset, uint64_t *length);

/* --- check_edit.c --- */
/* L2 entries that cannot be, or refer to what is not the guest's; writes tables to where they move.
 */
int check_mend_l2s(struct check *c);
/* L1 entries that cannot be; follows the tables that moved. */
int check_mend_l1s(struct check *c);
/* COPIED flags for refcounts as they will be; not all: only where they change. */
int check_set_copied(struct check *c, const uint32_t *refcounts, bool all);

/* --- check_repair.c --- */
/* One round, after which another scan is due; only_down: what goes up has been tried in vain.
 * -ENOSPC: the file has no room for what must be moved; result->room_needed_bytes tells. */
int check_repair(struct check *c, unsigned flags, bool only_down);

#endif
