/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of an array around create.c and assemble.c: memory, what its blockdev says, watchers,
 * stop and destroy. Control's worker, but for array_changed and array_flush_members.
 */
#include "raid/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"
#include "raid/mismatch.h"
#include "raid/parity_log.h"
#include "raid/stripe_flush.h"
#include "raid/stripe_join.h"
#include "rt/io.h"

#define FLUSH_BATCH      32u
#define RANGE_LOCK_SHIFT 20

void array_changed(struct array *a)
{
    spin_lock(&a->change_lock);
    a->version++;
    wait_queue_wake_all(&a->watchers);
    spin_unlock(&a->change_lock);
}

int array_wait_change(struct array *a, uint64_t *version)
{
    int rc;

    wait_group_add(&a->watching, 1);
    spin_lock(&a->change_lock);
    while (a->version == *version && !a->closing) {
        wait_queue_wait(&a->watchers, &a->change_lock, "change of an array");
        spin_lock(&a->change_lock);
    }
    rc = a->closing ? -ESHUTDOWN : 0;
    *version = a->version;
    spin_unlock(&a->change_lock);
    wait_group_done(&a->watching);
    return rc;
}

void array_quiesce(struct array *a)
{
    gate_close(&a->reads);
    gate_close(&a->writes);
}

void array_resume(struct array *a)
{
    gate_open(&a->writes);
    gate_open(&a->reads);
}

static const struct array_level *level_of(const struct raid_geometry *g)
{
    if (g->level == 0)
        return &stripe0_level;
    return g->parity ? &parity_level : &mirror_level;
}

static int init_device(struct array *a, struct error *err)
{
    int rc;

    a->level = level_of(&a->geometry);
    rc = blockdev_init(&a->dev, a->level->blockdev, a->name, a->geometry.size_bytes);
    return rc ? error_set(err, ENOMEM, "out of memory") : 0;
}

static void init_locks(struct array *a)
{
    gate_init(&a->reads);
    gate_init(&a->writes);
    range_lock_init(&a->ranges, RANGE_LOCK_SHIFT);
    co_mutex_init(&a->update);
    co_mutex_init(&a->control);
    co_event_init(&a->wake);
    co_event_init(&a->stopped);
    wait_queue_init(&a->watchers);
    wait_group_init(&a->watching);
    list_init(&a->members);
}

int array_new(
    struct array **made, const struct md_superblock *sb, struct raid_geometry *g, struct error *err)
{
    struct array *a = aligned_alloc(_Alignof(struct array), sizeof *a);

    if (!a) {
        raid_geometry_destroy(g);
        return error_set(err, ENOMEM, "out of memory");
    }
    memset(a, 0, sizeof *a);
    a->geometry = *g;
    a->sb = *sb;
    atomic_init(&a->events, sb->events);
    atomic_init(&a->max_read_errors, ARRAY_MAX_READ_ERRORS);
    snprintf(a->name, sizeof a->name, "%s", md_superblock_short_name(sb));
    init_locks(a);
    a->roles = calloc(g->raid_disks, sizeof(struct member *));
    a->replacements = calloc(g->raid_disks, sizeof(struct member *));
    a->mismatches = mismatches_new(g->raid_disks);
    a->activity = aligned_alloc(_Alignof(struct array_activity), WORKERS_MAX * sizeof *a->activity);
    if (!a->roles || !a->replacements || !a->mismatches || !a->activity ||
        (g->parity && (stripe_join_init(a) || stripe_flush_init(a))) || init_device(a, err)) {
        array_free(a);
        return error_set(err, ENOMEM, "out of memory");
    }
    memset(a->activity, 0, WORKERS_MAX * sizeof *a->activity);
    *made = a;
    return 0;
}

void array_free(struct array *a)
{
    list_for_each_safe (it, &a->members)
        member_free(container_of(it, struct member, link));
    bitmap_log_destroy(a);
    sync_destroy(a);
    blockdev_fini(&a->dev);
    raid_geometry_destroy(&a->geometry);
    free(a->roles);
    free(a->replacements);
    free(a->mismatches);
    free(a->activity);
    stripe_join_destroy(a);
    stripe_flush_destroy(a);
    parity_log_destroy(a);
    free(a->sb_ops);
    free(a->sb_targets);
    free(a);
}

/* Of each member, by one request: a long one does not lock the array for long. */
#define ZERO_MEMBER_BYTES (UINT64_C(64) << 20)

void array_publish(struct array *a)
{
    uint32_t can = BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST, any = 0;
    unsigned data = a->geometry.raid_disks / a->geometry.copies - a->geometry.parity;
    uint64_t row_bytes = a->geometry.chunk_bytes * data;

    list_for_each (it, &a->members) {
        const struct blockdev *d = container_of(it, struct member, link)->dev;
        can &= d->capabilities;
        any |= d->capabilities & BLOCK_ROTATIONAL;
        a->dev.logical_block_bytes = MAX(a->dev.logical_block_bytes, d->logical_block_bytes);
        a->dev.physical_block_bytes = MAX(a->dev.physical_block_bytes, d->physical_block_bytes);
        a->dev.memory_align_bytes = MAX(a->dev.memory_align_bytes, d->memory_align_bytes);
    }
    /* a discard that leaves anything but zeros would let copies differ, and parity */
    if (array_redundant(a) && !(can & BLOCK_CAN_ZERO_FAST))
        can &= ~BLOCK_CAN_DISCARD;
    a->dev.capabilities = can | any | BLOCK_CAN_FUA;
    a->dev.boundary_bytes = a->geometry.boundary_bytes;
    if (a->geometry.parity)
        a->dev.zeroes_boundary_bytes =
            row_bytes * MAX(ZERO_MEMBER_BYTES / a->geometry.chunk_bytes, UINT64_C(1));
    a->dev.max_transfer_bytes = array_redundant(a) ? ARRAY_TRANSFER_MAX_BYTES : 0;
    a->dev.optimal_io_bytes = row_bytes <= UINT32_MAX ? (uint32_t)row_bytes : 0;
}

