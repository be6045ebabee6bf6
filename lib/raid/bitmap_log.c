/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The write-intent bitmap at work. Two things are known of each chunk: the bit in the image (what
 * is on the members, or is going to be), under a spinlock; and an atomic word with flags and the
 * writes in flight, which is all that a write to a chunk whose bit is durable looks at.
 *
 * A write that finds its bit not durable sets it in the image and commits: it waits for a round
 * that writes the pages changed until then to all members with a role, durably. Whoever comes when
 * none runs leads the next round for all who wait.
 *
 * Clean-up: a chunk not written for a while loses DURABLE, so that the next write has to commit
 * again; then members are flushed; then, if still nobody has written, its bit is cleared. All this
 * only while no member is missing: bits say what a missing one has missed.
 *
 * UNSYNCED chunks keep their bits until a resync (or one write to all of it) has made their copies
 * the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"

#define PAGE_BYTES    4096u
#define STAGING_PAGES 16u
#define ALIGN_BYTES   4096u

static uint64_t page_count(const struct bitmap_log *b)
{
    return div_round_up(b->image_bytes, PAGE_BYTES);
}

static uint8_t *map_of(const struct bitmap_log *b)
{
    return b->image + MD_BITMAP_HEADER_BYTES;
}

int bitmap_log_init(struct array *a, const struct md_bitmap_header *header, bool on_disk)
{
    struct bitmap_log *b = &a->bitmap;
    unsigned targets_max = 2 * a->geometry.raid_disks;

    b->header = *header;
    b->on_disk = on_disk;
    b->chunk_shift = (unsigned)__builtin_ctz(header->chunk_bytes);
    b->bits = md_bitmap_bits(a->geometry.sync_bytes, header->chunk_bytes);
    b->image_bytes =
        round_up(MD_BITMAP_HEADER_BYTES + div_round_up(b->bits, 8), a->dev.logical_block_bytes);
    b->offset_bytes = (uint64_t)(MD_SUPERBLOCK_OFFSET + a->sb.bitmap_offset) * MD_SECTOR_BYTES;
    b->image = calloc(1, md_bitmap_bytes(b->bits));
    b->clearing = calloc(1, md_bitmap_bytes(b->bits));
    b->dirty = calloc(page_count(b), sizeof *b->dirty);
    b->chunks = calloc(b->bits, sizeof *b->chunks);
    b->staging = aligned_alloc(ALIGN_BYTES, STAGING_PAGES * PAGE_BYTES);
    b->ops = calloc(targets_max, sizeof *b->ops);
    b->targets = calloc(targets_max, sizeof(struct member *));
    wait_queue_init(&b->waiters);
    if (!b->image || !b->clearing || !b->dirty || !b->chunks || !b->staging || !b->ops ||
        !b->targets)
        return -ENOMEM;
    md_bitmap_encode(&b->header, b->image);
    bitmap_log_fill(a, UINT64_MAX);
    return 0;
}

void bitmap_log_destroy(struct array *a)
{
    struct bitmap_log *b = &a->bitmap;

    free(b->image);
    free(b->clearing);
    free(b->dirty);
    free(b->chunks);
    free(b->staging);
    free(b->ops);
    free(b->targets);
}

/* The words say what the image says; before anything is written. */
static void words_from_image(struct bitmap_log *b)
{
    for (uint64_t i = 0; i < b->bits; i++)
        if (!b->on_disk || md_bitmap_test(map_of(b), i))
            atomic_fetch_or(&b->chunks[i], CHUNK_DURABLE);
}

int bitmap_log_load(struct array *a, struct blockdev *from)
{
    struct bitmap_log *b = &a->bitmap;
    int rc = blockdev_read_bytes(from, b->image, b->offset_bytes, b->image_bytes);

    if (!rc)
        words_from_image(b);
    return rc;
}

void bitmap_log_fill(struct array *a, uint64_t from_bytes)
{
    struct bitmap_log *b = &a->bitmap;
    uint64_t from = from_bytes == UINT64_MAX ? b->bits : from_bytes >> b->chunk_shift;

    md_bitmap_fill(map_of(b), b->bits, false);
    for (uint64_t i = from; i < b->bits; i++)
        md_bitmap_set(map_of(b), i);
    words_from_image(b);
}

static bool is_due(uint32_t word)
{
    return word & CHUNK_UNSYNCED && word & CHUNK_USED;
}

