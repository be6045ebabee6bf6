/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffers, operations and arithmetic of stretches of stripes; see stripe.h. */
#include "raid/stripe.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "raid/parity.h"
#include "rt/io.h"

/* What a read is for. */
struct source {
    struct stripe *stripe;
    unsigned block;
};

/* Operations on members, gathered and then run side by side. */
struct gathering {
    struct block_op *ops;
    struct member **targets;
    struct source *sources; /* of reads */
    struct iovec *iov;
    unsigned count, iov_count;
    void *memory;
    size_t memory_bytes;
};

static int gathering_init(struct gathering *g, unsigned ops_max)
{
    size_t each = sizeof *g->ops + sizeof(struct member *) + sizeof *g->sources + sizeof *g->iov;
    char *at;

    *g = (struct gathering){.memory_bytes = ops_max * each};
    g->memory = at = io_buffer_get(g->memory_bytes);
    if (!at)
        return -ENOMEM;
    g->ops = (struct block_op *)at;
    at += ops_max * sizeof *g->ops;
    g->targets = (struct member **)at;
    at += ops_max * sizeof(struct member *);
    g->sources = (struct source *)at;
    at += ops_max * sizeof *g->sources;
    g->iov = (struct iovec *)at;
    return 0;
}

static void gathering_end(struct gathering *g)
{
    io_buffer_put(g->memory, g->memory_bytes);
}

static unsigned role_of(const struct stripe *s, unsigned cell)
{
    return raid_stripe_role(&s->a->geometry, &s->place, cell);
}

static unsigned data_count(const struct stripe *s)
{
    return s->a->geometry.raid5.data;
}

static unsigned exponent_of(const struct stripe *s, unsigned cell)
{
    return raid_stripe_exponent(&s->a->geometry, &s->place, cell);
}

static unsigned cell_count(const struct stripe *s)
{
    return s->a->geometry.raid_disks;
}

void stripe_init(
    struct stripe *s, struct array *a, uint64_t number, uint64_t start, uint64_t end, void *memory)
{
    *s = (struct stripe){.a = a,
        .place = raid_geometry_stripe(&a->geometry, number),
        .start = start,
        .end = end,
        .cells = memory,
        .flags = (unsigned char *)memory + a->geometry.raid_disks * sizeof *s->cells};
    memset(memory, 0, stripe_memory_bytes(a));
    for (unsigned i = 0; i < cell_count(s); i++) {
        unsigned role = role_of(s, i);

        if (array_readable(a, role))
            s->flags[i] |= STRIPE_READABLE;
        if (array_writable(a->roles[role]) || array_writable(a->replacements[role]))
            s->flags[i] |= STRIPE_WRITABLE;
    }
}

void stripe_end(struct stripe *s)
{
    for (unsigned i = 0; i < cell_count(s); i++)
        io_buffer_put(s->cells[i].old, stripe_bytes(s));
}

static int need_buffer(struct stripe *s, unsigned cell)
{
    struct stripe_cell *c = &s->cells[cell];

    if (!c->old)
        c->old = io_buffer_get(stripe_bytes(s));
    return c->old ? 0 : -ENOMEM;
}

static struct block_op op_for(const struct stripe *s, enum block_kind kind, struct member *m,
    const struct iovec *iov, unsigned flags)
{
    return (struct block_op){
        .kind = kind,
        .flags = flags | BLOCK_PATIENT,
        .dev = m->dev,
        .iov = iov,
        .iov_count = 1,
        .offset = m->data_offset_bytes + stripe_member_offset(s),
    };
}

/* What stands there is not known. */
static void drop_buffer(struct stripe *s, unsigned cell)
{
    io_buffer_put(s->cells[cell].old, stripe_bytes(s));
    s->cells[cell].old = NULL;
}

static int gather_read(struct gathering *g, struct stripe *s, unsigned cell)
{
    struct stripe_cell *c = &s->cells[cell];
    struct member *m = array_readable(s->a, role_of(s, cell));

    if (need_buffer(s, cell))
        return -ENOMEM;
    if (!m) { /* it has failed since */
        s->flags[cell] &= (unsigned char)~STRIPE_READABLE;
        drop_buffer(s, cell);
        return -EAGAIN;
    }
    g->iov[g->count] = (struct iovec){c->old, stripe_bytes(s)};
    g->targets[g->count] = m;
    g->sources[g->count] = (struct source){s, cell};
    g->ops[g->count] = op_for(s, BLOCK_READ, m, &g->iov[g->count], 0);
    g->count++;
    return 0;
}

