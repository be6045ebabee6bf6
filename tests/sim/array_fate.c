/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fate: what breaks while a machine lives. Disks return errors, for a while or for ever, lose
 * sectors, stall, go, and come back with what they held when they went.
 *
 * A disk to which anything of this has happened is bad until the machine's end; a disk that is gone
 * or has sectors that cannot be read also beyond.
 */
#include <errno.h>
#include <string.h>

#include "array_world.h"

#define STROKES_MAX    3u
#define METADATA_BYTES (64u << 10)

static bool allowed(enum fault fault)
{
    return fault_allowed(&world->options, fault);
}

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_FAULTS, limit);
}

static struct sim_fault *free_fault(struct sim_disk *d)
{
    for (unsigned i = 0; i < SIM_FAULTS_MAX; i++)
        if (!d->faults[i].times)
            return &d->faults[i];
    return NULL;
}

static void blame(struct sim_disk *d, enum fault fault)
{
    array_lose((unsigned)(d - sim->disks));
    world->bad_disks |= 1u << (d - sim->disks);
    fault_count(fault);
}

/* A place in the superblock, the bitmap, the parity log, the data; or all of it. */
static void choose_place(const struct sim_disk *d, uint64_t *offset, uint64_t *length)
{
    uint64_t data = world->data_offset_bytes;

    switch (draw(7)) {
    case 0:
        *offset = 4096;
        *length = 4096;
        break;
    case 1:
        *offset = 8192;
        *length = METADATA_BYTES;
        break;
    case 2:
        *offset = 0;
        *length = d->size_bytes;
        break;
    case 3:
        *offset = METADATA_BYTES;
        *length = data - METADATA_BYTES;
        break;
    default:
        *length = (1 + draw(64)) * 4096;
        *offset = data + draw((d->size_bytes - data) / 4096) * 4096;
        *length = MIN(*length, d->size_bytes - *offset);
        break;
    }
}

/* Around the first error: what is not recorded by then is lost. */
static void aim_cut(void)
{
    if (world->stops || draw(2))
        return;
    sim->cut.at_ns = 0;
    sim->cut.writes = 1 + draw(12);
}

static void make_errors(struct sim_disk *d, enum fault fault, unsigned kinds)
{
    struct sim_fault *f = free_fault(d);

    if (!f || !allowed(fault))
        return;
    blame(d, fault);
    f->kinds = kinds;
    f->error = -EIO;
    choose_place(d, &f->offset, &f->length);
    if (kinds & 1u << IO_SYNC)
        f->length = d->size_bytes - f->offset;
    f->times = draw(3) ? 1 + (unsigned)draw(3) : UINT32_MAX;
    aim_cut();
    SIM_TRACE("fate: %s of %s at %llu+%llu, %u times", fault_names[fault], d->path,
        (unsigned long long)f->offset, (unsigned long long)f->length, f->times);
}

static void lose_run(struct sim_disk *d, uint64_t offset)
{
    for (uint64_t n = 1 + draw(8), s = offset / SIM_SECTOR_BYTES;
         n-- && s < d->size_bytes / SIM_SECTOR_BYTES; s++)
        d->unreadable[s / 64] |= UINT64_C(1) << s % 64;
    SIM_TRACE("fate: sectors of %s at %llu cannot be read", d->path, (unsigned long long)offset);
}

static void lose_sectors(struct sim_disk *d)
{
    uint64_t offset, length;

    if (!allowed(FAULT_LATENT))
        return;
    blame(d, FAULT_LATENT);
    choose_place(d, &offset, &length);
    lose_run(d, offset + draw(length / SIM_SECTOR_BYTES) * SIM_SECTOR_BYTES);
}