/* Keeps count: a chunk's word was `old` and is `word`. */
static void count_change(struct bitmap_log *b, uint32_t old, uint32_t word)
{
    if ((old ^ word) & CHUNK_UNSYNCED)
        atomic_fetch_add(&b->unsynced, word & CHUNK_UNSYNCED ? 1 : UINT64_MAX);
    if (is_due(old) != is_due(word))
        atomic_fetch_add(&b->due, is_due(word) ? 1 : UINT64_MAX);
}

static void set_flags(struct bitmap_log *b, uint64_t chunk, uint32_t flags)
{
    uint32_t old = atomic_fetch_or(&b->chunks[chunk], flags);

    count_change(b, old, old | flags);
}

static void clear_flags(struct bitmap_log *b, uint64_t chunk, uint32_t flags)
{
    uint32_t old = atomic_fetch_and(&b->chunks[chunk], ~flags);

    count_change(b, old, old & ~flags);
}

void bitmap_log_distrust(struct array *a)
{
    struct bitmap_log *b = &a->bitmap;

    for (uint64_t i = 0; (i = md_bitmap_next(map_of(b), i, b->bits)) < b->bits; i++)
        set_flags(b, i, CHUNK_UNSYNCED | CHUNK_DURABLE);
}

void bitmap_log_use_all(struct array *a)
{
    for (uint64_t i = 0; i < a->bitmap.bits; i++)
        set_flags(&a->bitmap, i, CHUNK_USED);
}

int bitmap_log_write_all(struct array *a, struct member *m)
{
    struct bitmap_log *b = &a->bitmap;
    int rc = 0;

    for (uint64_t done = 0; b->on_disk && !rc && done < b->image_bytes;) {
        uint64_t bytes = MIN(b->image_bytes - done, (uint64_t)STAGING_PAGES * PAGE_BYTES);
        rc = blockdev_write_bytes(m->dev, b->image + done, b->offset_bytes + done, bytes,
            BLOCK_BACKGROUND | BLOCK_PATIENT);
        done += bytes;
    }
    return rc ? rc : member_flush(m);
}

/* Copies the first run of changed pages; 0: there are none. The lock is held. */
static uint64_t stage(struct bitmap_log *b, uint64_t *offset)
{
    uint64_t page = 0, count = 0;

    while (page < page_count(b) && !b->dirty[page])
        page++;
    while (count < STAGING_PAGES && page + count < page_count(b) && b->dirty[page + count])
        b->dirty[page + count++] = false;
    *offset = page * PAGE_BYTES;
    if (!count)
        return 0;
    uint64_t bytes = MIN(count * PAGE_BYTES, b->image_bytes - *offset);
    memcpy(b->staging, b->image + *offset, bytes);
    return bytes;
}

static unsigned find_targets(struct array *a)
{
    struct bitmap_log *b = &a->bitmap;
    unsigned count = 0;

    for (unsigned role = 0; role < a->geometry.raid_disks; role++) {
        struct member *m = array_writable(a->roles[role]);
        struct member *r = array_writable(a->replacements[role]);
        if (m)
            b->targets[count++] = m;
        if (r)
            b->targets[count++] = r;
    }
    return count;
}

/* Writes what is staged to all members; those that fail become faulty (not yet recorded). */
static int write_staged(struct array *a, uint64_t offset, uint64_t bytes)
{
    struct bitmap_log *b = &a->bitmap;
    struct iovec iov = {b->staging, bytes};
    unsigned count = find_targets(a), failed = 0;

    for (unsigned i = 0; i < count; i++)
        b->ops[i] = (struct block_op){
            .kind = BLOCK_WRITE,
            .flags = BLOCK_FUA | BLOCK_STABLE | BLOCK_BACKGROUND | BLOCK_PATIENT,
            .dev = b->targets[i]->dev,
            .iov = &iov,
            .iov_count = 1,
            .offset = b->offset_bytes + offset,
        };
    if (!blockdev_run(b->ops, count))
        return 0;
    for (unsigned i = 0; i < count; i++)
        if (b->ops[i].result)
            b->targets[failed++] = b->targets[i];
    return members_fail(a, b->targets, failed);
}

/* One round, by its leader: all pages changed until now. The lock is held, and again at the end. */
static void run_round(struct array *a)
{
    struct bitmap_log *b = &a->bitmap;
    uint64_t offset, bytes, round = ++b->started;

    b->writing = true;
    while ((bytes = stage(b, &offset)) != 0) {
        spin_unlock(&b->lock);
        write_staged(a, offset, bytes);
        spin_lock(&b->lock);
    }
    b->writing = false;
    b->ended = round;
    wait_queue_wake_all(&b->waiters);
}

