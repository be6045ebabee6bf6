/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model_oracle.h"

#include <assert.h>
#include <string.h>

#include "base/arith.h"

static bool same(const struct oracle_state *a, const struct oracle_state *b)
{
    return a->count == b->count && a->done == b->done && a->flush_mark == b->flush_mark &&
           !memcmp(a->sampled, b->sampled, sizeof a->sampled) &&
           !memcmp(a->applied, b->applied, a->count);
}

static void add(struct oracle *o, const struct oracle_state *s)
{
    for (unsigned i = 0; i < o->count; i++)
        if (same(&o->states[i], s))
            return;
    assert(o->count < ORACLE_STATES);
    o->states[o->count++] = *s;
}

static void add_sampled(struct oracle *o, struct oracle_state s, unsigned value)
{
    for (unsigned r = 0; r < ORACLE_READS; r++)
        if (o->reading[r] && s.sampled[r] == ORACLE_NONE) {
            struct oracle_state next = s;

            next.sampled[r] = (uint8_t)value;
            add(o, &next);
        }
}

/* All that may happen by itself: a write under way is applied; a read meets what stands there, or
 * a write under way (one copy of a mirror has it already, perhaps). */
static void go_on(struct oracle *o)
{
    for (unsigned i = 0; i < o->count; i++) {
        struct oracle_state s = o->states[i];

        add_sampled(o, s, s.applied[s.count - 1]);
        for (unsigned value = 0; value < ORACLE_VALUES; value++) {
            struct oracle_state next = s;

            if (!(o->under_way >> value & 1))
                continue;
            add_sampled(o, s, value);
            if (s.done >> value & 1)
                continue;
            next.applied[next.count++] = (uint8_t)value;
            next.done |= UINT64_C(1) << value;
            add(o, &next);
        }
    }
}

/* Takes out what `keep` refuses, and lets go on what is left. */
static void filter(
    struct oracle *o, bool (*keep)(struct oracle_state *s, uint64_t arg), uint64_t arg)
{
    unsigned count = o->count;

    o->count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct oracle_state s = o->states[i];

        if (keep(&s, arg))
            add(o, &s);
    }
    go_on(o);
}

void oracle_init(struct oracle *o)
{
    o->under_way = 0;
    memset(o->reading, 0, sizeof o->reading);
    o->count = 1;
    memset(&o->states[0], 0, sizeof o->states[0]);
    o->states[0].count = 1;
    o->states[0].flush_mark = ORACLE_NONE;
    memset(o->states[0].sampled, ORACLE_NONE, sizeof o->states[0].sampled);
}

static void forget_before(struct oracle_state *s, unsigned first)
{
    s->count = (uint8_t)(s->count - first);
    memmove(s->applied, s->applied + first, s->count);
    if (s->flush_mark != ORACLE_NONE)
        s->flush_mark = (uint8_t)(s->flush_mark > first ? s->flush_mark - first : 0);
}

void oracle_write_begin(struct oracle *o, unsigned value)
{
    o->under_way |= UINT64_C(1) << value;
    go_on(o);
}

static bool end_failed(struct oracle_state *s, uint64_t value)
{
    s->done &= ~(UINT64_C(1) << value);
    return true;
}

static bool end_applied(struct oracle_state *s, uint64_t value)
{
    bool done = s->done >> value & 1;

    end_failed(s, value);
    return done;
}

static bool end_durable(struct oracle_state *s, uint64_t value)
{
    const uint8_t *at = memchr(s->applied, (int)value, s->count);

    if (at)
        forget_before(s, (unsigned)(at - s->applied));
    return end_applied(s, value);
}

void oracle_write_end(struct oracle *o, unsigned value, bool ok, bool fua)
{
    o->under_way &= ~(UINT64_C(1) << value);
    filter(o, !ok ? end_failed : fua ? end_durable : end_applied, value);
}

static bool mark_flush(struct oracle_state *s, uint64_t arg)
{
    s->flush_mark = (uint8_t)(s->count - 1);
    return true;
}

static bool end_flush(struct oracle_state *s, uint64_t ok)
{
    if (ok)
        forget_before(s, s->flush_mark);
    s->flush_mark = ORACLE_NONE;
    return true;
}

void oracle_flush_begin(struct oracle *o)
{
    filter(o, mark_flush, 0);
}

void oracle_flush_end(struct oracle *o, bool ok)
{
    filter(o, end_flush, ok);
}

void oracle_read_begin(struct oracle *o, unsigned read)
{
    o->reading[read] = true;
    go_on(o);
}

uint64_t oracle_possible(const struct oracle *o, unsigned read)
{
    uint64_t values = 0;

    for (unsigned i = 0; i < o->count; i++)
        if (o->states[i].sampled[read] != ORACLE_NONE)
            values |= UINT64_C(1) << o->states[i].sampled[read];
    return values;
}

void oracle_read_end(struct oracle *o, unsigned read, uint64_t values)
{
    unsigned count = o->count;

    o->reading[read] = false;
    o->count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct oracle_state s = o->states[i];
        unsigned sampled = s.sampled[read];

        s.sampled[read] = ORACLE_NONE;
        if (sampled != ORACLE_NONE && values >> sampled & 1)
            add(o, &s);
    }
}

static bool end_machine(struct oracle_state *s, uint64_t arg)
{
    s->done = 0;
    s->flush_mark = ORACLE_NONE;
    memset(s->sampled, ORACLE_NONE, sizeof s->sampled);
    return true;
}

/* What of the writes not durable is kept: the newest kept one shows. */
static void lose_power(struct oracle *o)
{
    static struct oracle_state before[ORACLE_STATES];
    unsigned count = o->count;

    memcpy(before, o->states, count * sizeof *before);
    o->count = 0;
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k < before[i].count; k++) {
            struct oracle_state after = before[i];

            after.applied[0] = before[i].applied[k];
            after.count = 1;
            add(o, &after);
        }
}

void oracle_cut(struct oracle *o, bool power)
{
    o->under_way = 0;
    memset(o->reading, 0, sizeof o->reading);
    filter(o, end_machine, 0);
    if (power)
        lose_power(o);
}

unsigned oracle_depth(const struct oracle *o)
{
    unsigned depth = 0;

    for (unsigned i = 0; i < o->count; i++)
        depth = MAX(depth, o->states[i].count);
    return depth + (unsigned)__builtin_popcountll(o->under_way);
}
