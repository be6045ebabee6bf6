/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an administrator does to members: fail, remove, add, replace. Each call holds control from
 * beginning to end; background.c goes on from there (spares, recovery).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/size.h"
#include "raid/array_private.h"
#include "raid/defaults.h"
#include "raid/parity_log.h"

int array_place_member(
    struct array *a, struct member *m, unsigned role, enum array_member_state state, bool by_bitmap)
{
    int rc, written;

    array_quiesce(a);
    co_mutex_lock(&a->update);
    rc = bitmap_log_write_all(a, m);
    if (!rc)
        rc = parity_log_add_member(a, m);
    if (rc && rc != -ENOMEM)
        members_fail(a, &m, 1);
    if (!rc) {
        m->role = (int)role;
        m->by_bitmap = by_bitmap;
        atomic_store(&m->recovered_bytes, 0);
        atomic_store(&m->state, state);
    }
    members_settle(a);
    written = members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    array_resume(a);
    array_changed(a);
    array_wake(a);
    return rc == -ENOMEM ? rc : written;
}

void array_unplace_member(struct array *a, struct member *m)
{
    array_quiesce(a);
    co_mutex_lock(&a->update);
    m->role = -1;
    atomic_store(&m->state, MEMBER_SPARE);
    members_settle(a);
    members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    array_resume(a);
    array_changed(a);
}

static bool out_of_action(struct member *m)
{
    return m && !array_writable(m);
}

/* Whether a member has failed that still has its place in front of I/O. */
static bool unsettled(const struct array *a)
{
    for (unsigned role = 0; role < a->geometry.raid_disks; role++)
        if (out_of_action(a->roles[role]) || out_of_action(a->replacements[role]))
            return true;
    return false;
}

/* A replacement whose original has failed recovers in its place. What it has copied of a stripe
 * that was never synced is not what parity says, which everybody goes by from now on: with parity
 * it starts anew. */
static void promote_replacements(struct array *a)
{
    for (unsigned role = 0; role < a->geometry.raid_disks; role++) {
        struct member *r = array_writable(a->replacements[role]);
        if (!r || !out_of_action(a->roles[role]))
            continue;
        if (a->geometry.parity)
            atomic_store(&r->recovered_bytes, 0);
        atomic_store(&r->state, MEMBER_RECOVERING);
    }
}

void array_settle_failures(struct array *a)
{
    if (!unsettled(a))
        return;
    array_quiesce(a);
    co_mutex_lock(&a->update);
    promote_replacements(a);
    members_settle(a);
    members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    array_resume(a);
    memset(a->sync.not_before_ns, 0, sizeof a->sync.not_before_ns);
    array_changed(a);
}

static int find(struct array *a, const char *name, struct member **m, struct error *err)
{
    *m = members_find(a, name);
    return *m ? 0 : error_set(err, ENOENT, "%s is no member of %s", name, a->name);
}

static int fail(struct array *a, const char *name, struct error *err)
{
    struct member *m;
    int rc = find(a, name, &m, err);

    if (rc)
        return rc;
    if (member_state(m) == MEMBER_FAULTY)
        return 0;
    if (!members_can_lose(a, &m, 1) || members_fail(a, &m, 1))
        return error_set(err, EBUSY, "%s holds the last copy of data of %s", name, a->name);
    if (members_record(a))
        return error_set(err, EIO, "%s has failed", a->name);
    array_settle_failures(a);
    return 0;
}

int array_fail(struct array *a, const char *member, struct error *err)
{
    int rc;

    co_mutex_lock(&a->control);
    rc = fail(a, member, err);
    co_mutex_unlock(&a->control);
    return rc;
}

static int take_out(struct array *a, const char *name, struct error *err)
{
    struct member *m;
    int rc = find(a, name, &m, err);

    if (rc)
        return rc;
    if (array_writable(m))
        return error_set(err, EBUSY, "%s is in use by %s: fail it first", name, a->name);
    array_settle_failures(a);
    if (sync_has_target(a, m)) {
        sync_stop(a); /* it goes on with the others */
        array_wake(a);
    }
    co_mutex_lock(&a->update);
    list_remove(&m->link);
    a->member_count--;
    co_mutex_unlock(&a->update);
    blockdev_close(m->dev);
    member_free(m);
    array_changed(a);
    return 0;
}

