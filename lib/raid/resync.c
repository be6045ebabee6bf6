/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resync, check and repair: reads all copies of a window and compares them with the first that can
 * be read. Where they differ, a resync and a repair write that one over the others; a copy that
 * cannot be read is corrected in any case.
 *
 * Members that are being filled get it, too: what they hold already would else be the only copy
 * left that differs, when their recovery goes on from where it was.
 *
 * Resync goes over the chunks that are not in sync (by itself only over those that hold something),
 * until there are none; check and repair over those that are.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"

#define BLOCK_BYTES 4096u /* mismatches are counted in these */

struct window {
    uint64_t offset, length;
    struct raid_location copies[RAID_COPIES_MAX]; /* those in sync first */
    unsigned count, in_sync;
};

static bool wanted(const struct array *a, uint64_t chunk)
{
    uint32_t word = atomic_load_explicit(&a->bitmap.chunks[chunk], memory_order_relaxed);

    if (a->sync.action != ARRAY_RESYNC)
        return !(word & CHUNK_UNSYNCED);
    return word & CHUNK_UNSYNCED && (word & CHUNK_USED || a->sync.by_hand);
}

static uint64_t chunk_start(const struct array *a, uint64_t chunk)
{
    return MIN(chunk << a->bitmap.chunk_shift, a->geometry.sync_bytes);
}

/* Fills in what there is to do; false: nothing. */
static bool plan(struct array *a)
{
    struct array_sync *s = &a->sync;
    bool any = false;

    for (uint64_t i = 0; i < a->bitmap.bits; i++) {
        md_bitmap_clear(s->todo, i);
        if (!wanted(a, i))
            continue;
        md_bitmap_set(s->todo, i);
        atomic_fetch_add(&s->total_bytes, chunk_start(a, i + 1) - chunk_start(a, i));
        any = true;
    }
    return any;
}

static int read_from(
    struct array *a, const struct window *w, unsigned copy, void *buf, struct member **m)
{
    struct iovec iov = {buf, w->length};

    *m = array_readable(a, w->copies[copy].role);
    if (!*m)
        return -ENODEV;
    return blockdev_readv((*m)->dev, &iov, 1,
        (*m)->data_offset_bytes + w->copies[copy].offset_bytes, BLOCK_BACKGROUND);
}

static uint64_t count_mismatch(const char *x, const char *y, uint64_t length)
{
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < length; at += BLOCK_BYTES)
        if (memcmp(x + at, y + at, MIN((uint64_t)BLOCK_BYTES, length - at)))
            bytes += MIN((uint64_t)BLOCK_BYTES, length - at);
    return bytes;
}

static void overwrite(
    struct array *a, const struct window *w, unsigned copy, struct member *m, void *buf)
{
    struct iovec iov = {buf, w->length};

    if (blockdev_writev(m->dev, &iov, 1, m->data_offset_bytes + w->copies[copy].offset_bytes,
            BLOCK_STABLE | BLOCK_BACKGROUND))
        members_fail(a, &m, 1);
}

static void compare_with(
    struct array *a, const struct window *w, unsigned copy, void *const buffers[SYNC_BUFFERS])
{
    struct member *m;
    int rc = read_from(a, w, copy, buffers[1], &m);
    uint64_t mismatch;

    if (rc == -ENODEV && !m)
        return;
    if (rc) {
        atomic_fetch_add(&m->errors, 1);
        memcpy(buffers[1], buffers[0], w->length);
        mirror_correct(a, m, buffers[1], w->copies[copy].offset_bytes, w->length);
        return;
    }
    mismatch = count_mismatch(buffers[0], buffers[1], w->length);
    if (!mismatch)
        return;
    if (a->sync.action != ARRAY_RESYNC)
        atomic_fetch_add(&a->sync.mismatch_bytes, mismatch);
    if (a->sync.action != ARRAY_CHECK)
        overwrite(a, w, copy, m, buffers[0]);
}

/* A member that is being filled with copy i / 2, or NULL. */
static struct member *filling(const struct array *a, const struct window *w, unsigned i)
{
    unsigned role = w->copies[i / 2].role;
    struct member *m = array_writable(i % 2 ? a->replacements[role] : a->roles[role]);

    return m && member_state(m) != MEMBER_IN_SYNC ? m : NULL;
}

static bool any_filling(const struct array *a, const struct window *w)
{
    for (unsigned i = 0; i < 2 * w->count; i++)
        if (filling(a, w, i))
            return true;
    return false;
}

