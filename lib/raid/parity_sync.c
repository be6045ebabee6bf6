/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resync, check and repair of RAID5 and RAID6: reads all of a stretch, computes parity and compares
 * it with what is there; where it differs, a resync and a repair write it. Data that is missing is
 * solved for first, so that of RAID6 with a member missing Q is made to fit P. A block that cannot
 * be read is corrected in any case.
 *
 * And what recovery asks for: what a member should hold.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
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

static uint64_t count_mismatch(const uint8_t *x, const uint8_t *y, uint64_t length)
{
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < length; at += BLOCK_BYTES)
        if (memcmp(x + at, y + at, MIN((uint64_t)BLOCK_BYTES, length - at)))
            bytes += MIN((uint64_t)BLOCK_BYTES, length - at);
    return bytes;
}

/* The old parity of one cell aside, to compare with. */
static uint8_t *keep_old(const struct stripe *s, const struct stripe_cell *c)
{
    uint8_t *kept = io_buffer_get(stripe_bytes(s));

    if (kept)
        memcpy(kept, c->old, stripe_bytes(s));
    return kept;
}

/* Computes parity anew; cells that it changes stay writable, the others do not. */
static int compare_parity(struct stripe *s, uint64_t *mismatch)
{
    unsigned first = s->a->geometry.raid5.data, count = s->a->geometry.parity;
    uint8_t *kept[2] = {NULL};
    int rc = 0;

    for (unsigned i = 0; i < count; i++)
        if (s->flags[first + i] & STRIPE_READABLE && !(kept[i] = keep_old(s, &s->cells[first + i])))
            rc = -ENOMEM;
    if (!rc)
        rc = stripe_generate(s);
    for (unsigned i = 0; i < count; i++) {
        struct stripe_cell *c = &s->cells[first + i];
        uint64_t bytes = !rc && kept[i] ? count_mismatch(kept[i], c->old, stripe_bytes(s)) : 0;

        *mismatch += bytes;
        if (kept[i] && !bytes && !c->rewrite)
            s->flags[first + i] &= (unsigned char)~STRIPE_WRITABLE;
        io_buffer_put(kept[i], stripe_bytes(s));
    }
    return rc;
}

static int compare(struct stripe *s)
{
    struct array *a = s->a;
    uint64_t mismatch = 0;
    int rc = stripe_load(s, true);

    if (!rc)
        rc = compare_parity(s, &mismatch);
    if (rc)
        return rc;
    if (a->sync.action != ARRAY_RESYNC)
        atomic_fetch_add(&a->sync.mismatch_bytes, mismatch);
    if (a->sync.action == ARRAY_CHECK)
        return 0;
    stripe_fill(s);
    rc = stripes_write(s, 1, BLOCK_BACKGROUND);
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

/* By the others: the member in that role cannot be read. */
static int work_out(struct stripe *s, unsigned cell, void *buf)
{
    unsigned data_count = s->a->geometry.raid5.data;
    int rc = stripe_load(s, false);

    for (unsigned i = data_count; i < s->a->geometry.raid_disks; i++)
        if (i != cell)
            s->flags[i] &= (unsigned char)~STRIPE_WRITABLE;
    if (!rc && cell >= data_count)
        rc = stripe_generate(s);
    if (!rc)
        memcpy(buf, s->cells[cell].old, stripe_bytes(s));
    return rc;
}

/* From the member itself, when it is being replaced and can be read. */
int parity_fetch(
    struct array *a, unsigned role, uint64_t member_offset_bytes, uint64_t length, void *buf)
{
    uint64_t chunk_bytes = a->geometry.chunk_bytes, start = member_offset_bytes % chunk_bytes;
    struct member *m = array_readable(a, role);
    struct iovec iov = {buf, length};
    void *memory;
    struct stripe s;
    unsigned block;
    int rc;

    if (m && !blockdev_readv(
                 m->dev, &iov, 1, m->data_offset_bytes + member_offset_bytes, BLOCK_BACKGROUND))
        return 0;
    if (m)
        atomic_fetch_add(&m->errors, 1);
    memory = io_buffer_get(stripe_memory_bytes(a));
    if (!memory)
        return -ENOMEM;
    stripe_init(&s, a, member_offset_bytes / chunk_bytes, start, start + length, memory);
    block = raid_stripe_block(&a->geometry, &s.place, role);
    s.flags[block] = STRIPE_WRITABLE; /* by who has asked, whatever has become of the member */
    rc = work_out(&s, block, buf);
    stripe_end(&s);
    io_buffer_put(memory, stripe_memory_bytes(a));
    return rc;
}
