/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading RAID5 and RAID6. A block that is there is read where it lies, without any lock. One that
 * is missing or cannot be read is worked out from the others of its stripe, while nobody writes
 * there; and written over the bad one, which disks answer by giving it another place. A member
 * whose bad block cannot be corrected is faulty. Of an array that has failed only what is there is
 * read.
 *
 * The wrapper has cut requests at chunks.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "raid/stripe.h"
#include "rt/io.h"

void stripe_correct(struct stripe *s)
{
    for (unsigned i = 0; i < s->a->geometry.raid_disks; i++) {
        struct member *m = array_readable(s->a, raid_stripe_role(&s->a->geometry, &s->place, i));

        if (s->cells[i].rewrite && s->cells[i].old && m)
            mirror_correct(s->a, m, s->cells[i].old, stripe_member_offset(s), stripe_bytes(s));
    }
}

static int reconstruct(struct array *a, const struct raid_place *at, const struct iovec *iov,
    int iov_count, uint64_t length)
{
    void *memory = io_buffer_get(stripe_memory_bytes(a));
    struct range_holder range;
    struct stripe s;
    uint64_t offset = at->stripe * a->geometry.chunk_bytes + at->offset_bytes;
    int rc;

    if (!memory)
        return -ENOMEM;
    range_lock_take(&a->ranges, &range, offset, offset + length, false);
    stripe_init(&s, a, at->stripe, at->offset_bytes, at->offset_bytes + length, memory);
    /* the write that it failed in may have left parity that does not fit, until the log is replayed
     */
    rc = atomic_load(&a->failed) ? -EIO : stripe_load(&s, false);
    if (!rc) {
        iov_copy_to(iov, iov_count, 0, s.cells[at->block].old, length);
        stripe_correct(&s);
    }
    range_lock_release(&a->ranges, &range);
    stripe_end(&s);
    io_buffer_put(memory, stripe_memory_bytes(a));
    return rc;
}

static void count_read(struct array *a)
{
    _Atomic uint64_t *reads = &array_activity(a)->reads;

    atomic_store_explicit(
        reads, atomic_load_explicit(reads, memory_order_relaxed) + 1, memory_order_relaxed);
}

static int read_inside(
    struct array *a, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct raid_place at = raid_geometry_place(&a->geometry, offset);
    struct raid_stripe stripe = raid_geometry_stripe(&a->geometry, at.stripe);
    struct member *m = array_readable(a, raid_stripe_role(&a->geometry, &stripe, at.block));
    uint64_t member_offset = at.stripe * a->geometry.chunk_bytes + at.offset_bytes;

    if (m) {
        if (!blockdev_readv(
                m->dev, iov, iov_count, m->data_offset_bytes + member_offset, BLOCK_PATIENT))
            return 0;
        atomic_fetch_add(&m->errors, 1);
    }
    return reconstruct(a, &at, iov, iov_count, length);
}

int parity_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct array *a = array_of(d);
    uint64_t begun_ns = pace_guest_begin(a);
    int rc;

    gate_enter(&a->reads);
    count_read(a);
    rc = read_inside(a, iov, iov_count, offset, length);
    gate_leave(&a->reads);
    pace_guest_end(a, begun_ns);
    return rc;
}

int parity_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct array *a = array_of(d);
    struct raid_place at = raid_geometry_place(&a->geometry, offset);
    struct raid_stripe stripe = raid_geometry_stripe(&a->geometry, at.stripe);
    uint64_t member_offset = at.stripe * a->geometry.chunk_bytes + at.offset_bytes;
    struct member *m;
    int rc = 0;

    *extent = (struct block_extent){.length = length};
    gate_enter(&a->reads);
    m = array_readable(a, raid_stripe_role(&a->geometry, &stripe, at.block));
    if (m)
        rc = blockdev_extents(m->dev, m->data_offset_bytes + member_offset, length, extent);
    gate_leave(&a->reads);
    return rc;
}