static bool any_dirty(const struct bitmap_log *b)
{
    return memchr(b->dirty, true, page_count(b)) != NULL;
}

int bitmap_log_commit(struct array *a)
{
    struct bitmap_log *b = &a->bitmap;
    uint64_t round;

    spin_lock(&b->lock);
    round = b->started + any_dirty(b);
    while (b->ended < round) {
        if (b->writing) {
            wait_queue_wait(&b->waiters, &b->lock, "bitmap");
            spin_lock(&b->lock);
        } else {
            run_round(a);
        }
    }
    spin_unlock(&b->lock);
    return atomic_load(&a->failed) ? -EIO : 0;
}

int bitmap_log_write_header(struct array *a, uint64_t events, bool degraded)
{
    struct bitmap_log *b = &a->bitmap;

    if (!b->on_disk)
        return 0;
    spin_lock(&b->lock);
    b->header.events = events;
    if (!degraded)
        b->header.events_cleared = events;
    md_bitmap_encode(&b->header, b->image);
    b->dirty[0] = true;
    spin_unlock(&b->lock);
    return bitmap_log_commit(a);
}

/* The lock is held. */
static void set_in_image(struct bitmap_log *b, uint64_t chunk)
{
    md_bitmap_set(map_of(b), chunk);
    b->dirty[(MD_BITMAP_HEADER_BYTES + chunk / 8) / PAGE_BYTES] = true;
}

/* Returns the word as it was. */
static uint32_t enter_chunk(struct bitmap_log *b, uint64_t chunk)
{
    uint32_t old = atomic_load_explicit(&b->chunks[chunk], memory_order_relaxed), word;

    do
        word = (old + 1) | CHUNK_USED | CHUNK_TOUCHED;
    while (!atomic_compare_exchange_weak(&b->chunks[chunk], &old, word));
    if (is_due(word) && !is_due(old))
        atomic_fetch_add(&b->due, 1);
    return old;
}

/* A member that could not take the bits must not count as in sync after a crash: its bitmap might
 * be the one that is gone by. So that is on disk, too, before the data. */
static int make_durable(struct array *a, uint64_t first, uint64_t last)
{
    struct bitmap_log *b = &a->bitmap;
    int rc;

    spin_lock(&b->lock);
    for (uint64_t i = first; i <= last; i++)
        if (!(atomic_load(&b->chunks[i]) & CHUNK_DURABLE))
            set_in_image(b, i);
    spin_unlock(&b->lock);
    rc = MUTANT(DATA_BEFORE_BITS) ? 0 : bitmap_log_commit(a);
    if (!rc)
        rc = members_record_if_needed(a);
    for (uint64_t i = first; !rc && i <= last; i++)
        atomic_fetch_or(&b->chunks[i], CHUNK_DURABLE);
    return rc;
}

int bitmap_log_begin(struct array *a, uint64_t offset, uint64_t length)
{
    struct bitmap_log *b = &a->bitmap;
    uint64_t first = offset >> b->chunk_shift, last = (offset + length - 1) >> b->chunk_shift;
    bool durable = true, wakes = false;

    for (uint64_t i = first; i <= last; i++) {
        uint32_t old = enter_chunk(b, i);
        durable &= (old & CHUNK_DURABLE) != 0;
        wakes |= old & CHUNK_UNSYNCED && !is_due(old);
    }
    if (wakes)
        array_wake(a);
    return durable ? 0 : make_durable(a, first, last);
}

void bitmap_log_end(struct array *a, uint64_t offset, uint64_t length)
{
    struct bitmap_log *b = &a->bitmap;
    uint64_t last = (offset + length - 1) >> b->chunk_shift;

    for (uint64_t i = offset >> b->chunk_shift; i <= last; i++)
        atomic_fetch_sub(&b->chunks[i], 1);
}

bool bitmap_log_unsynced(const struct array *a, uint64_t offset, uint64_t length)
{
    const struct bitmap_log *b = &a->bitmap;
    uint64_t last = (offset + length - 1) >> b->chunk_shift;

    if (!atomic_load_explicit(&b->unsynced, memory_order_relaxed))
        return false;
    for (uint64_t i = offset >> b->chunk_shift; i <= last; i++)
        if (atomic_load_explicit(&b->chunks[i], memory_order_relaxed) & CHUNK_UNSYNCED)
            return true;
    return false;
}