/* All over its data. */
static void wear_out(struct sim_disk *d)
{
    uint64_t sectors = (d->size_bytes - world->data_offset_bytes) / SIM_SECTOR_BYTES;

    if (!allowed(FAULT_LATENT))
        return;
    blame(d, FAULT_LATENT);
    for (uint64_t n = 4 + draw(12); n--;)
        lose_run(d, world->data_offset_bytes + draw(sectors) * SIM_SECTOR_BYTES);
}

static void stall(struct sim_disk *d)
{
    if (!allowed(FAULT_STALL))
        return;
    fault_count(FAULT_STALL);
    d->stalled_until_ns = sim->now_ns + (draw(8) ? draw(SECOND_NS) : draw(100) * SECOND_NS);
    SIM_TRACE("fate: %s stalls for %llu ms", d->path,
        (unsigned long long)((d->stalled_until_ns - sim->now_ns) / MILLISECOND_NS));
}

static void go_or_come_back(struct sim_disk *d)
{
    if (!allowed(d->present ? FAULT_GONE : FAULT_STALE))
        return;
    blame(d, d->present ? FAULT_GONE : FAULT_STALE);
    d->present = !d->present;
    SIM_TRACE("fate: %s is %s", d->path, d->present ? "back" : "gone");
}

static void strike(struct sim_disk *d)
{
    switch (draw(11)) {
    case 0:
    case 1:
        make_errors(d, FAULT_READ_ERROR, 1u << IO_READ);
        break;
    case 2:
    case 3:
    case 4:
        make_errors(d, FAULT_WRITE_ERROR, 1u << IO_WRITE | 1u << IO_WRITE_ZEROES);
        break;
    case 5:
        make_errors(d, FAULT_FLUSH_ERROR, 1u << IO_SYNC);
        break;
    case 6:
        lose_sectors(d);
        break;
    case 7:
        wear_out(d);
        break;
    case 8:
        stall(d);
        break;
    default:
        go_or_come_back(d);
        break;
    }
}

/* Often the same disk again, so that the others carry it. */
static struct sim_disk *choose_disk(void)
{
    static unsigned last;

    if (draw(3) == 0)
        last = (unsigned)draw(sim->disk_count);
    return &sim->disks[last % sim->disk_count];
}

static void fate_run(void *arg)
{
    for (unsigned i = (unsigned)draw(STROKES_MAX + 1); i && machine.at_work; i--) {
        co_sleep_ns(draw(8 * MILLISECOND_NS));
        strike(choose_disk());
    }
    wait_group_done(&machine.working);
}

/* Half of the machines are spared. */
void array_fate_start(void)
{
    if (draw(2) == 0)
        return;
    wait_group_add(&machine.working, 1);
    if (co_start("fate", fate_run, NULL))
        sim_fail("out of memory");
}

void array_fate_early(void)
{
    if (draw(12) == 0)
        strike(choose_disk());
}

void array_mend_all(void)
{
    for (unsigned i = 0; i < sim->disk_count; i++) {
        struct sim_disk *d = &sim->disks[i];
        d->present = true;
        d->stalled_until_ns = 0;
        memset(d->faults, 0, sizeof d->faults);
        memset(d->unreadable, 0, sizeof d->unreadable);
    }
    world->bad_disks = 0;
}

static bool has_latent_errors(const struct sim_disk *d)
{
    for (unsigned i = 0; i < d->size_bytes / SIM_SECTOR_BYTES / 64; i++)
        if (d->unreadable[i])
            return true;
    return false;
}

void array_fate_pass(void)
{
    world->bad_disks = 0;
    for (unsigned i = 0; i < sim->disk_count; i++) {
        struct sim_disk *d = &sim->disks[i];
        memset(d->faults, 0, sizeof d->faults);
        d->stalled_until_ns = 0;
        if (draw(3) == 0)
            memset(d->unreadable, 0, sizeof d->unreadable);
        if (!d->present && draw(2)) {
            d->present = true;
            fault_count(FAULT_STALE);
        }
        if (!d->present || has_latent_errors(d))
            world->bad_disks |= 1u << i;
    }
}
