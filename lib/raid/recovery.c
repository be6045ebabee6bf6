/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery and replace: fills a new member from the other copies, in the order of the member's own
 * bytes, so that one number (recovery_offset) says how far it has come. What lies below it is done
 * again only where copies may differ since a crash: the member would else join with bytes that are
 * not those that have been read until then.
 *
 * Chunks that hold nothing are not copied, but for the ends of the array, where what the member
 * carried might pass for the array's; they count as "not in sync" instead, durably, before the
 * member counts as in sync. A member that comes back gets only chunks whose bit is set. Guests
 * write to the new member, too, from the moment it has its role.
 */
#include <errno.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"

#define CHECKPOINT_NS (UINT64_C(10) * 1000000000)

struct piece {
    uint64_t member_offset, offset, length; /* offset: in sync bytes */
};

static bool still_a_target(const struct member *m)
{
    return member_state(m) == MEMBER_RECOVERING || member_state(m) == MEMBER_REPLACING;
}

static bool in_ends(const struct array *a, uint64_t chunk)
{
    uint64_t start = chunk << a->bitmap.chunk_shift, end = (chunk + 1) << a->bitmap.chunk_shift;

    return start < ARRAY_ENDS_BYTES || end + ARRAY_ENDS_BYTES > a->geometry.sync_bytes;
}

static bool wanted(struct array *a, uint64_t chunk)
{
    if (!(atomic_load(&a->bitmap.chunks[chunk]) & CHUNK_USED) && !in_ends(a, chunk))
        return false;
    return !a->sync.target->by_bitmap || bitmap_log_marked(a, chunk);
}

/* Finds out what there is to do, and gives up all else: also what has been used only since. */
static int plan(struct array *a)
{
    struct array_sync *s = &a->sync;
    uint64_t chunks = 0, todo_bytes, member_bytes = a->geometry.member_bytes;
    int rc;

    for (uint64_t i = 0; i < a->bitmap.bits; i++) {
        md_bitmap_clear(s->todo, i);
        if (!wanted(a, i))
            continue;
        md_bitmap_set(s->todo, i);
        chunks++;
    }
    gate_enter(&a->writes);
    rc = bitmap_log_unsync_others(a, s->todo, s->target->by_bitmap);
    gate_leave(&a->writes);
    todo_bytes = MIN(chunks << a->bitmap.chunk_shift, a->geometry.sync_bytes);
    atomic_store(&s->total_bytes, todo_bytes);
    atomic_store(&s->done_bytes,
        (uint64_t)((double)todo_bytes * ((double)s->resume_bytes / (double)member_bytes)));
    return rc;
}

static int write_target(struct array *a, const struct piece *p, void *buf)
{
    struct member *target = a->sync.target;
    struct iovec iov = {buf, p->length};
    int rc = blockdev_writev(target->dev, &iov, 1, target->data_offset_bytes + p->member_offset,
        BLOCK_STABLE | BLOCK_BACKGROUND);

    if (!rc)
        return 0;
    members_fail(a, &target, 1);
    members_record(a);
    return -EIO;
}

static bool must_copy(const struct array *a, const struct piece *p, uint64_t chunk)
{
    return md_bitmap_test(a->sync.todo, chunk) &&
           (p->member_offset >= a->sync.resume_bytes ||
               atomic_load(&a->bitmap.chunks[chunk]) & CHUNK_UNSYNCED);
}

/* The next piece of the stretch that is to be copied. */
static bool next(struct array *a, struct piece *p)
{
    struct array_sync *s = &a->sync;
    unsigned role = (unsigned)s->target->role;

    while (s->next_bytes < s->stretch_end_bytes) {
        uint64_t run_bytes, chunk;
        bool mapped = a->level->locate(a, role, s->next_bytes, &p->offset, &run_bytes);

        p->member_offset = s->next_bytes;
        p->length = MIN(run_bytes, s->stretch_end_bytes - s->next_bytes);
        chunk = p->offset >> a->bitmap.chunk_shift;
        if (mapped)
            p->length = MIN(p->length, ((chunk + 1) << a->bitmap.chunk_shift) - p->offset);
        if (p->member_offset < s->resume_bytes)
            p->length = MIN(p->length, s->resume_bytes - p->member_offset);
        if (mapped && must_copy(a, p, chunk)) {
            p->length = MIN(p->length, pace_window_bytes(a));
            s->next_bytes += p->length;
            return true;
        }
        s->next_bytes += p->length;
    }
    return false;
}

