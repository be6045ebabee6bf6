/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The administrator: does what array.h offers, in any order, while guests work. Half of it is
 * refused, which is fine as long as it is refused cleanly; the power is cut by preference while
 * something of this is under way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array_world.h"
#include "block/member.h"

#define OPS_MAX      10u
#define SETTLE_POLLS 400u
#define POLL_NS      (500 * MILLISECOND_NS)

unsigned array_disk_of(const char *name)
{
    for (unsigned i = 0; i < sim->disk_count; i++)
        if (!strcmp(name, sim->disks[i].path))
            return i;
    sim_fail("the array has a member %s that there is not", name);
}

uint32_t array_listed(enum array_member_state states[SIM_DISKS_MAX])
{
    struct array_status *s = array_status(machine.array);
    uint32_t listed = 0;

    if (!s)
        sim_fail("out of memory");
    for (unsigned i = 0; i < s->member_count; i++) {
        unsigned disk;
        if (!s->members[i].name[0])
            continue;
        disk = array_disk_of(s->members[i].name);
        listed |= 1u << disk;
        states[disk] = s->members[i].state;
    }
    free(s);
    return listed;
}

static struct array_sync_status sync_status(uint64_t *unsynced_bytes, unsigned *missing)
{
    struct array_status *s = array_status(machine.array);
    struct array_sync_status sync;

    if (!s)
        sim_fail("out of memory");
    sync = s->sync;
    *unsynced_bytes = s->unsynced_bytes;
    *missing = s->missing;
    free(s);
    return sync;
}

bool array_in_sync(void)
{
    uint64_t unsynced_bytes;
    unsigned missing;
    struct array_sync_status s = sync_status(&unsynced_bytes, &missing);

    return s.action == ARRAY_IDLE && unsynced_bytes == 0 && missing == 0;
}

bool array_settle(void)
{
    unsigned calm = 0;

    for (unsigned i = 0; i < SETTLE_POLLS && calm < 2; i++) {
        uint64_t unsynced_bytes;
        unsigned missing;
        co_sleep_ns(POLL_NS);
        calm = sync_status(&unsynced_bytes, &missing).action == ARRAY_IDLE ? calm + 1 : 0;
    }
    if (calm < 2 && !world->bad_disks)
        sim_fail("what is being synced does not end");
    return calm == 2;
}

/* Copies that count as the same are, until a write has failed on all that is left. */
void array_check_ended(void)
{
    struct array_status *s = array_status(machine.array);

    if (!s)
        sim_fail("out of memory");
    if (machine.check_id && s->sync.id == machine.check_id && s->sync.mismatch_bytes &&
        s->state != ARRAY_FAILED)
        sim_fail("%s finds %llu bytes that differ", array_action_name(s->sync.last_action),
            (unsigned long long)s->sync.mismatch_bytes);
    free(s);
}

void array_say_unused(uint64_t offset, uint64_t length)
{
    unsigned ticket = model_write_begin(model, MODEL_UNUSED, offset, length, NULL);

    SIM_TRACE("unused %llu+%llu", (unsigned long long)offset, (unsigned long long)length);
    blockdev_unused(array_blockdev(machine.array), offset, length);
    model_write_end(model, ticket, true, false);
}

/* --- what it does --- */

static void say(const char *what, const char *whom, int rc, const struct error *err)
{
    SIM_TRACE("admin %s %s: %d %s", what, whom, rc, rc ? err->text : "");
}

/* NULL: it is not there, or in use. */
static struct blockdev *open_unused(unsigned disk)
{
    struct blockdev *dev;

    if (!sim->disks[disk].present || member_open(sim->disks[disk].path, 0, &dev, NULL))
        return NULL;
    return dev;
}

static void add(unsigned disk)
{
    struct blockdev *dev = open_unused(disk);
    struct error err = {0};
    bool readded = false;
    int rc;

    if (!dev)
        return;
    rc = array_add(machine.array, dev, one_in(SIM_ADMIN, 2), &readded, &err);
    say(readded ? "re-add" : "add", sim->disks[disk].path, rc, &err);
    if (rc)
        blockdev_close(dev);
}

static void replace(unsigned disk)
{
    enum array_member_state states[SIM_DISKS_MAX];
    uint32_t listed = array_listed(states);
    struct blockdev *with = NULL;
    struct error err = {0};
    int rc;

    for (unsigned i = 0; i < sim->disk_count && !with; i++)
        if (!(listed >> i & 1) && one_in(SIM_ADMIN, 2))
            with = open_unused(i);
    SIM_TRACE("admin replaces %s with %s", sim->disks[disk].path, with ? with->name : "a spare");
    rc = array_replace(machine.array, sim->disks[disk].path, with, &err);
    say("replace", sim->disks[disk].path, rc, &err);
    if (rc && with)
        blockdev_close(with);
}

