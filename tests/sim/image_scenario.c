/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images in a world of their own, without a daemon: what a seed is. A disk, an image on it, and
 * machines that work on it one after the other, most of which are cut off in the middle.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "image_world.h"

#define KIB 1024u
#define MIB (1024 * KIB)

struct image_world *image;
struct model *image_model;
uint8_t (*image_contents)[IMAGE_BYTES_MAX];

/* A machine lives for a millisecond: mapping memory for it would take long. */
static void init(void)
{
    mallopt(M_MMAP_MAX, 0);
    image = sim_share(sizeof *image);
    image_model = sim_keep(sizeof *image_model); /* large; model_init empties it */
    image_contents = sim_keep((IMAGE_SNAPSHOTS_MAX + 1) * sizeof *image_contents);
}

/* --- the world --- */

/* Mostly small ones, so that there are many tables. */
static unsigned choose_cluster_bits(void)
{
    static const unsigned bits[] = {
        9, 9, 9, 9, 10, 10, 11, 12, 12, 12, 13, 14, 14, 14, 15, 16, 16, 17, 18, 21};

    return bits[choose(SIM_ADMIN, ARRAY_LEN(bits))];
}

static uint64_t choose_size(void)
{
    uint64_t most = image->cluster_bits < 12 ? 256 * KIB : MIB;

    return 32 * KIB + choose(SIM_ADMIN, most / 512) * 512;
}

static uint64_t choose_map_bytes(void)
{
    static const uint64_t kib[] = {1, 16, 64, 0};

    return kib[choose(SIM_ADMIN, ARRAY_LEN(kib))] * KIB;
}

static void choose_world(const struct scenario_options *options)
{
    unsigned workers = 1 + (unsigned)choose(SIM_ADMIN, IMAGE_WORKERS_MAX);

    image->options = *options;
    image->workers = options->workers_max ? MIN(workers, options->workers_max) : workers;
    image->guests = 1 + (unsigned)choose(SIM_ADMIN, 5);
    image->cluster_bits = choose_cluster_bits();
    image->refcount_order = 1 + (unsigned)choose(SIM_ADMIN, 6);
    image->standard_l2 = one_in(SIM_ADMIN, 3);
    image->no_lazy_refcounts = one_in(SIM_ADMIN, 3);
    image->discard = one_in(SIM_ADMIN, 2);
    image->growable = !one_in(SIM_ADMIN, 4);
    image->map_bytes_max = choose_map_bytes();
    image->ahead_bytes = (16 * KIB) << choose(SIM_ADMIN, 5);
    image->space_wait_ns = (2000 + choose(SIM_ADMIN, 2000)) * MILLISECOND_NS;
    image->size_bytes = choose_size();
}

struct qcow2_plan image_plan(void)
{
    return (struct qcow2_plan){
        .size_bytes = image->size_bytes,
        .cluster_bits = image->cluster_bits,
        .standard_l2 = image->standard_l2,
        .refcount_order = image->refcount_order,
        .no_lazy_refcounts = image->no_lazy_refcounts,
        .backing_name = image->backed ? "backing" : NULL,
        .backing_format = image->backed ? "raw" : NULL,
    };
}

static void add_disk(const char *path, uint64_t size_bytes)
{
    bool can_zero = one_in(SIM_ADMIN, 2);
    struct sim_disk_params p = {
        .path = path,
        .size_bytes = size_bytes,
        .logical_block_bytes = 512,
        .atomic_bytes = one_in(SIM_ADMIN, 3) ? 4096 : 512,
        .discard = can_zero ? SIM_DISCARD_ZEROS : (enum sim_discard)choose(SIM_ADMIN, 3),
        .can_zero = can_zero,
        .seed = sim_next(&sim->random[SIM_ADMIN]),
    };

    sim_add_disk(&p);
}

/* What the disk shows at first is known exactly: in part data, the rest zeros. */
static void fill_backing(void)
{
    static uint8_t buf[IMAGE_BYTES_MAX];
    uint64_t there = MIN(image->backing_bytes, image->size_bytes), length;

    memset(buf, 0, sizeof buf);
    for (uint64_t at = 0; at < there; at += length) {
        length = MIN(there - at, (1 + choose(SIM_ADMIN, 64)) * 512);
        if (!one_in(SIM_ADMIN, 3))
            model_write_end(image_model,
                model_write_begin(image_model, MODEL_DATA, at, length, buf + at), true, true);
    }
    sim_disk_poke(&sim->disks[1], buf, 0, there); /* nobody is to see what follows */
}

