/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which stripes of RAID5 and RAID6 have data in the members' caches that no record of the parity
 * log stands for: written or zeroed as a whole, since all members were flushed last. Seen only
 * inside raid/.
 *
 * A write with FUA to a part of such a stripe makes its own data and parity durable, but that
 * parity speaks of the neighbours, too. Would a power cut take those back, the parity were of no
 * use: so all members are flushed after it.
 *
 * Kept by hash of the stripe, as a count of flushes: any worker, no lock.
 */
#ifndef ASHLAR_RAID_STRIPE_FLUSH_H
#define ASHLAR_RAID_STRIPE_FLUSH_H

#include "raid/array_private.h"

/* -ENOMEM. */
int stripe_flush_init(struct array *a);
void stripe_flush_destroy(struct array *a);

/* Stripes [first, end) have been written, neither logged nor with FUA. */
void stripe_flush_due(struct array *a, uint64_t first, uint64_t end);
bool stripe_flush_is_due(const struct array *a, uint64_t stripe);

/* Around a flush of all members; what begin returned is for the end, if it went well. */
uint64_t stripe_flush_begin(struct array *a);
void stripe_flush_end(struct array *a, uint64_t flush);

#endif
