/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks that lie: sectors that hold something else, writes that were acknowledged and not done, or
 * done elsewhere. An array cannot tell which copy is right, but a check says that they differ, and
 * a repair makes them agree. Metadata has checksums: a member whose superblock is damaged is
 * refused, and the others give what they should.
 *
 * All this in an array at rest, so that what has to be found is known. What the lie has touched may
 * hold anything afterwards.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array_world.h"
#include "block/member.h"
#include "raid/superblock.h"

#define DATA_OFFSET   (1u << 20) /* on all disks; the geometry's offsets begin there */
#define SECTORS_MAX   8u
#define TRANSFER_MAX  (SECTORS_MAX * 4096u)
#define BITMAP_OFFSET 8192u

struct lie {
    uint64_t offset, length; /* array bytes, in one piece on each member */
    struct raid_location copy;
    struct sim_disk *disk; /* which lies */
};

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_FAULTS, limit);
}

static struct sim_disk *disk_in_role(unsigned role)
{
    struct array_status *s = array_status(machine.array);
    struct sim_disk *d = NULL;

    if (!s)
        sim_fail("out of memory");
    for (unsigned i = 0; i < s->member_count; i++)
        if (s->members[i].state == MEMBER_IN_SYNC && s->members[i].role == (int)role)
            d = &sim->disks[array_disk_of(s->members[i].name)];
    free(s);
    if (!d)
        sim_fail("nobody has role %u", role);
    return d;
}

static struct lie choose_lie(void)
{
    uint64_t block = array_blockdev(machine.array)->logical_block_bytes, run_bytes;
    struct raid_location copies[RAID_COPIES_MAX];
    struct lie l = {.offset = draw(world->size_bytes / block) * block};
    unsigned count = raid_geometry_map(&machine.geometry, l.offset, copies, &run_bytes);

    l.length = MIN((1 + draw(SECTORS_MAX)) * block, run_bytes);
    l.copy = copies[draw(count)];
    l.disk = disk_in_role(l.copy.role);
    return l;
}

/* --- what differs, by our own eyes --- */

static bool copies_differ(uint64_t offset, uint64_t length)
{
    static char buffers[2][TRANSFER_MAX];
    struct raid_location copies[RAID_COPIES_MAX];
    uint64_t run_bytes;
    unsigned count = raid_geometry_map(&machine.geometry, offset, copies, &run_bytes);

    for (unsigned i = 0; i < count; i++) {
        sim_disk_peek(disk_in_role(copies[i].role), buffers[i > 0],
            DATA_OFFSET + copies[i].offset_bytes, length);
        if (i && memcmp(buffers[0], buffers[1], length) != 0)
            return true;
    }
    return false;
}

static bool any_copies_differ(void)
{
    uint64_t length;

    for (uint64_t at = 0; at < world->size_bytes; at += length) {
        struct raid_location copies[RAID_COPIES_MAX];
        raid_geometry_map(&machine.geometry, at, copies, &length);
        length = MIN(length, (uint64_t)TRANSFER_MAX);
        if (copies_differ(at, length))
            return true;
    }
    return false;
}

/* --- check and repair --- */

/* The bytes that differ. */
static uint64_t run_action(enum array_action action)
{
    struct error err = {0};
    struct array_status *s;
    uint64_t mismatch_bytes;

    if (array_sync(machine.array, action, &err))
        sim_fail("%s cannot be started: %s", array_action_name(action), err.text);
    array_settle();
    s = array_status(machine.array);
    if (!s)
        sim_fail("out of memory");
    if (s->sync.last_action != action || s->sync.result)
        sim_fail("%s has ended with %d", array_action_name(action), s->sync.result);
    mismatch_bytes = s->sync.mismatch_bytes;
    free(s);
    SIM_TRACE(
        "%s: %llu bytes differ", array_action_name(action), (unsigned long long)mismatch_bytes);
    return mismatch_bytes;
}

static void expect_found_and_repaired(void)
{
    bool differ = any_copies_differ();

    if ((run_action(ARRAY_CHECK) != 0) != differ)
        sim_fail("check says that copies %s", differ ? "agree" : "differ");
    if (differ && !any_copies_differ())
        sim_fail("a check has changed the copies");
    run_action(ARRAY_REPAIR);
    if (run_action(ARRAY_CHECK) || any_copies_differ())
        sim_fail("copies differ after a repair");
}

/* --- lies about data --- */

static void may_hold_anything(uint64_t offset, uint64_t length)
{
    unsigned ticket = model_write_begin(model, MODEL_UNUSED, offset, length, NULL);

    model_write_end(model, ticket, true, true);
}

static void corrupt(void)
{
    struct lie l = choose_lie();
    static char buf[TRANSFER_MAX];

    fault_count(FAULT_CORRUPT);
    sim_disk_peek(l.disk, buf, DATA_OFFSET + l.copy.offset_bytes, l.length);
    buf[draw(l.length)] ^= (char)(1 << draw(8));
    sim_disk_poke(l.disk, buf, DATA_OFFSET + l.copy.offset_bytes, l.length);
    SIM_TRACE("lie: %s has another bit in %llu+%llu of the array", l.disk->path,
        (unsigned long long)l.offset, (unsigned long long)l.length);
    may_hold_anything(l.offset, l.length);
    if (!any_copies_differ())
        sim_fail("the lie has no effect");
}

static void write_there(const struct lie *l)
{
    static char buf[TRANSFER_MAX];
    unsigned ticket = model_write_begin(model, MODEL_DATA, l->offset, l->length, buf);
    int rc = blockdev_write(array_blockdev(machine.array), buf, l->offset, l->length, BLOCK_STABLE);

    model_write_end(model, ticket, !rc, false);
    if (rc)
        sim_fail("a write fails: %d", rc);
}

