/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each sector of a device may hold, from the writes and flushes that its guests saw begin and
 * end, over any number of machines. One struct of fixed size without a pointer: it lies in shared
 * memory (sim_share) and outlives the machines. One thread; nothing here waits.
 *
 * Time is a counter that every begin and end moves on. A version is what one write put (or may have
 * put) into one sector. The rules, each sector by itself:
 *
 *  1. A write that is under way, has failed, or was cut short may have happened or not. One that
 *     was acknowledged and not cut off is certain.
 *  2. A version is superseded once a certain write that began after it had ended has ended. Writes
 *     that overlap in time take effect in either order, and so do a read and a write.
 *  3. A read may give any version that had begun before it ended and was not superseded before it
 *     began.
 *  4. A certain write becomes durable by FUA, or by a flush that begins after its end and succeeds.
 *     A version superseded by a durable write never comes back and is forgotten.
 *  5. A power cut: no write is certain any more but durable ones; all else that was under way or
 *     acknowledged so far may have happened or not, in any order (the newer kept, the older lost).
 *     What is under way ends. A kill: only what is under way becomes uncertain. A kill that takes
 *     with it a map in memory: as a power cut, but disks keep what they had: what reads give
 *     afterwards may still be lost in the next one.
 *  6. A read that gives a version which had ended before the read began rules out all others that
 *     had ended by then: later reads do not go back. It does so beyond power cuts, too, for those
 *     that began after it had ended (they were never done), and for all when what it gave is on the
 *     medium: durable, from before the last power cut, or with its end before the begin of a flush
 *     that succeeded.
 *     Where a map decides what is read, a write that failed may have left its data where only the
 *     map before it points: with `failed_linger` a power cut (or model_forgotten) may show them
 *     although reads had not.
 *  7. model_unpin forgets what rule 6 has ruled out: another copy answers now, which may differ
 *     where the last one was not yet copied to it. Rules 1 to 5 stay.
 *
 * Versions whose contents are not known beforehand (MODEL_MUTABLE, MODEL_DISCARD, what the device
 * held at first) are known after the first read that rule 6 applies to, and must stay so.
 *
 * Where two versions of a sector that are both possible hold the same (zeros and zeros; anything),
 * a read cannot tell them apart: then less is ruled out than could be, never more. Of more than
 * MODEL_VERSIONS versions in a sector the oldest melt into one that "may be anything of ours"
 * (counted in `melted`).
 */
#ifndef ASHLAR_TESTS_SIM_MODEL_H
#define ASHLAR_TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_SECTOR_BYTES 512u
#define MODEL_BYTES_MAX    (8u << 20)
#define MODEL_SECTORS_MAX  (MODEL_BYTES_MAX / MODEL_SECTOR_BYTES)
#define MODEL_VERSIONS     12u    /* of one sector */
#define MODEL_WRITES       16384u /* that some sector may hold */
#define MODEL_READS        64u    /* under way */
#define MODEL_GOOD         UINT64_MAX
#define MODEL_WHY_LEN      512u

/* What the device, or what is added to it, holds at first. */
enum model_start {
    MODEL_START_ANYTHING, /* a former owner's data, too; but it does not change by itself */
    MODEL_START_OWN,      /* the same, but not a former owner's or another model's */
    MODEL_START_ZEROS
};

enum model_kind {
    MODEL_DATA,
    MODEL_MUTABLE, /* the guest changes the buffer meanwhile (model_write_change) */
    MODEL_ZEROS,
    MODEL_DISCARD, /* zeros, or anything of ours; a former owner's only with MODEL_START_ANYTHING;
                      for mirrors use MODEL_ZEROS */
    MODEL_UNUSED,  /* blockdev_unused: anything, at each read anew */
    MODEL_COPY,    /* model_copy_begin: what stood there at another time */
    /* model.c's own: */
    MODEL_FIRST_ANYTHING,
    MODEL_FIRST_OWN,
    MODEL_FIRST_ZEROS,
    MODEL_MELTED
};

struct model_write {
    uint32_t number; /* counts the writes; it is in the contents */
    uint32_t begun, ended;
    uint16_t first, count; /* sectors written */
    uint16_t holders;      /* sectors that have a version of it; 0: the slot is free */
    uint16_t next_free;
    uint8_t kind;
    bool certain, durable, failed;
};