static int gather_reads(struct gathering *g, struct stripe *stripes, unsigned count)
{
    int rc = 0;

    for (unsigned n = 0; n < count; n++)
        for (unsigned i = 0; i < cell_count(&stripes[n]) && rc != -ENOMEM; i++) {
            int this = stripes[n].flags[i] & STRIPE_READ ? gather_read(g, &stripes[n], i) : 0;
            rc = this ? this : rc;
        }
    return rc;
}

static int note_failed_reads(struct gathering *g)
{
    int rc = 0;

    for (unsigned i = 0; i < g->count; i++) {
        if (!g->ops[i].result)
            continue;
        struct source *from = &g->sources[i];
        atomic_fetch_add(&g->targets[i]->errors, 1);
        from->stripe->flags[from->block] &= (unsigned char)~STRIPE_READABLE;
        from->stripe->cells[from->block].rewrite = true;
        drop_buffer(from->stripe, from->block);
        rc = -EAGAIN;
    }
    return rc;
}

int stripes_read(struct stripe *stripes, unsigned count)
{
    struct gathering g;
    int rc = gathering_init(&g, count * cell_count(stripes));

    if (rc)
        return rc;
    rc = gather_reads(&g, stripes, count);
    if (rc != -ENOMEM && g.count && blockdev_run(g.ops, g.count))
        rc = note_failed_reads(&g);
    gathering_end(&g);
    return rc;
}

/* --- arithmetic --- */

/* What the data will be. */
static const void *new_data(const struct stripe_cell *c)
{
    return c->fresh ? c->fresh : c->old;
}

/* The number that raid/parity.h has for a cell: data in Q order. */
static unsigned q_number(const struct stripe *s, unsigned cell)
{
    return cell < data_count(s) ? exponent_of(s, cell) : cell;
}

/* The data that cannot be read; and P, when the only one of those is solved for by Q. */
static unsigned find_missing(const struct stripe *s, unsigned missing[2])
{
    unsigned count = 0, p = data_count(s);

    for (unsigned i = 0; i < p; i++)
        if (!(s->flags[i] & STRIPE_READABLE))
            missing[count++] = i;
    if (count == 1 && !(s->flags[p] & STRIPE_READABLE))
        missing[count++] = p;
    return count;
}

int stripe_solve(struct stripe *s)
{
    void *blocks[PARITY_BLOCKS_MAX + 1];
    unsigned missing[2], count = find_missing(s, missing);

    if (!count)
        return 0;
    for (unsigned i = 0; i < count; i++)
        if (missing[i] < data_count(s) && need_buffer(s, missing[i]))
            return -ENOMEM;
    for (unsigned i = 0; i < cell_count(s); i++)
        blocks[q_number(s, i)] = s->cells[i].old;
    for (unsigned i = 0; i < count; i++) {
        missing[i] = q_number(s, missing[i]);
        if (missing[i] == data_count(s))
            blocks[missing[i]] = NULL;
    }
    parity_recover(blocks, data_count(s), s->a->geometry.parity, missing, count, stripe_bytes(s));
    return 0;
}

void stripe_fill(struct stripe *s)
{
    for (unsigned i = 0; i < data_count(s); i++)
        if (s->flags[i] & STRIPE_WRITABLE &&
            (!(s->flags[i] & STRIPE_READABLE) || s->a->replacements[role_of(s, i)]))
            s->cells[i].fill = true;
}

/* The parity cell if it is to be written, with a buffer; NULL: it is not. */
static uint8_t *parity_buffer(struct stripe *s, unsigned number, int *rc)
{
    unsigned cell = data_count(s) + number;

    if (cell >= cell_count(s) || !(s->flags[cell] & STRIPE_WRITABLE))
        return NULL;
    *rc = need_buffer(s, cell) ? -ENOMEM : *rc;
    return s->cells[cell].old;
}

int stripe_generate(struct stripe *s)
{
    const void *data[PARITY_BLOCKS_MAX];
    uint8_t exponents[PARITY_BLOCKS_MAX];
    unsigned count = data_count(s);
    int rc = 0;
    uint8_t *p = parity_buffer(s, 0, &rc), *q = parity_buffer(s, 1, &rc);

    if (rc)
        return rc;
    for (unsigned i = 0; i < count; i++) {
        data[q_number(s, i)] = new_data(&s->cells[i]);
        exponents[i] = (uint8_t)i;
    }
    if (p && q)
        parity_pq(p, q, data, count, stripe_bytes(s));
    else if (p)
        parity_xor(p, data, count, stripe_bytes(s));
    else if (q)
        parity_partial(NULL, q, data, exponents, count, stripe_bytes(s));
    return 0;
}

