/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests: coroutines on any worker that write, read, flush, discard, side by side and over one
 * another. What a read gives is held against the model at once. An operation may fail only where
 * too much of the array lies on disks that are bad.
 */
#include <errno.h>
#include <stdlib.h>

#include "array_world.h"

#define GUEST_OPS_MAX   24u
#define TRANSFER_MAX    (32u << 10)
#define TRANSFER_COMMON (4u << 10)
#define CHANGES_MAX     8u
#define PAGE_BYTES      4096u

struct range {
    uint64_t offset, length;
};

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_GUESTS, limit);
}

static struct range draw_range(void)
{
    uint64_t size = world->size_bytes, block = array_blockdev(machine.array)->logical_block_bytes;
    uint64_t most = draw(8) ? TRANSFER_COMMON : TRANSFER_MAX;
    uint64_t row = array_blockdev(machine.array)->optimal_io_bytes;
    struct range r;

    r.offset = draw(size / block) * block;
    if (draw(2)) /* they meet in a few places */
        r.offset = r.offset % MAX(4 * (uint64_t)SIM_SECTOR_BYTES, block) +
                   round_down(draw(3) * (size / 3), block);
    r.length = (1 + draw(most / block)) * block;
    if (!draw(16) && world->bitmap_chunk_bytes <= TRANSFER_MAX) {
        r.offset = round_down(r.offset, world->bitmap_chunk_bytes);
        r.length = world->bitmap_chunk_bytes;
    }
    if (row && row <= TRANSFER_MAX && !draw(6)) { /* whole stripes */
        r.offset = round_down(r.offset, row);
        r.length = (1 + draw(MIN(TRANSFER_MAX / row, UINT64_C(3)))) * row;
    }
    r.length = MIN(r.length, size - r.offset);
    return r;
}

/* --- buffers that change under way --- */

struct change {
    unsigned ticket;
    void *buf;
    uint64_t length;
    bool over;
    struct wait_group ended;
};

static void change_run(void *arg)
{
    struct change *c = arg;

    for (unsigned i = 0; i < CHANGES_MAX && !c->over; i++) {
        uint64_t at = draw(c->length / 64) * 64;
        model_write_change(
            model, c->ticket, c->buf, at, MIN(c->length - at, (1 + draw(16)) * 64), draw(2) != 0);
        co_sleep_ns(draw(60000));
    }
    wait_group_done(&c->ended);
}

static int write_changing(struct range r, unsigned flags, unsigned ticket, void *buf)
{
    struct change c = {.ticket = ticket, .buf = buf, .length = r.length};
    int rc;

    wait_group_init(&c.ended);
    wait_group_add(&c.ended, 1);
    if (co_start("change", change_run, &c))
        sim_fail("out of memory");
    rc = blockdev_write(array_blockdev(machine.array), buf, r.offset, r.length, flags);
    c.over = true;
    wait_group_wait(&c.ended);
    return rc;
}

/* --- operations --- */

static void judge(const char *what, struct range r, int rc, bool could_fail)
{
    SIM_TRACE("guest %s %llu+%llu: %d", what, (unsigned long long)r.offset,
        (unsigned long long)r.length, rc);
    if (rc && rc != -EIO && rc != -ENXIO)
        sim_fail("%s of %llu+%llu: error %d", what, (unsigned long long)r.offset,
            (unsigned long long)r.length, rc);
    if (rc && !could_fail && !array_may_fail())
        sim_fail("%s of %llu+%llu fails although there is a good copy of everything", what,
            (unsigned long long)r.offset, (unsigned long long)r.length);
}

static int write_zeroes(struct range r, unsigned flags)
{
    struct blockdev *dev = array_blockdev(machine.array);

    return blockdev_write_zeroes(dev, r.offset, r.length, flags | (draw(2) ? BLOCK_MAY_UNMAP : 0));
}