/* A file that does not grow is as long as its disk: the image, and some of what guests need. */
static void make_world(void)
{
    struct qcow2_plan plan;
    uint64_t least, most;

    image->backing_bytes = one_in(SIM_ADMIN, 3) ? choose_size() : 0;
    image->backed = image->backing_bytes;
    plan = image_plan();
    if (qcow2_plan_bytes(&plan, &least, NULL)) {
        image_complain("the plan is refused");
        return;
    }
    most = least + 4 * image->size_bytes + (MAX(MIB, UINT64_C(16) << image->cluster_bits));
    most = round_up(MIN(most, (uint64_t)SIM_DISK_BYTES_MAX), (uint64_t)IMAGE_FILE_UNIT);
    if (!image->growable)
        most = round_up(least + choose(SIM_ADMIN, most - least), (uint64_t)IMAGE_FILE_UNIT);
    add_disk("/disks/image", most);
    image->file_bytes =
        image->growable ? MIN(round_up(least, (uint64_t)IMAGE_FILE_UNIT), most) : most;
    image->limit_bytes = fault_allowed(&image->options, FAULT_NO_SPACE) && one_in(SIM_FAULTS, 2)
                             ? image->file_bytes
                             : most;
    model_init(image_model, 1, image->size_bytes, MODEL_START_ZEROS);
    image_model->failed_linger = true;
    if (image->backing_bytes) {
        add_disk("/disks/backing", image->backing_bytes);
        fill_backing();
    }
}

/* --- machines --- */

static enum image_plan choose_plan(void)
{
    if (!image->made)
        return PLAN_FORMAT;
    return one_in(SIM_ADMIN, 12) ? PLAN_READ : PLAN_WORK;
}

/* When its end comes: mostly while it works, for it does some hundreds of writes. */
static void choose_cut(void)
{
    const struct scenario_options *o = &image->options;
    struct sim_cut cut = {.phase = (enum sim_phase)choose(SIM_FAULTS, SIM_PHASES)};
    uint64_t most = one_in(SIM_FAULTS, 3) ? 40 : 400;
    bool wanted = !one_in(SIM_FAULTS, 6);

    if (image->killed && one_in(SIM_FAULTS, 2)) /* what is in the disk's cache is relied on */
        most = 16;
    cut.kill = most > 16 && one_in(SIM_FAULTS, 4);
    if (one_in(SIM_FAULTS, 6))
        cut.at_ns = sim->now_ns + choose(SIM_FAULTS, 200 * MILLISECOND_NS);
    else
        cut.writes = 1 + choose(SIM_FAULTS, most);
    if (image->plan == PLAN_FORMAT)
        wanted &= one_in(SIM_FAULTS, 4);
    if (!fault_allowed(o, FAULT_POWER_CUT))
        cut.kill = true;
    if (cut.kill && !fault_allowed(o, FAULT_KILL))
        wanted = false;
    image->stops = !wanted;
    memset(&sim->cut, 0, sizeof sim->cut);
    if (wanted)
        sim->cut = cut;
    sim->cut.kill = cut.kill;
}

static void note_end(enum sim_end end)
{
    if (end == SIM_POWER_CUT) {
        fault_count(FAULT_POWER_CUT);
        model_cut(image_model);
    } else if (end == SIM_KILLED) {
        fault_count(FAULT_KILL);
        model_forgotten(image_model);
    } else if (image->lost) {
        model_forgotten(image_model);
    }
}

/* What was under way when the machine ended is settled with what the model knew then. */
static void after(enum sim_end end)
{
    struct check_qcow2 c = {0};
    bool there;

    image->killed = end == SIM_KILLED;
    if (sim->failure[0])
        return;
    there = image->made && image_examine(&c);
    if (there)
        image_change_settle(&c);
    note_end(end);
    if (there && !sim->failure[0])
        image_look(&c);
    check_qcow2_free(&c);
}

static void live(void)
{
    image->machine++;
    image->struck = image->stalled = image->refused = image->closed = false;
    image->lost = false;
    image_mend();
    image->plan = choose_plan();
    choose_cut();
    SIM_TRACE("=== machine %u", image->machine);
    after(sim_live(image_machine_run, NULL));
}

static void run(const struct scenario_options *options)
{
    unsigned machines = 5 + (unsigned)choose(SIM_ADMIN, 10);

    if (options->machines_max)
        machines = MIN(machines, options->machines_max);
    choose_world(options);
    make_world();
    for (unsigned i = 0; i < machines && !sim->failure[0]; i++)
        live();
}

const struct scenario image_scenario = {"image", init, run};
