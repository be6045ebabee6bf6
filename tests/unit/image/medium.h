/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk in memory that writes down what is done to it, and what a power cut at any moment would
 * have left. What was written since the last flush is volatile, also what is being written: of it a
 * cut keeps any sectors. Operations take turns that the seed chooses, so that they overlap and end
 * in any order. One worker.
 */
#ifndef ASHLAR_TESTS_IMAGE_MEDIUM_H
#define ASHLAR_TESTS_IMAGE_MEDIUM_H

#include "block/blockdev.h"

struct medium_entry {
    enum block_kind kind;
    uint64_t offset, length;
    uint8_t *data;       /* of a write; NULL: zeros */
    unsigned begin, end; /* moments; end 0: it has not ended */
};

struct medium {
    struct blockdev dev;
    uint64_t capacity;
    uint8_t *bytes;
    struct medium_entry *entries;
    unsigned count, room;
    unsigned *ended, ended_count; /* entries, in the order in which they ended */
    unsigned now;                 /* counts beginnings and ends */
    uint64_t random;
    uint8_t *durable; /* as of the last cut */
    unsigned applied; /* of `ended` */
};

/* Holds garbage; what medium_grow adds are zeros. seed 0: operations end at once. */
struct medium *medium_create(uint64_t size_bytes, uint64_t capacity_bytes, uint64_t seed);
void medium_grow(struct medium *m, uint64_t size_bytes);
/* All that is there is durable, and what was recorded is forgotten. */
void medium_record(struct medium *m);
/* A new disk as a cut at `moment` leaves it; moments do not go back between calls. The caller
 * closes it. */
enum medium_loss { MEDIUM_LOSES_ALL, MEDIUM_LOSES_NOTHING, MEDIUM_LOSES_SOME };
struct blockdev *medium_cut(struct medium *m, unsigned moment, enum medium_loss loss);

#endif
