/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arrays in a world of their own, without a daemon: what a seed is. A few disks, an array, and
 * machines that work on it one after the other, most of which are cut off in the middle.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "array_world.h"

#define DISKS_MIN 3u
#define DISKS_MAX 8u
#define KIB       1024u

#define LARGE_BYTES (ARRAY_PAGES_MAX * 4 * KIB) /* of a member */

struct array_world *world;
struct model *model;

struct shape {
    int level;
    uint32_t layout;
    unsigned members, weight;
};

static const struct shape shapes[] = {
    {1, 0, 2, 6},
    {1, 0, 3, 2},
    {1, 0, 4, 1},
    {10, RAID10_LAYOUT_NEAR(2), 2, 1},
    {10, RAID10_LAYOUT_NEAR(2), 3, 2},
    {10, RAID10_LAYOUT_NEAR(2), 4, 4},
    {10, RAID10_LAYOUT_NEAR(2), 5, 1},
    {10, RAID10_LAYOUT_NEAR(3), 4, 1},
    {10, RAID10_LAYOUT_FAR(2), 2, 1},
    {10, RAID10_LAYOUT_FAR(2), 3, 2},
    {10, RAID10_LAYOUT_FAR(2), 4, 2},
    {10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 3, 2},
    {10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 4, 2},
    {10, 0x202, 4, 1}, /* near and far */
    {5, RAID5_LAYOUT_LEFT_SYMMETRIC, 3, 3},
    {5, RAID5_LAYOUT_LEFT_ASYMMETRIC, 4, 1},
    {5, RAID5_LAYOUT_RIGHT_SYMMETRIC, 5, 1},
    {5, RAID5_LAYOUT_RIGHT_ASYMMETRIC, 3, 1},
    {5, RAID5_LAYOUT_PARITY_FIRST, 4, 1},
    {5, RAID5_LAYOUT_PARITY_LAST, 3, 1},
    {6, RAID5_LAYOUT_LEFT_SYMMETRIC, 4, 2},
    {6, RAID5_LAYOUT_LEFT_ASYMMETRIC, 5, 1},
    {6, RAID5_LAYOUT_RIGHT_SYMMETRIC, 6, 1},
    {6, RAID5_LAYOUT_RIGHT_ASYMMETRIC, 5, 1},
    {6, RAID5_LAYOUT_PARITY_FIRST, 4, 1},
    {6, RAID5_LAYOUT_PARITY_LAST, 5, 1},
    {6, RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_LEFT_SYMMETRIC, 5, 1},
    {0, RAID0_LAYOUT_ORIGINAL, 2, 1},
    {0, RAID0_LAYOUT_ALTERNATE, 3, 1},
};

/* A machine lives for a millisecond: mapping memory for it would take long. */
static void init(void)
{
    mallopt(M_MMAP_MAX, 0);
    world = sim_share(sizeof *world);
    model = sim_keep(sizeof *model); /* large; model_init empties it */
}

/* --- the world --- */

static void add_disks(void)
{
    unsigned count = DISKS_MIN + (unsigned)choose(SIM_ADMIN, DISKS_MAX - DISKS_MIN + 1);
    uint32_t common = one_in(SIM_ADMIN, 4) ? 4096 : 512;
    bool mixed = !world->lies && one_in(SIM_ADMIN, 8);
    bool can_zero = one_in(SIM_ADMIN, 2);
    enum sim_discard discard = (enum sim_discard)choose(SIM_ADMIN, 3);

    for (unsigned i = 0; i < count; i++) {
        uint32_t block_bytes = mixed && one_in(SIM_ADMIN, 3) ? 4096 : common;
        struct sim_disk_params p = {
            .size_bytes = (1024 + 192) * KIB + choose(SIM_ADMIN, 2) * 64 * KIB +
                          (world->large ? LARGE_BYTES : 0),
            .logical_block_bytes = block_bytes,
            .atomic_bytes = one_in(SIM_ADMIN, 3) ? 4096 : block_bytes,
            .discard = can_zero ? SIM_DISCARD_ZEROS : discard,
            .can_zero = can_zero,
            .seed = sim_next(&sim->random[SIM_ADMIN]),
        };
        char path[32];

        snprintf(path, sizeof path, "/disks/d%u", i);
        p.path = path;
        sim_add_disk(&p);
    }
}

static void choose_world(const struct scenario_options *options)
{
    unsigned workers = 1 + (unsigned)choose(SIM_ADMIN, ARRAY_WORKERS_MAX);

    world->options = *options;
    world->workers = options->workers_max ? MIN(workers, options->workers_max) : workers;
    world->guests = 1 + (unsigned)choose(SIM_ADMIN, 4);
    world->lies = one_in(SIM_ADMIN, 16);
    world->large = !world->lies && one_in(SIM_ADMIN, 32);
    world->max_read_errors = ARRAY_MAX_READ_ERRORS;
    if (!world->lies && !one_in(SIM_ADMIN, 4)) /* so that members wear out */
        world->max_read_errors = (unsigned)choose(SIM_ADMIN, 3);
}