static void fail(unsigned disk)
{
    struct error err = {0};
    int rc;

    array_lose(disk);
    rc = array_fail(machine.array, sim->disks[disk].path, &err);
    say("fail", sim->disks[disk].path, rc, &err);
}

/* At times two, whose successors recover together. */
static void fail_some(unsigned disk)
{
    enum array_member_state states[SIM_DISKS_MAX];
    uint32_t listed;

    fail(disk);
    listed = array_listed(states);
    disk = (unsigned)choose(SIM_ADMIN, sim->disk_count);
    if (listed >> disk & 1 && states[disk] == MEMBER_IN_SYNC)
        fail(disk);
}

static void remove_disk(unsigned disk)
{
    struct error err = {0};
    int rc = array_remove(machine.array, sim->disks[disk].path, &err);

    machine.was_degraded = true;
    say("remove", sim->disks[disk].path, rc, &err);
}

static void change_member(void)
{
    unsigned disk = (unsigned)choose(SIM_ADMIN, sim->disk_count);
    enum array_member_state states[SIM_DISKS_MAX];
    uint32_t listed = array_listed(states);

    if (!(listed >> disk & 1))
        add(disk);
    else if (states[disk] > MEMBER_REPLACING)
        remove_disk(disk);
    else if (states[disk] == MEMBER_IN_SYNC && !one_in(SIM_ADMIN, 3))
        replace(disk);
    else
        fail_some(disk);
}

static void start_sync(void)
{
    static const enum array_action actions[] = {ARRAY_CHECK, ARRAY_REPAIR, ARRAY_RESYNC};
    enum array_action action = actions[choose(SIM_ADMIN, ARRAY_LEN(actions))];
    struct error err = {0};
    uint64_t unsynced_bytes;
    unsigned missing;
    int rc;

    array_check_ended();
    rc = array_sync(machine.array, action, &err);
    say("starts", array_action_name(action), rc, &err);
    if (!rc && action != ARRAY_RESYNC)
        machine.check_id = sync_status(&unsynced_bytes, &missing).id;
}

static void cancel(void)
{
    SIM_TRACE("admin cancels");
    array_sync_cancel(machine.array);
}

static void pause_sync(void)
{
    bool paused = one_in(SIM_ADMIN, 2);

    SIM_TRACE("admin %s", paused ? "pauses" : "resumes");
    array_sync_pause(machine.array, paused);
}

static void say_unused(void)
{
    uint64_t chunk = world->bitmap_chunk_bytes, size = world->size_bytes;
    uint64_t offset = choose(SIM_ADMIN, size / chunk) * chunk;

    gate_close(&machine.guests);
    array_say_unused(offset, MIN(size - offset, (1 + choose(SIM_ADMIN, 8)) * chunk));
    gate_open(&machine.guests);
}

/* So long that the array becomes clean, or bits are cleared, or what failed or was cancelled is
 * tried again. */
static void wait_long(void)
{
    static const unsigned milliseconds[] = {300, 300, 300, 11000, 62000};
    unsigned ms = milliseconds[choose(SIM_ADMIN, ARRAY_LEN(milliseconds))];

    SIM_TRACE("admin waits %u ms", ms);
    if (one_in(SIM_ADMIN, 2))
        gate_close(&machine.guests);
    co_sleep_ns(ms * MILLISECOND_NS);
    if (machine.guests.closed)
        gate_open(&machine.guests);
}

static void restart(void)
{
    gate_close(&machine.guests);
    SIM_TRACE("admin stops the array and starts it again");
    array_check_ended();
    array_machine_stop();
    machine.check_id = 0;
    array_machine_assemble();
    array_start(machine.array);
    gate_open(&machine.guests);
}

/* Soon. */
static void aim_cut(void)
{
    if (world->stops || !one_in(SIM_FAULTS, 4))
        return;
    sim->cut.at_ns = 0;
    sim->cut.writes = 1 + choose(SIM_FAULTS, 24);
}

static void act(void)
{
    switch (choose(SIM_ADMIN, 16)) {
    case 0:
    case 1:
        start_sync();
        break;
    case 2:
        cancel();
        break;
    case 3:
        say_unused();
        break;
    case 4:
        pause_sync();
        break;
    case 5:
    case 6:
        wait_long();
        break;
    case 7:
        restart();
        break;
    default:
        change_member();
        break;
    }
}

void array_administer(void)
{
    unsigned ops = (unsigned)choose(SIM_ADMIN, OPS_MAX + 1);

    if (world->options.ops_max)
        ops = MIN(ops, world->options.ops_max);
    for (unsigned i = 0; i < ops && machine.at_work; i++) {
        co_sleep_ns(choose(SIM_ADMIN, 4 * MILLISECOND_NS));
        aim_cut();
        if (world->level != 0)
            act();
        else if (one_in(SIM_ADMIN, 4))
            restart();
    }
    array_sync_pause(machine.array, false);
}
