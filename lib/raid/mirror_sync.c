/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resync, check and repair of RAID1 and RAID10: reads all copies of a window side by side and
 * compares them. Where they differ in a block, it gets one value in memory: in a resync that of the
 * first copy that can be read, as guests have read it; else that of the majority, if there is one.
 * A resync and a repair write it over the others; a copy that cannot be read is corrected in any
 * case.
 *
 * Members that are being filled get it, too: what they hold already would else be the only copy
 * left that differs, when their recovery goes on from where it was.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"

#define BLOCK_BYTES 4096u /* mismatches are counted in these */

struct copy {
    struct raid_location place;
    struct member *member; /* NULL: not in sync */
    uint8_t *data;
    bool known, changed; /* it has been read; it is to be another */
};

struct window {
    struct array *a;
    uint64_t offset, length;
    struct copy copies[RAID_COPIES_MAX];
    unsigned count, in_sync, known, first; /* the first that is known */
};

/* The next window of the stretch, as far as it lies in one piece, and as all copies have room. */
static bool next(struct array *a, struct window *w, void *const buffers[SYNC_BUFFERS])
{
    struct raid_location places[RAID_COPIES_MAX];
    struct array_sync *s = &a->sync;
    uint64_t run_bytes, room_bytes;

    if (s->next_bytes >= s->stretch_end_bytes)
        return false;
    *w = (struct window){.a = a, .offset = s->next_bytes};
    w->count = raid_geometry_map(&a->geometry, w->offset, places, &run_bytes);
    room_bytes = round_down(SYNC_WINDOW_BYTES / div_round_up(w->count, SYNC_BUFFERS), BLOCK_BYTES);
    w->length = MIN(run_bytes, s->stretch_end_bytes - w->offset);
    w->length = MIN(w->length, room_bytes);
    w->length = MIN(w->length, pace_window_bytes(a));
    for (unsigned i = 0; i < w->count; i++) {
        uint8_t *room = buffers[i % SYNC_BUFFERS];
        w->copies[i] =
            (struct copy){.place = places[i], .data = room + i / SYNC_BUFFERS * room_bytes};
    }
    s->next_bytes += w->length;
    return true;
}

static void find_members(struct window *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        w->copies[i].member = array_readable(w->a, w->copies[i].place.role);
        w->in_sync += w->copies[i].member != NULL;
    }
}

/* -EIO: none can be read. */
static int read_copies(struct window *w)
{
    struct block_op ops[RAID_COPIES_MAX];
    struct iovec iov[RAID_COPIES_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < w->count; i++) {
        const struct copy *c = &w->copies[i];
        if (!c->member)
            continue;
        iov[count] = (struct iovec){c->data, w->length};
        ops[count] = (struct block_op){.kind = BLOCK_READ,
            .flags = BLOCK_BACKGROUND | BLOCK_PATIENT,
            .dev = c->member->dev,
            .iov = &iov[count],
            .iov_count = 1,
            .offset = c->member->data_offset_bytes + c->place.offset_bytes};
        count++;
    }
    blockdev_run(ops, count);
    for (unsigned i = w->count; i-- > 0;) {
        struct copy *c = &w->copies[i];
        if (!c->member)
            continue;
        if (ops[--count].result) {
            atomic_fetch_add(&c->member->errors, 1);
            continue;
        }
        c->known = true;
        w->known++;
        w->first = i;
    }
    return w->known ? 0 : -EIO;
}

/* --- what differs --- */

static bool same(const struct window *w, unsigned x, unsigned y, uint64_t at, uint64_t length)
{
    return !memcmp(w->copies[x].data + at, w->copies[y].data + at, length);
}

static bool all_same(const struct window *w, uint64_t at, uint64_t length)
{
    for (unsigned i = w->first + 1; i < w->count; i++)
        if (w->copies[i].known && !same(w, w->first, i, at, length))
            return false;
    return true;
}

/* One of more than half of the copies that are known; w->count: there is no such majority. */
static unsigned find_majority(const struct window *w, uint64_t at, uint64_t length)
{
    for (unsigned i = 0; i < w->count; i++) {
        unsigned votes = 0;
        for (unsigned k = 0; w->copies[i].known && k < w->count; k++)
            votes += w->copies[k].known && same(w, i, k, at, length);
        if (2 * votes > w->known)
            return i;
    }
    return w->count;
}

