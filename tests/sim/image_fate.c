/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What breaks while the image is at work: operations that fail for a while, a disk that stalls,
 * room that is taken away. A machine that ends is repaired.
 */
#include <errno.h>
#include <string.h>

#include "image_world.h"

#define STROKES_MAX 4u

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_FAULTS, limit);
}

static bool allowed(enum fault fault)
{
    return fault_allowed(&image->options, fault);
}

/* Mostly the image's metadata, at its start. */
static void make_errors(enum fault fault, unsigned kinds)
{
    struct sim_disk *d = &sim->disks[draw(4) ? 0 : sim->disk_count - 1];
    struct sim_fault *f = &d->faults[draw(SIM_FAULTS_MAX)];

    if (!allowed(fault))
        return;
    fault_count(fault);
    image->struck = true;
    *f = (struct sim_fault){.kinds = kinds, .length = d->size_bytes, .error = -EIO};
    if (!(kinds & 1u << IO_SYNC) && draw(2)) {
        f->offset = draw(d->size_bytes / 4096) * 4096;
        f->length = 4096 << draw(5);
    }
    f->times = 1 + (unsigned)draw(3);
    SIM_TRACE("fate: %s of %s at %llu+%llu, %u times", fault_names[fault], d->path,
        (unsigned long long)f->offset, (unsigned long long)f->length, f->times);
}

static void stall(void)
{
    struct sim_disk *d = &sim->disks[draw(sim->disk_count)];

    if (!allowed(FAULT_STALL))
        return;
    fault_count(FAULT_STALL);
    image->stalled = true;
    d->stalled_until_ns = sim->now_ns + (draw(8) ? draw(SECOND_NS) : draw(100) * SECOND_NS);
    SIM_TRACE("fate: %s stalls for %llu ms", d->path,
        (unsigned long long)((d->stalled_until_ns - sim->now_ns) / MILLISECOND_NS));
}

/* Others took it. */
static void take_room(void)
{
    if (!allowed(FAULT_NO_SPACE))
        return;
    image->limit_bytes = MIN(image->limit_bytes, image->file_bytes + draw(3) * IMAGE_FILE_UNIT);
    SIM_TRACE("fate: the file may have %llu bytes", (unsigned long long)image->limit_bytes);
}

static void strike(void)
{
    switch (draw(9)) {
    case 0:
    case 1:
        make_errors(FAULT_READ_ERROR, 1u << IO_READ);
        break;
    case 2:
    case 3:
    case 4:
        make_errors(FAULT_WRITE_ERROR, 1u << IO_WRITE | 1u << IO_WRITE_ZEROES | 1u << IO_DISCARD);
        break;
    case 5:
    case 6:
        make_errors(FAULT_FLUSH_ERROR, 1u << IO_SYNC);
        break;
    case 7:
        stall();
        break;
    default:
        take_room();
        break;
    }
}

static void fate_run(void *arg)
{
    for (unsigned i = (unsigned)draw(STROKES_MAX + 1); i && image_machine.at_work; i--) {
        co_sleep_ns(draw(8 * MILLISECOND_NS));
        strike();
    }
    wait_group_done(&image_machine.working);
}

/* Half of the machines are spared. */
void image_fate_start(void)
{
    if (draw(2) == 0)
        return;
    wait_group_add(&image_machine.working, 1);
    if (co_start("fate", fate_run, NULL))
        sim_fail("out of memory");
}

void image_fate_early(void)
{
    if (draw(12) == 0)
        strike();
}

void image_mend(void)
{
    for (unsigned i = 0; i < sim->disk_count; i++) {
        sim->disks[i].stalled_until_ns = 0;
        memset(sim->disks[i].faults, 0, sizeof sim->disks[i].faults);
    }
}