/* The chunks that lie wholly inside: [*first, *end). */
static void chunks_inside(
    const struct array *a, uint64_t offset, uint64_t length, uint64_t *first, uint64_t *end)
{
    uint64_t chunk_bytes = bitmap_log_chunk_bytes(a);
    bool to_the_end = offset + length >= a->geometry.sync_bytes;

    *first = div_round_up(offset, chunk_bytes);
    *end = to_the_end ? a->bitmap.bits : (offset + length) / chunk_bytes;
}

void bitmap_log_synced(struct array *a, uint64_t offset, uint64_t length)
{
    struct bitmap_log *b = &a->bitmap;
    uint64_t first, end;

    chunks_inside(a, offset, length, &first, &end);
    for (uint64_t i = first; i < end; i++)
        clear_flags(b, i, CHUNK_UNSYNCED);
}

void bitmap_log_unused(struct array *a, uint64_t offset, uint64_t length)
{
    uint64_t first, end;

    chunks_inside(a, offset, length, &first, &end);
    for (uint64_t i = first; i < end; i++)
        clear_flags(&a->bitmap, i, CHUNK_USED);
}

bool bitmap_log_marked(struct array *a, uint64_t chunk)
{
    struct bitmap_log *b = &a->bitmap;
    bool set;

    spin_lock(&b->lock);
    set = md_bitmap_test(map_of(b), chunk);
    spin_unlock(&b->lock);
    return set;
}

static void unsync(struct bitmap_log *b, uint64_t chunk)
{
    set_flags(b, chunk, CHUNK_UNSYNCED);
    if (!b->on_disk)
        return;
    spin_lock(&b->lock);
    if (!md_bitmap_test(map_of(b), chunk))
        set_in_image(b, chunk);
    spin_unlock(&b->lock);
}

int bitmap_log_unsync_others(struct array *a, const uint8_t *kept, bool marked)
{
    struct bitmap_log *b = &a->bitmap;

    for (uint64_t i = 0; i < b->bits; i++)
        if (!md_bitmap_test(kept, i) && (!marked || bitmap_log_marked(a, i)))
            unsync(b, i);
    return bitmap_log_commit(a);
}

/* Takes DURABLE off a chunk at rest. */
static bool retire(struct bitmap_log *b, uint64_t chunk, bool all)
{
    uint32_t word = atomic_load(&b->chunks[chunk]);

    if (!all && word & CHUNK_TOUCHED) {
        atomic_fetch_and(&b->chunks[chunk], ~CHUNK_TOUCHED);
        return false;
    }
    if (word & (CHUNK_UNSYNCED | CHUNK_WRITERS))
        return false;
    return atomic_compare_exchange_strong(
        &b->chunks[chunk], &word, word & ~(CHUNK_DURABLE | CHUNK_TOUCHED));
}

/* Leaves those that it has retired in b->clearing. */
static bool retire_chunks(struct bitmap_log *b, bool all)
{
    bool any = false;

    spin_lock(&b->lock);
    memcpy(b->clearing, map_of(b), div_round_up(b->bits, 8));
    spin_unlock(&b->lock);
    for (uint64_t i = 0; (i = md_bitmap_next(b->clearing, i, b->bits)) < b->bits; i++) {
        if (retire(b, i, all))
            any = true;
        else
            md_bitmap_clear(b->clearing, i);
    }
    return any;
}

static void clear_retired(struct bitmap_log *b)
{
    for (uint64_t i = 0; (i = md_bitmap_next(b->clearing, i, b->bits)) < b->bits; i++) {
        spin_lock(&b->lock);
        if (MUTANT(CLEAR_BITS_IN_USE) || !(atomic_load(&b->chunks[i]) & ~CHUNK_USED)) {
            md_bitmap_clear(map_of(b), i);
            b->dirty[(MD_BITMAP_HEADER_BYTES + i / 8) / PAGE_BYTES] = true;
        }
        spin_unlock(&b->lock);
    }
}

void bitmap_log_clean(struct array *a, bool all)
{
    struct bitmap_log *b = &a->bitmap;

    if (!b->on_disk || array_degraded(a) || atomic_load(&a->failed) || !retire_chunks(b, all))
        return;
    if ((!MUTANT(CLEAR_BITS_EARLY) && array_flush_members(a)) || array_degraded(a))
        return;
    clear_retired(b);
    bitmap_log_commit(a);
}
