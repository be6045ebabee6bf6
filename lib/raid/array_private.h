/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of an array, shared by the runtime files of raid/:
 *
 *     array.c       life: memory, stop, destroy          control.c     fail, remove, add, replace
 *     create.c      a new one                            background.c  the manager coroutine
 *     assemble.c    from what is on the members
 *     members.c     states, superblocks                   sync.c        actions and their lanes
 *     bitmap_log.c  write-intent bitmap                   resync.c      resync, check, repair
 *     mirror.c      RAID1 and RAID10 I/O                  recovery.c    fills new members
 *     read.c        choice of a copy, correction          status.c      what users see
 *     mirror_sync.c compares copies                       mismatch.c    what was found to differ
 *     stripe0.c     RAID0 I/O                             pace.c        guests before actions, on
 *                                                                       throttle.h, the rule
 *     parity_write.c, parity_read.c, parity_sync.c
 *                   RAID5 and RAID6, on stripe.c (a stretch of a stripe), stripe_plan.c and
 *                   stripe_join.c (which writes go together, and how many) and
 *                   stripe_flush.c (what a power cut may take back)
 *     parity_zero.c  whole stripes of zeros
 *     parity_log.c, parity_append.c, parity_replay.c
 *                   their log against the write hole; parity_record.c its format
 *
 * What guards what, in the order of taking:
 *
 *     control        one control call, or step of the manager, at a time
 *     reads, writes  gates that all I/O enters; which member has which role changes only
 *                    while both are closed
 *     ranges         in sync bytes: exclusive for each write and each window of an action
 *     update         superblocks, the list of members, and writing either to the members
 *     states         a spinlock: members become faulty under it, on any worker; error budgets
 *     bitmap.lock    a spinlock: the bitmap's image
 *
 * I/O inside a gate may take update (to record a failure), so nobody closes a gate while holding
 * that.
 */
#ifndef ASHLAR_RAID_ARRAY_PRIVATE_H
#define ASHLAR_RAID_ARRAY_PRIVATE_H

#include "base/list.h"
#include "raid/array.h"
#include "raid/assembly.h"
#include "raid/bitmap.h"
#include "raid/error_budget.h"
#include "raid/geometry.h"
#include "raid/superblock.h"
#include "raid/throttle.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define ARRAY_TRANSFER_MAX_BYTES (1u << 20)          /* longer reads and writes come in pieces */
#define ARRAY_ENDS_BYTES         (UINT64_C(1) << 20) /* where labels and partition tables stand */

struct member {
    struct list link; /* in array.members */
    struct blockdev *dev;
    uint64_t data_offset_bytes;
    _Atomic int state;                /* enum array_member_state */
    int role;                         /* also what a faulty or stale one once had; -1: none */
    bool by_bitmap;                   /* recovers only what the bitmap names */
    bool came_back;                   /* at assembly, by itself: its parity log is outdated */
    _Atomic uint64_t recovered_bytes; /* RECOVERING, REPLACING: so far its data is right */
    _Atomic uint64_t head_bytes;      /* where it read last, if rotational */
    _Atomic uint64_t errors, errors_corrected;
    _Atomic unsigned errors_recent; /* what the budget said last */
    struct error_budget budget;     /* guarded by array.states */
    struct md_superblock sb;        /* as last written or read */
    struct member_log *log;         /* parity_log.c; NULL: none */
    void *buf;                      /* MD_SUPERBLOCK_BYTES, to write it from */
    struct iovec buf_iov;
};

/* A chunk of the bitmap, in memory: flags and, below them, the number of writes in flight. */
#define CHUNK_DURABLE  (1u << 31) /* its bit is set on all members: writes may go ahead */
#define CHUNK_UNSYNCED (1u << 30) /* the copies may differ */
#define CHUNK_USED     (1u << 29) /* holds something */
#define CHUNK_TOUCHED  (1u << 28) /* written since the clean-up looked last */
#define CHUNK_WRITERS  ((1u << 28) - 1)

struct bitmap_log {
    bool on_disk; /* else in memory only: after a crash all has to be synced */
    unsigned chunk_shift;
    uint64_t bits;
    _Atomic uint32_t *chunks;
    _Atomic uint64_t unsynced; /* chunks that are */
    _Atomic uint64_t due;      /* those of them that hold something */
    uint64_t offset_bytes;     /* on the members */
    uint64_t image_bytes;
    /* Under lock: */
    struct spinlock lock;
    struct md_bitmap_header header;
    uint8_t *image; /* what is, or is going to be, on disk */
    bool *dirty;    /* by page of 4 KiB */
    bool writing;
    uint64_t started, ended; /* rounds of writing */
    struct wait_queue waiters;
    /* Of who writes: */
    uint8_t *staging;
    struct block_op *ops;
    struct member **targets;
    /* Of the clean-up: */
    uint8_t *clearing;
};

