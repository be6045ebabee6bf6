/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arrays: md-format RAID over members, as one block device.
 *
 * An array owns its members (block devices) from a successful create, assemble or add until remove,
 * stop or destroy; on failure the caller keeps them. Members are known by blockdev name (a path).
 * Control calls run in coroutines of one worker (control), one at a time (the array's own mutex
 * sees to it); I/O comes from any worker.
 *
 * Life: create or assemble -> (layers above open array_blockdev and say what is unused) ->
 * array_start: resync, recovery and the bitmap's clean-up run in the background, on the worker that
 * called it -> array_stop.
 *
 * A failed member write or an unreadable member is handled inside: the member is marked faulty in
 * the survivors' superblocks, durably, before the request that met the failure returns; a spare, if
 * there is one, starts recovery by itself. Requests fail
 * (-EIO) only when no redundancy is left. Then the array is ARRAY_FAILED and refuses writes;
 * nothing more is written to its superblocks.
 *
 * Regions never synced (a new array; see docs/formats.md): bitmap bit set, resync_offset 0. Reads
 * there use one and the same copy; writes go to all copies. Resync does those that hold something
 * (were written, or not reported unused).
 */
#ifndef ASHLAR_RAID_ARRAY_H
#define ASHLAR_RAID_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/blockdev.h"

struct array;
struct md_superblock;

enum array_state {
    ARRAY_CLEAN,    /* all members there, nothing written lately */
    ARRAY_ACTIVE,   /* all members there */
    ARRAY_DEGRADED, /* runs with members missing or recovering */
    ARRAY_FAILED    /* data is missing: reads of what is left, no writes */
};

enum array_member_state {
    MEMBER_IN_SYNC,
    MEMBER_RECOVERING,
    MEMBER_REPLACING,
    MEMBER_SPARE,
    MEMBER_FAULTY,
    MEMBER_STALE,
    MEMBER_MISSING
};

/* resync: after an unclean stop or for regions never synced; recovery: onto a new member; check and
 * repair: compare copies. */
enum array_action {
    ARRAY_IDLE,
    ARRAY_RESYNC,
    ARRAY_RECOVERY,
    ARRAY_REPLACE,
    ARRAY_CHECK,
    ARRAY_REPAIR
};

struct array_params {
    const char *name; /* 1 to 32 bytes of A-Z a-z 0-9 _ . - ; stored as "HOST:NAME" when it fits */
    const char *homehost;  /* NULL: none */
    int level;             /* 0, 1, 5, 6, 10 */
    uint32_t layout;       /* md layout code (raid/geometry.h); as raid_layout_parse gives it */
    uint64_t chunk_bytes;  /* 0: 512 KiB; ignored for RAID1 */
    uint64_t member_bytes; /* data bytes used of each member; 0: all that fit */
    bool assume_clean;     /* the members are known to agree: nothing is marked for resync */
};

/* members[i] takes role i; NULL: missing from the start (RAID1 and 10). -EINVAL, -ENOSPC (member
 * too small), -EIO... with the reason. */
int array_create(struct array **a, const struct array_params *params, struct blockdev **members,
    unsigned member_count, struct blockdev **spares, unsigned spare_count, struct error *err);

/* Reads and checks a member's superblock. -ENODATA: there is none; -EOPNOTSUPP: one that we refuse
 * by name; -EBADMSG: damaged. */
int array_examine(struct blockdev *member, struct md_superblock *sb, struct error *err);

#define ARRAY_DEGRADED_OK 1u /* start although members are missing that were there last time */
#define ARRAY_FORCE       2u /* take stale members when too few are fresh */

/*
 * Assembles from members of one array (each with a valid superblock of the same set_uuid). Stale
 * members whose gap the bitmap covers are re-added; others are kept as MEMBER_STALE, unused.
 * -ENXIO: not enough members (text says which roles lack).
 */
int array_assemble(struct array **a, struct blockdev **members, unsigned member_count,
    unsigned flags, struct error *err);

/* Starts background work. Call once, after the layers above have said what is unused. */
void array_start(struct array *a);
/* Waits for I/O and background work to stop, marks the array clean, closes the members and frees
 * it. -EBUSY while somebody uses its blockdev. */
int array_stop(struct array *a, struct error *err);
/* Like stop, then wipes the superblocks and bitmaps. */
int array_destroy(struct array *a, struct error *err);

/* Valid until stop. */
struct blockdev *array_blockdev(struct array *a);
const char *array_name(const struct array *a);

/* `member`: a blockdev name. fail: -EBUSY when it would fail the array (md refuses it too). */
int array_fail(struct array *a, const char *member, struct error *err);
/* A faulty, spare or stale one; closes it. */
int array_remove(struct array *a, const char *member, struct error *err);
/* Re-adds by bitmap when it may (*readded), else adds as spare (recovery starts when a role lacks).
 * -ENOSPC too small, -EEXIST of another array unless force. */