/* --- the array --- */

static const struct shape *choose_shape(void)
{
    unsigned total = 0, pick;

    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
        total += shapes[i].weight;
    pick = (unsigned)choose(SIM_ADMIN, total);
    for (unsigned i = 0;; i++) {
        if (pick < shapes[i].weight)
            return &shapes[i];
        pick -= shapes[i].weight;
    }
}

/* Where a disk lies there have to be others that say something else. */
static bool fits(const struct shape *s)
{
    if (world->large && (s->level == 0 || s->members > 4))
        return false;
    return s->members <= sim->disk_count && (!world->lies || s->level != 0);
}

static bool may_lack(const struct shape *s)
{
    return s->level == 1 || s->level == 10;
}

/* Of the next array. */
static void choose_array(void)
{
    const struct shape *s = choose_shape();

    while (!fits(s))
        s = choose_shape();
    snprintf(world->name, sizeof world->name, "array%u", ++world->arrays);
    world->level = s->level;
    world->layout = s->layout;
    world->members = s->members;
    world->spares = 0;
    if (s->level != 0)
        world->spares = MIN(2u, (unsigned)choose(SIM_ADMIN, sim->disk_count - s->members + 1));
    if (s->level == 6 && one_in(SIM_ADMIN, 2)) /* for two to recover together */
        world->spares = MIN(2u, sim->disk_count - s->members);
    world->lacks = may_lack(s) && one_in(SIM_ADMIN, 12) ? (int)choose(SIM_ADMIN, s->members) : -1;
    world->chunk_bytes = (4 * KIB) << choose(SIM_ADMIN, array_has_parity() ? 5 : 4);
    world->bitmap_chunk_bytes = (4 * KIB) << choose(SIM_ADMIN, 5);
    world->data_offset_bytes = ARRAY_DATA_OFFSET;
    world->member_bytes = s->level == 0 ? 0 : (64 * KIB) * (1 + choose(SIM_ADMIN, 3));
    if (world->large)
        world->member_bytes = LARGE_BYTES;
    world->no_bitmap = one_in(SIM_ADMIN, 12);
}

/* --- machines --- */

static enum array_plan choose_plan(void)
{
    if (world->life == LIFE_NONE) {
        choose_array();
        return PLAN_CREATE;
    }
    if (world->life != LIFE_LIVING)
        return PLAN_WORK;
    if (world->lies && one_in(SIM_ADMIN, 2))
        return PLAN_LIES;
    return one_in(SIM_ADMIN, 24) ? PLAN_DESTROY : PLAN_WORK;
}

/* When its end comes: mostly while it works, for it does some hundreds of writes. */
static void choose_cut(void)
{
    const struct scenario_options *o = &world->options;
    struct sim_cut cut = {.phase = (enum sim_phase)choose(SIM_FAULTS, SIM_PHASES)};
    uint64_t most = one_in(SIM_FAULTS, 3) ? 40 : 400;
    bool wanted = !one_in(SIM_FAULTS, 12);

    cut.kill = one_in(SIM_FAULTS, 6);
    if (one_in(SIM_FAULTS, 6))
        cut.at_ns = sim->now_ns + choose(SIM_FAULTS, 200 * MILLISECOND_NS);
    else
        cut.writes = 1 + choose(SIM_FAULTS, most);
    if (world->plan == PLAN_CREATE || world->plan == PLAN_LIES)
        wanted &= one_in(SIM_FAULTS, 6);
    if (!fault_allowed(o, FAULT_POWER_CUT))
        cut.kill = true;
    if (cut.kill && !fault_allowed(o, FAULT_KILL))
        wanted = false;
    world->stops = !wanted;
    memset(&sim->cut, 0, sizeof sim->cut);
    if (wanted && world->plan != PLAN_LIES)
        sim->cut = cut;
    sim->cut.kill = cut.kill;
}

static void after(enum sim_end end)
{
    if (end == SIM_POWER_CUT) {
        fault_count(FAULT_POWER_CUT);
        model_cut(model);
    } else if (end == SIM_KILLED) {
        fault_count(FAULT_KILL);
        model_killed(model);
    }
    if (world->plan == PLAN_CREATE && world->life == LIFE_LIVING && end == SIM_STOPPED)
        array_make_small();
    if (!sim->failure[0] && world->life == LIFE_LIVING)
        array_look();
}

static void live(void)
{
    world->machine++;
    array_fate_pass();
    world->plan = choose_plan();
    choose_cut();
    SIM_TRACE("=== machine %u", world->machine);
    after(sim_live(array_machine_run, NULL));
}

static void run(const struct scenario_options *options)
{
    unsigned machines = 6 + (unsigned)choose(SIM_ADMIN, 10);

    if (options->machines_max)
        machines = MIN(machines, options->machines_max);
    choose_world(options);
    add_disks();
    for (unsigned i = 0; i < machines && !sim->failure[0]; i++)
        live();
}

const struct scenario array_scenario = {"array", init, run};
