/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests: coroutines on any worker that write, zero, read, flush, discard, side by side and over
 * one another. What a read gives is held against the model at once. An operation may fail only
 * where a disk is bad, or no space was left.
 */
#include <errno.h>
#include <stdlib.h>

#include "image_world.h"

#define GUEST_OPS_MAX   40u
#define TRANSFER_MAX    (64u << 10)
#define TRANSFER_COMMON (6u << 10)

struct range {
    uint64_t offset, length;
};

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_GUESTS, limit);
}

/* Around the borders of clusters, subclusters and tables as well as anywhere. */
static struct range draw_range(void)
{
    static const unsigned most[] = {1, 4, TRANSFER_COMMON / 512, TRANSFER_MAX / 512};
    uint64_t size = image->size_bytes, cluster = UINT64_C(1) << image->cluster_bits;
    struct range r;

    r.offset = draw(size / 512) * 512;
    r.length = (1 + draw(most[draw(ARRAY_LEN(most))])) * 512;
    if (draw(2)) /* they meet in a few places */
        r.offset = r.offset % MIN(4 * cluster, UINT64_C(16384)) +
                   round_down(draw(3) * (size / 3), UINT64_C(512));
    if (!draw(6)) { /* whole clusters */
        r.offset = round_down(r.offset, cluster);
        r.length = (1 + draw(3)) * cluster;
    }
    r.offset = MIN(r.offset, size - 512);
    r.length = MIN(r.length, size - r.offset);
    return r;
}

/* The whole disk, or a large part of it, now and then. */
static struct range draw_large(void)
{
    struct range r = draw_range();

    if (!draw(8))
        r.length = MIN((1 + draw(image->size_bytes / 512)) * 512, image->size_bytes - r.offset);
    return r;
}

bool image_may_give(int rc)
{
    if (rc == -ENOSPC)
        return image->refused || image->stalled || image->struck || !image->growable;
    return !rc || (rc == -EIO && image->struck);
}

static void judge(const char *what, struct range r, int rc)
{
    SIM_TRACE("guest %s %llu+%llu: %d", what, (unsigned long long)r.offset,
        (unsigned long long)r.length, rc);
    if (!image_may_give(rc))
        sim_fail("%s of %llu+%llu: error %d", what, (unsigned long long)r.offset,
            (unsigned long long)r.length, rc);
}

static void guest_write(void *buf)
{
    struct range r = draw_range();
    unsigned flags = (draw(6) ? 0 : BLOCK_FUA) | (draw(2) ? BLOCK_STABLE : 0), ticket;
    int rc;

    r.length = MIN(r.length, (uint64_t)TRANSFER_MAX);
    ticket = model_write_begin(image_model, MODEL_DATA, r.offset, r.length, buf);
    SIM_TRACE("guest write %llu+%llu: ticket %u%s", (unsigned long long)r.offset,
        (unsigned long long)r.length, ticket, flags & BLOCK_FUA ? ", fua" : "");
    rc = blockdev_write(image_machine.dev, buf, r.offset, r.length, flags);
    model_write_end(image_model, ticket, !rc, flags & BLOCK_FUA);
    judge("write", r, rc);
}

static void guest_zero(void)
{
    struct range r = draw_large();
    unsigned flags = (draw(6) ? 0 : BLOCK_FUA) | (draw(2) ? BLOCK_MAY_UNMAP : 0);
    unsigned ticket = model_write_begin(image_model, MODEL_ZEROS, r.offset, r.length, NULL);
    int rc;

    SIM_TRACE("guest zero %llu+%llu: ticket %u, flags %x", (unsigned long long)r.offset,
        (unsigned long long)r.length, ticket, flags);
    rc = blockdev_write_zeroes(image_machine.dev, r.offset, r.length, flags);
    model_write_end(image_model, ticket, !rc, flags & BLOCK_FUA);
    judge("zero", r, rc);
}

/* Reads as zeros or as it did, sector by sector; never what the backing has there. */
static void guest_discard(void)
{
    struct range r = draw_large();
    unsigned ticket = model_write_begin(image_model, MODEL_ZEROS, r.offset, r.length, NULL);
    int rc;

    SIM_TRACE("guest discard %llu+%llu: ticket %u", (unsigned long long)r.offset,
        (unsigned long long)r.length, ticket);
    rc = blockdev_discard(image_machine.dev, r.offset, r.length);
    model_write_end(image_model, ticket, false, false);
    judge("discard", r, rc);
}

/* It never fails for want of space: what was acknowledged has its place. */
static void guest_flush(void)
{
    uint32_t begun = model_flush_begin(image_model);
    int rc = blockdev_flush(image_machine.dev);

    SIM_TRACE("guest flush: %d", rc);
    model_flush_end(image_model, begun, !rc);
    if (rc == -ENOSPC || !image_may_give(rc))
        sim_fail("flush: error %d", rc);
}

static void hold_against_model(uint32_t begun, const void *buf, struct range r)
{
    char why[MODEL_WHY_LEN];
    uint64_t bad = model_read_check(image_model, begun, buf, r.offset, r.length, why);

    if (bad != MODEL_GOOD)
        sim_fail("a guest reads what cannot be at %llu: %s", (unsigned long long)bad, why);
}

static void guest_read(void *buf)
{
    struct range r = draw_range();
    uint32_t begun;
    int rc;

    r.length = MIN(r.length, (uint64_t)TRANSFER_MAX);
    begun = model_read_begin(image_model);
    rc = blockdev_read(image_machine.dev, buf, r.offset, r.length);
    judge("read", r, rc);
    if (rc)
        model_read_failed(image_model, begun);
    else
        hold_against_model(begun, buf, r);
}

/* What is said to be zeros reads as zeros. */
static void guest_map(void)
{
    static const char zeros[TRANSFER_MAX];
    struct range r = draw_range();
    uint32_t begun = model_read_begin(image_model);
    struct block_extent extent;
    int rc = blockdev_extents(
        image_machine.dev, r.offset, MIN(r.length, (uint64_t)TRANSFER_MAX), &extent);

    judge("map", r, rc);
    r.length = extent.length;
    if (rc || !(extent.flags & EXTENT_ZERO))
        model_read_failed(image_model, begun);
    else
        hold_against_model(begun, zeros, r);
}

static void guest_op(void *buf)
{
    switch (draw(20)) {
    case 0:
    case 1:
        guest_flush();
        break;
    case 2:
        guest_discard();
        break;
    case 3:
    case 4:
        guest_zero();
        break;
    case 5:
        guest_map();
        break;
    case 6:
    case 7:
    case 8:
    case 9:
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
    void *buf = aligned_alloc(4096, TRANSFER_MAX);

    if (!buf)
        sim_fail("out of memory");
    if (image->options.ops_max)
        count = MIN(count, image->options.ops_max);
    while (count-- > 0) {
        gate_enter(&image_machine.guests);
        guest_op(buf);
        gate_leave(&image_machine.guests);
        if (!draw(4))
            co_sleep_ns(draw(2 * MILLISECOND_NS));
    }
    free(buf);
    image_machine.at_work--;
    wait_group_done(&image_machine.working);
}

void image_guests_start(void)
{
    image_machine.at_work = image->guests;
    wait_group_init(&image_machine.working);
    wait_group_add(&image_machine.working, image->guests);
    for (unsigned i = 0; i < image->guests; i++)
        if (worker_start(image_machine.workers[i % image->workers], "guest", guest_run, NULL))
            sim_fail("out of memory");
}