void stripe_modify(struct stripe *s)
{
    const void *changes[2 * PARITY_BLOCKS_MAX];
    uint8_t exponents[2 * PARITY_BLOCKS_MAX];
    unsigned count = 0;
    int rc = 0;
    uint8_t *p = parity_buffer(s, 0, &rc), *q = parity_buffer(s, 1, &rc);

    for (unsigned i = 0; i < data_count(s); i++) {
        if (!s->cells[i].fresh)
            continue;
        exponents[count] = exponents[count + 1] = (uint8_t)exponent_of(s, i);
        changes[count++] = s->cells[i].old;
        changes[count++] = s->cells[i].fresh;
    }
    parity_update(p, q, changes, exponents, count, stripe_bytes(s));
}

static void plan_all(struct stripe *s)
{
    for (unsigned i = 0; i < cell_count(s); i++)
        if (s->flags[i] & STRIPE_READABLE)
            s->flags[i] |= STRIPE_READ;
}

int stripe_load(struct stripe *s, bool all)
{
    int rc;

    do {
        for (unsigned i = 0; i < cell_count(s); i++)
            s->flags[i] &= (unsigned char)~STRIPE_READ;
        rc = stripe_plan_load(s->flags, data_count(s), s->a->geometry.parity);
        if (!rc && all)
            plan_all(s);
        if (!rc)
            rc = stripes_read(s, 1);
    } while (rc == -EAGAIN);
    return rc ? rc : stripe_solve(s);
}

/* --- writing --- */

uint8_t *stripe_new_block(const struct stripe *s, unsigned cell)
{
    const struct stripe_cell *c = &s->cells[cell];

    if (!(s->flags[cell] & STRIPE_WRITABLE))
        return NULL;
    if (cell >= data_count(s))
        return c->old;
    return c->fresh ? c->fresh : c->rewrite || c->fill ? c->old : NULL;
}

static void add_write(struct gathering *g, const struct stripe *s, struct member *m,
    const struct iovec *iov, unsigned flags)
{
    if (!m)
        return;
    g->targets[g->count] = m;
    g->ops[g->count++] = op_for(s, BLOCK_WRITE, m, iov, flags | BLOCK_STABLE);
}

/* Whether the operation before goes on in this piece. */
static bool extends(const struct gathering *g, const struct member *m, uint64_t offset)
{
    const struct block_op *last = g->count ? &g->ops[g->count - 1] : NULL;

    return last && m && g->targets[g->count - 1] == m && last->iov_count < IOV_SEGMENTS_MAX &&
           last->offset + iov_length(last->iov, last->iov_count) == offset;
}

/* The pieces of one block, in order: neighbours are one operation. */
static void gather_writes(struct gathering *g, struct stripe *stripes, unsigned count,
    unsigned cell, bool replacement, unsigned flags)
{
    for (unsigned n = 0; n < count; n++) {
        struct stripe *s = &stripes[n];
        struct array *a = s->a;
        unsigned role = role_of(s, cell);
        struct member *m = array_writable(replacement ? a->replacements[role] : a->roles[role]);
        uint8_t *data = stripe_new_block(s, cell);

        if (!data || !m)
            continue;
        g->iov[g->iov_count] = (struct iovec){data, stripe_bytes(s)};
        if (extends(g, m, m->data_offset_bytes + stripe_member_offset(s)))
            g->ops[g->count - 1].iov_count++;
        else
            add_write(g, s, m, &g->iov[g->iov_count], flags);
        g->iov_count++;
    }
}

static int settle_writes(struct array *a, struct gathering *g)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < g->count; i++)
        if (g->ops[i].result)
            g->targets[failed++] = g->targets[i];
    return members_fail(a, g->targets, failed);
}

/* Blocks that could not be read have got their contents again. */
static void note_corrected(struct stripe *s)
{
    for (unsigned i = 0; i < cell_count(s); i++) {
        struct member *m = array_readable(s->a, role_of(s, i));

        if (s->cells[i].rewrite && m && stripe_new_block(s, i))
            wear_note_corrected(s->a, m);
    }
}

int stripes_write(struct stripe *stripes, unsigned count, unsigned flags)
{
    struct array *a = stripes->a;
    struct gathering g;
    int rc = gathering_init(&g, 2 * count * cell_count(stripes));

    if (rc)
        return rc;
    for (unsigned i = 0; i < cell_count(stripes); i++) {
        gather_writes(&g, stripes, count, i, false, flags);
        gather_writes(&g, stripes, count, i, true, flags);
    }
    if (g.count && blockdev_run(g.ops, g.count))
        rc = settle_writes(a, &g);
    for (unsigned n = 0; n < count && !rc; n++)
        note_corrected(&stripes[n]);
    gathering_end(&g);
    return rc;
}
