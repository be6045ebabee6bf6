/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing RAID1 and RAID10: every copy, at the same time, from the same bytes.
 *
 * A write enters the gate, makes sure that the superblocks say dirty, locks its range (so that
 * writes that overlap cannot leave copies different, and no resync is half-way there), makes its
 * bitmap bits durable, and hands one operation for each copy to blockdev_run. Members that failed
 * are faulty in the survivors' superblocks before it returns; it has succeeded when a copy in sync
 * has it. Memory that might change meanwhile is copied first.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"
#include "rt/io.h"

#define COPIES_MAX (2 * RAID_COPIES_MAX) /* with replacements */

struct mirror_write {
    enum block_kind kind;
    unsigned flags;
    const struct iovec *iov;
    int iov_count;
    uint64_t offset, length;
};

static struct block_op op_for(
    const struct mirror_write *w, const struct member *m, uint64_t member_offset_bytes)
{
    return (struct block_op){
        .kind = w->kind,
        .flags = w->flags | BLOCK_PATIENT,
        .dev = m->dev,
        .iov = w->iov,
        .iov_count = w->iov_count,
        .offset = m->data_offset_bytes + member_offset_bytes,
        .length = w->length,
    };
}

static unsigned prepare(
    struct array *a, const struct mirror_write *w, struct block_op *ops, struct member **targets)
{
    struct raid_location copies[RAID_COPIES_MAX];
    uint64_t run_bytes;
    unsigned count = raid_geometry_map(&a->geometry, w->offset, copies, &run_bytes), used = 0;

    for (unsigned i = 0; i < count; i++) {
        struct member *m = array_writable(a->roles[copies[i].role]);
        struct member *r = array_writable(a->replacements[copies[i].role]);
        if (m && !(MUTANT(RECOVERY_MISSES_WRITES) && member_state(m) != MEMBER_IN_SYNC)) {
            targets[used] = m;
            ops[used++] = op_for(w, m, copies[i].offset_bytes);
        }
        if (r) {
            targets[used] = r;
            ops[used++] = op_for(w, r, copies[i].offset_bytes);
        }
    }
    return used;
}

/* Fails the members whose operations failed; 0 when a copy in sync has succeeded. */
static int settle(
    struct array *a, const struct block_op *ops, struct member **targets, unsigned count)
{
    unsigned failed = 0;
    bool done = false;

    for (unsigned i = 0; i < count; i++) {
        if (ops[i].result)
            targets[failed++] = targets[i];
        else
            done |= member_state(targets[i]) == MEMBER_IN_SYNC;
    }
    if (members_fail(a, targets, failed))
        return -EIO;
    return done ? 0 : -EIO;
}

static bool any_unsupported(const struct block_op *ops, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (ops[i].result == -EOPNOTSUPP)
            return true;
    return false;
}

static int write_copies(struct array *a, const struct mirror_write *w)
{
    struct block_op ops[COPIES_MAX];
    struct member *targets[COPIES_MAX];
    unsigned count = prepare(a, w, ops, targets);
    int rc = count ? blockdev_run(ops, count) : -EIO;

    if (!rc)
        return 0;
    if (w->flags & BLOCK_FAST && any_unsupported(ops, count)) {
        struct mirror_write slow = *w;
        slow.flags &= ~BLOCK_FAST;
        return write_copies(a, &slow);
    }
    return count ? settle(a, ops, targets, count) : -EIO;
}

/* Inside the gate. */
static int write_range(struct array *a, const struct mirror_write *w)
{
    struct range_holder range;
    int rc;

    range_lock_take(&a->ranges, &range, w->offset, w->offset + w->length, MUTANT(WRITES_UNORDERED));
    rc = bitmap_log_begin(a, w->offset, w->length);
    if (!rc)
        rc = write_copies(a, w);
    if (!MUTANT(ACK_BEFORE_FAILURE) && members_record_if_needed(a))
        rc = -EIO;
    if (!rc && w->length >= bitmap_log_chunk_bytes(a) && !array_degraded(a))
        bitmap_log_synced(a, w->offset, w->length);
    bitmap_log_end(a, w->offset, w->length);
    range_lock_release(&a->ranges, &range);
    return rc;
}

static int write_through_gate(struct array *a, const struct mirror_write *w)
{
    bool timed = w->kind == BLOCK_WRITE && !(w->flags & BLOCK_BACKGROUND);
    uint64_t begun_ns = timed ? pace_guest_begin(a) : 0;
    int rc = array_write_begin(a);

    if (!rc)
        rc = write_range(a, w);
    array_write_end(a);
    pace_guest_end(a, begun_ns);
    return rc;
}

static int write_copied(struct array *a, struct mirror_write *w)
{
    void *buf = io_buffer_get(w->length);
    struct iovec iov = {buf, w->length};
    int rc;

    if (!buf)
        return -ENOMEM;
    iov_copy_from(buf, w->iov, w->iov_count, 0, w->length);
    w->iov = &iov;
    w->iov_count = 1;
    w->flags |= BLOCK_STABLE;
    rc = write_through_gate(a, w);
    io_buffer_put(buf, w->length);
    return rc;
}

static int mirror_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    struct array *a = array_of(d);
    struct mirror_write w = {BLOCK_WRITE, flags, iov, iov_count, offset, length};

    if (!(flags & BLOCK_STABLE) && a->geometry.raid_disks > 1 && !MUTANT(CHANGING_BUFFER))
        return write_copied(a, &w);
    return write_through_gate(a, &w);
}

/* By chunks of the bitmap, so that a long one does not lock the array for long. */
static int mirror_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    struct array *a = array_of(d);
    uint64_t chunk_bytes = MAX(bitmap_log_chunk_bytes(a), (uint64_t)ARRAY_TRANSFER_MAX_BYTES);
    int rc = 0;

    while (!rc && length) {
        uint64_t bytes = MIN(length, chunk_bytes - offset % chunk_bytes);
        struct mirror_write w = {BLOCK_WRITE_ZEROES, flags, NULL, 0, offset, bytes};

        rc = write_through_gate(a, &w);
        offset += bytes;
        length -= bytes;
    }
    return rc;
}

/* Copies must agree afterwards: zeros do. Only offered when members can zero without writing. */
static int mirror_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    return mirror_write_zeroes(d, offset, length, BLOCK_MAY_UNMAP | BLOCK_FAST);
}

static int mirror_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct array *a = array_of(d);
    struct raid_location copies[RAID_COPIES_MAX];
    uint64_t run_bytes;
    unsigned count;
    int rc = -EIO;

    gate_enter(&a->reads);
    count = raid_geometry_map(&a->geometry, offset, copies, &run_bytes);
    for (unsigned i = 0; i < count && rc; i++) {
        struct member *m = array_readable(a, copies[i].role);
        if (m)
            rc = blockdev_extents(m->dev, m->data_offset_bytes + copies[i].offset_bytes,
                MIN(length, run_bytes), extent);
    }
    gate_leave(&a->reads);
    return rc;
}

static void mirror_unused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    bitmap_log_unused(array_of(d), offset, length);
}

static const struct blockdev_ops mirror_ops = {
    .read = mirror_read,
    .write = mirror_write,
    .flush = array_dev_flush,
    .discard = mirror_discard,
    .write_zeroes = mirror_write_zeroes,
    .extents = mirror_extents,
    .unused = mirror_unused,
    .close = array_dev_close,
};

const struct array_level mirror_level = {
    .blockdev = &mirror_ops,
    .compare = mirror_compare,
    .locate = mirror_locate,
    .fetch = mirror_fetch,
};
