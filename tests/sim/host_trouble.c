/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_trouble.h"

#include <errno.h>
#include <string.h>

#include "rt/sim/fs.h"
#include "rt/worker.h"

#define PAUSE_NS_MAX    10000000u
#define TIMES_MAX       6u /* in a machine */
#define STALL_NS_MAX    UINT64_C(180000000000)
#define METADATA_OFFSET 4096u         /* a superblock's, and that of a metadata area's header */
#define DATA_FROM       (2200u << 10) /* past the metadata of groups, also on arrays */
#define LATENT_MAX      64u           /* sectors */
#define CORRUPT_BYTES   64u

static bool ending, files_fail, beyond;

static uint64_t pick(uint64_t limit)
{
    return sim_below(&sim->random[SIM_FAULTS], limit);
}

static bool one_in(uint64_t n)
{
    return sim_one_in(&sim->random[SIM_FAULTS], n);
}

static bool allowed(enum fault fault)
{
    return fault_allowed(host->options, fault);
}

static void add_fault(struct sim_disk *d, unsigned kinds, uint64_t offset, unsigned times)
{
    for (unsigned i = 0; i < SIM_FAULTS_MAX; i++)
        if (!d->faults[i].times) {
            d->faults[i] = (struct sim_fault){.kinds = kinds,
                .offset = offset,
                .length = d->size_bytes - offset,
                .times = times,
                .error = -EIO};
            return;
        }
}

/* Now and then for good. */
static unsigned some_times(void)
{
    return one_in(3) ? UINT32_MAX : 1 + (unsigned)pick(3);
}

static void hurt_reads(struct sim_disk *d)
{
    add_fault(d, 1u << IO_READ, pick(d->size_bytes), some_times());
}

static void hurt_writes(struct sim_disk *d)
{
    add_fault(d, 1u << IO_WRITE | 1u << IO_WRITE_ZEROES, pick(d->size_bytes), some_times());
}

static void hurt_flushes(struct sim_disk *d)
{
    add_fault(d, 1u << IO_SYNC, 0, some_times());
}

static void make_unreadable(struct sim_disk *d)
{
    uint64_t first = pick(d->size_bytes / SIM_SECTOR_BYTES - LATENT_MAX);

    for (uint64_t i = first, end = first + 1 + pick(LATENT_MAX); i < end; i++)
        d->unreadable[i / 64] |= UINT64_C(1) << i % 64;
}

static void stall(struct sim_disk *d)
{
    d->stalled_until_ns = sim->now_ns + pick(STALL_NS_MAX);
}

static void take_away(struct sim_disk *d)
{
    d->present = false;
}

static const struct {
    enum fault fault;
    void (*begin)(struct sim_disk *d);
} troubles[] = {
    {FAULT_READ_ERROR, hurt_reads},
    {FAULT_WRITE_ERROR, hurt_writes},
    {FAULT_FLUSH_ERROR, hurt_flushes},
    {FAULT_LATENT, make_unreadable},
    {FAULT_STALL, stall},
    {FAULT_GONE, take_away},
};
#define BEYOND_TROUBLES 4u /* of them: those after which a disk is as good as before */

/* A RAID6 that has lost one, or may have, and nothing else. */
static bool can_lose_another(const struct host_array *a)
{
    unsigned lost =
        a->raid_disks - a->in_sync + (unsigned)__builtin_popcount(a->members & host->victims);

    return a->level == 6 && lost == 1 && !a->replacing && !(a->unsettled & ~host->victims);
}

/* An array with all copies good, of which nothing is being changed. */
static bool can_lose_one(unsigned slot)
{
    const struct host_array *a = &host->now.arrays[slot];

    if (a->presence != HOST_THERE || a->level == 0 ||
        (host->changing && memcmp(a, &host->then.arrays[slot], sizeof *a)))
        return false;
    return (a->in_sync == a->raid_disks && !a->loose && !a->unsettled) || can_lose_another(a);
}

/* A member of such an array, which it may lose from now on; -1: there is none. */
static int choose_victim(void)
{
    unsigned fit[HOST_ARRAYS * HOST_DISKS], slots[HOST_ARRAYS * HOST_DISKS], count = 0, choice;

    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        for (unsigned d = 0; d < HOST_DISKS && can_lose_one(i); d++)
            if (host->now.arrays[i].members & ~(host->now.arrays[i].spares | host->victims) &
                1u << d) {
                slots[count] = i;
                fit[count++] = d;
            }
    if (!count)
        return -1;
    choice = (unsigned)pick(count);
    host->victims |= 1u << fit[choice];
    host->now.arrays[slots[choice]].unsettled |= 1u << fit[choice];
    host->then.arrays[slots[choice]].unsettled |= 1u << fit[choice];
    host_loosen(slots[choice]);
    return (int)fit[choice];
}

static void hurt_member(void)
{
    unsigned choice = (unsigned)pick(sizeof troubles / sizeof *troubles);
    int victim = allowed(troubles[choice].fault) ? choose_victim() : -1;

    if (victim < 0)
        return;
    SIM_TRACE("trouble: %s of %s", fault_names[troubles[choice].fault], sim->disks[victim].path);
    troubles[choice].begin(&sim->disks[victim]);
    fault_count(troubles[choice].fault);
}

/* Disks whose data has no copy. */
static uint32_t single_disks(const struct host_group *g)
{
    uint32_t disks = g->there ? g->disks : 0;

    for (unsigned i = 0; g->there && i < HOST_ARRAYS; i++)
        if ((g->arrays & 1u << i) && host->now.arrays[i].level == 0)
            disks |= host->now.arrays[i].members;
    return disks;
}

