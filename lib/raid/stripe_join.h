/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How writes that meet at a stripe become one update of it, and how many updates there are at a
 * time. Seen only inside raid/.
 *
 * A part is what a request writes of one data block. The first at a stripe leads; while it is at
 * work the others wait for it; when it is through, the first of those leads, and writes all of them
 * in one go. So writers in sequence make whole stripes, whatever the size of their requests, and
 * different stripes never wait for each other; but a part of a stripe waits a little where the one
 * before is being written: the next request of a sequence often brings the rest.
 *
 * Updates take memory: what is copied, read and computed. A worker has so much for each array;
 * leaders beyond it wait, first come, first served.
 */
#ifndef ASHLAR_RAID_STRIPE_JOIN_H
#define ASHLAR_RAID_STRIPE_JOIN_H

#include "raid/array_private.h"

/* On the writer's stack. */
struct stripe_part {
    uint64_t stripe;
    unsigned block; /* index of its data block */
    uint64_t start, end;
    const struct iovec *iov;
    int iov_count;
    unsigned flags;
    int result;
    /* Below: of the joining. */
    bool leads, waits; /* waits: as leader, for more to come */
    uint64_t bytes;    /* of the leader: what it has and what waits with it */
    struct co_event more;
    struct co *co;
    struct list link;    /* among the leaders of its shard, or those who wait for the leader */
    struct list waiting; /* of the leader */
};

/* -ENOMEM. */
int stripe_join_init(struct array *a);
void stripe_join_destroy(struct array *a);

/* Returns true when the part leads, having let the others come that are ready; false when it is
 * done, with a result. */
bool stripe_join(struct array *a, struct stripe_part *p);
/* The leader and those who wait with it, at most `max`. Returns how many. */
unsigned stripe_join_take(
    struct array *a, struct stripe_part *leader, struct stripe_part **parts, unsigned max);
/* The parts taken, the leader among them, are through: the next one leads. */
void stripe_join_end(struct array *a, struct stripe_part *leader, struct stripe_part *const *parts,
    unsigned count, int result);

/* Waits until there is so much memory for one more update; one is always possible. Given back by
 * the same worker. */
void stripe_memory_take(struct array *a, uint64_t bytes);
void stripe_memory_give(struct array *a, uint64_t bytes);

#endif
