/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens to the versions: they come with a write's begin and go when a durable write
 * supersedes them; ends, flushes and cuts change what is known of their writes.
 */
#include "model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "content.h"
#include "model_private.h"

static void unhold(struct model *m, unsigned slot)
{
    struct model_write *w = &m->writes[slot];

    if (--w->holders)
        return;
    w->next_free = m->free_slot;
    m->free_slot = (uint16_t)slot;
}

static void forget_ruler(struct model *m, uint32_t sector, unsigned write)
{
    for (unsigned i = 0; i < m->version_counts[sector]; i++)
        if (m->versions[sector][i].ruled_by == write)
            m->versions[sector][i].ruled_by = MODEL_SEVERAL;
}

static void remove_version(struct model *m, uint32_t sector, unsigned i)
{
    struct model_version *v = m->versions[sector];
    unsigned left = m->version_counts[sector] - i - 1;

    forget_ruler(m, sector, v[i].write);
    unhold(m, v[i].write);
    memmove(&v[i], &v[i + 1], left * sizeof *v);
    m->version_counts[sector]--;
}

static uint32_t oldest_read(const struct model *m)
{
    uint32_t oldest = MODEL_UNDER_WAY;

    for (unsigned i = 0; i < MODEL_READS; i++)
        if (m->reads[i])
            oldest = MIN(oldest, m->reads[i]);
    return oldest;
}

/* Removes what is gone for the reads under way, too. */
static void purge(struct model *m, uint32_t sector, uint32_t oldest)
{
    for (unsigned i = m->version_counts[sector]; i-- > 0;) {
        const struct model_version *v = &m->versions[sector][i];

        if (v->ruled_by == MODEL_GONE && v->ruled_at < oldest)
            remove_version(m, sector, i);
    }
}

static void purge_all(struct model *m)
{
    uint32_t oldest = oldest_read(m);

    for (uint32_t s = 0; s < m->sector_count; s++)
        if (m->version_counts[s] > 1)
            purge(m, s, oldest);
}

static unsigned take_slot(struct model *m)
{
    unsigned slot;

    if (m->free_slot == MODEL_NOBODY && m->slots_used == MODEL_WRITES)
        purge_all(m);
    slot = m->free_slot;
    if (slot != MODEL_NOBODY) {
        m->free_slot = m->writes[slot].next_free;
        return slot;
    }
    if (m->slots_used == MODEL_WRITES) {
        fprintf(stderr, "model: more than %u writes to remember\n", MODEL_WRITES);
        abort();
    }
    return m->slots_used++;
}

/* --- too many versions --- */

static unsigned next_ended(const struct model *m, uint32_t sector, unsigned i)
{
    for (;; i++) {
        assert(i < m->version_counts[sector]); /* else more are under way than there is room for */
        if (model_write_of(m, &m->versions[sector][i])->ended != MODEL_UNDER_WAY)
            return i;
    }
}

/* The two oldest become one. */
static void melt(struct model *m, uint32_t sector)
{
    unsigned i = next_ended(m, sector, 0), k = next_ended(m, sector, i + 1), slot = take_slot(m);
    struct model_version *v = m->versions[sector];
    const struct model_write *a = model_write_of(m, &v[i]), *b = model_write_of(m, &v[k]);

    m->writes[slot] = (struct model_write){.begun = a->begun,
        .ended = MAX(a->ended, b->ended),
        .first = (uint16_t)sector,
        .count = 1,
        .holders = 1,
        .kind = MODEL_MELTED};
    remove_version(m, sector, k);
    forget_ruler(m, sector, v[i].write);
    unhold(m, v[i].write);
    v[i] = (struct model_version){.write = (uint16_t)slot, .ruled_by = MODEL_NOBODY};
    m->melted++;
}

/* --- writes --- */

static unsigned add_write(
    struct model *m, enum model_kind kind, uint32_t begun, uint64_t first, uint64_t count)
{
    unsigned slot = take_slot(m);

