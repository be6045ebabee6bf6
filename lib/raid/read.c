/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading RAID1 and RAID10: one copy of several.
 *
 * Where copies may differ it is always the first in sync, so that what has been read once stays.
 * Else a read that goes on where the last one of its worker ended stays with that member; others
 * take turns, or on rotating disks go to the nearest head.
 *
 * When a copy cannot be read, another one is, and is written over the bad one, which disks answer
 * by giving it another place. A member whose bad copy cannot be corrected is faulty.
 */
#include <errno.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"
#include "rt/io.h"

struct read_request {
    const struct iovec *iov;
    int iov_count;
    uint64_t offset, length;
};

struct array_activity *array_activity(struct array *a)
{
    return &a->activity[worker_index(worker_self())];
}

static unsigned readable_copies(struct array *a, uint64_t offset, struct raid_location *copies)
{
    uint64_t run_bytes;
    unsigned count = raid_geometry_map(&a->geometry, offset, copies, &run_bytes), kept = 0;

    for (unsigned i = 0; i < count; i++)
        if (array_readable(a, copies[i].role))
            copies[kept++] = copies[i];
    return kept;
}

static uint64_t distance(const struct member *m, uint64_t offset)
{
    uint64_t head = atomic_load_explicit(&m->head_bytes, memory_order_relaxed);

    return head > offset ? head - offset : offset - head;
}

static unsigned nearest(const struct array *a, const struct raid_location *copies, unsigned count)
{
    unsigned best = 0;

    for (unsigned i = 1; i < count; i++)
        if (distance(a->roles[copies[i].role], copies[i].offset_bytes) <
            distance(a->roles[copies[best].role], copies[best].offset_bytes))
            best = i;
    return best;
}

static unsigned choose(struct array *a, const struct read_request *r,
    const struct raid_location *copies, unsigned count)
{
    struct array_activity *activity = array_activity(a);

    if (count == 1 || (!MUTANT(READ_ANY_COPY) && bitmap_log_unsynced(a, r->offset, r->length)))
        return 0;
    if (activity->read_end_bytes == r->offset)
        for (unsigned i = 0; i < count; i++)
            if (a->roles[copies[i].role] == activity->last)
                return i;
    if (a->dev.capabilities & BLOCK_ROTATIONAL)
        return nearest(a, copies, count);
    return activity->turn++ % count;
}

static void note_read(struct array *a, const struct read_request *r, struct member *m,
    const struct raid_location *copy)
{
    struct array_activity *activity = array_activity(a);

    activity->last = m;
    activity->read_end_bytes = r->offset + r->length;
    atomic_store_explicit(&activity->reads,
        atomic_load_explicit(&activity->reads, memory_order_relaxed) + 1, memory_order_relaxed);
    if (a->dev.capabilities & BLOCK_ROTATIONAL)
        atomic_store_explicit(&m->head_bytes, copy->offset_bytes + r->length, memory_order_relaxed);
}

static int read_copy(
    struct array *a, const struct read_request *r, const struct raid_location *copy)
{
    struct member *m = array_readable(a, copy->role);

    if (!m)
        return -EIO;
    return blockdev_readv(
        m->dev, r->iov, r->iov_count, m->data_offset_bytes + copy->offset_bytes, BLOCK_PATIENT);
}

void mirror_correct(
    struct array *a, struct member *m, void *buf, uint64_t member_offset_bytes, uint64_t length)
{
    struct iovec iov = {buf, length};
    uint64_t offset = m->data_offset_bytes + member_offset_bytes;
    int rc = blockdev_writev(
        m->dev, &iov, 1, offset, BLOCK_FUA | BLOCK_STABLE | BLOCK_BACKGROUND | BLOCK_PATIENT);

    if (!rc)
        rc = blockdev_readv(m->dev, &iov, 1, offset, BLOCK_BACKGROUND | BLOCK_PATIENT);
    if (!rc) {
        wear_note_corrected(a, m);
        return;
    }
    if (!members_fail(a, &m, 1))
        members_record(a);
}

