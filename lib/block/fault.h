/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pass-through device that goes wrong on demand, for tests: by kind, range and count, with an
 * error, a delay, or by holding requests until released. Also records the order of what passed.
 */
#ifndef ASHLAR_BLOCK_FAULT_H
#define ASHLAR_BLOCK_FAULT_H

#include "block/blockdev.h"

struct fault_rule {
    enum block_kind kind;
    uint64_t offset, length; /* overlap; length 0: anywhere */
    unsigned skip;           /* lets so many matching requests pass first */
    unsigned times;          /* then acts so often; 0: for ever */
    int error;               /* -errno to return; 0: none */
    uint64_t delay_ns;
    bool hold;  /* waits for fault_release */
    bool after; /* lower device has done it before the error is returned */
};

/* An operation that was passed to the lower device, whatever came of it. */
struct fault_record {
    enum block_kind kind;
    unsigned flags;
    uint64_t offset, length;
};

/* Takes over `lower` (closed with it). Limits and capabilities are those of `lower`; a test may
 * change them before use. */
int fault_create(struct blockdev *lower, struct blockdev **d);
/* Returns an id > 0. Rules are tried in the order of adding; the first that matches acts. */
int fault_add(struct blockdev *d, const struct fault_rule *rule);
void fault_remove(struct blockdev *d, int id);
void fault_clear(struct blockdev *d);
/* Lets go those held now. */
void fault_release(struct blockdev *d);
/* Waits until `n` requests are held. */
void fault_wait_held(struct blockdev *d, unsigned n);
/* What passed since creation or fault_log_clear, in order; copies at most `max`, returns how many
 * there are. */
unsigned fault_log(struct blockdev *d, struct fault_record *records, unsigned max);
void fault_log_clear(struct blockdev *d);

#endif
