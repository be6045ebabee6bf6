/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The phases: FREE until a guest comes; then PACED, the rate judged after each period, until a
 * pause is due: DRAIN, and PAUSE for the baseline (about a ninth of the time); FREE again when
 * guests have been idle for a while.
 */
#include "raid/throttle.h"

#include "base/arith.h"

#define MILLISECOND_NS  UINT64_C(1000000)
#define SECOND_NS       (1000 * MILLISECOND_NS)
#define HOLD_NS         (30 * MILLISECOND_NS)
#define HOLD_MAX_NS     SECOND_NS
#define PERIOD_NS       (50 * MILLISECOND_NS) /* is enough if so many requests have been timed, */
#define PERIOD_REQUESTS 64u
#define PERIOD_MAX_NS   (500 * MILLISECOND_NS) /* or else so long */
#define PAUSE_INTERVAL  8u                     /* from pause to pause, in lengths of a pause */
#define RATE_START      (16u << 20)
#define WORTH           5u /* guests' latency may grow by its fifth */
#define STEP_MAX        1.5
#define STEP_MIN        0.5

/* Windows are small while guests are active, as one of them is what a guest may have to wait for;
 * but not so small that there are very many. */
#define WINDOWS_PER_SEC_MAX   8192u
#define WINDOW_MIN            (32u << 10)
#define WINDOW_MIN_ROTATIONAL (512u << 10)

void throttle_init(struct throttle *t, bool rotational, uint64_t now_ns)
{
    *t = (struct throttle){.rate = RATE_START, .hold_ns = HOLD_NS};
    t->window_min_bytes = rotational ? WINDOW_MIN_ROTATIONAL : WINDOW_MIN;
    t->guest_ns = now_ns - MIN(now_ns, HOLD_MAX_NS);
    t->pause_due_ns = now_ns + PERIOD_MAX_NS;
}

/* Guests who come back after a short while are waited for the next time: each of their requests
 * would else meet background work at full speed. */
static bool guests_active(struct throttle *t, const struct throttle_sample *s)
{
    uint64_t silent_ns = s->now_ns - t->guest_ns;

    if (s->requests == t->requests && !s->waiting)
        return silent_ns < t->hold_ns;
    if (silent_ns >= HOLD_MAX_NS)
        t->hold_ns = HOLD_NS;
    else
        t->hold_ns = MAX(t->hold_ns, MIN(2 * silent_ns, HOLD_MAX_NS));
    t->requests = s->requests;
    t->guest_ns = s->now_ns;
    return true;
}

static void enter(struct throttle *t, enum throttle_phase phase, const struct throttle_sample *s)
{
    t->phase = phase;
    t->start = *s;
}

static uint64_t timed(const struct throttle *t, const struct throttle_sample *s)
{
    return s->timed - t->start.timed;
}

static uint64_t mean_ns(const struct throttle *t, const struct throttle_sample *s)
{
    return (s->latency_ns - t->start.latency_ns) / timed(t, s);
}

static bool period_over(const struct throttle *t, const struct throttle_sample *s)
{
    uint64_t length_ns = s->now_ns - t->start.now_ns;

    return length_ns >= PERIOD_MAX_NS || (length_ns >= PERIOD_NS && timed(t, s) >= PERIOD_REQUESTS);
}

static void end_pause(struct throttle *t, const struct throttle_sample *s)
{
    uint64_t length_ns = s->now_ns - t->start.now_ns, baseline_ns;

    if (timed(t, s)) {
        baseline_ns = MAX(mean_ns(t, s), UINT64_C(1));
        t->baseline_ns = t->baseline_ns ? (t->baseline_ns + baseline_ns) / 2 : baseline_ns;
    }
    t->pause_due_ns = s->now_ns + PAUSE_INTERVAL * length_ns;
    enter(t, THROTTLE_PACED, s);
}

/* By how much the rate is to change: by what guests may wait longer, against what they do. */
static double judge(const struct throttle *t, const struct throttle_sample *s)
{
    uint64_t mean;

    if (!timed(t, s))
        return s->waiting ? STEP_MIN : 1; /* for all of the period */
    if (!t->baseline_ns)
        return 1;
    mean = mean_ns(t, s);
    if (mean <= t->baseline_ns)
        return STEP_MAX;
    return MIN((double)t->baseline_ns / WORTH / (double)(mean - t->baseline_ns), STEP_MAX);
}

static void adapt(struct throttle *t, const struct throttle_sample *s)
{
    double seconds = (double)(s->now_ns - t->start.now_ns) / SECOND_NS;
    double begun = (double)(s->begun_bytes - t->start.begun_bytes) / seconds;
    double factor = MAX(judge(t, s), STEP_MIN);

    /* a rate that is not made use of says nothing */
    if (factor > 1 && (double)t->rate > 2 * begun)
        factor = 1;
    t->rate = MAX((uint64_t)((double)t->rate * factor), (uint64_t)THROTTLE_FLOOR);
    enter(t, THROTTLE_PACED, s);
}

void throttle_update(struct throttle *t, const struct throttle_sample *s)
{
    if (!guests_active(t, s)) {
        t->phase = THROTTLE_FREE;
    } else if (t->phase == THROTTLE_FREE) {
        enter(t, s->now_ns < t->pause_due_ns ? THROTTLE_PACED : THROTTLE_DRAIN, s);
    } else if (t->phase == THROTTLE_DRAIN) {
        if (!s->in_flight)
            enter(t, THROTTLE_PAUSE, s);
    } else if (t->phase == THROTTLE_PACED && s->now_ns >= t->pause_due_ns) {
        enter(t, THROTTLE_DRAIN, s);
    } else if (period_over(t, s)) {
        if (t->phase == THROTTLE_PAUSE)
            end_pause(t, s);
        else
            adapt(t, s);
    }
}

uint64_t throttle_window_bytes(const struct throttle *t)
{
    uint64_t bytes = t->window_min_bytes;

    if (t->phase == THROTTLE_FREE)
        return THROTTLE_WINDOW_BYTES;
    while (bytes < THROTTLE_WINDOW_BYTES && bytes * WINDOWS_PER_SEC_MAX < t->rate)
        bytes *= 2;
    return bytes;
}

uint64_t throttle_gap_ns(const struct throttle *t, uint64_t bytes)
{
    return t->phase == THROTTLE_FREE ? 0 : bytes * SECOND_NS / t->rate;
}
