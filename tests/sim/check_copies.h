/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where an array keeps its bytes on the disks, and whether copies that count as the same are the
 * same, and parity fits where it has to. After a check_md that found an array.
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_COPIES_H
#define ASHLAR_TESTS_SIM_CHECK_COPIES_H

#include "check_md.h"

#define CHECK_COPIES_MAX CHECK_MD_DISKS_MAX

struct check_copy {
    unsigned disk; /* in check_md.disks */
    int role;
    uint64_t offset_bytes; /* on the disk */
    bool read;             /* of a member in sync: the array may be asked for it */
    bool agrees;           /* has to be the same as all others that do */
};

/*
 * The copies of the array byte at offset (below size_bytes) on disks that have or had that role,
 * in md's order; how many. *run_bytes: for so many bytes from there the answer goes on, in one
 * piece each, at most to the end of a chunk of the bitmap.
 */
unsigned check_copies(const struct check_md *c, uint64_t offset,
    struct check_copy copies[CHECK_COPIES_MAX], uint64_t *run_bytes);

/* The first difference between two copies that have to agree, or between data and parity, as a
 * problem. Range in array bytes (of RAID5 and RAID6: the stripes it touches); some 0.2 ms a MiB, as
 * fast as memory is read: where that is too much, give it what was touched. Returns whether there
 * is none. */
bool check_copies_agree(struct check_md *c, uint64_t offset, uint64_t length);

/* Whether a resync would go over the array byte at offset: nobody says that its copies are the
 * same, or that parity fits. */
bool check_copies_differ(const struct check_md *c, uint64_t offset);

/* Array bytes, each from the first copy of a member in sync, or worked out from those that are.
 * c has to stay. */
struct check_disk check_array(const struct check_md *c, const char *name);

#endif
