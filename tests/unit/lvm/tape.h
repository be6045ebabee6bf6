/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices that write down what is done to them, and what a power cut at any moment would have left.
 * A cut keeps, of each device, what was flushed; of what came later, any sectors at random.
 */
#ifndef ASHLAR_TESTS_LVM_TAPE_H
#define ASHLAR_TESTS_LVM_TAPE_H

#include "block/blockdev.h"

#define TAPE_DEVS 3

enum tape_kind { TAPE_WRITE, TAPE_ZEROES, TAPE_FLUSH, TAPE_DISCARD, TAPE_UNUSED };

struct tape_entry {
    enum tape_kind kind;
    unsigned dev;
    uint64_t offset, length;
    char *data; /* TAPE_WRITE */
};

struct tape {
    uint64_t dev_bytes;
    struct blockdev *devs[TAPE_DEVS]; /* "dev-0" and so on, in memory */
    char *start[TAPE_DEVS];           /* contents when recording began */
    struct tape_entry *entries;
    unsigned count;
};

/* Devices filled with `byte`. */
void tape_begin(struct tape *t, uint64_t dev_bytes, char byte);
/* Forgets what was recorded; from here on, cuts begin with what is there now. */
void tape_record(struct tape *t);
void tape_end(struct tape *t);

/* New devices as a power cut after `count` entries leaves them: with random 0 everything unflushed
 * is lost, with 1 all of it is there. The caller closes them. */
void tape_cut(const struct tape *t, unsigned count, unsigned random, struct blockdev **devs);
/* The index of the first entry of the kind that overlaps the range, from `from` on; -1: none. */
int tape_find(const struct tape *t, unsigned from, enum tape_kind kind, unsigned dev,
    uint64_t offset, uint64_t length);

#endif
