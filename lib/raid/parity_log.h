/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parity log at work: what closes the write hole of RAID5 and RAID6. Seen only inside raid/.
 *
 * Before a write to a part of a stripe touches data or parity, all of its new blocks, data and
 * parity, are in a record on the members that hold the stripe's parity. After a crash the records
 * are done again, in order: each such stripe is then all new (the record was there) or all old
 * (nothing else had been written). The members with the parity are the right place: without them
 * parity is missing, and what is left does not depend on anything.
 *
 * Stripes that are written whole need no record while all members are there: every block of them is
 * being written. Nor do those without parity.
 *
 * The space of a member has two halves, written in turn. A half is used again when all that its
 * records stand for has been written and flushed: its beginning is cleared, so that no record in it
 * is found; what is left behind the next ones is void by their floor. As long as a stripe has a
 * record that is not void, every write to it needs one: it would else be undone by the older one.
 *
 * The tag, chosen when an array is assembled, is in the records and, as microseconds of the time of
 * the last update, in the superblocks. The kernel writes no microseconds: once it has had the
 * array, no record counts any more.
 */
#ifndef ASHLAR_RAID_PARITY_LOG_H
#define ASHLAR_RAID_PARITY_LOG_H

#include "raid/array_private.h"
#include "raid/stripe.h"

#define LIVE_SLOTS 4096u

struct half {
    unsigned active; /* updates that have a record here and are not through */
    uint64_t first_sequence;
    unsigned count; /* records' updates, for `live` */
    uint16_t *slots;
};

struct member_log {
    struct spinlock lock;
    bool writing;
    struct list waiting;    /* struct append */
    struct wait_queue idle; /* waits for active == 0 */
    uint64_t start_bytes, half_bytes;
    unsigned slots_max;
    /* Of who writes: */
    unsigned half;
    uint64_t head_bytes; /* in the half */
    uint64_t floor;
    struct half halves[2];
};

/* By hash of the stripe: records that are not void. */
struct parity_log {
    uint32_t tag;
    _Atomic uint64_t sequence;
    uint64_t most_bytes;
    _Atomic uint32_t live[LIVE_SLOTS];
};

/* What an update has in the logs. */
struct log_hold {
    struct member *members[2];
    unsigned halves[2];
    unsigned count;
};

/* After members and bitmap are known, and any replay: 0 also when there is no room for logs,
 * -ENOMEM. */
int parity_log_init(struct array *a);
void parity_log_destroy(struct array *a);
/* Where the log of a member is: two halves, one after the other. False: it has no room. */
bool parity_log_space(
    const struct array *a, const struct member *m, uint64_t *start_bytes, uint64_t *half_bytes);
/* Makes room on a member that joins; what stands there is void. 0 or -errno. */
int parity_log_add_member(struct array *a, struct member *m);
void parity_log_remove_member(struct member *m);

/* Most bytes of blocks in one record; 0: there is no log. */
uint64_t parity_log_most_bytes(const struct array *a);
/* What the array's superblocks are to have; 0: there is no log. */
uint64_t parity_log_tag(const struct array *a);
/* Whether a stripe has a record that is not void; it is locked. */
bool parity_log_has_record(const struct array *a, uint64_t stripe);
/* Whether a planned and computed stretch needs a record. The answer stays until the stripe's lock
 * is released. */
bool parity_log_needed(const struct stripe *s);
/* Puts the new blocks of those stretches of one stripe that need it into a record, durably. Members
 * whose log fails become faulty (not yet recorded). -EIO: the array has failed. -ENOMEM. `hold` is
 * to be released in any case. */
int parity_log_append(
    struct array *a, const struct stripe *stripes, unsigned count, struct log_hold *hold);
/* The blocks have been written, or will never be. */
void parity_log_release(struct log_hold *hold);

/*
 * Does again what the records with this tag say, on the members of an array that is being assembled
 * and that nobody uses, and flushes: then parity fits wherever it did before what was cut off, but
 * for stripes of which no member in sync with parity has a log that can be read: *unreadable counts
 * such members. Members that fail are faulty. 0; -EIO: the array has failed, -ENOMEM.
 */
int parity_log_replay(struct array *a, uint32_t tag, unsigned *unreadable);

/* Of superblocks: the tag in the time of the last update. */
#define PARITY_TAG_SHIFT 40
static inline uint32_t parity_tag_of(uint64_t utime)
{
    return (uint32_t)(utime >> PARITY_TAG_SHIFT);
}

#endif