/* By worker; only it writes there. */
struct array_activity {
    _Alignas(64) _Atomic uint64_t reads, writes;
    _Atomic uint64_t timed, latency_ns; /* of guests' requests, those that were timed; pace.c */
    _Atomic bool waiting;               /* one that is timed is under way, */
    unsigned epoch;                     /* since this one */
    uint64_t read_end_bytes; /* of the last read: the next in sequence goes to the same member */
    const struct member *last;
    unsigned turn;
};

/* Of an action, beside guests. */
struct array_pace {
    _Atomic bool timing;    /* guests' requests */
    _Atomic unsigned epoch; /* changes with the throttle's phase */
    struct throttle throttle;
    struct co_mutex turnstile; /* lanes pass one at a time, */
    uint64_t due_ns;           /* the next then, if they are paced */
    uint64_t told_ns;          /* when the throttle was, last */
    uint64_t begun_bytes;      /* of windows, */
    unsigned in_flight;        /* and those not at an end */
};

#define SYNC_WINDOW_BYTES  THROTTLE_WINDOW_BYTES
#define SYNC_STRETCH_BYTES (64u << 20)
#define SYNC_BUFFERS       2
#define SYNC_TARGETS_MAX   16u /* recover at a time; others after them */

struct array_sync {
    enum array_action action;
    bool running, by_hand; /* running until the manager has drawn the conclusions */
    bool ended, abandoned;
    _Atomic bool paused, cancelled;
    int result;
    struct array_sync_status status;          /* id, last_action and result */
    _Atomic uint64_t done_bytes, total_bytes; /* in sync bytes */
    _Atomic uint64_t mismatch_bytes;
    uint8_t *todo; /* chunks that the action goes over */
    /* The stretch that the lanes work on: sync bytes, of a recovery the members'. */
    uint64_t next_bytes, stretch_end_bytes;
    int stretch_result;
    /* RECOVERY, REPLACE: */
    struct member *targets[SYNC_TARGETS_MAX];
    unsigned target_count;
    uint32_t filling;                        /* targets that have not dropped out, a bit each */
    bool unreadable;                         /* some did because of what nobody could read */
    uint64_t resume_bytes[SYNC_TARGETS_MAX]; /* what each had reached before */
    uint8_t *marked;                         /* of todo: for targets by_bitmap */
    uint64_t next_length;                    /* of the pieces at next_bytes; 0: not known yet */
    uint32_t taken;                          /* targets that are through with theirs */
    uint64_t left_out_bytes;                 /* the first piece that was not copied after all */
    struct wait_group lanes;
    struct array_pace pace;
    uint64_t not_before_ns[ARRAY_REPAIR + 1]; /* by action: not started by itself earlier */
    struct co_event idle, resumed;
};

/* Does the next part of the stretch that an action works on; false when there is none. `buffers`:
 * each of SYNC_WINDOW_BYTES. */
typedef bool sync_window(struct array *a, void *const buffers[SYNC_BUFFERS]);

/* What differs from level to level while an array runs. Sync bytes are what resync goes over and
 * the bitmap and range locks speak of (geometry.sync_bytes). */
struct array_level {
    const struct blockdev_ops *blockdev;
    /* All below NULL: no redundancy, so nothing is recorded, synced or recovered. */
    sync_window *compare; /* of resync, check and repair */
    /* Where the sync byte is that the member in `role` has at member_offset; false: it holds
     * nothing there. *run_bytes: so far goes the answer, in one piece. */
    bool (*locate)(const struct array *a, unsigned role, uint64_t member_offset_bytes,
        uint64_t *sync_offset_bytes, uint64_t *run_bytes);
    /* What is to stand there, in one such piece, for `count` roles that `locate` says the same of;
     * its range is locked. data[i], for roles[i], is one of the buffers. 0 or -errno. */
    int (*fetch)(struct array *a, const unsigned *roles, unsigned count,
        uint64_t member_offset_bytes, uint64_t length, void *const buffers[SYNC_BUFFERS],
        void **data);
};

