/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A rig for arrays: disks in memory that outlive the array which closes them, each behind a fault
 * device; a flat model of what the array should hold; and what tests of arrays do over and over.
 */
#ifndef ASHLAR_TESTS_RAID_RIG_H
#define ASHLAR_TESTS_RAID_RIG_H

#include "../rt/run.h"

#include "block/fault.h"
#include "raid/array.h"
#include "raid/layout.h"
#include "raid/superblock.h"

#define RIG_DISKS_MAX   12
#define RIG_DISK_BYTES  (8u << 20)
#define RIG_CHUNK_BYTES (64u << 10) /* of the array, and of its bitmap after rig_create */

struct rig_disk {
    struct blockdev *memory;
    struct blockdev *fault; /* the member as the array has it; NULL while it has none */
    uint64_t size_bytes;
};

struct rig {
    struct array *array;
    struct blockdev *dev;
    unsigned disk_count;
    struct rig_disk disks[RIG_DISKS_MAX];
    char *model;
    uint64_t model_bytes;
    uint64_t random;
    uint32_t block_bytes; /* logical blocks of the disks: 512 */
};

void rig_init(struct rig *r, unsigned disk_count);
/* Stops the array, if there is one, and frees all. */
void rig_end(struct rig *r);
/* Before rig_create. */
void rig_resize_disk(struct rig *r, unsigned disk, uint64_t bytes);
/* Disks with logical blocks of 4096 bytes. Before rig_create, as the next. */
void rig_use_4k_blocks(struct rig *r);
/* Fills all disks, each with something else; before rig_create. */
void rig_scribble(struct rig *r);
/* Disk i as a blockdev named "di". */
struct blockdev *rig_open(struct rig *r, unsigned disk);
const char *rig_name(unsigned disk);

/* Of the first `members` disks, the next `spares` being spares; its bitmap has chunks of
 * RIG_CHUNK_BYTES. Not started. Its contents become the model. */
void rig_create(struct rig *r, int level, uint32_t layout, unsigned members, unsigned spares);
/* The same, as array_create makes it. */
int rig_create_plain(struct rig *r, const struct array_params *params, unsigned members,
    unsigned spares, struct error *err);
/* Assembles from the disks in the mask. */
int rig_assemble(struct rig *r, unsigned mask, unsigned flags);
void rig_stop(struct rig *r);
/* What is on the disks now is what the next assembly sees: as if the daemon had been killed here.
 */
void rig_crash(struct rig *r);
/* The same; what that disk's fault device holds is not among it. */
void rig_crash_holding(struct rig *r, unsigned disk);
#define RIG_ALL(r) ((1u << (r)->disk_count) - 1)

/* The model from the array; the array against the model. */
void rig_learn(struct rig *r);
void rig_check(struct rig *r);
void rig_write(struct rig *r, uint64_t offset, uint64_t length, unsigned flags);
/* So many random operations: mostly writes, some reads, flushes and zeroes. */
void rig_work(struct rig *r, unsigned count);
/* Waits until no action runs and none is due. */
void rig_settle(struct rig *r);
/* Waits until the status says so, at most some seconds of polling. */
bool rig_wait(struct rig *r, bool (*condition)(const struct array_status *s));
bool rig_is_whole(const struct array_status *s);
bool rig_is_idle(const struct array_status *s);
enum array_member_state rig_state(struct rig *r, unsigned disk);
enum array_state rig_array_state(struct rig *r);
uint64_t rig_unsynced(struct rig *r);

/* Compares the members themselves, as the layout has them: chunks where copies differ. */
unsigned rig_count_differing(struct rig *r);
/* Bits set in the bitmap on a disk (of rig_create). */
uint64_t rig_count_bits(struct rig *r, unsigned disk);
void rig_read_superblock(struct rig *r, unsigned disk, struct md_superblock *sb);
/* Fails the next `times` (0: all) operations of a kind in the range; length 0: anywhere. */
void rig_break(struct rig *r, unsigned disk, enum block_kind kind, uint64_t offset, uint64_t length,
    unsigned times);

#endif