static void guest_write(void *buf)
{
    static const enum model_kind kinds[] = {
        MODEL_DATA, MODEL_DATA, MODEL_DATA, MODEL_MUTABLE, MODEL_ZEROS};
    enum model_kind kind = kinds[draw(ARRAY_LEN(kinds))];
    struct range r = draw_range();
    unsigned fua = draw(6) ? 0 : BLOCK_FUA, ticket;
    bool could_fail = array_may_fail();
    int rc;

    ticket = model_write_begin(model, kind, r.offset, r.length, kind == MODEL_ZEROS ? NULL : buf);
    SIM_TRACE("guest write %llu+%llu: ticket %u, kind %d%s", (unsigned long long)r.offset,
        (unsigned long long)r.length, ticket, kind, fua ? ", fua" : "");
    if (kind == MODEL_ZEROS)
        rc = write_zeroes(r, fua);
    else if (kind == MODEL_MUTABLE)
        rc = write_changing(r, fua, ticket, buf);
    else
        rc = blockdev_write(array_blockdev(machine.array), buf, r.offset, r.length,
            fua | (draw(2) ? BLOCK_STABLE : 0));
    model_write_end(model, ticket, !rc, fua != 0);
    judge("write", r, rc, could_fail);
}

/* A mirror that cannot zero does not discard either; parity arrays zero whole stripes, or nothing.
 */
static void guest_discard(void)
{
    struct blockdev *dev = array_blockdev(machine.array);
    bool mirror = world->level == 1 || world->level == 10;
    enum model_kind kind = world->level == 0 ? MODEL_DISCARD : MODEL_ZEROS;
    bool could_fail = array_may_fail();
    struct range r = draw_range();
    unsigned ticket;
    int rc;

    if (!(atomic_load(&dev->capabilities) & BLOCK_CAN_DISCARD))
        return;
    ticket = model_write_begin(model, kind, r.offset, r.length, NULL);
    rc = blockdev_discard(dev, r.offset, r.length);
    model_write_end(model, ticket, !rc && (mirror || world->level == 0), false);
    judge("discard", r, rc, could_fail);
}

static void guest_flush(void)
{
    uint32_t begun = model_flush_begin(model);
    bool could_fail = array_may_fail();
    int rc = blockdev_flush(array_blockdev(machine.array));

    model_flush_end(model, begun, !rc);
    judge("flush", (struct range){0, 0}, rc, could_fail);
}

static void guest_read(void *buf)
{
    struct range r = draw_range();
    uint32_t begun = model_read_begin(model);
    bool could_fail = array_may_fail();
    char why[MODEL_WHY_LEN];
    uint64_t bad;
    int rc = blockdev_read(array_blockdev(machine.array), buf, r.offset, r.length);

    judge("read", r, rc, could_fail);
    if (rc)
        return;
    bad = model_read_check(model, begun, buf, r.offset, r.length, why);
    if (bad != MODEL_GOOD)
        sim_fail("a guest reads what cannot be at %llu: %s", (unsigned long long)bad, why);
}

static void guest_op(void *buf)
{
    switch (draw(16)) {
    case 0:
    case 1:
        guest_flush();
        break;
    case 2:
        guest_discard();
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        guest_read(buf);
        break;
    default:
        guest_write(buf);
        break;
    }
}

static void guest_run(void *arg)
{
    unsigned count = 4 + (unsigned)draw(GUEST_OPS_MAX);
    void *buf = aligned_alloc(PAGE_BYTES, TRANSFER_MAX); /* so that nobody has to copy it */

    if (!buf)
        sim_fail("out of memory");
    if (world->options.ops_max)
        count = MIN(count, world->options.ops_max);
    while (count-- > 0) {
        gate_enter(&machine.guests);
        guest_op(buf);
        gate_leave(&machine.guests);
        if (!draw(4))
            co_sleep_ns(draw(2 * MILLISECOND_NS));
    }
    free(buf);
    machine.at_work--;
    wait_group_done(&machine.working);
}

void array_guests_start(void)
{
    machine.at_work = world->guests;
    wait_group_init(&machine.working);
    wait_group_add(&machine.working, world->guests);
    for (unsigned i = 0; i < world->guests; i++)
        if (worker_start(machine.workers[i % world->workers], "guest", guest_run, NULL))
            sim_fail("out of memory");
}