    m->writes[slot] = (struct model_write){.number = m->next_number++,
        .begun = begun,
        .ended = MODEL_UNDER_WAY,
        .first = (uint16_t)first,
        .count = (uint16_t)count,
        .kind = (uint8_t)kind};
    for (uint64_t s = first; s < first + count; s++) {
        if (m->version_counts[s] == MODEL_VERSIONS)
            purge(m, (uint32_t)s, oldest_read(m));
        if (m->version_counts[s] == MODEL_VERSIONS)
            melt(m, (uint32_t)s);
        m->versions[s][m->version_counts[s]++] =
            (struct model_version){.write = (uint16_t)slot, .ruled_by = MODEL_NOBODY};
        m->writes[slot].holders++;
    }
    return slot;
}

unsigned model_write_begin(
    struct model *m, enum model_kind kind, uint64_t offset, uint64_t length, void *buf)
{
    uint64_t first = offset / MODEL_SECTOR_BYTES, count = length / MODEL_SECTOR_BYTES;
    unsigned ticket;

    assert(count && (offset | length) % MODEL_SECTOR_BYTES == 0);
    assert(first + count <= m->sector_count);
    ticket = add_write(m, kind, ++m->clock, first, count);
    if (kind == MODEL_UNUSED)
        m->foreign_ok = true;
    if (kind == MODEL_DATA || kind == MODEL_MUTABLE)
        model_write_change(m, ticket, buf, 0, length, false);
    return ticket;
}

unsigned model_copy_begin(struct model *m, uint64_t offset, uint64_t length, const void *contents)
{
    unsigned ticket = model_write_begin(m, MODEL_COPY, offset, length, NULL);

    for (uint64_t at = 0; at < length; at += MODEL_SECTOR_BYTES) {
        uint64_t sector = (offset + at) / MODEL_SECTOR_BYTES;

        m->versions[sector][m->version_counts[sector] - 1].value =
            content_hash((const char *)contents + at);
    }
    return ticket;
}

unsigned model_copy_model_begin(struct model *m, const struct model *from)
{
    uint32_t count = MIN(m->sector_count, from->sector_count);
    unsigned ticket =
        model_write_begin(m, MODEL_COPY, 0, (uint64_t)count * MODEL_SECTOR_BYTES, NULL);

    for (uint32_t s = 0; s < count; s++) {
        assert(from->version_counts[s] == 1 && from->versions[s][0].value);
        m->versions[s][m->version_counts[s] - 1].value = from->versions[s][0].value;
    }
    return ticket;
}

void model_write_change(
    const struct model *m, unsigned ticket, void *buf, uint64_t at, uint64_t length, bool second)
{
    const struct model_write *w = &m->writes[ticket];
    char sector[MODEL_SECTOR_BYTES];

    assert((at | length) % 8 == 0);
    for (uint64_t n; length; at += n, length -= n) {
        uint64_t within = at % MODEL_SECTOR_BYTES;
        struct content c = {m->id, w->number, w->first + (uint32_t)(at / MODEL_SECTOR_BYTES)};

        n = MIN(length, MODEL_SECTOR_BYTES - within);
        content_fill(sector, &c, second);
        memcpy((char *)buf + at, sector + within, n);
    }
}

static const struct model_version *ruler_of(
    const struct model *m, uint32_t sector, const struct model_version *v)
{
    const struct model_version *all = m->versions[sector];

    for (unsigned i = 0; i < m->version_counts[sector]; i++)
        if (all[i].write == v->ruled_by)
            return &all[i];
    return NULL;
}

/* Gone are those that had ended before the durable write began, and those known to have stood there
 * before one of them. */
static bool is_superseded(
    const struct model *m, uint32_t sector, const struct model_version *v, uint32_t durable_begun)
{
    const struct model_version *ruler = ruler_of(m, sector, v);

    return model_write_of(m, v)->ended < durable_begun ||
           (ruler && model_write_of(m, ruler)->ended < durable_begun);
}

