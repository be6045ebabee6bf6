/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many coroutines on one device at once, held against a model that outlives the process. */
#ifndef ASHLAR_TESTS_QCOW2_PARALLEL_H
#define ASHLAR_TESTS_QCOW2_PARALLEL_H

#include "block/blockdev.h"
#include "rt/worker.h"

struct parallel_plan {
    struct blockdev *d;
    struct worker *const *workers; /* that the coroutines are spread over */
    unsigned worker_count;
    unsigned coroutines;
    uint64_t seed, operations;
    const char *raw;   /* what the device holds: at the start, and at the end what it holds then */
    const char *state; /* made anew; see parallel.c */
    /* Snapshots come and go meanwhile; those that are there at the end have, each, a file
     * STATE.NAME of the form of STATE: what is durable in it was acknowledged before, and what had
     * begun in it when the snapshot was there. NULL: none. */
    int (*snapshot)(const char *name, bool create, struct error *err);
    int (*compact)(struct error *err); /* again and again meanwhile; NULL: not */
};

/* Sector `n` as written by operation (or seed) `stamp`. */
void stamp_sectors(void *to, uint64_t stamp, uint64_t n, uint64_t count);

/* 0, or -errno with the reason: an operation that failed, a read that the model does not allow. */
int parallel_run(const struct parallel_plan *plan, struct error *err);

#endif