int array_remove(struct array *a, const char *member, struct error *err)
{
    int rc;

    co_mutex_lock(&a->control);
    rc = take_out(a, member, err);
    co_mutex_unlock(&a->control);
    return rc;
}

/* --- add --- */

/* Whether the bitmap covers all that a former member has missed; assembly.h says so (forced: the
 * array runs, whatever state its superblocks tell of). */
static bool may_readd(struct array *a, struct blockdev *dev, const struct md_superblock *sb)
{
    struct raid_candidate *candidates = calloc(a->member_count + 1, sizeof *candidates);
    struct raid_assembly *decision = malloc(sizeof *decision);
    struct raid_geometry g;
    unsigned count = 0;
    bool may = false;

    co_mutex_lock(&a->update);
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        if (candidates && array_writable(m))
            candidates[count++] = (struct raid_candidate){m->dev->name, &m->sb,
                a->bitmap.on_disk ? &a->bitmap.header : NULL, m->dev->size_bytes};
    }
    if (candidates && decision) {
        candidates[count++] = (struct raid_candidate){dev->name, sb, NULL, dev->size_bytes};
        if (!raid_assembly_decide(decision, &g, candidates, count, true, NULL)) {
            raid_geometry_destroy(&g);
            may = decision->candidates[count - 1].may_readd;
        }
    }
    co_mutex_unlock(&a->update);
    free(candidates);
    free(decision);
    return may;
}

static int join(struct array *a, struct member *m)
{
    int rc;

    co_mutex_lock(&a->update);
    rc = members_add(a, m);
    co_mutex_unlock(&a->update);
    return rc;
}

static void part(struct array *a, struct member *m)
{
    co_mutex_lock(&a->update);
    list_remove(&m->link);
    a->member_count--;
    co_mutex_unlock(&a->update);
    member_free(m);
}

/* One that could not be given a role, to the caller. */
static void give_back(struct array *a, struct member *m)
{
    atomic_store(&m->state, MEMBER_FAULTY);
    array_settle_failures(a);
    part(a, m);
}

static int readd(
    struct array *a, struct blockdev *dev, const struct md_superblock *sb, struct error *err)
{
    struct member *m = member_new(dev, sb);
    unsigned role = md_superblock_role(sb, sb->dev_number);
    int rc;

    if (!m || join(a, m)) {
        if (m)
            member_free(m);
        return error_set(err, ENOMEM, "out of memory");
    }
    rc = array_place_member(a, m, role, MEMBER_RECOVERING, true);
    if (!rc && member_state(m) != MEMBER_FAULTY)
        return 0;
    give_back(a, m);
    return error_set(err, EIO, "%s cannot be written", dev->name);
}

static int check_size(struct array *a, struct blockdev *dev, struct error *err)
{
    uint64_t needed = (a->sb.data_offset + a->sb.size) * MD_SECTOR_BYTES;
    char has[16], needs[16];

    if (dev->logical_block_bytes > a->dev.logical_block_bytes)
        return error_set(err, EINVAL, "%s has logical blocks of %" PRIu32 " bytes, %s of %" PRIu32,
            dev->name, dev->logical_block_bytes, a->name, a->dev.logical_block_bytes);
    if (dev->size_bytes >= needed)
        return 0;
    return error_set(err, ENOSPC, "%s is too small for %s: %s of at least %s", dev->name, a->name,
        size_format(dev->size_bytes, has, sizeof has), size_format(needed, needs, sizeof needs));
}

static struct member *new_spare(struct array *a, struct blockdev *dev)
{
    struct md_superblock *sb = malloc(sizeof *sb);
    struct member *m = NULL;

    if (sb) {
        co_mutex_lock(&a->update);
        *sb = a->sb;
        md_create_member(sb, members_free_number(a), dev->size_bytes);
        co_mutex_unlock(&a->update);
        rt_random(sb->device_uuid, sizeof sb->device_uuid);
        sb->devflags = 0;
        sb->cnt_corrected_read = 0;
        m = member_new(dev, sb);
    }
    free(sb);
    return m;
}

/* Tools that see the superblock look for the bitmap that it names. */
static int prepare_spare(struct array *a, struct member *m)
{
    int rc = array_prepare_member(m);

    if (rc)
        return rc;
    array_quiesce(a);
    rc = bitmap_log_write_all(a, m);
    array_resume(a);
    return rc;
}