static void supersede(struct model *m, uint32_t sector, const struct model_write *durable)
{
    bool superseded[MODEL_VERSIONS];
    unsigned count = m->version_counts[sector];

    for (unsigned i = 0; i < count; i++)
        superseded[i] = is_superseded(m, sector, &m->versions[sector][i], durable->begun);
    for (unsigned i = 0; i < count; i++) {
        struct model_version *v = &m->versions[sector][i];

        if (!superseded[i] || v->ruled_by == MODEL_GONE)
            continue;
        if (v->ruled_by == MODEL_NOBODY || v->ruled_at > durable->ended)
            v->ruled_at = durable->ended;
        v->ruled_by = MODEL_GONE;
    }
}

static void make_durable(struct model *m, struct model_write *w)
{
    struct model_write copy = *w; /* it may be superseded itself */
    uint32_t oldest = oldest_read(m);

    w->durable = true;
    for (uint32_t s = copy.first; s < copy.first + copy.count; s++) {
        if (m->version_counts[s] == 1)
            continue;
        supersede(m, s, &copy);
        purge(m, s, oldest);
    }
}

bool model_is_settled(const struct model *m, uint64_t offset)
{
    uint64_t sector = offset / MODEL_SECTOR_BYTES;

    return m->version_counts[sector] == 1 && m->writes[m->versions[sector][0].write].durable;
}

void model_write_end(struct model *m, unsigned ticket, bool ok, bool fua)
{
    struct model_write *w = &m->writes[ticket];

    w->ended = ++m->clock;
    w->certain = ok;
    w->failed = !ok;
    if (ok && fua)
        make_durable(m, w);
}

/* --- flushes, cuts, reads --- */

uint32_t model_flush_begin(struct model *m)
{
    return ++m->clock;
}

void model_flush_end(struct model *m, uint32_t begun, bool ok)
{
    m->clock++;
    if (!ok)
        return;
    m->flushed_at = MAX(m->flushed_at, begun);
    for (unsigned i = 0; i < m->slots_used; i++) {
        struct model_write *w = &m->writes[i];

        if (w->holders && w->certain && !w->durable && w->ended < begun)
            make_durable(m, w);
    }
}

uint32_t model_read_begin(struct model *m)
{
    for (unsigned i = 0; i < MODEL_READS; i++)
        if (!m->reads[i])
            return m->reads[i] = ++m->clock;
    fprintf(stderr, "model: more than %u reads under way\n", MODEL_READS);
    abort();
}

void model_read_failed(struct model *m, uint32_t begun)
{
    m->clock++;
    for (unsigned i = 0; i < MODEL_READS; i++)
        if (m->reads[i] == begun)
            m->reads[i] = 0;
}

static void end_all(struct model *m, bool power_cut)
{
    m->clock++;
    memset(m->reads, 0, sizeof m->reads);
    purge_all(m);
    for (unsigned i = 0; i < m->slots_used; i++) {
        struct model_write *w = &m->writes[i];

        if (w->holders && w->ended == MODEL_UNDER_WAY)
            w->ended = m->clock;
        w->certain = w->durable || (w->certain && !power_cut);
    }
}

/* What was seen instead is on the medium, or known to have stood there before something that is; or
 * this one would have come after it, and so was never done. */
static bool is_ruled_for_good(const struct model *m, uint32_t sector, const struct model_version *v)
{
    for (unsigned steps = 0; steps < MODEL_VERSIONS; steps++) {
        const struct model_version *ruler = ruler_of(m, sector, v);

        if (!ruler)
            return false;
        if (model_on_medium(m, ruler))
            return true;
        if (model_write_of(m, v)->begun > model_write_of(m, ruler)->ended)
            return !(m->failed_linger && model_write_of(m, v)->failed);
        v = ruler;
    }
    return false;
}