struct array {
    struct blockdev dev; /* what the layers above see */
    const struct array_level *level;
    struct raid_geometry geometry;
    char name[MD_NAME_BYTES + 1];

    struct gate reads, writes;
    struct range_lock ranges;
    struct member **roles, **replacements; /* by role, NULL: none; may be faulty */
    struct array_activity *activity;       /* [WORKERS_MAX] */
    struct stripe_flushes *flushes;        /* stripe_flush.c; the same */
    struct stripe_joins *joins;            /* stripe_join.c; only of RAID5 and RAID6 */
    struct parity_log *log;                /* of those, if members have room; else NULL */
    _Atomic bool busy;                     /* written lately; implies that the superblocks say so */
    _Atomic bool failed;
    _Atomic unsigned in_sync; /* roles whose member is */
    _Atomic unsigned max_read_errors;
    struct bitmap_log bitmap;

    struct spinlock states;
    _Atomic uint64_t failures, recorded; /* members that went faulty; how many superblocks know */

    struct co_mutex update;
    struct list members;
    unsigned member_count;
    struct md_superblock sb; /* what all members have in common */
    _Atomic uint64_t events; /* sb.events, for status */
    bool dirty;              /* may be written: the superblocks are to say so */
    _Atomic bool says_dirty; /* what they say, for that or because something is not in sync */
    struct block_op *sb_ops; /* room for all members */
    struct member **sb_targets;

    struct co_mutex control;
    struct worker *home;
    bool started, stopping;
    struct co_event wake, stopped; /* of the manager */
    struct array_sync sync;
    struct array_mismatches *mismatches; /* of home */

    struct spinlock change_lock;
    uint64_t version;
    bool closing;
    struct wait_queue watchers;
    struct wait_group watching; /* those inside array_wait_change */
};

static inline struct array *array_of(struct blockdev *d)
{
    return container_of(d, struct array, dev);
}

static inline enum array_member_state member_state(const struct member *m)
{
    return (enum array_member_state)atomic_load_explicit(&m->state, memory_order_acquire);
}

/* The member in that role when it is to be read; NULL otherwise. */
static inline struct member *array_readable(const struct array *a, unsigned role)
{
    struct member *m = a->roles[role];

    return m && member_state(m) == MEMBER_IN_SYNC ? m : NULL;
}

/* When it is to be written. */
static inline struct member *array_writable(struct member *m)
{
    return m && member_state(m) <= MEMBER_REPLACING ? m : NULL;
}

static inline bool array_degraded(const struct array *a)
{
    return atomic_load(&a->in_sync) < a->geometry.raid_disks;
}

/* Calls that fail leave the caller's devices open. */

static inline bool array_redundant(const struct array *a)
{
    return a->level->compare != NULL;
}

/* stripe0.c, mirror.c, parity_write.c */
extern const struct array_level stripe0_level, mirror_level, parity_level;

/* array.c */
/* Brackets a write: inside the gate, counted, and the superblocks say dirty. -EIO: it has failed;
 * to be ended in any case. */
int array_write_begin(struct array *a);
void array_write_end(struct array *a);
/* An array without members; its geometry becomes the array's also on failure. */
int array_new(
    struct array **a, const struct md_superblock *sb, struct raid_geometry *g, struct error *err);
/* Writes 4 KiB of one byte. */
int array_fill_page(struct blockdev *d, int byte, uint64_t offset);
/* Clears what else may stand on a new member: signatures in front of the superblock, the bad-block
 * log. */
int array_prepare_member(struct member *m);
/* Flushes all and has the superblocks say clean, if that is so. Nothing is being written. */
void array_mark_clean(struct array *a);
/* Fills in what the blockdev says, once the members are there. */
void array_publish(struct array *a);
/* Frees all but the members' devices. */
void array_free(struct array *a);
void array_changed(struct array *a);
/* Closes both gates, so that nothing is in flight. */
void array_quiesce(struct array *a);
void array_resume(struct array *a);
/* Flushes every member with a role, whose roles must not change meanwhile; those that fail become
 * faulty, recorded. update is not held. -EIO: the array has failed. */
int array_flush_members(struct array *a);
/* Those that fail are not recorded. */
int array_flush_all(struct array *a);

static inline int member_flush(struct member *m)
{
    struct block_op op = {.kind = BLOCK_FLUSH, .flags = BLOCK_PATIENT, .dev = m->dev};

    return blockdev_run(&op, 1);
}

