/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resync, check and repair of RAID5 and RAID6: reads all of a stretch, computes parity and compares
 * it with what is there; where it differs, a resync and a repair write it. Data that is missing is
 * solved for first, so that of RAID6 with a member missing Q is made to fit P. A block that cannot
 * be read is corrected in any case.
 *
 * Where P and Q of a stripe that was in sync, with all its members there, agree on the one block
 * that is wrong, a check names it; and when it is data a repair writes what it should be, rather
 * than parity that fits the wrong data.
 *
 * And what recovery asks for: what a member should hold.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/parity.h"
#include "raid/stripe.h"
#include "rt/io.h"

#define STRETCH_BYTES (4u << 20) /* of all members together */
#define BLOCK_BYTES   4096u      /* mismatches are counted in these */

struct window {
    struct stripe stripe;
    void *memory;
    struct range_holder range;
};

/* The next part of the action's stretch, inside one stripe. */
static bool next(struct array *a, uint64_t *offset, uint64_t *length)
{
    struct array_sync *s = &a->sync;
    uint64_t chunk_bytes = a->geometry.chunk_bytes, most;

    if (s->next_bytes >= s->stretch_end_bytes)
        return false;
    most = MAX(round_down(STRETCH_BYTES / a->geometry.raid_disks, BLOCK_BYTES), BLOCK_BYTES);
    *offset = s->next_bytes;
    *length = MIN(chunk_bytes - *offset % chunk_bytes, s->stretch_end_bytes - *offset);
    *length = MIN(*length, most);
    *length = MIN(*length, pace_window_bytes(a));
    s->next_bytes += *length;
    return true;
}

static int window_begin(struct window *w, struct array *a, uint64_t offset, uint64_t length)
{
    uint64_t chunk_bytes = a->geometry.chunk_bytes, start = offset % chunk_bytes;

    w->memory = io_buffer_get(stripe_memory_bytes(a));
    if (!w->memory)
        return -ENOMEM;
    range_lock_take(&a->ranges, &w->range, offset, offset + length, false);
    stripe_init(&w->stripe, a, offset / chunk_bytes, start, start + length, w->memory);
    return 0;
}

static void window_end(struct window *w)
{
    range_lock_release(&w->stripe.a->ranges, &w->range);
    stripe_end(&w->stripe);
    io_buffer_put(w->memory, stripe_memory_bytes(w->stripe.a));
}

/* --- what does not fit --- */

struct comparison {
    struct stripe *s;
    uint8_t *kept[2]; /* parity as it was read; NULL: it was not */
    bool tells;       /* one wrong block can be told from the others */
};

static struct stripe_cell *parity_cell(const struct comparison *c, unsigned number)
{
    return &c->s->cells[c->s->a->geometry.raid5.data + number];
}

static bool all_readable(const struct stripe *s)
{
    for (unsigned i = 0; i < s->a->geometry.raid_disks; i++)
        if (!(s->flags[i] & STRIPE_READABLE))
            return false;
    return true;
}

/* Puts aside the parity that has been read. */
static int comparison_begin(struct comparison *c, struct stripe *s)
{
    unsigned first = s->a->geometry.raid5.data;

    *c = (struct comparison){.s = s,
        .tells =
            s->a->geometry.parity == 2 && s->a->sync.action != ARRAY_RESYNC && all_readable(s)};
    for (unsigned i = 0; i < s->a->geometry.parity; i++) {
        if (!(s->flags[first + i] & STRIPE_READABLE))
            continue;
        c->kept[i] = io_buffer_get(stripe_bytes(s));
        if (!c->kept[i])
            return -ENOMEM;
        memcpy(c->kept[i], parity_cell(c, i)->old, stripe_bytes(s));
    }
    return 0;
}

/* Parity that is right already is not written. */
static void comparison_end(struct comparison *c)
{
    for (unsigned i = 0; i < c->s->a->geometry.parity; i++) {
        struct stripe_cell *cell = parity_cell(c, i);
        if (c->kept[i] && !cell->rewrite && !memcmp(c->kept[i], cell->old, stripe_bytes(c->s)))
            c->s->flags[c->s->a->geometry.raid5.data + i] &= (unsigned char)~STRIPE_WRITABLE;
        io_buffer_put(c->kept[i], stripe_bytes(c->s));
    }
}