static void fill(struct array *a, const struct window *w, void *buf)
{
    for (unsigned i = 0; i < 2 * w->count; i++) {
        struct member *m = filling(a, w, i);
        if (m)
            overwrite(a, w, i / 2, m, buf);
    }
}

static int compare(struct array *a, const struct window *w, void *const buffers[SYNC_BUFFERS])
{
    struct member *m;
    bool fills = a->sync.action != ARRAY_CHECK && any_filling(a, w);
    unsigned reference = 0;

    if (w->in_sync < 2 && !fills)
        return 0;
    while (reference < w->in_sync && read_from(a, w, reference, buffers[0], &m))
        reference++;
    if (reference == w->in_sync)
        return -EIO;
    for (unsigned i = 0; i < w->in_sync; i++)
        if (i != reference)
            compare_with(a, w, i, buffers);
    if (fills)
        fill(a, w, buffers[0]);
    return members_record_if_needed(a);
}

/* The next window of the stretch, as far as it lies in one piece. */
static bool next(struct array *a, struct window *w)
{
    struct array_sync *s = &a->sync;
    uint64_t run_bytes;

    if (s->next_bytes >= s->stretch_end_bytes)
        return false;
    w->offset = s->next_bytes;
    w->count = raid_geometry_map(&a->geometry, w->offset, w->copies, &run_bytes);
    w->length = MIN(run_bytes, s->stretch_end_bytes - w->offset);
    w->length = MIN(w->length, pace_window_bytes(a));
    s->next_bytes += w->length;
    return true;
}

static void sort_copies(const struct array *a, struct window *w)
{
    w->in_sync = 0;
    for (unsigned i = 0; i < w->count; i++) {
        struct raid_location copy = w->copies[i];
        if (!array_readable(a, copy.role))
            continue;
        memmove(&w->copies[w->in_sync + 1], &w->copies[w->in_sync], (i - w->in_sync) * sizeof copy);
        w->copies[w->in_sync++] = copy;
    }
}

bool mirror_compare(struct array *a, void *const buffers[SYNC_BUFFERS])
{
    struct array_sync *s = &a->sync;
    struct range_holder range;
    struct window w;
    int rc;

    if (!next(a, &w) || !sync_may_go_on(a, w.length))
        return false;
    gate_enter(&a->writes);
    range_lock_take(&a->ranges, &range, w.offset, w.offset + w.length, false);
    sort_copies(a, &w);
    rc = compare(a, &w, buffers);
    range_lock_release(&a->ranges, &range);
    gate_leave(&a->writes);
    if (rc)
        s->stretch_result = -EIO;
    atomic_fetch_add(&s->done_bytes, w.length);
    return true;
}

/* A run of chunks to do, from `chunk` on. */
static uint64_t stretch_end(const struct array *a, uint64_t chunk)
{
    uint64_t end = chunk + 1;

    while (end < a->bitmap.bits && md_bitmap_test(a->sync.todo, end) &&
           (end - chunk) << a->bitmap.chunk_shift < SYNC_STRETCH_BYTES)
        end++;
    return end;
}

static int go_over(struct array *a)
{
    uint64_t bits = a->bitmap.bits, chunk = 0;
    int rc, result = 0;

    while ((chunk = md_bitmap_next(a->sync.todo, chunk, bits)) < bits) {
        uint64_t end = stretch_end(a, chunk);
        uint64_t start_bytes = chunk_start(a, chunk), end_bytes = chunk_start(a, end);

        rc = sync_run_stretch(a, start_bytes, end_bytes, a->level->compare);
        if (rc == -ECANCELED || rc == -ENOMEM || atomic_load(&a->failed))
            return rc;
        if (rc)
            result = rc;
        else if (a->sync.action == ARRAY_RESYNC)
            bitmap_log_synced(a, start_bytes, end_bytes - start_bytes);
        chunk = end;
    }
    return result;
}

/* A resync writes as guests do: nothing calls the array clean before it has been flushed. */
static int activate(struct array *a)
{
    int rc;

    if (a->sync.action != ARRAY_RESYNC)
        return 0;
    gate_enter(&a->writes);
    rc = members_activate(a);
    gate_leave(&a->writes);
    return rc;
}

int resync_run(struct array *a)
{
    int rc = activate(a);

    while (!rc && plan(a)) {
        rc = go_over(a);
        if (a->sync.action != ARRAY_RESYNC)
            break;
    }
    return rc;
}
