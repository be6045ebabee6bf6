/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery and replace: fills new members from the other copies, in the order of the members' own
 * bytes, so that one number each (recovery_offset) says how far it has come. What lies below it is
 * done again only where copies may differ since a crash: the member would else join with bytes that
 * are not those that have been read until then.
 *
 * Several members are filled in one pass: those that hold the same part of the array at one place
 * get it from one reading. Who fails meanwhile, or lacks something that nobody can read, drops out;
 * the others go on. A replace has one target.
 *
 * Chunks that hold nothing are not copied, but for the ends of the array, where what the member
 * carried might pass for the array's; they count as "not in sync" instead, durably, before the
 * member counts as in sync. A member that comes back gets only chunks whose bit is set. Guests
 * write to the new member, too, from the moment it has its role.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"

#define CHECKPOINT_NS (UINT64_C(10) * 1000000000)
#define POINT_BYTES   UINT64_C(4096) /* the kernel goes on where stripes' pages begin */

struct piece {
    uint64_t member_offset, offset, length; /* offset: in sync bytes */
    uint32_t takers;                        /* the targets that get it, a bit each */
    bool first;                             /* of those at member_offset */
};

/* An original that fails makes its replacement one that recovers, which is for another action. */
static bool is_filled(const struct array *a, unsigned target)
{
    const struct array_sync *s = &a->sync;
    enum array_member_state state =
        s->action == ARRAY_REPLACE ? MEMBER_REPLACING : MEMBER_RECOVERING;

    return s->filling >> target & 1 && member_state(s->targets[target]) == state;
}

static bool any_is_filled(const struct array *a)
{
    for (unsigned i = 0; i < a->sync.target_count; i++)
        if (is_filled(a, i))
            return true;
    return false;
}

/* --- what there is to do --- */

static bool in_ends(const struct array *a, uint64_t chunk)
{
    uint64_t start = chunk << a->bitmap.chunk_shift, end = (chunk + 1) << a->bitmap.chunk_shift;

    return start < ARRAY_ENDS_BYTES || end + ARRAY_ENDS_BYTES > a->geometry.sync_bytes;
}

static bool holds_something(const struct array *a, uint64_t chunk)
{
    return atomic_load(&a->bitmap.chunks[chunk]) & CHUNK_USED || in_ends(a, chunk);
}

/* Fills in todo and marked; returns how many chunks some target needs. */
static uint64_t count_chunks(struct array *a, bool all_by_bitmap)
{
    struct array_sync *s = &a->sync;
    uint64_t chunks = 0;

    for (uint64_t i = 0; i < a->bitmap.bits; i++) {
        bool marked = bitmap_log_marked(a, i);

        md_bitmap_clear(s->todo, i);
        md_bitmap_clear(s->marked, i);
        if (!holds_something(a, i))
            continue;
        md_bitmap_set(s->todo, i);
        if (marked)
            md_bitmap_set(s->marked, i);
        chunks += marked || !all_by_bitmap;
    }
    return chunks;
}

/* Where the pass begins: what all have reached. */
static uint64_t lowest_point(const struct array *a)
{
    uint64_t lowest = UINT64_MAX;

    for (unsigned i = 0; i < a->sync.target_count; i++)
        lowest = MIN(lowest, a->sync.resume_bytes[i]);
    return lowest;
}

/* Finds out what there is to do, and gives up all else: also what has been used only since. */
static int plan(struct array *a)
{
    struct array_sync *s = &a->sync;
    uint64_t todo_bytes, member_bytes = a->geometry.member_bytes;
    bool all_by_bitmap = true;
    int rc;

    for (unsigned i = 0; i < s->target_count; i++) {
        struct member *m = s->targets[MUTANT(RECOVERY_ONE_POINT) ? 0 : i];

        s->resume_bytes[i] = MIN(atomic_load(&m->recovered_bytes), member_bytes);
        all_by_bitmap &= s->targets[i]->by_bitmap;
    }
    todo_bytes = count_chunks(a, all_by_bitmap) << a->bitmap.chunk_shift;
    gate_enter(&a->writes);
    rc = bitmap_log_unsync_others(a, s->todo, all_by_bitmap);
    gate_leave(&a->writes);
    todo_bytes = MIN(todo_bytes, a->geometry.sync_bytes);
    atomic_store(&s->total_bytes, todo_bytes);
    atomic_store(&s->done_bytes,
        (uint64_t)((double)todo_bytes * ((double)lowest_point(a) / (double)member_bytes)));
    return rc;
}

/* --- the next piece --- */

static bool locate(const struct array *a, unsigned target, uint64_t member_offset_bytes,
    uint64_t *offset, uint64_t *run_bytes)
{
    return a->level->locate(
        a, (unsigned)a->sync.targets[target]->role, member_offset_bytes, offset, run_bytes);
}

/* How far, from there, each target holds one part of the array, of one chunk of the bitmap, and all
 * on the same side of what it had reached. */