static void count_done(struct array *a, uint64_t member_bytes)
{
    struct array_sync *s = &a->sync;
    const struct raid_geometry *g = &a->geometry;
    uint64_t bytes =
        (uint64_t)((double)member_bytes * (double)g->sync_bytes / (double)g->member_bytes);
    uint64_t left = atomic_load(&s->total_bytes) - atomic_load(&s->done_bytes);

    atomic_fetch_add(&s->done_bytes, MIN(bytes, left));
}

static int copy_piece(struct array *a, const struct piece *p, void *buf)
{
    struct range_holder range;
    int rc = -EIO;

    gate_enter(&a->writes);
    range_lock_take(&a->ranges, &range, p->offset,
        p->offset + (MUTANT(RECOVERY_UNLOCKED) ? 1 : p->length), false);
    if (still_a_target(a->sync.target))
        rc = a->level->fetch(a, (unsigned)a->sync.target->role, p->member_offset, p->length, buf);
    if (!rc)
        rc = write_target(a, p, buf);
    range_lock_release(&a->ranges, &range);
    gate_leave(&a->writes);
    return rc;
}

static bool do_window(struct array *a, void *const buffers[SYNC_BUFFERS])
{
    struct array_sync *s = &a->sync;
    struct piece p;

    if (s->stretch_result || !next(a, &p))
        return false;
    if (!sync_may_go_on(a, p.length))
        return false;
    if (copy_piece(a, &p, buffers[0]))
        s->stretch_result = -EIO;
    else
        count_done(a, p.length);
    return true;
}

/* Writes down how far it has come. All members are flushed: parity counts from now on, with all
 * that it was computed from. */
static void checkpoint(struct array *a, uint64_t recovered_bytes)
{
    struct member *target = a->sync.target;

    gate_enter(&a->writes);
    if (still_a_target(target)) {
        if (!MUTANT(CHECKPOINT_EARLY))
            array_flush_members(a);
        atomic_store(&target->recovered_bytes, recovered_bytes);
        co_mutex_lock(&a->update);
        members_write_superblocks(a);
        co_mutex_unlock(&a->update);
    }
    gate_leave(&a->writes);
}

int recovery_run(struct array *a)
{
    struct array_sync *s = &a->sync;
    uint64_t end = raid_geometry_member_bytes(&a->geometry, (unsigned)s->target->role);
    uint64_t start = MIN(atomic_load(&s->target->recovered_bytes), end);
    uint64_t at = atomic_load(&a->bitmap.due) ? 0 : start, written_ns = rt_now_ns();
    int rc;

    s->resume_bytes = start;
    rc = plan(a);
    while (!rc && at < end) {
        uint64_t stretch_end = at + MIN(end - at, (uint64_t)SYNC_STRETCH_BYTES);
        rc = sync_run_stretch(a, at, stretch_end, do_window);
        if (rc)
            break;
        at = stretch_end;
        if (at <= start || rt_now_ns() - written_ns < CHECKPOINT_NS)
            continue;
        checkpoint(a, at);
        written_ns = rt_now_ns();
    }
    if (at > start)
        checkpoint(a, at);
    return rc;
}

/* A replacement takes the role of the one it was made from. */
static void take_over(struct array *a, struct member *target)
{
    struct member *old = a->roles[target->role];

    if (member_state(target) == MEMBER_REPLACING && old)
        atomic_store(&old->state, MEMBER_FAULTY);
    atomic_store(&target->state, MEMBER_IN_SYNC);
}

void recovery_finish(struct array *a, struct member *target)
{
    array_quiesce(a);
    array_flush_members(a);
    co_mutex_lock(&a->update);
    if (still_a_target(target))
        take_over(a, target);
    members_settle(a);
    members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    array_resume(a);
    array_changed(a);
    array_wake(a);
}
