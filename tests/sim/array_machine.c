/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine's life: it puts the array together as the daemon would, reads all of it, and works on
 * it until it stops or is cut off.
 *
 * The administrator knows which disks held the array when the last machine ended, and does not let
 * it start without them: nobody else could tell that what is left is out of date. Where they are
 * there, it has to start.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array_world.h"
#include "block/member.h"
#include "raid/superblock.h"

#define TRIES_MAX 5u

struct array_machine machine;

/* --- what may fail --- */

static bool complete_without(uint32_t disks, const int roles[SIM_DISKS_MAX])
{
    bool present[SIM_DISKS_MAX] = {false};

    for (unsigned i = 0; i < sim->disk_count; i++)
        if (roles[i] >= 0 && !(disks >> i & 1))
            present[roles[i]] = true;
    return raid_geometry_complete(&machine.geometry, present);
}

static struct array_status *status(int roles[SIM_DISKS_MAX])
{
    struct array_status *s = array_status(machine.array);

    if (!s)
        sim_fail("out of memory");
    for (unsigned i = 0; i < SIM_DISKS_MAX; i++)
        roles[i] = -1;
    for (unsigned i = 0; i < s->member_count; i++)
        if (s->members[i].state == MEMBER_IN_SYNC)
            roles[array_disk_of(s->members[i].name)] = s->members[i].role;
    return s;
}

bool array_may_fail(void)
{
    int roles[SIM_DISKS_MAX];
    struct array_status *s = status(roles);
    bool complete = complete_without(world->bad_disks, roles), failed = s->state == ARRAY_FAILED;

    machine.was_degraded |= s->missing != 0;
    for (unsigned i = 0; i < s->member_count; i++)
        machine.was_degraded |= s->members[i].state == MEMBER_FAULTY;
    free(s);
    return !complete || (failed && world->bad_disks && machine.was_degraded);
}

static void make_geometry(void)
{
    uint64_t data_bytes[SIM_DISKS_MAX];
    struct raid_shape shape = {
        .level = world->level,
        .layout = world->layout,
        .raid_disks = world->members,
        .chunk_bytes = world->level == 1 ? 0 : world->chunk_bytes,
        .member_bytes = world->member_bytes,
        .data_bytes = data_bytes,
    };

    for (unsigned i = 0; i < world->members; i++)
        data_bytes[i] = sim->disks[i].size_bytes;
    if (raid_geometry_init(&machine.geometry, &shape, NULL))
        sim_fail("the array's shape makes no sense");
}

/* --- assembly --- */

struct found {
    struct blockdev *devs[SIM_DISKS_MAX];
    unsigned count;
    uint32_t disks;
    bool all; /* that are there could be read */
};

static struct blockdev *open_disk(unsigned disk)
{
    struct error err = {0};
    struct blockdev *dev;

    if (!sim->disks[disk].present)
        return NULL;
    if (!member_open(sim->disks[disk].path, 0, &dev, &err))
        return dev;
    if (sim->disks[disk].present) /* it may have gone meanwhile */
        sim_fail("a disk cannot be opened: %s", err.text);
    return NULL;
}

static void look_at(struct found *f, unsigned disk, struct md_superblock *sb)
{
    struct blockdev *dev = open_disk(disk);
    struct error err = {0};
    int rc = dev ? array_examine(dev, sb, &err) : -ENXIO;
    bool ours = !rc && (world->life == LIFE_MAKING
                               ? !strcmp(md_superblock_short_name(sb), world->name)
                               : !memcmp(sb->set_uuid, world->uuid, sizeof world->uuid));

    if (rc == -EBADMSG && world->life == LIFE_LIVING && !world->lies)
        sim_fail("%s: %s", sim->disks[disk].path, err.text);
    f->all &= rc != -EIO && rc != -ENXIO;
    if (ours) {
        f->devs[f->count++] = dev;
        f->disks |= 1u << disk;
    } else if (dev) {
        blockdev_close(dev);
    }
}

static void close_found(struct found *f)
{
    for (unsigned i = 0; i < f->count; i++)
        blockdev_close(f->devs[i]);
}

static void find_members(struct found *f)
{
    struct md_superblock *sb = malloc(sizeof *sb);

    if (!sb)
        sim_fail("out of memory");
    *f = (struct found){.all = true};
    for (unsigned i = 0; i < sim->disk_count; i++)
        look_at(f, i, sb);
    free(sb);
}

/* All that held the array, as far as it takes. */
static bool enough(const struct found *f)
{
    return complete_without(~f->disks, world->role_of);
}