static void count_write(struct array *a)
{
    _Atomic uint64_t *writes = &array_activity(a)->writes;

    atomic_store_explicit(
        writes, atomic_load_explicit(writes, memory_order_relaxed) + 1, memory_order_relaxed);
}

int array_write_begin(struct array *a)
{
    gate_enter(&a->writes);
    count_write(a);
    if (atomic_load_explicit(&a->failed, memory_order_relaxed))
        return -EIO;
    return atomic_load_explicit(&a->busy, memory_order_acquire) ? 0 : members_activate(a);
}

void array_write_end(struct array *a)
{
    gate_leave(&a->writes);
}

int array_dev_flush(struct blockdev *d)
{
    struct array *a = array_of(d);
    int rc;

    gate_enter(&a->writes);
    rc = array_flush_members(a);
    gate_leave(&a->writes);
    return rc;
}

void array_dev_close(struct blockdev *d)
{
}

static unsigned flush_batch(
    struct array *a, unsigned *next, struct block_op *ops, struct member **targets)
{
    unsigned count = 0;

    for (; *next < 2 * a->geometry.raid_disks && count < FLUSH_BATCH; ++*next) {
        struct member *m =
            array_writable(*next % 2 ? a->replacements[*next / 2] : a->roles[*next / 2]);
        if (!m || (MUTANT(SKIP_FLUSH) && *next == 2))
            continue;
        targets[count] = m;
        ops[count++] =
            (struct block_op){.kind = BLOCK_FLUSH, .flags = BLOCK_PATIENT, .dev = m->dev};
    }
    return count;
}

int array_flush_all(struct array *a)
{
    struct block_op ops[FLUSH_BATCH];
    struct member *targets[FLUSH_BATCH];
    unsigned count, next = 0;
    int rc = 0;

    while ((count = flush_batch(a, &next, ops, targets)) != 0) {
        unsigned failed = 0;
        if (!blockdev_run(ops, count))
            continue;
        for (unsigned i = 0; i < count; i++)
            if (ops[i].result)
                targets[failed++] = targets[i];
        rc = members_fail(a, targets, failed) ? -EIO : rc;
    }
    return rc;
}

int array_flush_members(struct array *a)
{
    uint64_t flush = stripe_flush_begin(a);
    int rc = array_flush_all(a);

    if (members_record_if_needed(a) || atomic_load(&a->failed))
        rc = -EIO;
    if (!rc)
        stripe_flush_end(a, flush);
    return rc;
}

int array_fill_page(struct blockdev *d, int byte, uint64_t offset)
{
    void *buf = io_buffer_get(MD_SUPERBLOCK_BYTES);
    int rc;

    if (!buf)
        return -ENOMEM;
    memset(buf, byte, MD_SUPERBLOCK_BYTES);
    rc = blockdev_write(d, buf, offset, MD_SUPERBLOCK_BYTES, BLOCK_STABLE);
    io_buffer_put(buf, MD_SUPERBLOCK_BYTES);
    return rc;
}

void array_mark_clean(struct array *a)
{
    if (atomic_load(&a->failed) || (!MUTANT(CLEAN_EARLY) && array_flush_members(a)))
        return;
    co_mutex_lock(&a->update);
    a->dirty = false;
    if (members_resync_offset(a) != a->sb.resync_offset)
        members_write_superblocks(a);
    co_mutex_unlock(&a->update);
}

static void stop_manager(struct array *a)
{
    if (!a->started)
        return;
    a->stopping = true;
    array_wake(a);
    co_event_wait(&a->stopped);
}

static void dismiss_watchers(struct array *a)
{
    spin_lock(&a->change_lock);
    a->closing = true;
    wait_queue_wake_all(&a->watchers);
    spin_unlock(&a->change_lock);
    wait_group_wait(&a->watching);
}

/* Superblocks durably first: no crash may leave one that names a bitmap which is gone. */
static void wipe(struct array *a)
{
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        array_fill_page(m->dev, 0, MD_SUPERBLOCK_OFFSET_BYTES);
        blockdev_flush(m->dev);
        for (uint64_t done = 0; a->bitmap.on_disk && done < a->bitmap.image_bytes;
             done += MD_SUPERBLOCK_BYTES)
            array_fill_page(m->dev, 0, a->bitmap.offset_bytes + done);
        blockdev_flush(m->dev);
    }
}

static int end(struct array *a, bool destroy, struct error *err)
{
    if (blockdev_use(&a->dev, true))
        return error_set(err, EBUSY, "array %s is in use", a->name);
    dismiss_watchers(a);
    stop_manager(a);
    array_quiesce(a);
    if (array_redundant(a))
        bitmap_log_clean(a, true);
    array_mark_clean(a);
    if (destroy)
        wipe(a);
    array_resume(a);
    list_for_each (it, &a->members)
        blockdev_close(container_of(it, struct member, link)->dev);
    array_free(a);
    return 0;
}

int array_stop(struct array *a, struct error *err)
{
    return end(a, false, err);
}

int array_destroy(struct array *a, struct error *err)
{
    return end(a, true, err);
}

struct blockdev *array_blockdev(struct array *a)
{
    return &a->dev;
}

const char *array_name(const struct array *a)
{
    return a->name;
}
