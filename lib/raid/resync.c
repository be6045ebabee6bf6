/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resync, check and repair: what they go over, and what they have found. Comparing is the level's
 * (mirror_sync.c, parity_sync.c).
 *
 * Resync goes over the chunks that are not in sync (by itself only over those that hold something),
 * until there are none; check and repair over those that are, and hold something.
 */
#include <errno.h>
#include <stdio.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/mismatch.h"

static bool wanted(const struct array *a, uint64_t chunk)
{
    uint32_t word = atomic_load_explicit(&a->bitmap.chunks[chunk], memory_order_relaxed);

    if (a->sync.action != ARRAY_RESYNC)
        return (word & (CHUNK_UNSYNCED | CHUNK_USED)) == CHUNK_USED;
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

static void begin_list(struct array *a)
{
    struct array_mismatches *l = a->mismatches;

    mismatches_clear(l, a->sync.status.id, a->sync.action);
    for (unsigned role = 0; role < l->member_count; role++) {
        const struct member *m = array_readable(a, role);
        snprintf(l->members[role], sizeof l->members[role], "%s", m ? m->dev->name : "");
    }
}

void sync_count_mismatch(struct array *a, uint64_t bytes)
{
    atomic_fetch_add(&a->sync.mismatch_bytes, bytes);
    a->mismatches->bytes += bytes;
}

void sync_note_mismatch(struct array *a, const struct array_mismatch *m)
{
    mismatches_add(a->mismatches, m);
}

int resync_run(struct array *a)
{
    int rc = activate(a);

    if (a->sync.action != ARRAY_RESYNC)
        begin_list(a);
    while (!rc && plan(a)) {
        rc = go_over(a);
        if (a->sync.action != ARRAY_RESYNC)
            break;
    }
    return rc;
}
