/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing RAID5 and RAID6: stripe by stripe.
 *
 * The wrapper has cut requests at chunks, so each is a part of one data block. Those that meet at a
 * stripe join (stripe_join.h), and one of them leads.
 *
 * The leader locks what the parts touch (in member bytes, against resync, recovery and
 * reconstructing reads), makes the bitmap's bits durable, cuts the stripe into stretches that the
 * same blocks are written in, plans each (stripe_plan.h), copies the parts' data (guests may change
 * theirs meanwhile), reads, computes and writes, for all stretches side by side. Members that fail
 * are faulty in the survivors' superblocks before anybody hears of it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/parity_log.h"
#include "raid/parity_record.h"
#include "raid/stripe.h"
#include "raid/stripe_flush.h"
#include "raid/stripe_join.h"
#include "rt/io.h"

#define PARTS_MAX        32u  /* of one update */
#define EDGES_MAX        640u /* room for those where a record of the log is full, too */
#define EDGE_ALIGN_BYTES 4096u

/* Bytes of a block that are written without a gap. */
struct run {
    unsigned block;
    uint64_t start, end;
    bool borrowed; /* its data is the guest's */
};

struct update {
    struct array *a;
    uint64_t stripe;
    struct stripe_part *parts[PARTS_MAX];
    unsigned part_count, flags;
    struct run runs[PARTS_MAX];
    unsigned run_count;
    uint64_t edges[EDGES_MAX];
    unsigned edge_count;
    struct stripe *stretches;
    unsigned stretch_count;
    uint8_t *fresh[PARTS_MAX]; /* by run */
    void *memory;
    size_t memory_bytes;
};

/* --- cutting --- */

static int compare_parts(const void *x, const void *y)
{
    const struct stripe_part *a = *(struct stripe_part *const *)x,
                             *b = *(struct stripe_part *const *)y;

    if (a->block != b->block)
        return a->block < b->block ? -1 : 1;
    return a->start < b->start ? -1 : a->start > b->start;
}

/* The parts are sorted by block and start. */
static void find_runs(struct update *u)
{
    for (unsigned i = 0; i < u->part_count; i++) {
        const struct stripe_part *p = u->parts[i];
        struct run *last = u->run_count ? &u->runs[u->run_count - 1] : NULL;

        if (last && last->block == p->block && p->start <= last->end)
            last->end = MAX(last->end, p->end);
        else
            u->runs[u->run_count++] = (struct run){p->block, p->start, p->end, false};
    }
}

static int compare_edges(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

    return a < b ? -1 : a > b;
}

static void find_edges(struct update *u)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < u->run_count; i++) {
        u->edges[2 * i] = u->runs[i].start;
        u->edges[2 * i + 1] = u->runs[i].end;
    }
    qsort(u->edges, 2 * u->run_count, sizeof *u->edges, compare_edges);
    for (unsigned i = 0; i < 2 * u->run_count; i++)
        if (!kept || u->edges[i] != u->edges[kept - 1])
            u->edges[kept++] = u->edges[i];
    u->edge_count = kept;
}

/* Where a stretch could not go into a record of the log as a whole. */
static void add_edges(struct update *u)
{
    uint64_t most = parity_log_most_bytes(u->a) / u->a->geometry.raid_disks;
    unsigned count = u->edge_count;

    most = round_down(most, EDGE_ALIGN_BYTES);
    for (unsigned i = 1; most && i < count; i++)
        for (uint64_t at = u->edges[i - 1] + most; at < u->edges[i]; at += most) {
            assert(u->edge_count < EDGES_MAX);
            u->edges[u->edge_count++] = at;
        }
    qsort(u->edges, u->edge_count, sizeof *u->edges, compare_edges);
}

static const struct run *covering(const struct update *u, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < u->run_count; i++)
        if (u->runs[i].start <= start && u->runs[i].end >= end)
            return &u->runs[i];
    return NULL;
}