static void note(const struct window *w, unsigned right, uint64_t at, uint64_t length)
{
    struct array_mismatch m = {.offset_bytes = w->offset + at, .length_bytes = length, .count = 1};

    sync_count_mismatch(w->a, length);
    for (unsigned i = 0; i < w->count; i++) {
        const struct copy *c = &w->copies[i];
        if (!c->known)
            continue;
        if (right == w->count && w->known == 2) {
            m.roles[m.suspects++] = (int)c->place.role;
        } else if (right < w->count && !same(w, right, i, at, length)) {
            m.wrong = ARRAY_WRONG_DATA;
            m.suspects = 1;
            m.roles[0] = (int)c->place.role;
            sync_note_mismatch(w->a, &m);
        }
    }
    if (right == w->count)
        sync_note_mismatch(w->a, &m);
}

static void settle(struct window *w, uint64_t at, uint64_t length)
{
    bool resync = w->a->sync.action == ARRAY_RESYNC;
    unsigned right = resync ? w->first : find_majority(w, at, length);

    if (!resync)
        note(w, right, at, length);
    if (right == w->count || MUTANT(REPAIR_TAKES_FIRST))
        right = w->first;
    for (unsigned i = 0; i < w->count; i++) {
        struct copy *c = &w->copies[i];
        if (!c->known || same(w, right, i, at, length))
            continue;
        memcpy(c->data + at, w->copies[right].data + at, length);
        c->changed = true;
    }
}

/* --- what is written --- */

static void overwrite(struct window *w, const struct copy *c, struct member *m)
{
    struct iovec iov = {w->copies[w->first].data, w->length};

    if (blockdev_writev(m->dev, &iov, 1, m->data_offset_bytes + c->place.offset_bytes,
            BLOCK_STABLE | BLOCK_BACKGROUND | BLOCK_PATIENT))
        members_fail(w->a, &m, 1);
}

static void write_back(struct window *w, struct copy *c)
{
    if (c->known && c->changed && w->a->sync.action != ARRAY_CHECK) {
        overwrite(w, c, c->member);
    } else if (c->member && !c->known) {
        memcpy(c->data, w->copies[w->first].data, w->length);
        mirror_correct(w->a, c->member, c->data, c->place.offset_bytes, w->length);
    }
}

/* A member that is being filled with copy i / 2, or NULL. */
static struct member *filling(const struct window *w, unsigned i)
{
    unsigned role = w->copies[i / 2].place.role;
    struct member *m = array_writable(i % 2 ? w->a->replacements[role] : w->a->roles[role]);

    return m && member_state(m) != MEMBER_IN_SYNC ? m : NULL;
}

static bool any_filling(const struct window *w)
{
    for (unsigned i = 0; i < 2 * w->count; i++)
        if (filling(w, i))
            return true;
    return false;
}

static void fill(struct window *w)
{
    for (unsigned i = 0; i < 2 * w->count; i++) {
        struct member *m = filling(w, i);
        if (m)
            overwrite(w, &w->copies[i / 2], m);
    }
}

static int compare(struct window *w)
{
    bool fills = w->a->sync.action != ARRAY_CHECK && any_filling(w);
    int rc;

    if (w->in_sync < 2 && !fills)
        return 0;
    rc = read_copies(w);
    if (rc)
        return rc;
    for (uint64_t at = 0; at < w->length; at += BLOCK_BYTES) {
        uint64_t length = MIN((uint64_t)BLOCK_BYTES, w->length - at);
        if (!all_same(w, at, length))
            settle(w, at, length);
    }
    for (unsigned i = 0; i < w->count; i++)
        write_back(w, &w->copies[i]);
    if (fills)
        fill(w);
    return members_record_if_needed(w->a);
}

bool mirror_compare(struct array *a, void *const buffers[SYNC_BUFFERS])
{
    struct array_sync *s = &a->sync;
    struct range_holder range;
    struct window w;
    int rc;

    if (!next(a, &w, buffers) || !sync_may_go_on(a, w.length))
        return false;
    gate_enter(&a->writes);
    range_lock_take(&a->ranges, &range, w.offset, w.offset + w.length, false);
    find_members(&w);
    rc = compare(&w);
    range_lock_release(&a->ranges, &range);
    gate_leave(&a->writes);
    if (rc)
        s->stretch_result = -EIO;
    atomic_fetch_add(&s->done_bytes, w.length);
    return true;
}