/* members.c */
struct member *member_new(struct blockdev *dev, const struct md_superblock *sb);
void member_free(struct member *m);
/* Makes room and joins the list. -ENOMEM. */
int members_add(struct array *a, struct member *m);
struct member *members_find(struct array *a, const char *name);
struct member *members_find_spare(struct array *a);
/* Whether a member other than `except` has that number. */
bool members_number_taken(struct array *a, uint32_t number, const struct member *except);
/* One that never had a role, if there is one, so that former members can be told apart. */
uint32_t members_free_number(struct array *a);
/* Fills in the roles from the members' states; I/O is quiesced. */
void members_settle(struct array *a);
/* Whether each byte would have a copy in sync without these. */
bool members_can_lose(struct array *a, struct member *const *lost, unsigned count);
/* Marks members faulty that have failed, in memory: or the array failed, when it cannot do
 * without them (then -EIO). Any worker. */
int members_fail(struct array *a, struct member *const *failed, unsigned count);
/* Returns when every failure until now is durable in the survivors' superblocks; -EIO when the
 * array has failed. Any worker. */
int members_record(struct array *a);
/* Writes bitmap header and superblocks, with the next events. update is held. -EIO: as above. */
int members_write_superblocks(struct array *a);
/* What the superblocks are to say now. update is held. */
uint64_t members_resync_offset(const struct array *a);
/* After assembly: members whose superblocks a crash has left one update behind get the others'. A
 * crash half-way through the next update would else leave them two behind, which is too old. */
void members_catch_up(struct array *a);
/* Before the first write after a while. */
int members_activate(struct array *a);

static inline int members_record_if_needed(struct array *a)
{
    return atomic_load(&a->failures) == atomic_load(&a->recorded) ? 0 : members_record(a);
}

/* bitmap_log.c */
int bitmap_log_init(struct array *a, const struct md_bitmap_header *header, bool on_disk);
void bitmap_log_destroy(struct array *a);
/* Reads the image from a member. */
int bitmap_log_load(struct array *a, struct blockdev *from);
/* Sets the image's bits from byte offset on (or none, with UINT64_MAX), as when there is nothing
 * to go by. */
void bitmap_log_fill(struct array *a, uint64_t from_bytes);
/* Takes all bits of the image for chunks that are not in sync. */
void bitmap_log_distrust(struct array *a);
/* Every chunk holds something, until bitmap_log_unused says otherwise. */
void bitmap_log_use_all(struct array *a);
/* Writes the whole image, if it is to be on disk, to one member; and flushes that: what was found
 * there may be what a former write under way, or one that failed, has left in a volatile cache. */
int bitmap_log_write_all(struct array *a, struct member *m);
/* Brackets a write: durable bits. -EIO: the array has failed. */
int bitmap_log_begin(struct array *a, uint64_t offset, uint64_t length);
void bitmap_log_end(struct array *a, uint64_t offset, uint64_t length);
bool bitmap_log_unsynced(const struct array *a, uint64_t offset, uint64_t length);
/* All of it has just been made the same in all copies: chunks inside are in sync. */
void bitmap_log_synced(struct array *a, uint64_t offset, uint64_t length);
/* Chunks inside hold nothing. */
void bitmap_log_unused(struct array *a, uint64_t offset, uint64_t length);
/* Chunks that are not in the map `kept` (with `marked`: of those whose bit is set) count as not in
 * sync from now on; durable. */
int bitmap_log_unsync_others(struct array *a, const uint8_t *kept, bool marked);
bool bitmap_log_marked(struct array *a, uint64_t chunk);
/* Makes durable what has been changed until now. */
int bitmap_log_commit(struct array *a);
/* Puts the array's events into the header and makes it durable; update is held. */
int bitmap_log_write_header(struct array *a, uint64_t events, bool degraded);
/* Clears bits of what has not been written lately (with `all`: of all that is not being written).
 */
void bitmap_log_clean(struct array *a, bool all);

static inline uint64_t bitmap_log_chunk_bytes(const struct array *a)
{
    return UINT64_C(1) << a->bitmap.chunk_shift;
}

/* Of a block device that is an array: flushes; the array goes by array_stop. */
int array_dev_flush(struct blockdev *d);
void array_dev_close(struct blockdev *d);

