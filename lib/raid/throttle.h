/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How fast background work may go, so that guests come first. Pure: told from time to time what
 * guests see and what has been done, it says what is allowed from now on.
 *
 * Without guests all is. While they are active, their mean latency beside background work is held
 * against that of short pauses without any: what they wait longer grows about as the rate does, so
 * the rate is changed in proportion until that is a fifth. It never falls below a floor, so that
 * everything ends some day: 4 MiB/s are eight windows a second on a hard disk, a small part of what
 * it does, and 3 days for a terabyte.
 */
#ifndef ASHLAR_RAID_THROTTLE_H
#define ASHLAR_RAID_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#define THROTTLE_TICK_NS      UINT64_C(5000000) /* how often it wants to be told */
#define THROTTLE_WINDOW_BYTES (1u << 20)        /* the largest */
#define THROTTLE_FLOOR        (4u << 20)        /* bytes a second */

enum throttle_phase {
    THROTTLE_FREE,  /* no guests: anything goes */
    THROTTLE_DRAIN, /* nothing may begin: a pause is to come */
    THROTTLE_PAUSE, /* nothing is under way: guests' latency is the baseline */
    THROTTLE_PACED, /* so much a second */
};

struct throttle_sample {
    uint64_t now_ns;
    uint64_t begun_bytes; /* of windows of background work, so far */
    unsigned in_flight;   /* windows that have not ended */
    bool waiting;         /* a guest's request is under way */
    uint64_t requests;    /* that guests have begun so far */
    /* Those that were timed, each within one phase, so far; their times added up. */
    uint64_t timed, latency_ns;
};

struct throttle {
    enum throttle_phase phase;
    uint64_t rate; /* when PACED: bytes a second */
    uint64_t window_min_bytes;
    uint64_t baseline_ns; /* 0: not known */
    uint64_t requests;
    uint64_t guest_ns; /* when there was one last */
    uint64_t hold_ns;  /* so long after that they count as active */
    uint64_t pause_due_ns;
    struct throttle_sample start; /* of the pause, or of the period that the rate is judged by */
};

/* rotational: a seek takes longer than a large window. */
void throttle_init(struct throttle *t, bool rotational, uint64_t now_ns);
void throttle_update(struct throttle *t, const struct throttle_sample *s);
/* How large a window is to be. */
uint64_t throttle_window_bytes(const struct throttle *t);
/* How long after a window of so many bytes began the next may. */
uint64_t throttle_gap_ns(const struct throttle *t, uint64_t bytes);

#endif