static uint64_t cut(const struct array *a, uint64_t member_offset)
{
    const struct array_sync *s = &a->sync;
    uint64_t chunk_bytes = bitmap_log_chunk_bytes(a), offset, run_bytes;
    uint64_t length = MIN(s->stretch_end_bytes - member_offset, pace_window_bytes(a));

    for (unsigned i = 0; i < s->target_count; i++) {
        bool mapped = locate(a, i, member_offset, &offset, &run_bytes);

        length = MIN(length, run_bytes);
        if (mapped)
            length = MIN(length, chunk_bytes - offset % chunk_bytes);
        if (member_offset < s->resume_bytes[i])
            length = MIN(length, s->resume_bytes[i] - member_offset);
    }
    return length;
}

static bool needs(const struct array *a, unsigned target, const struct piece *p)
{
    const struct array_sync *s = &a->sync;
    uint64_t chunk = p->offset >> a->bitmap.chunk_shift;

    return md_bitmap_test(s->targets[target]->by_bitmap ? s->marked : s->todo, chunk) &&
           (p->member_offset >= s->resume_bytes[target] ||
               atomic_load(&a->bitmap.chunks[chunk]) & CHUNK_UNSYNCED);
}

/* The part of the array that the target holds there, for all that hold the same and have not got
 * it; false: there is none that needs it. */
static bool make_piece(struct array *a, unsigned target, struct piece *p)
{
    struct array_sync *s = &a->sync;
    uint64_t offset, run_bytes;

    if (!locate(a, target, p->member_offset, &p->offset, &run_bytes))
        return false;
    p->takers = 0;
    for (unsigned i = target; i < s->target_count; i++)
        if (is_filled(a, i) && !(s->taken >> i & 1) &&
            locate(a, i, p->member_offset, &offset, &run_bytes) && offset == p->offset &&
            needs(a, i, p))
            p->takers |= 1u << i;
    p->first = !s->taken;
    s->taken |= p->takers;
    return p->takers;
}

/* The next piece of the stretch that is to be copied. */
static bool next(struct array *a, struct piece *p)
{
    struct array_sync *s = &a->sync;

    while (s->next_bytes < s->stretch_end_bytes) {
        p->member_offset = s->next_bytes;
        if (!s->next_length)
            s->next_length = cut(a, s->next_bytes);
        p->length = s->next_length;
        for (unsigned i = 0; i < s->target_count; i++)
            if (!(s->taken >> i & 1) && make_piece(a, i, p))
                return true;
        s->next_bytes += p->length;
        s->next_length = 0;
        s->taken = 0;
    }
    return false;
}

/* --- copying --- */

static void count_done(struct array *a, const struct piece *p)
{
    struct array_sync *s = &a->sync;
    const struct raid_geometry *g = &a->geometry;
    uint64_t bytes =
        (uint64_t)((double)p->length * (double)g->sync_bytes / (double)g->member_bytes);
    uint64_t left = atomic_load(&s->total_bytes) - atomic_load(&s->done_bytes);

    if (p->first)
        atomic_fetch_add(&s->done_bytes, MIN(bytes, left));
}

/* It has been handed out, but is not copied. */
static void leave_out(struct array *a, const struct piece *p)
{
    a->sync.left_out_bytes = MIN(a->sync.left_out_bytes, p->member_offset);
}

/* Who takes the piece, and still is one to be filled. */
static unsigned gather_takers(const struct array *a, const struct piece *p, struct member **takers)
{
    unsigned count = 0;

    for (unsigned i = 0; i < a->sync.target_count; i++)
        if (p->takers >> i & 1 && is_filled(a, i))
            takers[count++] = a->sync.targets[i];
    return count;
}

static void write_takers(struct array *a, const struct piece *p, struct member *const *takers,
    unsigned count, void *const *data)
{
    struct block_op ops[SYNC_TARGETS_MAX];
    struct iovec iov[SYNC_TARGETS_MAX];
    struct member *failed[SYNC_TARGETS_MAX];
    unsigned failures = 0;

    for (unsigned i = 0; i < count; i++) {
        iov[i] = (struct iovec){data[MUTANT(RECOVERY_ONE_BLOCK) ? 0 : i], p->length};
        ops[i] = (struct block_op){
            .kind = BLOCK_WRITE,
            .flags = BLOCK_STABLE | BLOCK_BACKGROUND | BLOCK_PATIENT,
            .dev = takers[i]->dev,
            .iov = &iov[i],
            .iov_count = 1,
            .offset = takers[i]->data_offset_bytes + p->member_offset,
        };
    }
    if (!blockdev_run(ops, count))
        return;
    for (unsigned i = 0; i < count; i++)
        if (ops[i].result)
            failed[failures++] = takers[i];
    members_fail(a, failed, failures);
    members_record(a);
}