/* parity_read.c */
int parity_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length);
/* Where the block lies; all is data where it would have to be worked out. */
int parity_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent);
/* parity_zero.c */
int parity_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags);
int parity_discard(struct blockdev *d, uint64_t offset, uint64_t length);
void parity_unused(struct blockdev *d, uint64_t offset, uint64_t length);
/* parity_sync.c */
bool parity_compare(struct array *a, void *const buffers[SYNC_BUFFERS]);
bool parity_locate(const struct array *a, unsigned role, uint64_t member_offset_bytes,
    uint64_t *sync_offset_bytes, uint64_t *run_bytes);
int parity_fetch(struct array *a, const unsigned *roles, unsigned count,
    uint64_t member_offset_bytes, uint64_t length, void *const buffers[SYNC_BUFFERS], void **data);

/* mirror_sync.c */
bool mirror_compare(struct array *a, void *const buffers[SYNC_BUFFERS]);
/* resync.c: of a check or a repair. Bytes are counted once, however many copies are noted. */
void sync_count_mismatch(struct array *a, uint64_t bytes);
void sync_note_mismatch(struct array *a, const struct array_mismatch *m);
/* read.c */
bool mirror_locate(const struct array *a, unsigned role, uint64_t member_offset_bytes,
    uint64_t *sync_offset_bytes, uint64_t *run_bytes);
int mirror_fetch(struct array *a, const unsigned *roles, unsigned count,
    uint64_t member_offset_bytes, uint64_t length, void *const buffers[SYNC_BUFFERS], void **data);
int mirror_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length);
/* Writes `buf` over a copy that could not be read, and reads it again. The range is locked. The
 * member becomes faulty (recorded) when that fails. */
void mirror_correct(
    struct array *a, struct member *m, void *buf, uint64_t member_offset_bytes, uint64_t length);
struct array_activity *array_activity(struct array *a);

/* wear.c */
/* A read error of the member has been corrected. Any worker. */
void wear_note_corrected(struct array *a, struct member *m);
/* Whether it has had more of them lately than it may have. */
bool wear_is_over(const struct array *a, const struct member *m);
/* They do not count any more. */
void wear_forgive(struct array *a, struct member *m);
/* Replaces or fails the members that have had too many; control is held. */
void wear_settle(struct array *a);

/* background.c */
void array_wake(struct array *a);

/* sync.c: an action has a coroutine of its own on the manager's worker. control is held. */
int sync_init(struct array *a);
void sync_destroy(struct array *a);
/* Targets: of recovery at most SYNC_TARGETS_MAX, of replace one, else none. */
void sync_start(struct array *a, enum array_action action, struct member *const *targets,
    unsigned target_count, bool by_hand);
/* Whether the action that runs fills that member. */
bool sync_has_target(const struct array *a, const struct member *m);
/* Tells the action to end soon. */
void sync_interrupt(struct array *a);
/* Draws the conclusions of one that has ended. */
void sync_reap(struct array *a);
/* Interrupts, waits, and draws the conclusions. */
void sync_stop(struct array *a);
/* For windows of actions. Waits while paused, and for the throttle; false: it is to end. */
bool sync_may_go_on(struct array *a, uint64_t bytes);
/* Runs `window` over the stretch, in several lanes side by side. The stretch's result. */
int sync_run_stretch(
    struct array *a, uint64_t start_bytes, uint64_t end_bytes, sync_window *window);

/* pace.c: guests come first. Brackets a request of theirs; any worker. */
uint64_t pace_guest_begin(struct array *a);
void pace_guest_end(struct array *a, uint64_t begun_ns);
/* Brackets an action. */
void pace_start(struct array *a);
void pace_end(struct array *a);
/* Brackets a window: waits until it may begin, or the action is cancelled. */
void pace_wait(struct array *a, uint64_t bytes);
void pace_done(struct array *a);
/* The largest window there is to be now. */
static inline uint64_t pace_window_bytes(const struct array *a)
{
    return throttle_window_bytes(&a->sync.pace.throttle);
}

/* resync.c, recovery.c: all of an action; 0, -ECANCELED, -EIO. */
int resync_run(struct array *a);
int recovery_run(struct array *a);
/* After it ended well: the targets that have not dropped out become members in sync, durably.
 * control is held. */
void recovery_finish(struct array *a);

/* control.c; control is held. Gives a member that has none a role, as RECOVERING or REPLACING. */
int array_place_member(struct array *a, struct member *m, unsigned role,
    enum array_member_state state, bool by_bitmap);
/* A replacement that will not become one after all is a spare. */
void array_unplace_member(struct array *a, struct member *m);
/* Takes members that have failed out of their roles. */
void array_settle_failures(struct array *a);

#endif
