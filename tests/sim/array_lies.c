/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks that lie: sectors that hold something else, writes that were acknowledged and not done, or
 * done elsewhere. A check finds all of it. RAID6, and three copies or more, tell which disk lies,
 * and a repair brings back what should be there; else a repair only makes it fit, and what the lie
 * has touched may hold anything afterwards. Metadata has checksums: a member whose superblock is
 * damaged is refused, and the others give what they should.
 *
 * All this in an array at rest, so that what has to be found is known.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array_world.h"
#include "block/member.h"
#include "raid/superblock.h"

#define SECTORS_MAX   8u
#define TRANSFER_MAX  (SECTORS_MAX * 4096u)
#define BITMAP_OFFSET 8192u

struct lie {
    uint64_t offset, length; /* array bytes, in one piece on each member */
    bool parity;             /* the disk has only parity of them */
    uint64_t disk_offset;    /* where it has them */
    struct sim_disk *disk;   /* which lies */
};

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_FAULTS, limit);
}

static struct lie choose_lie(void)
{
    uint64_t block = array_blockdev(machine.array)->logical_block_bytes, run_bytes, at;
    const struct raid_geometry *g = &machine.geometry;
    struct lie l;
    unsigned role, copy;

    do {
        role = (unsigned)draw(world->members);
        at = draw(raid_geometry_member_bytes(g, role) / block) * block;
    } while (!raid_geometry_unmap(g, role, at, &l.offset, &copy, &run_bytes));
    l.parity = copy >= RAID_COPY_P;
    if (l.parity)
        l.offset += at % world->chunk_bytes;
    l.length = MIN((1 + draw(SECTORS_MAX)) * block, run_bytes);
    l.disk_offset = world->data_offset_bytes + at;
    l.disk = array_disk_in_role(role);
    return l;
}

/* --- lies about data --- */

static void may_hold_anything(uint64_t offset, uint64_t length)
{
    unsigned ticket = model_write_begin(model, MODEL_UNUSED, offset, length, NULL);

    model_write_end(model, ticket, true, true);
}

static void corrupt(void)
{
    static char before[TRANSFER_MAX], buf[TRANSFER_MAX];
    struct lie l = choose_lie();

    fault_count(FAULT_CORRUPT);
    sim_disk_peek(l.disk, before, l.disk_offset, l.length);
    memcpy(buf, before, l.length);
    for (uint64_t i = 1 + draw(4); i > 0; i--)
        buf[draw(l.length)] ^= (char)(1 << draw(8));
    sim_disk_poke(l.disk, buf, l.disk_offset, l.length);
    SIM_TRACE("lie: %s has other bits in %llu+%llu of the array%s", l.disk->path,
        (unsigned long long)l.offset, (unsigned long long)l.length, l.parity ? "'s parity" : "");
    if (!array_tells_who() && !l.parity)
        may_hold_anything(l.offset, l.length);
    array_check_and_repair(l.disk);
    sim_disk_peek(l.disk, buf, l.disk_offset, l.length);
    if ((array_tells_who() || l.parity) && memcmp(buf, before, l.length) != 0)
        sim_fail("a repair has not brought back what %s held", l.disk->path);
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
    for (uint64_t at = world->data_offset_bytes; at < d->size_bytes; at += SIM_SECTOR_BYTES) {
        static char now[SIM_SECTOR_BYTES];
        uint64_t offset, run_bytes;
        unsigned copy;
        sim_disk_peek(d, now, at, sizeof now);
        if (!memcmp(now, before + at, sizeof now))
            continue;
        for (unsigned role = 0; role < world->members; role++)
            if (array_disk_in_role(role) == d &&
                at - world->data_offset_bytes <
                    raid_geometry_member_bytes(&machine.geometry, role) &&
                raid_geometry_unmap(&machine.geometry, role, at - world->data_offset_bytes, &offset,
                    &copy, &run_bytes) &&
                copy < RAID_COPY_P)
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
    if (!array_tells_who()) {
        note_changes(l.disk, before);
        may_hold_anything(l.offset, l.length);
    }
    free(before);
    array_check_and_repair(l.disk);
}

/* --- lost sectors --- */

static void lose_sectors(void)
{
    struct lie l = choose_lie();
    uint64_t first = l.disk_offset / SIM_SECTOR_BYTES;
    struct array_mismatches *found;

    fault_count(FAULT_LATENT);
    for (uint64_t i = first; i < first + l.length / SIM_SECTOR_BYTES; i++)
        l.disk->unreadable[i / 64] |= UINT64_C(1) << i % 64;
    SIM_TRACE("%s cannot read %llu+%llu of the array", l.disk->path, (unsigned long long)l.offset,
        (unsigned long long)l.length);
    found = array_run_check(ARRAY_CHECK);
    if (found->count)
        sim_fail("a check finds differences where a disk cannot be read");
    free(found);
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
    array_lose((unsigned)(l.disk - sim->disks));
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
        break;
    case 1:
        lose_or_misdirect(true);
        break;
    case 2:
        lose_or_misdirect(false);
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