/* The range is locked. */
static void fill_takers(struct array *a, const struct piece *p, void *const buffers[SYNC_BUFFERS])
{
    struct array_sync *s = &a->sync;
    struct member *takers[SYNC_TARGETS_MAX];
    unsigned roles[SYNC_TARGETS_MAX], count = gather_takers(a, p, takers);
    void *data[SYNC_TARGETS_MAX];
    int rc;

    if (!count)
        return;
    for (unsigned i = 0; i < count; i++)
        roles[i] = (unsigned)takers[i]->role;
    rc = a->level->fetch(a, roles, count, p->member_offset, p->length, buffers, data);
    if (!rc) {
        write_takers(a, p, takers, count, data);
    } else if (rc == -ENOMEM) {
        leave_out(a, p);
        s->stretch_result = -ENOMEM;
    } else {
        s->filling &= ~p->takers;
        s->unreadable = true;
    }
}

static void copy_piece(struct array *a, const struct piece *p, void *const buffers[SYNC_BUFFERS])
{
    struct range_holder range;

    gate_enter(&a->writes);
    range_lock_take(&a->ranges, &range, p->offset,
        p->offset + (MUTANT(RECOVERY_UNLOCKED) ? 1 : p->length), false);
    fill_takers(a, p, buffers);
    range_lock_release(&a->ranges, &range);
    gate_leave(&a->writes);
}

static bool do_window(struct array *a, void *const buffers[SYNC_BUFFERS])
{
    struct array_sync *s = &a->sync;
    struct piece p;

    if (s->stretch_result || !next(a, &p))
        return false;
    if (!sync_may_go_on(a, p.length)) {
        leave_out(a, &p);
        return false;
    }
    copy_piece(a, &p, buffers);
    if (!any_is_filled(a))
        s->stretch_result = -EIO;
    count_done(a, &p);
    return true;
}

/* --- the whole --- */

/* Those that have come so far now, and were not there before. */
static bool reach(struct array *a, uint64_t recovered_bytes)
{
    struct array_sync *s = &a->sync;
    bool any = false;

    for (unsigned i = 0; i < s->target_count; i++) {
        if (!is_filled(a, i) || recovered_bytes <= atomic_load(&s->targets[i]->recovered_bytes))
            continue;
        atomic_store(&s->targets[i]->recovered_bytes, recovered_bytes);
        any = true;
    }
    return any;
}

/* Writes down how far they have come. All members are flushed: parity counts from now on, with all
 * that it was computed from. */
static void checkpoint(struct array *a, uint64_t recovered_bytes)
{
    gate_enter(&a->writes);
    if (!MUTANT(CHECKPOINT_EARLY))
        array_flush_members(a);
    if (reach(a, recovered_bytes)) {
        co_mutex_lock(&a->update);
        members_write_superblocks(a);
        co_mutex_unlock(&a->update);
    }
    gate_leave(&a->writes);
}

/* Returns how far it has come, also when it is interrupted. */
static uint64_t run_stretch(struct array *a, uint64_t at, uint64_t end, int *rc)
{
    struct array_sync *s = &a->sync;
    uint64_t stretch_end = at + MIN(end - at, (uint64_t)SYNC_STRETCH_BYTES);

    s->left_out_bytes = stretch_end;
    *rc = sync_run_stretch(a, at, stretch_end, do_window);
    return *rc ? round_down(MIN(s->next_bytes, s->left_out_bytes), POINT_BYTES) : stretch_end;
}

int recovery_run(struct array *a)
{
    struct array_sync *s = &a->sync;
    uint64_t end = a->geometry.member_bytes, written_ns = rt_now_ns(), start, at;
    int rc;

    s->filling = (1u << s->target_count) - 1;
    s->unreadable = false;
    s->next_length = 0;
    s->taken = 0;
    rc = plan(a);
    start = lowest_point(a);
    at = atomic_load(&a->bitmap.due) ? 0 : start;
    while (!rc && at < end) {
        at = run_stretch(a, at, end, &rc);
        if (rc || at <= start || rt_now_ns() - written_ns < CHECKPOINT_NS)
            continue;
        checkpoint(a, at);
        written_ns = rt_now_ns();
    }
    if (at > start)
        checkpoint(a, at);
    return !rc && !any_is_filled(a) ? -EIO : rc;
}

/* A replacement takes the role of the one it was made from. */
static void take_over(struct array *a, struct member *target)
{
    struct member *old = a->roles[target->role];

    if (member_state(target) == MEMBER_REPLACING && old)
        atomic_store(&old->state, MEMBER_FAULTY);
    atomic_store(&target->state, MEMBER_IN_SYNC);
}

void recovery_finish(struct array *a)
{
    array_quiesce(a);
    array_flush_members(a);
    co_mutex_lock(&a->update);
    for (unsigned i = 0; i < a->sync.target_count; i++)
        if (is_filled(a, i))
            take_over(a, a->sync.targets[i]);
    members_settle(a);
    members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    array_resume(a);
    array_changed(a);
    array_wake(a);
}
