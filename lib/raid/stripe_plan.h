/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How to bring a write to one stretch of a stripe: what has to be read first, and how parity comes
 * out of it. Pure.
 *
 * The blocks of a stripe have indices: data 0 to data_count - 1 in the order of the array's bytes,
 * then P, then Q. A block can be read (its member is there and in sync), or only be written (its
 * member is being filled), or neither.
 */
#ifndef ASHLAR_RAID_STRIPE_PLAN_H
#define ASHLAR_RAID_STRIPE_PLAN_H

#include <stdbool.h>

enum stripe_method {
    STRIPE_PLAIN,       /* no parity to keep: data is just written */
    STRIPE_FULL,        /* all data is new */
    STRIPE_RECONSTRUCT, /* the data that stays is read, parity computed of all */
    STRIPE_MODIFY,      /* the old data and parity are read, parity changed by the difference */
    STRIPE_LOAD /* all that can be read is, what cannot is solved for, then as reconstruct */
};

/* Of each block, by index. */
#define STRIPE_COVERED  1u /* data: the write gives it; parity: never */
#define STRIPE_READABLE 2u
#define STRIPE_WRITABLE 4u
#define STRIPE_READ     8u /* the plan's: read it first */

struct stripe_plan {
    enum stripe_method method;
    unsigned reads;
};

/*
 * Chooses what reads least and adds STRIPE_READ to the flags. `in_sync`: parity fits the data;
 * where it does not, it is computed anew if that is possible, also of data that is missing, by the
 * parity that it takes to solve for it. -EIO: what is missing cannot be solved for.
 */
int stripe_plan(struct stripe_plan *plan, unsigned char *blocks, unsigned data_count,
    unsigned parity_count, bool in_sync);
/* To know all data of a stretch: reads data, and as many parities as data blocks cannot be read.
 * -EIO as above. */
int stripe_plan_load(unsigned char *blocks, unsigned data_count, unsigned parity_count);

#endif