int array_add(
    struct array *a, struct blockdev *member, bool force, bool *readded, struct error *err);
/* Copies `member` to `with` (NULL: a spare) while it goes on serving, then takes its place. */
int array_replace(struct array *a, const char *member, struct blockdev *with, struct error *err);

/* A member with more corrected read errors than that counts as worn out: it is replaced by a spare,
 * or fails if the array can do without it. They count for half after each hour. */
#define ARRAY_MAX_READ_ERRORS 20u /* unless set */
void array_set_max_read_errors(struct array *a, unsigned max);

/* Starts an action by hand. ARRAY_RESYNC: everything not known to be in sync, in use or not. -EBUSY
 * while another runs. */
int array_sync(struct array *a, enum array_action action, struct error *err);
void array_sync_pause(struct array *a, bool paused);
/* Ends check, repair, resync by hand and replace (what was to be replaced stays, and its read
 * errors are forgotten); recovery is only interrupted and starts again later. */
void array_sync_cancel(struct array *a);

#define ARRAY_MEMBERS_MAX 384

#define ARRAY_MEMBER_NAME_BYTES 128

struct array_member_status {
    char name[ARRAY_MEMBER_NAME_BYTES]; /* empty: missing */
    int role;                           /* -1: none (spare, faulty) */
    enum array_member_state state;
    uint64_t errors_corrected, errors;
    unsigned errors_recent; /* corrected read errors, as far as they count yet */
    bool worn;              /* in sync, and those are more than max_read_errors */
};

struct array_sync_status {
    uint64_t id;                   /* counts the actions of this run of the array; 0: none yet */
    enum array_action action;      /* what runs; ARRAY_IDLE when none */
    enum array_action last_action; /* of id, also after it ended */
    bool paused;
    int result;                       /* of id, once it has ended: 0, -ECANCELED, -EIO */
    uint64_t done_bytes, total_bytes; /* of what that action has to do, in array bytes */
    uint64_t mismatch_bytes; /* check, repair: counted once for all copies, or blocks of a stripe */
};

struct array_status {
    char name[33];
    uint8_t uuid[16];
    int level;
    uint32_t layout;
    uint64_t chunk_bytes, size_bytes, member_bytes;
    unsigned raid_disks, missing, max_read_errors;
    enum array_state state;
    uint64_t events;
    uint64_t unsynced_bytes; /* regions not known to be in sync */
    bool bitmap;
    uint64_t bitmap_chunk_bytes;
    bool parity_log; /* against the write hole; of levels 5 and 6, if members have room */
    struct array_sync_status sync;
    unsigned member_count; /* roles in order first, then spares, faulty, stale */
    struct array_member_status members[];
};

/* One allocation, freed by the caller; NULL: out of memory. */
struct array_status *array_status(struct array *a);

#define ARRAY_MISMATCHES_MAX 256

enum array_wrong {
    ARRAY_WRONG_UNKNOWN,
    ARRAY_WRONG_DATA,  /* what the suspect holds; the others tell what it should be */
    ARRAY_WRONG_PARITY /* only what the suspect holds: the data are right */
};

/*
 * A stretch that does not fit. A majority of three or more copies tells which is wrong, and so do P
 * and Q of RAID6 when all its members are there and one alone is wrong. The array's bytes that are
 * concerned: `count` ranges, each of length_bytes, stride_bytes from one to the next; where parity
 * is wrong, or nobody knows what, those of the stripe that it is of, in each block of data.
 */
struct array_mismatch {
    uint64_t offset_bytes, length_bytes, stride_bytes;
    unsigned count;
    enum array_wrong wrong;
    unsigned suspects; /* 1: the member that is wrong; 2: one of two copies; 0: not known */
    int roles[2];      /* of the suspects */
};

struct array_mismatches {
    uint64_t sync_id;         /* array_sync_status.id of what found them */
    enum array_action action; /* check or repair; ARRAY_IDLE: none has run yet */
    uint64_t bytes;           /* mismatch_bytes of that */
    bool more;                /* than there is room for */
    unsigned count;
    struct array_mismatch items[ARRAY_MISMATCHES_MAX]; /* by offset */
    unsigned member_count;
    char members[][ARRAY_MEMBER_NAME_BYTES]; /* by role, as it was then; empty: none */
};

/* What the last check or repair of this run of the array has found, or found until now. One
 * allocation, freed by the caller; NULL: out of memory. */
struct array_mismatches *array_mismatches(const struct array *a);
/* Waits until something in the status (but progress) has changed since *version, and sets *version;
 * -ESHUTDOWN when the array stops. */
int array_wait_change(struct array *a, uint64_t *version);

const char *array_state_name(enum array_state state);
const char *array_member_state_name(enum array_member_state state);
const char *array_action_name(enum array_action action);

#endif
