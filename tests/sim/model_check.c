/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is found, held against the versions; and what it says of them (rule 6). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "content.h"
#include "model.h"
#include "model_private.h"

/* One sector under examination. */
struct sight {
    const struct model *m;
    uint32_t sector;
    uint32_t begun; /* when the reading began */
    bool image;     /* one copy: it knows nothing of what reads gave */
    const void *buf;
};

static bool holds(const struct sight *s, const struct model_version *v)
{
    const struct model_write *w = model_write_of(s->m, v);
    struct content c = {s->m->id, w->number, s->sector};

    if (v->value && w->ended < s->begun && (!s->image || w->certain))
        return content_hash(s->buf) == v->value;
    switch (w->kind) {
    case MODEL_DATA:
        return content_is(s->buf, &c);
    case MODEL_MUTABLE:
        return content_is_mixture(s->buf, &c);
    case MODEL_ZEROS:
    case MODEL_FIRST_ZEROS:
        return content_is_zeros(s->buf);
    case MODEL_COPY:
        return content_hash(s->buf) == v->value;
    case MODEL_UNUSED:
    case MODEL_FIRST_ANYTHING:
        return true;
    case MODEL_FIRST_OWN:
        return !content_is_foreign(s->buf, c.device, c.sector);
    default:
        return s->m->foreign_ok || !content_is_foreign(s->buf, c.device, c.sector);
    }
}

/* What had ended before this is superseded (rule 2). */
static uint32_t certain_since(const struct sight *s)
{
    const struct model_version *v = s->m->versions[s->sector];
    uint32_t since = 0;

    for (unsigned i = 0; i < s->m->version_counts[s->sector]; i++) {
        const struct model_write *w = model_write_of(s->m, &v[i]);

        if (w->certain && w->ended < s->begun && w->begun > since)
            since = w->begun;
    }
    return since;
}

static bool is_ruled_out(const struct sight *s, const struct model_version *v)
{
    if (s->image)
        return v->ruled_by == MODEL_GONE;
    return v->ruled_by != MODEL_NOBODY && v->ruled_at <= s->begun;
}

/* Bits of the versions that it may be. */
static unsigned possible(const struct sight *s)
{
    const struct model_version *v = s->m->versions[s->sector];
    uint32_t since = certain_since(s);
    unsigned found = 0;

    for (unsigned i = 0; i < s->m->version_counts[s->sector]; i++)
        if (model_write_of(s->m, &v[i])->ended >= since && !is_ruled_out(s, &v[i]) &&
            holds(s, &v[i]))
            found |= 1u << i;
    return found;
}

/* --- what a read shows --- */

static bool changes_at_will(const struct model_write *w)
{
    return w->kind == MODEL_UNUSED || w->kind == MODEL_MELTED;
}

static bool has_value(const struct model_write *w)
{
    return w->kind == MODEL_MUTABLE || w->kind == MODEL_DISCARD ||
           w->kind == MODEL_FIRST_ANYTHING || w->kind == MODEL_FIRST_OWN;
}

/* What a read has given: `versions` that had all ended before it began. */
struct shown {
    unsigned versions;
    uint16_t ruler; /* of the others; MODEL_NOBODY: this read shows nothing */
    uint32_t ended; /* the last of them */
};

static struct shown look_closer(const struct sight *s, unsigned seen)
{
    struct shown shown = {.versions = seen, .ruler = MODEL_NOBODY};
    const struct model_version *all = s->m->versions[s->sector];
    bool on_medium = true, gone = true;

    for (unsigned i = 0; seen >> i; i++) {
        const struct model_write *w = model_write_of(s->m, &all[i]);

        if (!(seen >> i & 1))
            continue;
        if (w->ended > s->begun || changes_at_will(w))
            return (struct shown){.ruler = MODEL_NOBODY};
        on_medium = on_medium && model_on_medium(s->m, &all[i]);
        gone = gone && all[i].ruled_by == MODEL_GONE;
        shown.ruler = all[i].write;
        shown.ended = MAX(shown.ended, w->ended);
    }
    if ((seen & (seen - 1)) && !on_medium)
        shown.ruler = MODEL_SEVERAL;
    if (gone) /* what stood there before is so all the more */
        shown.ruler = MODEL_GONE;
    return shown;
}

static void learn(const struct sight *s, struct model_version *v)
{
    v->seen = true;
    if (has_value(model_write_of(s->m, v)))
        v->value = content_hash(s->buf);
}

/* The surer it is that it outlasts power cuts, the better: GONE, then the one that had ended first,
 * then MODEL_SEVERAL. */