/* What reads gave may have been lost. */
static void doubt(struct model *m, uint32_t sector)
{
    struct model_version *v = m->versions[sector];
    unsigned count = m->version_counts[sector];

    for (unsigned i = 0; count > 1 && i < count; i++) {
        if (v[i].ruled_by != MODEL_GONE && !is_ruled_for_good(m, sector, &v[i]))
            v[i].ruled_by = MODEL_NOBODY;
    }
}

void model_forgotten(struct model *m)
{
    for (uint32_t s = 0; s < m->sector_count; s++)
        doubt(m, s);
    end_all(m, true);
}

void model_cut(struct model *m)
{
    model_forgotten(m);
    m->power_cut_at = m->clock;
}

void model_killed(struct model *m)
{
    end_all(m, false);
}

void model_unpin(struct model *m)
{
    m->pinned_at = MODEL_UNDER_WAY;
    for (uint32_t s = 0; s < m->sector_count; s++)
        for (unsigned i = 0; i < m->version_counts[s]; i++) {
            struct model_version *v = &m->versions[s][i];

            if (v->ruled_by != MODEL_GONE)
                v->ruled_by = MODEL_NOBODY;
            if (model_write_of(m, v)->certain)
                continue;
            v->seen = false;
            if (model_write_of(m, v)->kind != MODEL_COPY)
                v->value = 0;
        }
}

void model_pin(struct model *m)
{
    m->pinned_at = ++m->clock;
}

/* --- the device --- */

static void add_sectors(struct model *m, uint64_t size_bytes, enum model_start start)
{
    static const enum model_kind kinds[] = {
        [MODEL_START_ANYTHING] = MODEL_FIRST_ANYTHING,
        [MODEL_START_OWN] = MODEL_FIRST_OWN,
        [MODEL_START_ZEROS] = MODEL_FIRST_ZEROS,
    };
    uint32_t first = m->sector_count;

    assert(size_bytes <= MODEL_BYTES_MAX && size_bytes % MODEL_SECTOR_BYTES == 0);
    m->sector_count = (uint32_t)(size_bytes / MODEL_SECTOR_BYTES);
    m->foreign_ok = m->foreign_ok || start == MODEL_START_ANYTHING;
    if (m->sector_count > first)
        m->writes[add_write(m, kinds[start], 0, first, m->sector_count - first)].ended = 0;
}

void model_init(struct model *m, uint32_t id, uint64_t size_bytes, enum model_start start)
{
    memset(m, 0, offsetof(struct model, versions));
    m->id = id;
    m->power_cut_at = m->clock = 1;
    m->free_slot = MODEL_NOBODY;
    add_sectors(m, size_bytes, start);
}

void model_fork(struct model *to, const struct model *from, uint32_t next_number)
{
    memcpy(to, from, offsetof(struct model, versions));
    memcpy(to->versions, from->versions, from->sector_count * sizeof *from->versions);
    memcpy(to->writes, from->writes, from->slots_used * sizeof *from->writes);
    to->next_number = next_number;
}

void model_resize(struct model *m, uint64_t size_bytes, enum model_start added)
{
    for (uint32_t s = (uint32_t)(size_bytes / MODEL_SECTOR_BYTES); s < m->sector_count; s++)
        while (m->version_counts[s])
            remove_version(m, s, m->version_counts[s] - 1u);
    m->sector_count = MIN(m->sector_count, (uint32_t)(size_bytes / MODEL_SECTOR_BYTES));
    for (unsigned i = 0; i < m->slots_used; i++) /* of what is added later they know nothing */
        if (m->writes[i].first < m->sector_count)
            m->writes[i].count =
                (uint16_t)MIN((uint32_t)m->writes[i].count, m->sector_count - m->writes[i].first);
    m->clock++;
    add_sectors(m, size_bytes, added);
}
