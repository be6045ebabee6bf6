/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking a qcow2 image that nobody changes meanwhile: what `qemu-img check` finds, and repairing
 * it.
 *
 * Goes over the active L1, the snapshots' and all L2 tables, counts each cluster's references, and
 * compares with the refcounts; checks entries and COPIED flags. Memory: 9 bytes for each cluster of
 * the file that is in use (4 more in a repair), and one table at a time. Runs in a coroutine; reads
 * through blockdev_read in large pieces.
 */
#ifndef ASHLAR_IMAGE_CHECK_H
#define ASHLAR_IMAGE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/blockdev.h"

struct qcow2;

enum check_fault {
    CHECK_LEAK,       /* a refcount is too high: space is lost, nothing else */
    CHECK_REFCOUNT,   /* too low: the cluster may be overwritten */
    CHECK_COPIED,     /* a COPIED flag that contradicts the refcount */
    CHECK_ENTRY,      /* an entry that cannot be: reserved bits, alignment, beyond the end */
    CHECK_OVERLAP,    /* a cluster used as two things of which one is metadata */
    CHECK_TABLE,      /* a table that cannot be: refcount table, snapshot table, bitmaps */
    CHECK_UNREADABLE, /* could not be read */
    CHECK_FAULTS
};

struct check_finding {
    enum check_fault fault;
    uint64_t offset; /* in the file: of the cluster, entry or table meant */
    char text[160];
};

struct check_result {
    uint64_t found[CHECK_FAULTS]; /* before repair */
    uint64_t repaired[CHECK_FAULTS];
    uint64_t clusters_allocated, clusters_compressed, clusters_total; /* of the guest's disk */
    uint64_t image_end_bytes;   /* behind the last cluster in use */
    uint64_t room_needed_bytes; /* with -ENOSPC: a repair needs the file to be so much longer */
    unsigned finding_count;     /* the first CHECK_FINDINGS_MAX are told */
    struct check_finding findings[64];
};
#define CHECK_FINDINGS_MAX 64

#define CHECK_REPAIR_LEAKS 1u
#define CHECK_REPAIR_ALL   2u /* also what may lose data: entries that cannot be are cleared */

/* Called now and then, to show how far it has come; returns false to stop (-ECANCELED). */
typedef bool check_progress(void *arg, uint64_t done, uint64_t total);

/*
 * 0: checked (and what could be repaired was; the dirty bit when refcounts are right, and after
 * CHECK_REPAIR_ALL without a fault left the corrupt bit, are cleared, durably). A dirty image has
 * lazily counted refcounts: there CHECK_REPAIR_LEAKS also raises those that are too low, in new
 * blocks where they are missing, and puts COPIED flags right, as these follow from refcounts.
 * Refcounts are lowered only where all references could be read, and with CHECK_REPAIR_LEAKS alone
 * only where no entry is damaged: the dirty bit then stays.
 *
 * -errno: it could not be checked: no readable header, out of memory; or repaired: I/O, -ENOSPC
 * (new tables go where the file has free clusters, it does not grow by itself). A repair that was
 * cut off leaves an image that is no worse.
 */
int qcow2_check(struct blockdev *file, unsigned flags, check_progress *progress, void *arg,
    struct check_result *result, struct error *err);
/* Of one that is open, with guests at work; their flushes wait meanwhile, so `progress` must not.
 * Leaks cannot be told (unless it is read-only). Also -errno of the commit before. */
int qcow2_check_online(struct qcow2 *q, check_progress *progress, void *arg,
    struct check_result *result, struct error *err);
/* Nothing but leaks, or not even these. */
bool check_is_clean(const struct check_result *result);
const char *check_fault_name(enum check_fault fault);

#endif
