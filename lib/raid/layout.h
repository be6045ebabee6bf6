/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RAID levels and layouts: md's codes and their names. */
#ifndef ASHLAR_RAID_LAYOUT_H
#define ASHLAR_RAID_LAYOUT_H

#include <stdint.h>

#include "base/error.h"

/* RAID0 over members of unequal size: how a zone but the first starts its round of members. */
#define RAID0_LAYOUT_ORIGINAL  1u /* with the array's chunk number (Linux up to 3.14) */
#define RAID0_LAYOUT_ALTERNATE 2u /* with the zone's */

/* RAID5; RAID6 has the same six, and those of RAID5 on all members but the last, which
 * has Q, and those of DDF, which count Q's powers in another way. */
#define RAID5_LAYOUT_LEFT_ASYMMETRIC  0u
#define RAID5_LAYOUT_RIGHT_ASYMMETRIC 1u
#define RAID5_LAYOUT_LEFT_SYMMETRIC   2u
#define RAID5_LAYOUT_RIGHT_SYMMETRIC  3u
#define RAID5_LAYOUT_PARITY_FIRST     4u
#define RAID5_LAYOUT_PARITY_LAST      5u
#define RAID6_LAYOUT_Q_LAST           16u
#define RAID6_LAYOUT_DDF_ZERO_RESTART 8u
#define RAID6_LAYOUT_DDF_N_RESTART    9u
#define RAID6_LAYOUT_DDF_N_CONTINUE   10u

/* RAID10: near | far << 8 | offset << 16 | far-set mode << 17. */
#define RAID10_LAYOUT_OFFSET  (1u << 16)
#define RAID10_LAYOUT_NEAR(n) (0x100u | (n))
#define RAID10_LAYOUT_FAR(n)  (0x001u | (n) << 8)

static inline unsigned raid10_near_copies(uint32_t layout)
{
    return layout & 0xff;
}

static inline unsigned raid10_far_copies(uint32_t layout)
{
    return layout >> 8 & 0xff;
}

/* "0", "raid0", "1", "mirror" ...: -EINVAL when it is no RAID level we know (0, 1, 4, 5, 6, 10). */
int raid_level_parse(const char *text, int *level, struct error *err);
/* "raid10"; "linear" and so on for md's others; "unknown level". */
const char *raid_level_name(int level);

/* What mdadm takes when none is given. */
uint32_t raid_layout_default(int level);
/* "near2" or "n2", "far3", "offset2"; "left-symmetric" or "ls" ...; "original", "alternate"; NULL
 * or
 * "": the default. -EINVAL with the names this level has. */
int raid_layout_parse(int level, const char *text, uint32_t *layout, struct error *err);
/* The long name ("near2", "near2,far2", "-" for a level that has none); len at least 32. Returns
 * buf. */
char *raid_layout_format(int level, uint32_t layout, char *buf, unsigned len);

#endif