static int try_assemble(const struct found *f, unsigned flags, struct error *err)
{
    int rc = f->count
                 ? array_assemble(&machine.array, (struct blockdev **)f->devs, f->count, flags, err)
                 : error_set(err, ENODATA, "no member was found");

    SIM_TRACE("assemble disks %x, flags %u: %d %s", f->disks, flags, rc, rc ? err->text : "");
    world->crashed |= !rc; /* until it is stopped */
    return rc;
}

static void check_log(void)
{
    struct array_status *s = array_status(machine.array);

    if (!s)
        sim_fail("out of memory");
    if (s->parity_log != array_has_log())
        sim_fail("the array has %s parity log", s->parity_log ? "a" : "no");
    free(s);
}

static void trace_members(void)
{
    enum array_member_state states[SIM_DISKS_MAX];
    uint32_t listed = array_listed(states);

    for (unsigned i = 0; i < sim->disk_count; i++)
        if (listed >> i & 1)
            SIM_TRACE("%s is %s", sim->disks[i].path, array_member_state_name(states[i]));
}

/* With what is there, or with all; fate may strike again meanwhile. */
static void gather(struct found *f)
{
    find_members(f);
    for (unsigned i = 0; !enough(f) && i < TRIES_MAX; i++) {
        SIM_TRACE("disks %x are not enough: all are mended", f->disks);
        close_found(f);
        array_mend_all();
        find_members(f);
    }
    if (!enough(f))
        sim_fail("only disks %x have a superblock of the array", f->disks);
}

static void note_copies_lost(const struct found *f)
{
    for (unsigned i = 0; i < sim->disk_count; i++)
        if (world->role_of[i] >= 0 && !(f->disks & ~world->bad_disks & 1u << i))
            array_lose(i);
}

/* One that is dirty and lacks a member starts by its log, unless there is none or it cannot be
 * read: then the administrator accepts the loss. */
static int assemble(const struct found *f, unsigned flags, struct error *err)
{
    int rc = try_assemble(f, flags, err);

    if (rc != -EUCLEAN)
        return rc;
    if (array_has_log()) {
        if (!world->bad_disks)
            sim_fail("the array is refused although it has a log: %s", err->text);
        array_log_lost();
    }
    return try_assemble(f, flags | ARRAY_FORCE, err);
}

void array_machine_assemble(void)
{
    struct found f;
    struct error err = {0};
    unsigned flags;
    int rc;

    gather(&f);
    note_copies_lost(&f);
    world->left_out = !f.all;
    flags = f.all && !world->bad_disks ? 0 : ARRAY_DEGRADED_OK;
    rc = assemble(&f, flags, &err);
    for (unsigned i = 0; rc && world->bad_disks && i < TRIES_MAX; i++) { /* broke on the way */
        close_found(&f);
        array_mend_all();
        gather(&f);
        rc = assemble(&f, ARRAY_DEGRADED_OK, &err);
    }
    if (rc)
        sim_fail("the array cannot be assembled: %s", err.text);
    check_log();
    array_set_max_read_errors(machine.array, world->max_read_errors);
    machine.was_degraded = false;
    array_may_fail(); /* notes whether it is degraded */
    trace_members();
    if (array_blockdev(machine.array)->size_bytes != world->size_bytes)
        sim_fail("the array has another size than it had");
}

void array_machine_stop(void)
{
    struct array_status *s = array_status(machine.array);
    struct error err = {0};
    bool failed;

    if (!s)
        sim_fail("out of memory");
    failed = s->state == ARRAY_FAILED;
    free(s);
    if (array_stop(machine.array, &err))
        sim_fail("the array does not stop: %s", err.text);
    machine.array = NULL;
    array_note_stop(failed || world->bad_disks); /* it may fail on the way */
    array_look();
    if (sim->failure[0])
        sim_fail("%s", sim->failure);
}

/* --- creation and its like --- */

static void note_array(void)
{
    struct array_status *s = array_status(machine.array);

    if (!s)
        sim_fail("out of memory");
    memcpy(world->uuid, s->uuid, sizeof world->uuid);
    world->size_bytes = s->size_bytes;
    world->member_bytes = s->member_bytes;
    world->life = LIFE_LIVING;
    world->fresh = true;
    free(s);
    model_init(model, world->arrays, world->size_bytes, MODEL_START_ANYTHING);
    array_parity_created();
}

