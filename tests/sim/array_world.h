/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The world of the array scenario: a few disks, at most one md array on them, and what is known of
 * it: which bytes it may give (the model) and which disks hold it. It lies in shared memory; a
 * machine works on it, and the program looks at the disks in between.
 *
 *     array_scenario.c  the world from the seed; machines, one after the other
 *     array_machine.c   a machine's life: assembles or creates, lets all below work, ends
 *     array_guest.c     reads, writes, flushes; every answer is held against the model
 *     array_admin.c     fails, adds, replaces members; check, repair, resync, stops and starts
 *     array_fate.c      what breaks meanwhile
 *     array_answers.c   reads the whole array, again and again
 *     array_look.c      between machines: what stands on the disks
 *     array_parity.c    what RAID5 and RAID6 lose with a member after a crash
 *     array_mismatch.c  what does not fit, and what a check says of it
 *     array_lies.c      disks that hold or do something else than they said
 */
#ifndef ASHLAR_TESTS_SIM_ARRAY_WORLD_H
#define ASHLAR_TESTS_SIM_ARRAY_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arith.h"
#include "check_md.h"
#include "model.h"
#include "raid/array.h"
#include "raid/geometry.h"
#include "rt/sim/sim.h"
#include "rt/sync.h"
#include "rt/worker.h"
#include "scenario.h"

#define ARRAY_WORKERS_MAX 3u
#define ARRAY_PAGES_MAX   640u       /* of 4 KiB, of a member */
#define ARRAY_DATA_OFFSET (1u << 20) /* of such small members, unless asked for another */
#define MILLISECOND_NS    UINT64_C(1000000)
#define SECOND_NS         (1000 * MILLISECOND_NS)

enum array_life {
    LIFE_NONE,   /* no array */
    LIFE_MAKING, /* being created: all of it or nothing */
    LIFE_LIVING,
    LIFE_ENDING /* being destroyed: all of it or nothing */
};

/* What becomes of the next machine. */
enum array_plan {
    PLAN_CREATE, /* makes the array and stops */
    PLAN_WORK,
    PLAN_DESTROY,
    PLAN_LIES /* disks lie; see array_lies.c */
};

struct array_world {
    struct scenario_options options;
    /* Of the seed: */
    unsigned workers, guests;
    unsigned max_read_errors; /* a member may have */
    bool lies;
    bool large; /* members have a middle, which is recovered only where it is in use */
    /* The array: */
    enum array_life life;
    bool fresh;     /* nobody has used it yet */
    bool no_bitmap; /* on the disks */
    int level;
    uint32_t layout;
    unsigned members, spares;
    int lacks; /* created without a member in this role; -1: with all */
    char name[16];
    uint64_t chunk_bytes, member_bytes, size_bytes, bitmap_chunk_bytes, data_offset_bytes;
    uint8_t uuid[16];
    uint64_t torn[ARRAY_PAGES_MAX / 64]; /* RAID5, RAID6: where parity may not fit since a crash, a
                                            bit for each page of members (array_parity.c) */
    int role_of[SIM_DISKS_MAX]; /* of disks in sync when the last machine ended; -1: others */
    /* The machine: */
    unsigned machine, arrays; /* counts those created */
    enum array_plan plan;
    bool crashed;       /* it did not stop cleanly, or failed */
    bool stops;         /* it is not cut off when its work is done */
    bool left_out;      /* it was last assembled without a disk that could not be read */
    uint32_t bad_disks; /* bits: something has happened to them that may make ios fail */
};
extern struct array_world *world;
extern struct model *model;

/* What a machine has while it lives; its own memory. */
struct array_machine {
    struct array *array;
    struct worker *workers[ARRAY_WORKERS_MAX];
    struct gate guests; /* closed: no guest has anything under way */
    struct wait_group working;
    unsigned at_work;  /* guests that are not through */
    bool was_degraded; /* since it was assembled: then it may have failed at a time */
    uint64_t check_id; /* of the last check or repair by hand */
    struct raid_geometry geometry;
};
extern struct array_machine machine;

/* Choices. */
static inline uint64_t choose(enum sim_stream stream, uint64_t limit)
{
    return sim_below(&sim->random[stream], limit);
}

static inline bool one_in(enum sim_stream stream, uint64_t n)
{
    return sim_one_in(&sim->random[stream], n);
}

/* array_machine.c; the argument is not used. */
void array_machine_run(void *arg);
/* Stops the array and looks at what that leaves. */
void array_machine_stop(void);
/* Again, after a stop; ends the machine if it cannot be. */
void array_machine_assemble(void);
/* Whether I/O on the array may fail now: too much of it lies on disks that are bad. */
bool array_may_fail(void);

/* array_guest.c, array_fate.c, array_admin.c: start their coroutines, or run (admin). */
void array_guests_start(void);
void array_fate_start(void);
void array_administer(void);
/* Breaks something before the array is assembled. */
void array_fate_early(void);
/* All disks are as good as new, whatever stands on them. */
void array_mend_all(void);
/* Between machines: some of what was broken is repaired. */
void array_fate_pass(void);

/* array_admin.c */
unsigned array_disk_of(const char *name);
/* Which disks the array has, as a bit each, and their states. */
uint32_t array_listed(enum array_member_state states[SIM_DISKS_MAX]);
/* Waits until nothing is being synced; false: something was, all the time. */
bool array_settle(void);
/* Nothing is being synced, nothing is left to be, nothing is missing. */
bool array_in_sync(void);
/* A check or repair that was started by hand has found nothing. */
void array_check_ended(void);
/* Nobody reads or writes there meanwhile. */
void array_say_unused(uint64_t offset, uint64_t length);

/* array_answers.c: reads all of it, holds it against the model, and later readings against the
 * first. */
void array_read_first(void);
void array_read_again(const char *when, uint64_t size_bytes);

/* array_parity.c */
bool array_has_parity(void);
/* What was never written may change when members come and go. */
void array_parity_created(void);
/* Before a member is lost, or cannot be relied on: that is model_unpin, too. */
void array_lose(unsigned disk);
/* What the last machine has left; what an array did that was stopped. */
void array_note_torn(const struct check_md *c);
void array_note_stop(bool failed);
/* Whether its members have room for a log against the write hole. */
bool array_has_log(void);
/* Its log cannot be read, and it was forced: nothing is known any more. */
void array_log_lost(void);

/* The array's shape, for the checkers; of RAID5 and RAID6. */
struct check_layout array_layout(void);

/* array_mismatch.c: in an array at rest, all members in sync. */
struct sim_disk *array_disk_in_role(unsigned role);
/* Whether a check can tell which disk is wrong, when one is, and a repair what it should hold. */
bool array_tells_who(void);
/* Runs a check or a repair to its end: what it has found; the caller frees it. */
struct array_mismatches *array_run_check(enum array_action action);
/* Only `liar` may be wrong: a check says where and, if it can, who; after a repair all fits. */
void array_check_and_repair(const struct sim_disk *liar);

/* array_look.c: says in sim->failure what is wrong with what stands on the disks, and notes in the
 * world which of them hold the array. */
void array_look(void);
/* What check_md says of these disks. */
bool array_examine_disks(struct check_md *c, uint32_t disks);
/* After creation: as `mdadm --bitmap --bitmap-chunk --data-offset` would have made it. */
void array_make_small(void);

/* array_lies.c: in an array just assembled, and not started. */
void array_lies(void);

#endif
