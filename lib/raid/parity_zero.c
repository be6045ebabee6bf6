/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeroing and discarding RAID5 and RAID6. Where all data of a stripe is zeros P and Q are, too, so
 * whole stripes are zeroed by zeroing the members, many stripes at a time, and no data is moved.
 *
 * What is left of a request is written as zeros (by a discard: left alone). So are stripes with a
 * record in the parity log, which would undo it. While members lack, only the log would keep what
 * stands for them: all is written then.
 */
#include <errno.h>

#include "base/arith.h"
#include "raid/parity_log.h"
#include "raid/stripe_flush.h"
#include "rt/io.h"

#define OPS_MAX 64u /* side by side */

/* Stripes, and what they are on each member. */
struct rows {
    uint64_t first, end;
    unsigned flags;
};

static uint64_t row_bytes(const struct array *a)
{
    return a->geometry.chunk_bytes * a->geometry.raid5.data;
}

static unsigned gather(struct array *a, const struct rows *rows, unsigned *next,
    struct block_op *ops, struct member **targets)
{
    uint64_t chunk_bytes = a->geometry.chunk_bytes;
    unsigned count = 0;

    for (; *next < 2 * a->geometry.raid_disks && count < OPS_MAX; ++*next) {
        struct member *m =
            array_writable(*next % 2 ? a->replacements[*next / 2] : a->roles[*next / 2]);
        if (!m)
            continue;
        targets[count] = m;
        ops[count++] = (struct block_op){
            .kind = BLOCK_WRITE_ZEROES,
            .flags = rows->flags | BLOCK_PATIENT,
            .dev = m->dev,
            .offset = m->data_offset_bytes + rows->first * chunk_bytes,
            .length = (rows->end - rows->first) * chunk_bytes,
        };
    }
    return count;
}

/* Some by writing, where it cannot be had fast after all: half-way there is no way back. */
static int run(struct array *a, struct block_op *ops, struct member **targets, unsigned count)
{
    unsigned failed = 0;

    blockdev_run(ops, count);
    for (unsigned i = 0; i < count; i++) {
        if (ops[i].result == -EOPNOTSUPP) {
            ops[i].flags &= ~BLOCK_FAST;
            blockdev_run(&ops[i], 1);
        }
        if (ops[i].result)
            targets[failed++] = targets[i];
    }
    return members_fail(a, targets, failed);
}

static int zero_members(struct array *a, const struct rows *rows)
{
    uint64_t bytes = OPS_MAX * (sizeof(struct block_op) + sizeof(struct member *));
    struct block_op *ops = io_buffer_get(bytes);
    struct member **targets = ops ? (struct member **)(ops + OPS_MAX) : NULL;
    unsigned count, next = 0;
    int rc = 0;

    if (!ops)
        return -ENOMEM;
    while ((count = gather(a, rows, &next, ops, targets)) != 0 && !rc)
        rc = run(a, ops, targets, count);
    io_buffer_put(ops, bytes);
    return rc;
}

/* As far as there are no records; moves rows->end. The range is locked. */
static int zero_locked(struct array *a, struct rows *rows)
{
    uint64_t start = rows->first * a->geometry.chunk_bytes, length, at = rows->first;
    int rc;

    while (at < rows->end && !parity_log_has_record(a, at))
        at++;
    rows->end = at;
    length = (rows->end - rows->first) * a->geometry.chunk_bytes;
    if (!length)
        return 0;
    rc = bitmap_log_begin(a, start, length);
    if (!rc)
        rc = array_degraded(a) ? -EOPNOTSUPP : zero_members(a, rows);
    if (!rc)
        stripe_flush_due(a, rows->first, rows->end);
    if (members_record_if_needed(a))
        rc = -EIO;
    if (!rc && !array_degraded(a))
        bitmap_log_synced(a, start, length);
    bitmap_log_end(a, start, length);
    return rc;
}

/* -EOPNOTSUPP: they have to be written. */
static int zero_rows(struct array *a, struct rows *rows)
{
    uint64_t chunk_bytes = a->geometry.chunk_bytes;
    struct range_holder range;
    int rc = array_write_begin(a);

    if (!rc) {
        range_lock_take(
            &a->ranges, &range, rows->first * chunk_bytes, rows->end * chunk_bytes, false);
        rc = zero_locked(a, rows);
        range_lock_release(&a->ranges, &range);
    }
    array_write_end(a);
    return rc;
}

/* All rows, those with records as bytes, one at a time. */
static int zero_all(struct array *a, uint64_t first, uint64_t end, unsigned flags)
{
    int rc = 0;

    while (!rc && first < end) {
        struct rows rows = {first, end, flags};

        rc = zero_rows(a, &rows);
        first = rows.end;
        if (!rc && first < end)
            rc = blockdev_write_zeros(&a->dev, first++ * row_bytes(a), row_bytes(a), flags);
    }
    return rc;
}

int parity_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    struct array *a = array_of(d);
    uint64_t row = row_bytes(a), first = div_round_up(offset, row), end = (offset + length) / row;
    int rc;

    if (first >= end)
        return -EOPNOTSUPP;
    rc = zero_all(a, first, end, flags);
    if (!rc && offset < first * row)
        rc = blockdev_write_zeros(d, offset, first * row - offset, flags);
    if (!rc && end * row < offset + length)
        rc = blockdev_write_zeros(d, end * row, offset + length - end * row, flags);
    return rc;
}

int parity_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    struct array *a = array_of(d);
    uint64_t row = row_bytes(a), first = div_round_up(offset, row), end = (offset + length) / row;
    int rc = 0;

    if (first < end)
        rc = zero_all(a, first, end, BLOCK_MAY_UNMAP | BLOCK_FAST);
    return rc == -EOPNOTSUPP ? 0 : rc;
}

/* Stripes of which all data is unused hold nothing. */
void parity_unused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    struct array *a = array_of(d);
    uint64_t row = row_bytes(a), first = div_round_up(offset, row), end = (offset + length) / row;

    if (first < end)
        bitmap_log_unused(
            a, first * a->geometry.chunk_bytes, (end - first) * a->geometry.chunk_bytes);
}