/* Anywhere on that disk. */
static void note_changes(const struct sim_disk *d, const char *before)
{
    for (uint64_t at = DATA_OFFSET; at < d->size_bytes; at += SIM_SECTOR_BYTES) {
        static char now[SIM_SECTOR_BYTES];
        uint64_t offset, run_bytes;
        unsigned copy;
        sim_disk_peek(d, now, at, sizeof now);
        if (!memcmp(now, before + at, sizeof now))
            continue;
        for (unsigned role = 0; role < world->members; role++)
            if (disk_in_role(role) == d &&
                at - DATA_OFFSET < raid_geometry_member_bytes(&machine.geometry, role) &&
                raid_geometry_unmap(
                    &machine.geometry, role, at - DATA_OFFSET, &offset, &copy, &run_bytes))
                may_hold_anything(offset, SIM_SECTOR_BYTES);
    }
}

/* The first write makes the array ready, so that the next thing on the disk is the second one's
 * data. */
static void lose_or_misdirect(bool lose)
{
    struct lie l = choose_lie();
    char *before = malloc(l.disk->size_bytes);

    if (!before)
        sim_fail("out of memory");
    write_there(&l);
    sim_disk_peek(l.disk, before, 0, l.disk->size_bytes);
    *(lose ? &l.disk->lose_writes : &l.disk->misdirect_writes) = 1;
    fault_count(lose ? FAULT_LOST_WRITE : FAULT_MISDIRECT);
    SIM_TRACE("lie: %s %s a write", l.disk->path, lose ? "loses" : "misdirects");
    write_there(&l);
    l.disk->lose_writes = l.disk->misdirect_writes = 0;
    note_changes(l.disk, before);
    may_hold_anything(l.offset, l.length);
    free(before);
}

/* --- lost sectors --- */

static void lose_sectors(void)
{
    struct lie l = choose_lie();
    uint64_t first = (DATA_OFFSET + l.copy.offset_bytes) / SIM_SECTOR_BYTES;

    fault_count(FAULT_LATENT);
    for (uint64_t i = first; i < first + l.length / SIM_SECTOR_BYTES; i++)
        l.disk->unreadable[i / 64] |= UINT64_C(1) << i % 64;
    SIM_TRACE("%s cannot read %llu+%llu of the array", l.disk->path, (unsigned long long)l.offset,
        (unsigned long long)l.length);
    if (run_action(ARRAY_CHECK))
        sim_fail("a check finds differences where a copy cannot be read");
    for (uint64_t i = first; i < first + l.length / SIM_SECTOR_BYTES; i++)
        if (l.disk->unreadable[i / 64] >> i % 64 & 1)
            sim_fail("a check leaves a sector of %s that cannot be read", l.disk->path);
}

/* --- metadata --- */

static void damage(struct sim_disk *d, uint64_t offset, uint64_t length)
{
    char buf[SIM_SECTOR_BYTES];

    sim_disk_peek(d, buf, offset, sizeof buf);
    buf[draw(length)] ^= (char)(1 << draw(8));
    sim_disk_poke(d, buf, offset, sizeof buf);
    fault_count(FAULT_CORRUPT);
    SIM_TRACE("lie: metadata of %s at %llu is damaged", d->path, (unsigned long long)offset);
}

static void expect_refused(const struct sim_disk *d)
{
    struct md_superblock *sb = malloc(sizeof *sb);
    struct blockdev *dev;
    int rc;

    if (!sb || member_open(d->path, 0, &dev, NULL))
        sim_fail("%s cannot be opened", d->path);
    rc = array_examine(dev, sb, NULL);
    if (rc != -EBADMSG && rc != -ENODATA && rc != -EOPNOTSUPP)
        sim_fail("the damaged superblock of %s is taken: %d", d->path, rc);
    blockdev_close(dev);
    free(sb);
}

/* The others go on without it, and take it in again as a new one. */
static void damage_superblock(void)
{
    struct lie l = choose_lie();
    struct error err = {0};
    struct blockdev *dev;
    bool readded;

    array_machine_stop();
    damage(l.disk, MD_SUPERBLOCK_OFFSET_BYTES, SIM_SECTOR_BYTES);
    expect_refused(l.disk);
    world->bad_disks = 1u << (l.disk - sim->disks);
    array_machine_assemble();
    world->bad_disks = 0;
    model_unpin(model);
    array_read_first();
    array_start(machine.array);
    if (member_open(l.disk->path, 0, &dev, &err) ||
        array_add(machine.array, dev, false, &readded, &err))
        sim_fail("%s cannot be added: %s", l.disk->path, err.text);
    if (readded)
        sim_fail("%s is taken back as if it had been a member", l.disk->path);
    array_settle();
    array_read_again("after the damaged member was replaced", world->size_bytes);
}

/* It has no checksum; but one that is not the array's is not taken. */
static void damage_bitmap(void)
{
    struct lie l = choose_lie();

    array_machine_stop();
    damage(l.disk, BITMAP_OFFSET, 24);
    array_machine_assemble();
    array_start(machine.array);
    array_settle();
    array_read_again("with a damaged bitmap", world->size_bytes);
}

void array_lies(void)
{
    array_start(machine.array);
    if (!array_settle() || !array_in_sync() || world->bad_disks)
        return;
    switch (draw(6)) {
    case 0:
        corrupt();
        expect_found_and_repaired();
        break;
    case 1:
        lose_or_misdirect(true);
        expect_found_and_repaired();
        break;
    case 2:
        lose_or_misdirect(false);
        expect_found_and_repaired();
        break;
    case 3:
        lose_sectors();
        break;
    case 4:
        damage_superblock();
        break;
    default:
        damage_bitmap();
        break;
    }
}
