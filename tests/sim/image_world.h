/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The world of the image scenario: a qcow2 image on a simulated disk, perhaps with a backing on
 * another, and what is known of it: which bytes it may give (the model), which snapshots it has and
 * what they hold. It lies in shared memory; a machine works on it, and the program looks at the
 * disks in between.
 *
 *     image_scenario.c  the world from the seed; machines, one after the other
 *     image_machine.c   a machine's life: formats or opens, lets all below work, ends
 *     image_file.c      the file of the image, which grows, or cannot for a while
 *     image_guest.c     reads, writes, flushes; every answer is held against the model
 *     image_admin.c     snapshots, other sizes, more room
 *     image_fate.c      what breaks meanwhile
 *     image_look.c      between machines: what stands on the disks
 */
#ifndef ASHLAR_TESTS_SIM_IMAGE_WORLD_H
#define ASHLAR_TESTS_SIM_IMAGE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arith.h"
#include "check_qcow2.h"
#include "image/qcow2.h"
#include "model.h"
#include "rt/sim/sim.h"
#include "rt/sync.h"
#include "rt/worker.h"
#include "scenario.h"

#define IMAGE_WORKERS_MAX   3u
#define IMAGE_BYTES_MAX     (2u << 20) /* of the guest's disk */
#define IMAGE_SNAPSHOTS_MAX 3u
#define IMAGE_FILE_UNIT     (64u << 10) /* it grows by multiples of that */
#define MILLISECOND_NS      UINT64_C(1000000)
#define SECOND_NS           (1000 * MILLISECOND_NS)

/* What becomes of the next machine. */
enum image_plan {
    PLAN_FORMAT,
    PLAN_WORK,
    PLAN_READ /* opens it read-only, and changes nothing */
};

/* What it held when it was made, in image_contents. */
struct image_snapshot {
    char name[16];
    uint64_t size_bytes;
};

/* What an administrator has begun: after a crash, all of it or nothing. */
struct image_change {
    enum { CHANGE_NONE, CHANGE_CREATE, CHANGE_DELETE, CHANGE_REVERT, CHANGE_RESIZE } kind;
    struct image_snapshot snapshot; /* that is created */
    unsigned index;                 /* of the snapshot deleted or reverted to */
    uint64_t size_bytes;            /* of the disk afterwards */
    uint32_t begun;                 /* a create reads the model */
    unsigned ticket;                /* a revert or a shrink writes it... */
    bool writes;                    /* ...in this part */
};

struct image_world {
    struct scenario_options options;
    /* Of the seed: */
    unsigned workers, guests;
    unsigned cluster_bits, refcount_order;
    bool standard_l2, no_lazy_refcounts, discard, growable;
    uint64_t map_bytes_max, ahead_bytes, space_wait_ns;
    uint64_t backing_bytes; /* 0: there is none */
    /* The image: */
    bool made;            /* one that formatting has not ended counts for nothing */
    bool backed;          /* the header names the backing */
    uint64_t size_bytes;  /* of the guest's disk */
    uint64_t file_bytes;  /* of the file, durably */
    uint64_t limit_bytes; /* it may grow to that just now */
    unsigned snapshot_count, snapshots_made;
    struct image_snapshot snapshots[IMAGE_SNAPSHOTS_MAX];
    struct image_change change;
    /* The machine: */
    unsigned machine;
    enum image_plan plan;
    bool killed;  /* the last one was */
    bool stops;   /* it is not cut off when its work is done */
    bool struck;  /* something has happened to disks that may make ios fail */
    bool stalled; /* a disk was so slow that waiting for space may have ended */
    bool refused; /* the file could not grow */
    bool closed;  /* the image was, without an error */
    bool lost;    /* it was, with one */
};
extern struct image_world *image;
extern struct model *image_model;
extern uint8_t (*image_contents)[IMAGE_BYTES_MAX]; /* of snapshots */

/* What a machine has while it lives; its own memory. */
struct image_machine {
    struct qcow2 *q;
    struct blockdev *dev, *file, *backing;
    struct worker *workers[IMAGE_WORKERS_MAX];
    struct gate guests; /* closed: no guest has anything under way */
    struct wait_group working;
    unsigned at_work; /* guests that are not through */
    bool starving;
};
extern struct image_machine image_machine;

/* Choices. */
static inline uint64_t choose(enum sim_stream stream, uint64_t limit)
{
    return sim_below(&sim->random[stream], limit);
}

static inline bool one_in(enum sim_stream stream, uint64_t n)
{
    return sim_one_in(&sim->random[stream], n);
}

/* image_scenario.c: as qcow2_format has it. */
struct qcow2_plan image_plan(void);

/* image_machine.c; the argument is not used. */
void image_machine_run(void *arg);

/* image_file.c: over `lower`, which it closes. */
struct blockdev *image_file_open(struct blockdev *lower);
extern const struct qcow2_file_ops image_growable;
/* The administrator adds room: so many bytes more than the file has. */
void image_file_room(uint64_t bytes);

/* Whether an operation may give that error now. */
bool image_may_give(int rc);

/* image_guest.c, image_fate.c, image_admin.c: start their coroutines, or run (admin). */
void image_guests_start(void);
void image_fate_start(void);
void image_administer(void);
/* Breaks something before the image is opened. */
void image_fate_early(void);
/* Disks are as good as new, whatever stands on them. */
void image_mend(void);

/* image_admin.c: what was under way in the machine that has ended has been done, or not. */
void image_change_settle(struct check_qcow2 *c);

/* image_look.c: says in sim->failure what is wrong with what stands on the disk. */
void image_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The image as it stands now, to be freed. False: it was complained of. */
bool image_examine(struct check_qcow2 *c);
/* What a guest would read there: from the active disk (0) or a snapshot. */
bool image_peek(struct check_qcow2 *c, unsigned disk, void *buf, uint64_t offset, uint64_t length);
/* Snapshots hold what they held, the active disk what the model allows. */
void image_look(struct check_qcow2 *c);

#endif