static void hurt_single(void)
{
    const struct host_group *g = &host->now.groups[pick(HOST_GROUPS)];
    enum fault fault = one_in(2) ? FAULT_READ_ERROR : FAULT_WRITE_ERROR;
    uint32_t disks = single_disks(g);
    unsigned disk = (unsigned)pick(HOST_DISKS);

    if (!(disks & 1u << disk) || !allowed(fault))
        return;
    SIM_TRACE("trouble: single %s of %s", fault_names[fault], sim->disks[disk].path);
    add_fault(&sim->disks[disk],
        fault == FAULT_READ_ERROR ? 1u << IO_READ : 1u << IO_WRITE | 1u << IO_WRITE_ZEROES,
        DATA_FROM, 1 + (unsigned)pick(3));
    host->fragile |= 1u << disk;
    fault_count(fault);
}

static void hurt_any(void)
{
    unsigned choice = (unsigned)pick(BEYOND_TROUBLES), disk = (unsigned)pick(HOST_DISKS);

    if (!allowed(troubles[choice].fault))
        return;
    SIM_TRACE(
        "trouble: beyond, %s of %s", fault_names[troubles[choice].fault], sim->disks[disk].path);
    beyond = true;
    for (unsigned i = 0; i < HOST_ARRAYS; i++) {
        host->now.arrays[i].unsettled |= host->now.arrays[i].members;
        host->then.arrays[i].unsettled |= host->then.arrays[i].members;
        host_loosen(i);
    }
    troubles[choice].begin(&sim->disks[disk]);
    fault_count(troubles[choice].fault);
}

static void hurt_files(void)
{
    if (!allowed(FAULT_NO_SPACE))
        return;
    SIM_TRACE("trouble: small files");
    files_fail = true;
    sim_fs_fail(one_in(2) ? ENOSPC : EIO, 1 + (unsigned)pick(4));
    fault_count(FAULT_NO_SPACE);
}

static void make_some(void)
{
    switch (host->trouble) {
    case HOST_TROUBLE_MEMBERS:
        hurt_member();
        break;
    case HOST_TROUBLE_SINGLE:
        hurt_single();
        break;
    case HOST_TROUBLE_FILES:
        hurt_files();
        break;
    default:
        hurt_any();
    }
}

static void make_trouble(void *arg)
{
    struct wait_group *g = arg;
    unsigned left = 1 + (unsigned)pick(TIMES_MAX);

    while (!ending && left > 0) {
        co_sleep_ns(pick(PAUSE_NS_MAX << pick(4)));
        if (ending)
            break;
        make_some();
        left--;
    }
    wait_group_done(g);
}

void trouble_begin(struct wait_group *g)
{
    if (host->trouble == HOST_TROUBLE_NONE || one_in(3))
        return;
    wait_group_add(g, 1);
    if (co_start("trouble", make_trouble, g))
        sim_fail("out of memory");
}

void trouble_end(void)
{
    ending = true;
}

/* Some bytes of a sector, of those that its checksum covers. */
static void spoil(struct sim_disk *d, const char *what)
{
    unsigned char sector[SIM_SECTOR_BYTES];
    uint64_t at = pick(256 - CORRUPT_BYTES);

    SIM_TRACE("trouble: corrupt %s of %s", what, d->path);
    sim_disk_peek(d, sector, METADATA_OFFSET, sizeof sector);
    for (unsigned i = 0; i < CORRUPT_BYTES; i++)
        sector[at + i] = (unsigned char)sim_next(&sim->random[SIM_FAULTS]);
    sim_disk_poke(d, sector, METADATA_OFFSET, sizeof sector);
    fault_count(FAULT_CORRUPT);
}

static void spoil_superblock(void)
{
    int victim = choose_victim();

    if (victim >= 0)
        spoil(&sim->disks[victim], "superblock");
}

/* One of several copies. */
static void spoil_area(void)
{
    unsigned slot = (unsigned)pick(HOST_GROUPS), disk = (unsigned)pick(HOST_DISKS);
    const struct host_group *g = &host->now.groups[slot];

    if (!g->there || !(g->disks & 1u << disk) || host->changing || host->spoilt & 1u << slot ||
        __builtin_popcount(g->disks) + __builtin_popcount(g->arrays) < 2)
        return;
    host->spoilt |= 1u << slot;
    spoil(&sim->disks[disk], "metadata area");
}

/* Errors of the medium stay until the disk has been exchanged, as it were. */
static void recover(unsigned disk)
{
    struct sim_disk *d = &sim->disks[disk];

    if (!d->present)
        fault_count(FAULT_STALE);
    d->present = true;
    memset(d->unreadable, 0, sizeof d->unreadable);
    host->victims &= ~(1u << disk);
}

void trouble_between(bool last)
{
    for (unsigned i = 0; i < HOST_DISKS; i++) {
        sim->disks[i].stalled_until_ns = 0;
        memset(sim->disks[i].faults, 0, sizeof sim->disks[i].faults);
        if (host->trouble == HOST_TROUBLE_BEYOND)
            recover(i);
        if ((host->victims & 1u << i) && (last || one_in(2)))
            recover(i);
    }
    sim_fs_fail(0, 0);
    if (host->trouble == HOST_TROUBLE_MEMBERS && !last && allowed(FAULT_CORRUPT) && one_in(4))
        (one_in(2) ? spoil_superblock : spoil_area)();
    host->fragile = 0;
}

bool trouble_beyond(void)
{
    return beyond;
}

bool trouble_excuses(unsigned volume, int rc)
{
    const struct host_volume *v = &host->now.volumes[volume];

    return beyond || (rc == -EIO && (single_disks(&host->now.groups[v->group]) & host->fragile));
}

bool trouble_uncertain(void)
{
    return files_fail || host->fragile;
}