static int make_stretches(struct update *u)
{
    unsigned most = u->edge_count - 1;
    size_t each = round_up(stripe_memory_bytes(u->a), sizeof(void *));
    char *next;

    u->memory_bytes = most * (sizeof *u->stretches + each);
    u->memory = io_buffer_get(u->memory_bytes);
    if (!u->memory)
        return -ENOMEM;
    u->stretches = u->memory;
    next = (char *)(u->stretches + most);
    for (unsigned i = 0; i < most; i++) {
        if (!covering(u, u->edges[i], u->edges[i + 1]))
            continue;
        stripe_init(
            &u->stretches[u->stretch_count++], u->a, u->stripe, u->edges[i], u->edges[i + 1], next);
        next += each;
    }
    return 0;
}

/* --- data --- */

static struct run *run_of(struct update *u, const struct stripe_part *p)
{
    struct run *r = u->runs;

    while (r->block != p->block || p->start < r->start || p->end > r->end)
        r++;
    return r;
}

/* A part that is a run by itself, lies in one piece and stays as it is needs no copy. */
static uint8_t *usable_as_is(
    const struct update *u, const struct run *r, const struct stripe_part *p)
{
    bool aligned = !((uintptr_t)p->iov->iov_base & (u->a->dev.memory_align_bytes - 1));
    bool stable = MUTANT(PARITY_OF_CHANGING) || p->flags & BLOCK_STABLE;

    return stable && p->iov_count == 1 && aligned && p->start == r->start && p->end == r->end
               ? p->iov->iov_base
               : NULL;
}

static void copy_part(uint8_t *to, const struct stripe_part *p)
{
    iov_copy_from(to, p->iov, p->iov_count, 0, p->end - p->start);
}

/* Each run's data in one piece of memory that nobody changes. */
static int take_data(struct update *u)
{
    for (unsigned i = 0; i < u->part_count; i++) {
        struct stripe_part *p = u->parts[i];
        struct run *r = run_of(u, p);
        uint8_t **fresh = &u->fresh[r - u->runs];

        if (!*fresh && (*fresh = usable_as_is(u, r, p))) {
            r->borrowed = true;
            continue;
        }
        if (!*fresh && !(*fresh = io_buffer_get(r->end - r->start)))
            return -ENOMEM;
        if (!r->borrowed)
            copy_part(*fresh + (p->start - r->start), p);
    }
    return 0;
}

static void give_back_data(struct update *u)
{
    for (unsigned i = 0; i < u->run_count; i++)
        if (u->fresh[i] && !u->runs[i].borrowed)
            io_buffer_put(u->fresh[i], u->runs[i].end - u->runs[i].start);
}

static void cover(struct update *u, struct stripe *s)
{
    for (unsigned i = 0; i < u->run_count; i++) {
        const struct run *r = &u->runs[i];

        if (r->start > s->start || r->end < s->end)
            continue;
        s->flags[r->block] |= STRIPE_COVERED;
        s->cells[r->block].fresh = u->fresh[i] + (s->start - r->start);
    }
}

/* --- doing it --- */

/* Among what is not written: where parity does not fit yet, nothing else would make it. */
static bool has_bad_block(const struct stripe *s)
{
    for (unsigned i = 0; i < s->a->geometry.raid5.data; i++)
        if (s->cells[i].rewrite && !(s->flags[i] & STRIPE_COVERED))
            return true;
    return false;
}

static int plan_one(struct stripe *s, bool in_sync)
{
    const struct raid_geometry *g = &s->a->geometry;
    int rc;

    for (unsigned c = 0; c < g->raid_disks; c++)
        s->flags[c] &= (unsigned char)~STRIPE_READ;
    rc = stripe_plan(&s->plan, s->flags, g->raid5.data, g->parity, in_sync);
    if (!rc && s->plan.method == STRIPE_MODIFY && has_bad_block(s) &&
        !stripe_plan_load(s->flags, g->raid5.data, g->parity))
        s->plan.method = STRIPE_LOAD; /* and it is corrected */
    return rc;
}