struct model_version {
    uint16_t write;    /* of model.writes */
    uint16_t ruled_by; /* the write that was seen instead */
    uint32_t ruled_at; /* reads begun since then do not give it */
    uint32_t value;    /* hash of the contents, once known; 0: not known */
    bool seen;         /* a read gave it for sure, and it had ended */
};

struct model {
    uint32_t id;
    uint32_t clock, power_cut_at;
    uint32_t flushed_at;         /* begin of the last flush that succeeded */
    uint32_t pinned_at;          /* reads begun before rule nothing out */
    uint32_t reads[MODEL_READS]; /* begins of those under way; 0: none */
    uint32_t next_number;
    uint32_t sector_count;
    bool foreign_ok;
    bool failed_linger; /* set by the caller, see rule 6 */
    uint16_t slots_used, free_slot;
    uint64_t melted;
    uint8_t version_counts[MODEL_SECTORS_MAX];
    struct model_version versions[MODEL_SECTORS_MAX][MODEL_VERSIONS]; /* in the order of begin */
    struct model_write writes[MODEL_WRITES];
};

/* size_bytes: a multiple of MODEL_SECTOR_BYTES, at most MODEL_BYTES_MAX. `id` is in all contents:
 * each device of a world, also one after the other in the same place, has another. */
void model_init(struct model *m, uint32_t id, uint64_t size_bytes, enum model_start start);
/* `to` becomes a copy of `from` that goes on by itself: a snapshot or clone. Its own writes count
 * from next_number, unlike those of `from` and its other copies. */
void model_fork(struct model *to, const struct model *from, uint32_t next_number);
/* Nothing is under way beyond the new end. What is added starts as `added`. */
void model_resize(struct model *m, uint64_t size_bytes, enum model_start added);

/* The ticket of a write. `buf` (MODEL_DATA, MODEL_MUTABLE; else NULL) gets what is to be written.
 * Offset and length are multiples of the sector, inside the device. */
unsigned model_write_begin(
    struct model *m, enum model_kind kind, uint64_t offset, uint64_t length, void *buf);
/* The same of contents that are there already. */
unsigned model_copy_begin(struct model *m, uint64_t offset, uint64_t length, const void *contents);
/* The same of what another model has there, which must be known for sure: written by
 * model_copy_begin, durable. */
unsigned model_copy_model_begin(struct model *m, const struct model *from);
/* A guest changes its buffer under way: overwrites `length` bytes at `at` of `buf`, multiples of 8,
 * by the write's second contents (again: by its first). */
void model_write_change(
    const struct model *m, unsigned ticket, void *buf, uint64_t at, uint64_t length, bool second);
/* fua: the write had BLOCK_FUA. */
void model_write_end(struct model *m, unsigned ticket, bool ok, bool fua);

/* Whether the sector at that offset holds what a durable write put there, and nothing else can be.
 */
bool model_is_settled(const struct model *m, uint64_t offset);

/* Moments; those from before a cut or kill are void. */
uint32_t model_flush_begin(struct model *m);
void model_flush_end(struct model *m, uint32_t begun, bool ok);
uint32_t model_read_begin(struct model *m);
/* It ends by one of these: a failure, or what it gave. MODEL_GOOD, or the offset of the first
 * sector that cannot hold this; `why` (MODEL_WHY_LEN) says what it holds and what it might. */
void model_read_failed(struct model *m, uint32_t begun);
uint64_t model_read_check(
    struct model *m, uint32_t begun, const void *buf, uint64_t offset, uint64_t length, char *why);

/* The power was cut; the daemon was killed. */
void model_cut(struct model *m);
void model_killed(struct model *m);
/* The daemon was killed, and what it had acknowledged was in part only in its memory (a map). */
void model_forgotten(struct model *m);
/* Before a copy is lost or cannot be relied on (a member fails, is absent, returns errors), until
 * all copies agree again or one is left: reads are not compared with one another. */
void model_unpin(struct model *m);
void model_pin(struct model *m);

/* Between machines: what stands on one copy of a mirror that is in sync, or on any other that
 * should hold it all. Rules 1 to 5 without what reads have shown. */
uint64_t model_check_image(
    const struct model *m, const void *buf, uint64_t offset, uint64_t length, char *why);

#endif
