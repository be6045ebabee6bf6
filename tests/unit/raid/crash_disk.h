/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk with a volatile cache, for power cuts: it records what is written and flushed, and when;
 * and can say what would stand on it had the power gone at any moment: writes that no flush has
 * covered are lost, kept, or torn at sectors. Operations take their time (they let other coroutines
 * run), and fail on demand.
 *
 * The disk outlives the blockdevs by which arrays have it. Any worker.
 */
#ifndef ASHLAR_TESTS_RAID_CRASH_DISK_H
#define ASHLAR_TESTS_RAID_CRASH_DISK_H

#include "block/blockdev.h"

#define CRASH_NEVER UINT64_MAX

/* Counts moments: no two calls return the same. */
uint64_t crash_clock(void);

struct crash_write {
    uint64_t applied, done; /* moments; CRASH_NEVER: not done */
    uint64_t offset, length;
    bool fua;
    char *data; /* NULL: zeros */
};

struct crash_flush {
    uint64_t begun, done;
};

struct crash_disk {
    char name[16];
    uint64_t size_bytes;
    char *bytes; /* as the array sees it */
    char *base;  /* when recording began */
    struct spinlock lock;
    uint64_t random;
    struct crash_write *writes;
    struct crash_flush *flushes;
    unsigned write_count, flush_count;
    struct blockdev *dev; /* NULL: nobody has it open */
    /* The next `faults` operations of that kind in the range fail. */
    enum block_kind fault_kind;
    uint64_t fault_offset, fault_length;
    unsigned faults;
};

/* Full of noise of its own. */
void crash_disk_init(struct crash_disk *d, unsigned number, uint64_t size_bytes, uint64_t seed);
void crash_disk_end(struct crash_disk *d);
struct blockdev *crash_disk_open(struct crash_disk *d);
void crash_disk_break(
    struct crash_disk *d, enum block_kind kind, uint64_t offset, uint64_t length, unsigned times);
/* What stands on it after a power cut at that moment; `image` has size_bytes. */
void crash_disk_image(struct crash_disk *d, uint64_t moment, uint64_t *random, char *image);
/* Goes on from that image, with nothing recorded. */
void crash_disk_restart(struct crash_disk *d, const char *image);

#endif