static bool rules_better(const struct shown *shown, uint32_t since, const struct model_version *v)
{
    if (v->ruled_by == MODEL_GONE || shown->ruler == MODEL_GONE)
        return shown->ruler == MODEL_GONE;
    if (v->ruled_by == MODEL_SEVERAL || shown->ruler == MODEL_SEVERAL)
        return shown->ruler != MODEL_SEVERAL;
    return since < v->ruled_at;
}

static void rule_out(const struct sight *s, struct model_version *v, const struct shown *shown)
{
    uint32_t ended = model_write_of(s->m, v)->ended, since = MAX(ended, shown->ended);
    bool ruled = v->ruled_by != MODEL_NOBODY;

    if (ended > s->begun)
        return;
    if (!ruled || rules_better(shown, since, v))
        v->ruled_by = shown->ruler;
    v->ruled_at = ruled ? MIN(v->ruled_at, since) : since;
}

static void show(struct model *m, const struct sight *s, unsigned seen)
{
    struct model_version *all = m->versions[s->sector];
    struct shown shown = look_closer(s, seen);

    for (unsigned i = 0; shown.ruler != MODEL_NOBODY && i < m->version_counts[s->sector]; i++) {
        if (!(seen >> i & 1))
            rule_out(s, &all[i], &shown);
        else if (!(seen & (seen - 1)))
            learn(s, &all[i]);
    }
}

/* --- reports --- */

struct why {
    char *text;
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void say(struct why *why, const char *fmt, ...)
{
    size_t left = MODEL_WHY_LEN - why->used;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(why->text + why->used, left, fmt, args);
    va_end(args);
    if (n > 0)
        why->used += (size_t)n < left ? (size_t)n : left - 1;
}

static void say_version(struct why *why, const struct sight *s, const struct model_version *v)
{
    static const char *const kinds[] = {[MODEL_DATA] = "data",
        [MODEL_MUTABLE] = "changing data",
        [MODEL_ZEROS] = "zeros",
        [MODEL_DISCARD] = "discard",
        [MODEL_UNUSED] = "unused",
        [MODEL_COPY] = "what it held once",
        [MODEL_FIRST_ANYTHING] = "anything at first",
        [MODEL_FIRST_OWN] = "anything of its own at first",
        [MODEL_FIRST_ZEROS] = "zeros at first",
        [MODEL_MELTED] = "one of many"};
    const struct model_write *w = model_write_of(s->m, v);

    say(why, "; write %" PRIu32 " (%s) %" PRIu32 "-", w->number, kinds[w->kind], w->begun);
    if (w->ended == MODEL_UNDER_WAY)
        say(why, " under way");
    else
        say(why, "%" PRIu32 " %s", w->ended,
            w->durable   ? "durable"
            : w->certain ? "acknowledged"
                         : "uncertain");
    if (w->ended < certain_since(s))
        say(why, ", superseded");
    else if (is_ruled_out(s, v))
        say(why, ", ruled out by a read at %" PRIu32, v->ruled_at);
    else if (v->value)
        say(why, ", known to hold %08" PRIx32, v->value);
}

static void explain(const struct sight *s, char *text)
{
    struct why why = {text, 0};
    char found[128];

    content_describe(s->buf, found, sizeof found);
    say(&why, "sector %" PRIu32 " of device %" PRIu32 ", read since %" PRIu32 ", holds %s",
        s->sector, s->m->id, s->begun, found);
    for (unsigned i = s->m->version_counts[s->sector]; i-- > 0;)
        say_version(&why, s, &s->m->versions[s->sector][i]);
}

/* --- whole ranges --- */

uint64_t model_read_check(
    struct model *m, uint32_t begun, const void *buf, uint64_t offset, uint64_t length, char *why)
{
    struct sight s = {.m = m, .begun = begun};

    model_read_failed(m, begun);
    for (uint64_t at = 0; at < length; at += MODEL_SECTOR_BYTES) {
        unsigned seen;

        s.sector = (uint32_t)((offset + at) / MODEL_SECTOR_BYTES);
        s.buf = (const char *)buf + at;
        seen = possible(&s);
        if (!seen) {
            explain(&s, why);
            return offset + at;
        }
        if (begun > m->pinned_at)
            show(m, &s, seen);
    }
    return MODEL_GOOD;
}

uint64_t model_check_image(
    const struct model *m, const void *buf, uint64_t offset, uint64_t length, char *why)
{
    struct sight s = {.m = m, .begun = m->clock + 1, .image = true};

    for (uint64_t at = 0; at < length; at += MODEL_SECTOR_BYTES) {
        s.sector = (uint32_t)((offset + at) / MODEL_SECTOR_BYTES);
        s.buf = (const char *)buf + at;
        if (!possible(&s)) {
            explain(&s, why);
            return offset + at;
        }
    }
    return MODEL_GOOD;
}
