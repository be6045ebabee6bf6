/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each sector of a device may hold, from the writes and flushes that a guest has seen begin
 * and end, also when the power has been cut in between. Each write has contents of its own. Any
 * worker.
 */
#ifndef ASHLAR_TESTS_RAID_CRASH_MODEL_H
#define ASHLAR_TESTS_RAID_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "rt/sync.h"

enum crash_content { CRASH_DATA, CRASH_ZEROS, CRASH_ANYTHING };

struct crash_guest_write {
    enum crash_content content;
    uint64_t offset, length;
    uint64_t begun, ended; /* moments (crash_clock) */
    uint64_t seen;         /* from then on reads give this or something later; or CRASH_NEVER */
    uint64_t durable;      /* the same after a power cut */
};

struct crash_model {
    struct spinlock lock;
    uint64_t size_bytes;
    struct crash_guest_write *writes;
    unsigned count;
};

/* Holds anything. */
void crash_model_init(struct crash_model *m, uint64_t size_bytes);
void crash_model_end(struct crash_model *m);
/* Returns its number; `buf` (for data) gets what is to be written. */
unsigned crash_model_begin(
    struct crash_model *m, enum crash_content content, uint64_t offset, uint64_t length, char *buf);
void crash_model_finish(struct crash_model *m, unsigned write, bool success, bool fua);
/* A flush that began at that moment has succeeded now. */
void crash_model_flushed(struct crash_model *m, uint64_t begun);
/* Forgets what came after the power cut. */
void crash_model_cut(struct crash_model *m, uint64_t moment);
/* The offset of the first sector that holds what a read between the moments cannot give;
 * CRASH_NEVER: all well. */
uint64_t crash_model_check_read(struct crash_model *m, const char *buf, uint64_t offset,
    uint64_t length, uint64_t begun, uint64_t ended);
/* The same of what is found after a power cut at that moment. */
uint64_t crash_model_check_cut(
    struct crash_model *m, const char *buf, uint64_t offset, uint64_t length, uint64_t moment);
/* Writes down what is known of a sector, to stderr. */
void crash_model_explain(struct crash_model *m, uint64_t offset, const char *found);

#endif