static int add_spare(
    struct array *a, struct blockdev *dev, struct member **added, struct error *err)
{
    struct member *m;
    int rc = check_size(a, dev, err);

    if (rc)
        return rc;
    m = new_spare(a, dev);
    if (!m)
        return error_set(err, ENOMEM, "out of memory");
    rc = prepare_spare(a, m);
    if (rc) {
        member_free(m);
        return error_set(err, -rc, "%s cannot be written: %s", dev->name, strerror(-rc));
    }
    if (join(a, m)) {
        member_free(m);
        return error_set(err, ENOMEM, "out of memory");
    }
    co_mutex_lock(&a->update);
    rc = members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    if (rc || member_state(m) != MEMBER_SPARE) {
        part(a, m);
        return error_set(err, EIO, "%s cannot be written", dev->name);
    }
    *added = m;
    array_changed(a);
    array_wake(a);
    return 0;
}

/* 0: it carries a superblock of this array; -ENODATA: none that counts. */
static int look_at(
    struct array *a, struct blockdev *dev, bool force, struct md_superblock *sb, struct error *err)
{
    int rc = array_examine(dev, sb, NULL);

    if (rc == -EIO)
        return error_set(err, EIO, "%s cannot be read", dev->name);
    if (rc)
        return -ENODATA;
    if (!memcmp(sb->set_uuid, a->sb.set_uuid, sizeof sb->set_uuid))
        return 0;
    return force ? -ENODATA
                 : error_set(err, EEXIST, "%s is a member of another array, %s (force to use it)",
                       dev->name, md_superblock_short_name(sb));
}

static int check_open(const struct array *a, struct error *err)
{
    if (!array_redundant(a))
        return error_set(err, EINVAL, "%s is a raid0: its members do not change", a->name);
    if (atomic_load(&a->failed))
        return error_set(err, EIO, "%s has failed", a->name);
    return 0;
}

static int add(struct array *a, struct blockdev *dev, bool force, bool *readded, struct error *err)
{
    struct md_superblock *sb = malloc(sizeof *sb);
    struct member *m;
    int rc = sb ? check_open(a, err) : error_set(err, ENOMEM, "out of memory");

    *readded = false;
    if (!rc && members_find(a, dev->name))
        rc = error_set(err, EEXIST, "%s is a member of %s already", dev->name, a->name);
    if (!rc)
        rc = look_at(a, dev, force, sb, err);
    if (!rc)
        *readded = !members_number_taken(a, sb->dev_number, NULL) && may_readd(a, dev, sb);
    if (!rc && *readded)
        rc = readd(a, dev, sb, err);
    else if (!rc || rc == -ENODATA)
        rc = add_spare(a, dev, &m, err);
    free(sb);
    return rc;
}

int array_add(
    struct array *a, struct blockdev *member, bool force, bool *readded, struct error *err)
{
    int rc;

    co_mutex_lock(&a->control);
    array_settle_failures(a);
    rc = add(a, member, force, readded, err);
    co_mutex_unlock(&a->control);
    return rc;
}

/* --- replace --- */

static int replace(struct array *a, const char *name, struct blockdev *with, struct error *err)
{
    struct member *m, *spare;
    int rc = check_open(a, err);

    if (!rc)
        rc = find(a, name, &m, err);
    if (rc)
        return rc;
    if (member_state(m) != MEMBER_IN_SYNC || a->replacements[m->role])
        return error_set(err, EBUSY, "%s is %s", name,
            member_state(m) == MEMBER_IN_SYNC ? "being replaced already" : "not in sync");
    if (with)
        rc = add_spare(a, with, &spare, err);
    else if (!(spare = members_find_spare(a)))
        rc = error_set(err, ENXIO, "%s has no spare", a->name);
    if (rc)
        return rc;
    if (!array_place_member(a, spare, (unsigned)m->role, MEMBER_REPLACING, false) &&
        member_state(spare) == MEMBER_REPLACING)
        return 0;
    error_set(err, EIO, "%s cannot be written", spare->dev->name);
    if (with)
        give_back(a, spare);
    return -EIO;
}

int array_replace(struct array *a, const char *member, struct blockdev *with, struct error *err)
{
    int rc;

    co_mutex_lock(&a->control);
    array_settle_failures(a);
    rc = replace(a, member, with, err);
    co_mutex_unlock(&a->control);
    return rc;
}
