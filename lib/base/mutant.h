/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deliberate bugs, to see whether the tests find them. MUTANT(NAME) stands where the bug would be;
 * it is true when that one has been chosen, and the constant false without the build option
 * `mutants`. One is chosen for the whole process, before it does anything.
 */
#ifndef ASHLAR_BASE_MUTANT_H
#define ASHLAR_BASE_MUTANT_H

#include <errno.h>
#include <stdio.h>

#define MUTANTS(X)                                                                                 \
    X(DATA_BEFORE_BITS, "data-before-bits", "data goes out before its bitmap bits are durable")    \
    X(SKIP_FLUSH, "skip-flush", "a flush of an array leaves out the second member")                \
    X(CHANGING_BUFFER, "changing-buffer", "copies are written from memory that may change")        \
    X(ACCEPT_STALE, "accept-stale", "a member with old events is taken for one in sync")           \
    X(ACK_BEFORE_FAILURE, "ack-before-failure", "who failed is recorded only after the write")     \
    X(CLEAR_BITS_EARLY, "clear-bits-early", "bitmap bits are cleared before data is flushed")      \
    X(CLEAR_BITS_IN_USE, "clear-bits-in-use", "bits are cleared although they were set again")     \
    X(CLEAN_EARLY, "clean-early", "superblocks say clean before data is flushed")                  \
    X(WRITES_UNORDERED, "writes-unordered", "writes that overlap reach copies in any order")       \
    X(READ_ANY_COPY, "read-any-copy", "reads take turns where copies may differ")                  \
    X(RECOVERY_MISSES_WRITES, "recovery-misses-writes", "guests' writes pass a new member by")     \
    X(RECOVERY_UNLOCKED, "recovery-unlocked", "recovery copies a range without its lock")          \
    X(RECOVERY_ONE_BLOCK, "recovery-one-block", "members that recover together get the same data") \
    X(RECOVERY_ONE_POINT, "recovery-one-point",                                                    \
        "members that recover together go on at one point")                                        \
    X(CHECKPOINT_EARLY, "checkpoint-early", "how far recovery came is recorded before a flush")    \
    X(NO_RESYNC, "no-resync", "after a crash, copies are taken for the same")                      \
    X(NO_CATCH_UP, "no-catch-up", "superblocks one update behind are left so at assembly")         \
    X(Q_IN_DATA_ORDER, "q-in-data-order", "Q of left-asymmetric RAID6 counts data as they come")   \
    X(NAMED_IN_DATA_ORDER, "named-in-data-order",                                                  \
        "a check takes the place in Q for that of the data")                                       \
    X(REPAIR_FITS_PARITY, "repair-fits-parity", "a repair fits parity to data known to be wrong")  \
    X(REPAIR_TAKES_FIRST, "repair-takes-first", "a repair takes the first copy for right")         \
    X(STRIPE_UNLOCKED, "stripe-unlocked", "recovery and resync race writes to a stripe")           \
    X(NO_PARITY_LOG, "no-parity-log", "parts of stripes are written without a record in the log")  \
    X(LOG_NOT_DURABLE, "log-not-durable", "a record of the log is not durable before the write")   \
    X(LOG_AFTER_DATA, "log-after-data", "the log's record is written after data and parity")       \
    X(LOG_FORGOTTEN, "log-forgotten", "a stripe with a record is written without another")         \
    X(LOG_NOT_VOID, "log-not-void", "records of an older run of the array are done again")         \
    X(LOG_OLDEST_FIRST, "log-oldest-first", "of records of the same stripe the oldest counts")     \
    X(LOG_REUSED_EARLY, "log-reused-early", "half a log is reused before its data is flushed")     \
    X(LOG_FLOOR_IGNORED, "log-floor-ignored", "records that the log says are void are done again") \
    X(PARITY_OF_CHANGING, "parity-of-changing", "parity is of memory that may change")             \
    X(TEXT_AFTER_HEADER, "text-after-header",                                                      \
        "LVM2 metadata is committed before its text is durable")                                   \
    X(COMMIT_ONE_PV, "commit-one-pv", "LVM2 metadata is committed on the first PV only")           \
    X(GIVE_BACK_EARLY, "give-back-early",                                                          \
        "extents are given back before the commit that frees them")                                \
    X(EXTENTS_NOT_ZEROED, "extents-not-zeroed", "new extents show what a former owner left")       \
    X(STATE_NOT_SAVED, "state-not-saved", "what the daemon is to remember is not written")         \
    X(MAP_BEFORE_DATA, "map-before-data", "the map is written before data is durable")             \
    X(REFCOUNTS_LATE, "refcounts-late", "refcounts are written beside what refers to clusters")    \
    X(REUSE_BEFORE_COMMIT, "reuse-before-commit",                                                  \
        "freed clusters are used again before the map without them is durable")                    \
    X(REUSE_WHILE_READ, "reuse-while-read", "freed clusters are used again while they are read")   \
    X(LATE_DISCARD, "late-discard", "freed clusters are discarded when they may be used again")    \
    X(HALF_BUILT_L2, "half-built-l2", "the L2 table for which the last space went is not written") \
    X(TWO_WRITERS, "two-writers", "two writers find a place for the same cluster")                 \
    X(NOTHING_AROUND, "nothing-around", "what a write leaves of a new cluster is not filled")      \
    X(BACKING_SHINES, "backing-shines", "zeroed clusters read from the backing")                   \
    X(COPIED_KEPT, "copied-kept", "COPIED flags are left after a snapshot")                        \
    X(NOT_MARKED, "not-marked", "an image in use does not say so")                                 \
    X(FUA_IGNORED, "fua-ignored", "the NBD server drops FUA")

#define MUTANT_ENUMERATOR(name, text, what) MUTANT_##name,
enum mutant { MUTANT_NONE, MUTANTS(MUTANT_ENUMERATOR) MUTANT_COUNT };

#ifdef ASHLAR_MUTANTS
extern enum mutant mutant_chosen;
/* By its name; -EINVAL: there is none; -ENOSYS: none is built in. */
int mutant_choose(const char *name);
/* Says them all, one a line, with what they do. */
void mutant_list(FILE *f);
#define MUTANT(name) (mutant_chosen == MUTANT_##name)
#else
#define MUTANT(name) (MUTANT_##name == MUTANT_NONE)
static inline int mutant_choose(const char *name)
{
    return -ENOSYS;
}
static inline void mutant_list(FILE *f)
{
}
#endif

#endif