static int plan(struct update *u, bool in_sync)
{
    int rc = 0;

    for (unsigned i = 0; i < u->stretch_count && !rc; i++)
        rc = plan_one(&u->stretches[i], in_sync);
    return rc;
}

/* What a plan needs is read; a member that cannot be read changes the plan. */
static int plan_and_read(struct update *u, bool in_sync)
{
    int rc;

    do {
        rc = plan(u, in_sync);
        if (!rc)
            rc = stripes_read(u->stretches, u->stretch_count);
    } while (rc == -EAGAIN); /* each time there is less that can be read */
    return rc;
}

static int compute(struct stripe *s, bool in_sync)
{
    int rc = 0;

    switch (s->plan.method) {
    case STRIPE_PLAIN:
        return 0;
    case STRIPE_MODIFY:
        stripe_modify(s);
        return 0;
    case STRIPE_LOAD:
        rc = stripe_solve(s);
        break;
    case STRIPE_FULL:
    case STRIPE_RECONSTRUCT:
        break;
    }
    if (!rc && !in_sync)
        stripe_fill(s);
    return rc ? rc : stripe_generate(s);
}

/* How many stretches from there on go into one record. */
static unsigned fit_record(const struct update *u, unsigned first)
{
    uint64_t bytes = 0, most = parity_log_most_bytes(u->a);
    unsigned blocks = u->a->geometry.raid_disks, entries = 0, count = 0;

    if (!most)
        return u->stretch_count - first;
    while (first + count < u->stretch_count) {
        const struct stripe *s = &u->stretches[first + count];

        if (s->logged) {
            bytes += blocks * stripe_bytes(s);
            entries += blocks;
        }
        if (count && (bytes > most || entries > PARITY_RECORD_ENTRIES_MAX))
            break;
        count++;
    }
    return count;
}

static int write_logged(struct update *u, struct stripe *stretches, unsigned count)
{
    struct log_hold hold = {.count = 0};
    int rc = 0;

    if (MUTANT(LOG_AFTER_DATA))
        rc = stripes_write(stretches, count, u->flags);
    if (!rc && parity_log_most_bytes(u->a))
        rc = parity_log_append(u->a, stretches, count, &hold);
    /* what a failed member has no record of, it must not be taken for in sync with after a crash */
    if (!rc && members_record_if_needed(u->a))
        rc = -EIO;
    if (!rc && !MUTANT(LOG_AFTER_DATA))
        rc = stripes_write(stretches, count, u->flags);
    parity_log_release(&hold);
    return rc;
}

/* After writing: what has been written and may still be lost, and what that would do to the rest of
 * the stripe. */
static int make_durable(struct update *u)
{
    bool whole = true;

    for (unsigned i = 0; i < u->stretch_count; i++) {
        whole = whole && u->stretches[i].plan.method == STRIPE_FULL;
        if (!u->stretches[i].logged && !(u->flags & BLOCK_FUA))
            stripe_flush_due(u->a, u->stripe, u->stripe + 1);
    }
    return !whole && u->flags & BLOCK_FUA && stripe_flush_is_due(u->a, u->stripe)
               ? array_flush_members(u->a)
               : 0;
}

static int bring_in(struct update *u, bool in_sync)
{
    int rc = take_data(u);

    for (unsigned i = 0; i < u->stretch_count; i++)
        if (!rc)
            cover(u, &u->stretches[i]);
    if (!rc)
        rc = plan_and_read(u, in_sync);
    for (unsigned i = 0; i < u->stretch_count && !rc; i++)
        rc = compute(&u->stretches[i], in_sync);
    for (unsigned i = 0; i < u->stretch_count && !rc; i++)
        u->stretches[i].logged = parity_log_needed(&u->stretches[i]);
    for (unsigned i = 0, count; i < u->stretch_count && !rc; i += count) {
        count = fit_record(u, i);
        rc = write_logged(u, &u->stretches[i], count);
    }
    return rc ? rc : make_durable(u);
}

