/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One sector of a disk with a volatile cache, as all the states it can be in: the model is held
 * against it. A state is the order in which writes were applied since the oldest that a power cut
 * may bring back, and what each read and flush under way has met; whatever may happen by itself is
 * tried in all ways. Slow, and obviously right.
 */
#ifndef ASHLAR_TESTS_SIM_MODEL_ORACLE_H
#define ASHLAR_TESTS_SIM_MODEL_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#define ORACLE_VALUES 64u    /* writes of a history; 0 stands there at first */
#define ORACLE_STATES 65536u /* more are a failure of the test */
#define ORACLE_READS  2u
#define ORACLE_NONE   0xffu

struct oracle_state {
    uint8_t applied[16]; /* applied[0]: what the medium has at least */
    uint8_t count;
    uint8_t flush_mark;            /* what a flush under way found applied; ORACLE_NONE */
    uint64_t done;                 /* bits of writes under way that have been applied */
    uint8_t sampled[ORACLE_READS]; /* what a read under way has met; ORACLE_NONE: nothing yet */
};

struct oracle {
    uint64_t under_way; /* bits of writes */
    bool reading[ORACLE_READS];
    unsigned count;
    struct oracle_state states[ORACLE_STATES];
};

void oracle_init(struct oracle *o);
void oracle_write_begin(struct oracle *o, unsigned value);
void oracle_write_end(struct oracle *o, unsigned value, bool ok, bool fua);
void oracle_flush_begin(struct oracle *o);
void oracle_flush_end(struct oracle *o, bool ok);
void oracle_read_begin(struct oracle *o, unsigned read);
/* Bits of the values that the read may give. */
uint64_t oracle_possible(const struct oracle *o, unsigned read);
/* It gave one of these; they cannot be told apart. */
void oracle_read_end(struct oracle *o, unsigned read, uint64_t values);
void oracle_cut(struct oracle *o, bool power);
/* How many writes a power cut may bring back, at most: to be kept below 16. */
unsigned oracle_depth(const struct oracle *o);

#endif
