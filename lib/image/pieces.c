/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lanes, each with a buffer, take pieces from one cursor. The extent that the cursor stands in is
 * asked for once. A lane that fails leaves the reason and wakes those who wait for their turn.
 */
#include "image/pieces.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define OWN_ALIGN 4096

struct pieces {
    const struct pieces_plan *plan;
    uint64_t size_bytes;
    struct co_mutex cursor; /* held while the next piece is looked for */
    uint64_t at, next_number;
    uint64_t extent_end; /* of the last extent asked for */
    bool extent_zero;
    struct co_mutex turn; /* guards `turn_number` and what `turned` tells */
    struct co_cond turned;
    uint64_t turn_number;
    int rc; /* the first failure */
    struct error *err;
    struct wait_group lanes;
};

bool bytes_are_zero(const uint8_t *bytes, size_t length)
{
    return !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
}

static void fail(struct pieces *s, int rc, const struct error *err)
{
    co_mutex_lock(&s->turn);
    if (!s->rc) {
        s->rc = rc;
        if (s->err)
            *s->err = *err;
    }
    co_cond_broadcast(&s->turned);
    co_mutex_unlock(&s->turn);
}

/* What stands at `at`, up to extent_end. */
static int look(struct pieces *s, uint64_t at, struct error *err)
{
    struct block_extent extent;
    int rc;

    if (at < s->extent_end)
        return 0;
    rc = blockdev_extents(s->plan->from, at, s->size_bytes - at, &extent);
    if (rc)
        return error_set(err, -rc, "cannot tell what %s has at %" PRIu64 ": %s",
            s->plan->from->name, at, strerror(-rc));
    s->extent_end = at + extent.length;
    s->extent_zero = extent.flags & EXTENT_ZERO;
    return 0;
}

/* How far the zeros at the cursor go, at most `length` bytes. */
static int zeros_ahead(struct pieces *s, uint64_t length, uint64_t *zeros, struct error *err)
{
    uint64_t at = s->at, end = s->at + length;
    int rc = 0;

    while (at < end) {
        rc = look(s, at, err);
        if (rc || !s->extent_zero)
            break;
        at = MIN(end, s->extent_end);
    }
    *zeros = at - s->at;
    return rc;
}

/* Zeros are a piece of their own where they cover a whole unit; else they are read with the data
 * beside them. */
static int measure(struct pieces *s, struct piece *p, struct error *err)
{
    const struct pieces_plan *plan = s->plan;
    uint64_t left = s->size_bytes - s->at, zeros;
    int rc = zeros_ahead(s, MIN(left, round_up(PIECE_ZERO_BYTES, plan->align_bytes)), &zeros, err);

    if (rc)
        return rc;
    p->zero = zeros == left || zeros >= plan->align_bytes;
    if (p->zero) {
        p->length = zeros == left ? left : round_down(zeros, plan->align_bytes);
        return 0;
    }
    p->length = round_up(s->extent_end - s->at, plan->align_bytes);
    p->length = MIN(p->length, plan->piece_bytes - s->at % plan->piece_bytes);
    p->length = MIN(p->length, left);
    return 0;
}

/* False at the end. */
static bool next_piece(struct pieces *s, struct piece *p)
{
    const struct pieces_plan *plan = s->plan;
    struct error err = {0};
    int rc = 0;

    co_mutex_lock(&s->cursor);
    if (!s->rc && plan->progress && !plan->progress(plan->progress_arg, s->at, s->size_bytes))
        rc = error_set(&err, ECANCELED, "cancelled");
    p->length = 0;
    if (!s->rc && !rc && s->at < s->size_bytes)
        rc = measure(s, p, &err);
    if (rc)
        fail(s, rc, &err);
    p->number = s->next_number++;
    p->offset = s->at;
    if (!s->rc)
        s->at += p->length;
    co_mutex_unlock(&s->cursor);
    return !s->rc && p->length;
}

static int read_piece(const struct pieces *s, struct piece *p, struct error *err)
{
    struct blockdev *from = s->plan->from;
    int rc;

    if (p->zero)
        return 0;
    rc = blockdev_read(from, p->bytes, p->offset, p->length);
    if (rc)
        return error_set(
            err, -rc, "cannot read %s at %" PRIu64 ": %s", from->name, p->offset, strerror(-rc));
    memset(p->bytes + p->length, 0, round_up(p->length, s->plan->align_bytes) - p->length);
    return 0;
}

static int step_in_turn(struct pieces *s, struct piece *p, struct error *err)
{
    int rc;

    co_mutex_lock(&s->turn);
    while (!s->rc && s->turn_number != p->number)
        co_cond_wait(&s->turned, &s->turn);
    rc = s->rc;
    co_mutex_unlock(&s->turn);
    if (!rc && s->plan->in_turn)
        rc = s->plan->in_turn(s->plan->arg, p, err);
    if (rc)
        return rc;
    co_mutex_lock(&s->turn);
    s->turn_number++;
    co_cond_broadcast(&s->turned);
    co_mutex_unlock(&s->turn);
    return 0;
}

static int do_piece(struct pieces *s, struct piece *p, struct error *err)
{
    const struct pieces_plan *plan = s->plan;
    int rc = read_piece(s, p, err);

    if (!rc && plan->prepare)
        rc = plan->prepare(plan->arg, p, err);
    if (!rc)
        rc = step_in_turn(s, p, err);
    if (!rc && plan->finish)
        rc = plan->finish(plan->arg, p, err);
    return rc;
}

static void lane(void *arg)
{
    struct pieces *s = arg;
    uint64_t bytes = s->plan->piece_bytes;
    size_t own_bytes = round_up(s->plan->own_bytes + 1, OWN_ALIGN);
    struct piece p = {.bytes = io_buffer_get(bytes), .own = aligned_alloc(OWN_ALIGN, own_bytes)};
    struct error err = {0};
    int rc = p.bytes && p.own ? 0 : error_set(&err, ENOMEM, "out of memory");

    while (!rc && next_piece(s, &p))
        rc = do_piece(s, &p, &err);
    if (rc)
        fail(s, rc, &err);
    free(p.own);
    if (p.bytes)
        io_buffer_put(p.bytes, bytes);
    wait_group_done(&s->lanes);
}

int pieces_run(const struct pieces_plan *plan, struct error *err)
{
    struct pieces s = {.plan = plan, .size_bytes = plan->size_bytes, .err = err};

    if (!s.size_bytes)
        s.size_bytes = plan->from->size_bytes;

    co_mutex_init(&s.cursor);
    co_mutex_init(&s.turn);
    co_cond_init(&s.turned);
    wait_group_init(&s.lanes);
    wait_group_add(&s.lanes, PIECES_DEPTH);
    for (unsigned i = 1; i < PIECES_DEPTH; i++)
        if (co_start("piece", lane, &s) < 0)
            wait_group_done(&s.lanes); /* with fewer lanes, then */
    lane(&s);
    wait_group_wait(&s.lanes);
    return s.rc;
}