static void create(void)
{
    struct array_params params = {
        .name = world->name,
        .level = world->level,
        .layout = world->layout,
        .chunk_bytes = world->chunk_bytes,
        .member_bytes = world->member_bytes,
    };
    struct blockdev *devs[SIM_DISKS_MAX];
    struct error err = {0};

    array_mend_all();
    world->life = LIFE_MAKING;
    for (unsigned i = 0; i < world->members + world->spares; i++)
        devs[i] = (int)i == world->lacks ? NULL : open_disk(i);
    if (array_create(&machine.array, &params, devs, world->members, devs + world->members,
            world->spares, &err))
        sim_fail("the array cannot be created: %s", err.text);
    world->crashed = true;
    SIM_TRACE("created: level %d, layout %x, %u members, %u spares", world->level, world->layout,
        world->members, world->spares);
    note_array();
}

/* After a machine that was cut off while it created or destroyed the array: all of it is there, or
 * it is refused. */
static bool find_whole(void)
{
    bool made = world->life == LIFE_MAKING;
    struct error err = {0};
    struct found f;

    array_mend_all();
    find_members(&f);
    if (try_assemble(&f, 0, &err)) {
        close_found(&f);
        world->life = LIFE_NONE;
        return false;
    }
    array_set_max_read_errors(machine.array, world->max_read_errors);
    if (made) {
        note_array();
        world->data_offset_bytes = ARRAY_DATA_OFFSET;
    } else {
        model_unpin(model); /* some of the copies may be gone */
    }
    world->life = LIFE_LIVING;
    return true;
}

static void destroy(void)
{
    struct error err = {0};

    array_machine_assemble();
    array_read_first();
    world->life = LIFE_ENDING;
    if (array_destroy(machine.array, &err))
        sim_fail("the array cannot be destroyed: %s", err.text);
    world->life = LIFE_NONE;
}

/* --- work --- */

static void start_workers(void)
{
    machine.workers[0] = worker_self();
    for (unsigned i = 1; i < world->workers; i++) {
        const char name[] = {'w', (char)('0' + i), '\0'};
        if (worker_create(&machine.workers[i], name, NULL))
            sim_fail("a worker cannot be made");
    }
}

static void end_workers(void)
{
    for (unsigned i = 1; i < world->workers; i++)
        worker_destroy(machine.workers[i]);
}

/* One answer, before and after all that was left to do is done, and from whichever copy. */
static void check_answers(void)
{
    uint64_t used = world->size_bytes;

    array_read_first();
    if (one_in(SIM_ADMIN, 4)) {
        used = round_down(used / 2, (uint64_t)SIM_DISK_BYTES_MAX / 256);
        array_say_unused(used, world->size_bytes - used);
    }
    array_start(machine.array);
    if (!one_in(SIM_ADMIN, 3) || !array_settle() || world->bad_disks)
        return;
    array_read_again("after all was synced", used);
    array_read_again("at the second reading", used);
    if (!array_in_sync())
        return;
    for (unsigned i = 0; i < MAX(machine.geometry.parity, 1u); i++) {
        array_fail(machine.array, sim->disks[choose(SIM_ADMIN, sim->disk_count)].path, NULL);
        array_read_again("from the other copy", used);
    }
}

static void begin_work(void)
{
    if (one_in(SIM_ADMIN, 2)) {
        check_answers();
        return;
    }
    if (world->fresh && one_in(SIM_ADMIN, 2))
        array_say_unused(0, world->size_bytes);
    array_start(machine.array);
}

static void work(void)
{
    gate_init(&machine.guests);
    array_guests_start();
    array_fate_start();
    array_administer();
    wait_group_wait(&machine.working);
}

static void end_life(void)
{
    array_check_ended();
    if (!world->stops)
        sim_power_cut(sim->cut.kill);
    array_machine_stop();
    end_workers();
}

static void live_with_array(void)
{
    make_geometry();
    if (world->life == LIFE_LIVING) {
        array_fate_early();
        array_machine_assemble();
    } else if (!find_whole()) {
        return;
    }
    if (!world->bad_disks)
        model_pin(model);
    begin_work();
    world->fresh = false;
    start_workers();
    work();
    end_life();
}

void array_machine_run(void *arg)
{
    switch (world->plan) {
    case PLAN_CREATE:
        create();
        array_machine_stop();
        break;
    case PLAN_DESTROY:
        make_geometry();
        destroy();
        break;
    case PLAN_LIES:
        make_geometry();
        array_machine_assemble();
        array_lies();
        array_machine_stop();
        break;
    default:
        live_with_array();
        break;
    }
}