/* Puts `good` over `bad`, under the lock that keeps writes away. */
static void correct(struct array *a, const struct read_request *r, const struct raid_location *good,
    const struct raid_location *bad)
{
    struct member *m = array_readable(a, bad->role);
    void *buf = io_buffer_get(r->length);
    struct iovec iov = {buf, r->length};
    struct read_request again = {&iov, 1, r->offset, r->length};
    struct range_holder range;

    if (m && buf) {
        range_lock_take(&a->ranges, &range, r->offset, r->offset + r->length, false);
        if (!read_copy(a, &again, good))
            mirror_correct(a, m, buf, bad->offset_bytes, r->length);
        range_lock_release(&a->ranges, &range);
    }
    if (buf)
        io_buffer_put(buf, r->length);
}

static int read_elsewhere(struct array *a, const struct read_request *r,
    const struct raid_location *copies, unsigned count, unsigned bad)
{
    int rc = -EIO;

    for (unsigned i = 0; i < count && rc; i++) {
        if (i == bad)
            continue;
        rc = read_copy(a, r, &copies[i]);
        if (!rc)
            correct(a, r, &copies[i], &copies[bad]);
    }
    return rc;
}

static int read_inside(struct array *a, const struct read_request *r)
{
    struct raid_location copies[RAID_COPIES_MAX];
    unsigned count = readable_copies(a, r->offset, copies), chosen;
    struct member *m;
    int rc;

    if (!count)
        return -EIO;
    chosen = choose(a, r, copies, count);
    m = a->roles[copies[chosen].role];
    note_read(a, r, m, &copies[chosen]);
    rc = read_copy(a, r, &copies[chosen]);
    if (!rc)
        return 0;
    atomic_fetch_add(&m->errors, 1);
    return read_elsewhere(a, r, copies, count, chosen);
}

int mirror_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct array *a = array_of(d);
    struct read_request r = {iov, iov_count, offset, length};
    uint64_t begun_ns = pace_guest_begin(a);
    int rc;

    gate_enter(&a->reads);
    rc = read_inside(a, &r);
    gate_leave(&a->reads);
    pace_guest_end(a, begun_ns);
    return rc;
}

bool mirror_locate(const struct array *a, unsigned role, uint64_t member_offset_bytes,
    uint64_t *sync_offset_bytes, uint64_t *run_bytes)
{
    unsigned copy;

    return raid_geometry_unmap(
        &a->geometry, role, member_offset_bytes, sync_offset_bytes, &copy, run_bytes);
}

/* From a copy that has it: of one that is being replaced from itself, if it can. */
int mirror_fetch(struct array *a, const unsigned *roles, unsigned role_count,
    uint64_t member_offset_bytes, uint64_t length, void *const buffers[SYNC_BUFFERS], void **data)
{
    struct raid_location copies[RAID_COPIES_MAX];
    struct iovec iov = {buffers[0], length};
    uint64_t offset, run_bytes;
    unsigned count;
    int rc = -EIO;

    if (!mirror_locate(a, roles[0], member_offset_bytes, &offset, &run_bytes))
        return -EIO;
    for (unsigned i = 0; i < role_count; i++)
        data[i] = buffers[0];
    count = raid_geometry_map(&a->geometry, offset, copies, &run_bytes);
    for (unsigned pass = 0; pass < 2 && rc; pass++)
        for (unsigned i = 0; i < count && rc; i++) {
            struct member *m = array_readable(a, copies[i].role);
            if (!m || (copies[i].role == roles[0]) != (pass == 0))
                continue;
            rc = blockdev_readv(m->dev, &iov, 1, m->data_offset_bytes + copies[i].offset_bytes,
                BLOCK_BACKGROUND | BLOCK_PATIENT);
            if (rc)
                atomic_fetch_add(&m->errors, 1);
        }
    return rc;
}
