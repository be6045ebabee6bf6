/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many of a member's read errors count lately: each for less and less, halved every hour from
 * the first on, as Linux md does (drivers/md/raid1.c, check_decay_read_errors). Pure; whoever owns
 * one guards it.
 */
#ifndef ASHLAR_RAID_ERROR_BUDGET_H
#define ASHLAR_RAID_ERROR_BUDGET_H

#include <stdint.h>

/* All zeros: none yet. */
struct error_budget {
    unsigned used;
    uint64_t since_ns; /* the hour began that `used` is of */
};

/* One more error. Workers' clocks may be read in another order than they come here. */
void error_budget_spend(struct error_budget *b, uint64_t now_ns);
/* How many count now. */
unsigned error_budget_used(const struct error_budget *b, uint64_t now_ns);

#endif