/* Under the lock of what it touches, with the bitmap's bits set. */
static int run_locked(struct update *u)
{
    struct array *a = u->a;
    uint64_t base = u->stripe * a->geometry.chunk_bytes, start = base + u->edges[0];
    uint64_t end = base + u->edges[u->edge_count - 1];
    struct range_holder range;
    int rc;

    range_lock_take(&a->ranges, &range, start, MUTANT(STRIPE_UNLOCKED) ? start + 1 : end, false);
    rc = bitmap_log_begin(a, start, end - start);
    if (atomic_load(&a->failed)) /* by the one before, perhaps: there may be nothing to go by */
        rc = -EIO;
    if (!rc)
        rc = make_stretches(u);
    if (!rc)
        rc = bring_in(u, !bitmap_log_unsynced(a, start, end - start));
    if (!MUTANT(ACK_BEFORE_FAILURE) && members_record_if_needed(a))
        rc = -EIO;
    bitmap_log_end(a, start, end - start);
    range_lock_release(&a->ranges, &range);
    return rc;
}

/* What an update copies and, unless it writes whole stripes, reads; and parity. */
static uint64_t memory_bytes(const struct update *u)
{
    const struct raid_geometry *g = &u->a->geometry;
    uint64_t span = u->edges[u->edge_count - 1] - u->edges[0], fresh = 0;

    for (unsigned i = 0; i < u->run_count; i++)
        fresh += u->runs[i].end - u->runs[i].start;
    return fresh + span * (fresh == g->raid5.data * span ? g->parity : g->raid_disks);
}

static int run_update(struct update *u)
{
    uint64_t bytes;
    int rc;

    qsort(u->parts, u->part_count, sizeof(struct stripe_part *), compare_parts);
    find_runs(u);
    find_edges(u);
    add_edges(u);
    bytes = memory_bytes(u);
    stripe_memory_take(u->a, bytes);
    rc = run_locked(u);
    for (unsigned i = 0; i < u->stretch_count; i++)
        stripe_end(&u->stretches[i]);
    give_back_data(u);
    io_buffer_put(u->memory, u->memory_bytes);
    stripe_memory_give(u->a, bytes);
    return rc;
}

static void lead(struct array *a, struct stripe_part *leader)
{
    struct update u = {.a = a, .stripe = leader->stripe};

    u.part_count = stripe_join_take(a, leader, u.parts, PARTS_MAX);
    for (unsigned i = 0; i < u.part_count; i++)
        u.flags |= u.parts[i]->flags & (BLOCK_FUA | BLOCK_BACKGROUND);
    stripe_join_end(a, leader, u.parts, u.part_count, run_update(&u));
}

static int write_part(struct array *a, struct stripe_part *p)
{
    uint64_t begun_ns = p->flags & BLOCK_BACKGROUND ? 0 : pace_guest_begin(a);
    int rc = array_write_begin(a);

    if (!rc && stripe_join(a, p))
        lead(a, p);
    rc = rc ? rc : p->result;
    array_write_end(a);
    pace_guest_end(a, begun_ns);
    return rc;
}

static int parity_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    struct array *a = array_of(d);
    struct raid_place place = raid_geometry_place(&a->geometry, offset);
    struct stripe_part p = {
        .stripe = place.stripe,
        .block = place.block,
        .start = place.offset_bytes,
        .end = place.offset_bytes + length,
        .iov = iov,
        .iov_count = iov_count,
        .flags = flags,
    };

    return write_part(a, &p);
}

static const struct blockdev_ops parity_ops = {
    .read = parity_read,
    .write = parity_write,
    .flush = array_dev_flush,
    .discard = parity_discard,
    .write_zeroes = parity_write_zeroes,
    .extents = parity_extents,
    .unused = parity_unused,
    .close = array_dev_close,
};

const struct array_level parity_level = {
    .blockdev = &parity_ops,
    .compare = parity_compare,
    .locate = parity_locate,
    .fetch = parity_fetch,
};