static bool fits(const struct comparison *c, uint64_t at, uint64_t length)
{
    for (unsigned i = 0; i < c->s->a->geometry.parity; i++)
        if (c->kept[i] && memcmp(c->kept[i] + at, parity_cell(c, i)->old + at, length) != 0)
            return false;
    return true;
}

/* The blocks in the order of raid/parity.h: data by exponent, parity as it was read. */
static void sort_blocks(
    const struct comparison *c, uint64_t at, void *blocks[PARITY_BLOCKS_MAX + 1])
{
    const struct raid_geometry *g = &c->s->a->geometry;

    for (unsigned i = 0; i < g->raid5.data; i++)
        blocks[raid_stripe_exponent(g, &c->s->place, i)] = c->s->cells[i].old + at;
    for (unsigned i = 0; i < g->parity; i++)
        blocks[g->raid5.data + i] = c->kept[i] + at;
}

/* The cell of a block in that order. */
static unsigned cell_of(const struct stripe *s, unsigned number)
{
    const struct raid_geometry *g = &s->a->geometry;

    if (number >= g->raid5.data || MUTANT(NAMED_IN_DATA_ORDER))
        return number;
    return raid_stripe_block_of_exponent(g, &s->place, number);
}

static void note(const struct stripe *s, int culprit, uint64_t at, uint64_t length)
{
    const struct raid_geometry *g = &s->a->geometry;
    bool data = culprit >= 0 && culprit < (int)g->raid5.data;
    unsigned first = data ? (unsigned)culprit : 0;
    struct array_mismatch m = {
        .offset_bytes = (s->place.number * g->raid5.data + first) * g->chunk_bytes + s->start + at,
        .length_bytes = length,
        .stride_bytes = g->chunk_bytes,
        .count = data ? 1 : g->raid5.data,
    };

    if (culprit >= 0) {
        m.wrong = data ? ARRAY_WRONG_DATA : ARRAY_WRONG_PARITY;
        m.suspects = 1;
        m.roles[0] = (int)raid_stripe_role(g, &s->place, (unsigned)culprit);
    }
    sync_count_mismatch(s->a, length);
    sync_note_mismatch(s->a, &m);
}

/* The data that is wrong from the others and P; parity is as it was. */
static void put_right(struct comparison *c, unsigned cell, unsigned number, void *const *blocks,
    uint64_t at, uint64_t length)
{
    const struct raid_geometry *g = &c->s->a->geometry;

    parity_recover(blocks, g->raid5.data, g->parity, &number, 1, length);
    c->s->cells[cell].rewrite = true;
    for (unsigned i = 0; i < g->parity; i++)
        memcpy(parity_cell(c, i)->old + at, c->kept[i] + at, length);
}

static void settle(struct comparison *c, uint64_t at, uint64_t length)
{
    const struct raid_geometry *g = &c->s->a->geometry;
    void *blocks[PARITY_BLOCKS_MAX + 1];
    int number = PARITY_UNKNOWN, culprit = PARITY_UNKNOWN;
    bool data;

    if (c->s->a->sync.action == ARRAY_RESYNC)
        return;
    if (c->tells) {
        sort_blocks(c, at, blocks);
        number = parity_check((const void *const *)blocks, g->raid5.data, g->parity, length);
    }
    if (number >= 0)
        culprit = (int)cell_of(c->s, (unsigned)number);
    note(c->s, culprit, at, length);
    data = culprit >= 0 && culprit < (int)g->raid5.data;
    if (data && c->s->a->sync.action == ARRAY_REPAIR && !MUTANT(REPAIR_FITS_PARITY))
        put_right(c, (unsigned)culprit, (unsigned)number, blocks, at, length);
}

/* Computes parity anew; cells that it changes stay writable, the others do not. */
static int compare_parity(struct stripe *s)
{
    struct comparison c;
    int rc = comparison_begin(&c, s);

    if (!rc)
        rc = stripe_generate(s);
    for (uint64_t at = 0; !rc && at < stripe_bytes(s); at += BLOCK_BYTES) {
        uint64_t length = MIN((uint64_t)BLOCK_BYTES, stripe_bytes(s) - at);
        if (!fits(&c, at, length))
            settle(&c, at, length);
    }
    comparison_end(&c);
    return rc;
}

static int compare(struct stripe *s)
{
    struct array *a = s->a;
    int rc = stripe_load(s, true);

    if (!rc)
        rc = compare_parity(s);
    if (rc)
        return rc;
    if (a->sync.action == ARRAY_CHECK) {
        stripe_correct(s);
    } else {
        stripe_fill(s);
        rc = stripes_write(s, 1, BLOCK_BACKGROUND);
    }
    return members_record_if_needed(a) ? -EIO : rc;
}

bool parity_compare(struct array *a, void *const buffers[SYNC_BUFFERS])
{
    uint64_t offset, length;
    struct window w;
    int rc;

    if (!next(a, &offset, &length) || !sync_may_go_on(a, length))
        return false;
    gate_enter(&a->writes);
    rc = window_begin(&w, a, offset, length);
    if (!rc) {
        rc = compare(&w.stripe);
        window_end(&w);
    }
    gate_leave(&a->writes);
    if (rc)
        a->sync.stretch_result = rc == -ENOMEM ? rc : -EIO;
    atomic_fetch_add(&a->sync.done_bytes, length);
    return true;
}

/* --- for recovery --- */

bool parity_locate(const struct array *a, unsigned role, uint64_t member_offset_bytes,
    uint64_t *sync_offset_bytes, uint64_t *run_bytes)
{
    *sync_offset_bytes = member_offset_bytes;
    *run_bytes = a->geometry.chunk_bytes - member_offset_bytes % a->geometry.chunk_bytes;
    return true;
}

/* From the member itself, when it is being replaced and can be read. */
static int fetch_itself(
    struct array *a, unsigned role, uint64_t member_offset_bytes, uint64_t length, void *buf)
{
    struct member *m = array_readable(a, role);
    struct iovec iov = {buf, length};
    int rc;

    if (!m)
        return -EIO;
    rc = blockdev_readv(m->dev, &iov, 1, m->data_offset_bytes + member_offset_bytes,
        BLOCK_BACKGROUND | BLOCK_PATIENT);
    if (rc)
        atomic_fetch_add(&m->errors, 1);
    return rc;
}

/* All of the stripe's blocks that are writable, by those that can be read. */
static int work_out(struct stripe *s)
{
    int rc = stripe_load(s, false);

    return rc ? rc : stripe_generate(s);
}

/* Of one stripe: from the others, in one go, as many as there is parity. */
int parity_fetch(struct array *a, const unsigned *roles, unsigned count,
    uint64_t member_offset_bytes, uint64_t length, void *const buffers[SYNC_BUFFERS], void **data)
{
    uint64_t chunk_bytes = a->geometry.chunk_bytes, start = member_offset_bytes % chunk_bytes;
    unsigned blocks[SYNC_BUFFERS];
    void *memory;
    struct stripe s;
    int rc;

    assert(count <= a->geometry.parity);
    for (unsigned i = 0; i < count; i++)
        data[i] = buffers[i];
    if (!fetch_itself(a, roles[0], member_offset_bytes, length, buffers[0]))
        return 0;
    memory = io_buffer_get(stripe_memory_bytes(a));
    if (!memory)
        return -ENOMEM;
    stripe_init(&s, a, member_offset_bytes / chunk_bytes, start, start + length, memory);
    for (unsigned i = 0; i < a->geometry.raid_disks; i++)
        s.flags[i] &= (unsigned char)~STRIPE_WRITABLE;
    for (unsigned i = 0; i < count; i++) {
        blocks[i] = raid_stripe_block(&a->geometry, &s.place, roles[i]);
        s.flags[blocks[i]] = STRIPE_WRITABLE; /* by who has asked, whatever became of the member */
        s.cells[blocks[i]].old = buffers[i];
    }
    rc = work_out(&s);
    for (unsigned i = 0; i < count; i++)
        s.cells[blocks[i]].old = NULL; /* not the stripe's to give back */
    stripe_end(&s);
    io_buffer_put(memory, stripe_memory_bytes(a));
    return rc;
}
