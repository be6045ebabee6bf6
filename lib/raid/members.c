/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Members: their states, and the superblocks that say so.
 *
 * A failure has two halves. members_fail, under a spinlock, takes effect at once: nobody reads or
 * writes the member any more. members_record makes it durable in the survivors' superblocks; every
 * write and flush that ends while a failure is not yet recorded waits for that first, since after a
 * crash the failed member would else count as in sync without the data just acknowledged.
 *
 * Writing superblocks: first the bitmap's header with the new events, then all superblocks side by
 * side. Members that fail in that are failed themselves, and it starts again. When the array cannot
 * do without those that fail, it is the array that has failed: nothing more is written, so what the
 * superblocks say can still be assembled.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/parity_log.h"
#include "rt/io.h"

/* What is each member's own; all other features are the array's. */
#define MEMBER_FEATURES                                                                            \
    (MD_FEATURE_RECOVERY_OFFSET | MD_FEATURE_REPLACEMENT | MD_FEATURE_RECOVERY_BITMAP)

struct member *member_new(struct blockdev *dev, const struct md_superblock *sb)
{
    struct member *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->buf = aligned_alloc(MD_SUPERBLOCK_BYTES, MD_SUPERBLOCK_BYTES);
    if (!m->buf) {
        free(m);
        return NULL;
    }
    list_init(&m->link);
    m->dev = dev;
    m->sb = *sb;
    m->data_offset_bytes = sb->data_offset * MD_SECTOR_BYTES;
    m->role = -1;
    m->state = MEMBER_SPARE;
    m->errors_corrected = sb->cnt_corrected_read;
    return m;
}

void member_free(struct member *m)
{
    parity_log_remove_member(m);
    free(m->buf);
    free(m);
}

int members_add(struct array *a, struct member *m)
{
    size_t count = a->member_count + 1;
    struct block_op *ops = realloc(a->sb_ops, count * sizeof *ops);
    struct member **targets;

    if (!ops)
        return -ENOMEM;
    a->sb_ops = ops;
    targets = realloc(a->sb_targets, count * sizeof(struct member *));
    if (!targets)
        return -ENOMEM;
    a->sb_targets = targets;
    a->member_count++;
    list_append(&a->members, &m->link);
    return 0;
}

struct member *members_find(struct array *a, const char *name)
{
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        if (!strcmp(m->dev->name, name))
            return m;
    }
    return NULL;
}

struct member *members_find_spare(struct array *a)
{
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        if (member_state(m) == MEMBER_SPARE)
            return m;
    }
    return NULL;
}

bool members_number_taken(struct array *a, uint32_t number, const struct member *except)
{
    list_for_each (it, &a->members) {
        const struct member *m = container_of(it, struct member, link);
        if (m != except && m->sb.dev_number == number)
            return true;
    }
    return false;
}

uint32_t members_free_number(struct array *a)
{
    for (uint32_t i = a->geometry.raid_disks; i < MD_MAX_DEV; i++)
        if (!members_number_taken(a, i, NULL) &&
            md_superblock_role(&a->sb, i) == MD_DISK_ROLE_SPARE)
            return i;
    for (uint32_t i = 0; i < MD_MAX_DEV; i++)
        if (!members_number_taken(a, i, NULL))
            return i;
    return MD_MAX_DEV;
}

static unsigned count_in_sync(const struct array *a)
{
    unsigned count = 0;

    for (unsigned role = 0; role < a->geometry.raid_disks; role++)
        count += array_readable(a, role) != NULL;
    return count;
}

void members_settle(struct array *a)
{
    size_t bytes = a->geometry.raid_disks * sizeof(struct member *);

    spin_lock(&a->states);
    memset(a->roles, 0, bytes);
    memset(a->replacements, 0, bytes);
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        enum array_member_state state = member_state(m);
        if (state > MEMBER_REPLACING)
            continue;
        if (state == MEMBER_REPLACING)
            a->replacements[m->role] = m;
        else
            a->roles[m->role] = m;
    }
    atomic_store(&a->in_sync, count_in_sync(a));
    spin_unlock(&a->states);
}

static bool is_among(const struct member *m, struct member *const *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i] == m)
            return true;
    return false;
}

bool members_can_lose(struct array *a, struct member *const *lost, unsigned count)
{
    bool present[RAID_DISKS_MAX], loses = false;

    for (unsigned role = 0; role < a->geometry.raid_disks; role++) {
        struct member *m = array_readable(a, role);
        bool is_lost = m && is_among(m, lost, count);
        present[role] = m && !is_lost;
        loses |= is_lost;
    }
    return !loses || raid_geometry_complete(&a->geometry, present);
}

int members_fail(struct array *a, struct member *const *failed, unsigned count)
{
    bool can_lose;

    spin_lock(&a->states);
    can_lose = members_can_lose(a, failed, count);
    if (!can_lose)
        atomic_store(&a->failed, true);
    for (unsigned i = 0; i < count; i++) {
        struct member *m = failed[i];
        atomic_fetch_add(&m->errors, 1);
        bool in_sync = member_state(m) == MEMBER_IN_SYNC;
        if (member_state(m) == MEMBER_FAULTY || (!can_lose && in_sync))
            continue;
        /* who sees the state has to see these */
        atomic_fetch_add(&a->failures, 1);
        atomic_fetch_sub(&a->in_sync, in_sync);
        atomic_store(&m->state, MEMBER_FAULTY);
    }
    spin_unlock(&a->states);
    array_changed(a);
    array_wake(a);
    return can_lose ? 0 : -EIO;
}

static uint16_t role_on_disk(const struct member *m)
{
    switch (member_state(m)) {
    case MEMBER_IN_SYNC:
    case MEMBER_RECOVERING:
    case MEMBER_REPLACING:
        return (uint16_t)m->role;
    case MEMBER_SPARE:
        return MD_DISK_ROLE_SPARE;
    default:
        return MD_DISK_ROLE_FAULTY;
    }
}

/* A device that had a role and is not here loses it, as in the kernel; one that failed stays
 * faulty, also when it has been removed. */
static void compose_roles(struct array *a)
{
    for (uint32_t i = 0; i < a->sb.max_dev; i++)
        if (md_role_is_active(a->sb.dev_roles[i]))
            a->sb.dev_roles[i] = MD_DISK_ROLE_SPARE;
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        if (member_state(m) != MEMBER_STALE)
            md_superblock_set_role(&a->sb, m->sb.dev_number, role_on_disk(m));
    }
}

/*
 * While writes may be under way, 0: after a crash all set bits (all of it, without a bitmap) are to
 * be synced. Otherwise regions that have never been synced keep it at 0, too; without a bitmap it
 * says where they begin.
 */
uint64_t members_resync_offset(const struct array *a)
{
    const struct bitmap_log *b = &a->bitmap;

    if (!array_redundant(a))
        return MD_MAX_SECTOR;
    if (a->dirty || (b->on_disk && atomic_load(&b->unsynced)))
        return 0;
    for (uint64_t i = 0; atomic_load(&b->unsynced) && i < b->bits; i++)
        if (atomic_load(&b->chunks[i]) & CHUNK_UNSYNCED)
            return (i << b->chunk_shift) / MD_SECTOR_BYTES;
    return MD_MAX_SECTOR;
}

static void compose(struct array *a)
{
    a->sb.events++;
    a->sb.utime = rt_wall_seconds() | parity_log_tag(a) << PARITY_TAG_SHIFT;
    a->sb.resync_offset = members_resync_offset(a);
    atomic_store(&a->events, a->sb.events);
    atomic_store(&a->says_dirty, a->sb.resync_offset != MD_MAX_SECTOR);
    compose_roles(a);
}

static uint32_t member_features(const struct member *m)
{
    enum array_member_state state = member_state(m);
    uint32_t features = 0;

    if (state != MEMBER_RECOVERING && state != MEMBER_REPLACING)
        return 0;
    features |= MD_FEATURE_RECOVERY_OFFSET;
    features |= state == MEMBER_REPLACING ? MD_FEATURE_REPLACEMENT : 0;
    features |= m->by_bitmap ? MD_FEATURE_RECOVERY_BITMAP : 0;
    return features;
}

/* The array's part from the common superblock, the rest is the member's. */
static void compose_with(
    const struct array *a, struct member *m, uint32_t features, uint64_t recovery_offset)
{
    struct md_superblock own = m->sb;

    m->sb = a->sb;
    m->sb.feature_map = (a->sb.feature_map & ~MEMBER_FEATURES) | features;
    m->sb.recovery_offset = recovery_offset;
    m->sb.data_offset = own.data_offset;
    m->sb.data_size = own.data_size;
    m->sb.super_offset = own.super_offset;
    m->sb.dev_number = own.dev_number;
    m->sb.cnt_corrected_read = (uint32_t)atomic_load(&m->errors_corrected);
    memcpy(m->sb.device_uuid, own.device_uuid, sizeof own.device_uuid);
    m->sb.devflags = own.devflags;
    m->sb.bblog_shift = own.bblog_shift;
    m->sb.bblog_size = own.bblog_size;
    m->sb.bblog_offset = own.bblog_offset;
    md_superblock_encode(&m->sb, m->buf);
}

static void compose_member(const struct array *a, struct member *m)
{
    uint32_t features = member_features(m);
    uint64_t recovered = atomic_load(&m->recovered_bytes) / MD_SECTOR_BYTES;

    compose_with(a, m, features, features & MD_FEATURE_RECOVERY_OFFSET ? recovered : 0);
}

/* By one update, with a role that the others know of. */
static bool is_behind(const struct array *a, struct member *m)
{
    return array_writable(m) && m->sb.events < a->sb.events &&
           md_superblock_role(&a->sb, m->sb.dev_number) == m->role;
}

void members_catch_up(struct array *a)
{
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        if (!is_behind(a, m))
            continue;
        /* a replacement may have its original's place now: with the next update, which says that
         * the original has it no more */
        if (m->sb.feature_map & MD_FEATURE_REPLACEMENT)
            compose_with(a, m, m->sb.feature_map & MEMBER_FEATURES, m->sb.recovery_offset);
        else
            compose_member(a, m);
        if (blockdev_write(m->dev, m->buf, MD_SUPERBLOCK_OFFSET_BYTES,
                round_up(md_superblock_bytes(&m->sb), m->dev->logical_block_bytes),
                BLOCK_FUA | BLOCK_STABLE | BLOCK_BACKGROUND | BLOCK_PATIENT))
            members_fail(a, &m, 1);
    }
}

static bool gets_superblock(const struct member *m)
{
    return member_state(m) <= MEMBER_SPARE;
}

/* Its superblock on disk does not say yet what it has become: a member (again), or a complete one.
 * That of all others is of the update before this. */
static bool rises(const struct array *a, struct member *m)
{
    enum array_member_state state = member_state(m);

    if (state == MEMBER_IN_SYNC)
        return m->sb.feature_map & MD_FEATURE_RECOVERY_OFFSET;
    return (state == MEMBER_RECOVERING || state == MEMBER_REPLACING) &&
           (m->sb.events + 1 != a->sb.events ||
               !md_role_is_active(md_superblock_role(&m->sb, m->sb.dev_number)));
}

static void put_target(struct array *a, unsigned at, struct member *m)
{
    a->sb_targets[at] = m;
    a->sb_ops[at] = (struct block_op){
        .kind = BLOCK_WRITE,
        .flags = BLOCK_FUA | BLOCK_STABLE | BLOCK_BACKGROUND | BLOCK_PATIENT,
        .dev = m->dev,
        .iov = &m->buf_iov,
        .iov_count = 1,
        .offset = MD_SUPERBLOCK_OFFSET_BYTES,
    };
}

/* Returns how many of a->sb_ops have been filled in; *first of them have to come before the rest.
 */
static unsigned prepare_superblocks(struct array *a, unsigned *first)
{
    unsigned count = 0;

    *first = 0;
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        bool before;
        if (!gets_superblock(m))
            continue;
        before = rises(a, m);
        compose_member(a, m);
        m->buf_iov = (struct iovec){
            m->buf, round_up(md_superblock_bytes(&m->sb), m->dev->logical_block_bytes)};
        if (before && count > *first)
            put_target(a, count, a->sb_targets[*first]);
        put_target(a, before ? (*first)++ : count, m);
        count++;
    }
    return count;
}

/* Fails the targets of those that failed. */
static int fail_targets(struct array *a, unsigned first, unsigned count)
{
    unsigned failed = 0;

    for (unsigned i = first; i < first + count; i++)
        if (a->sb_ops[i].result)
            a->sb_targets[failed++] = a->sb_targets[i];
    return members_fail(a, a->sb_targets, failed);
}

static int run_superblocks(struct array *a, unsigned first, unsigned count)
{
    return count && blockdev_run(a->sb_ops + first, count) ? fail_targets(a, first, count) : 0;
}

/*
 * Who rises says so itself before the others rely on it: else a crash could leave superblocks that
 * count a member out beside that of the one which took its place, as incomplete as before; and of
 * one that was a spare Linux 6.8 and later take the role from the others, as if it were complete.
 */
static int write_round(struct array *a)
{
    unsigned count, first;
    int rc;

    compose(a);
    rc = bitmap_log_write_header(a, a->sb.events, array_degraded(a));
    if (rc)
        return rc;
    compose_roles(a); /* without members whose bitmap could not be written */
    count = prepare_superblocks(a, &first);
    rc = run_superblocks(a, 0, first);
    if (rc)
        return rc;
    /* Without those that could not rise. The others' cannot wait for the next events: after a crash
     * in the middle of that update some would be two behind, too old to take part. */
    compose_roles(a);
    for (unsigned i = first; first && i < count; i++)
        compose_member(a, a->sb_targets[i]);
    return run_superblocks(a, first, count - first);
}

/* Those whose members' states say so. */
static uint64_t count_failures(struct array *a)
{
    uint64_t failures;

    spin_lock(&a->states);
    failures = atomic_load(&a->failures);
    spin_unlock(&a->states);
    return failures;
}

/* What a failed member had durably is worked out from what the others have, from now on: that has
 * to be as durable before anybody goes by it. */
static int secure_failures(struct array *a)
{
    if (!a->geometry.parity || atomic_load(&a->failures) == atomic_load(&a->recorded))
        return 0;
    return array_flush_all(a);
}

int members_write_superblocks(struct array *a)
{
    uint64_t failures;

    do {
        if (atomic_load(&a->failed))
            return -EIO;
        failures = count_failures(a);
        if (secure_failures(a) || write_round(a))
            return -EIO;
    } while (atomic_load(&a->failures) != failures);
    atomic_store(&a->recorded, failures);
    return 0;
}

int members_record(struct array *a)
{
    int rc = 0;

    co_mutex_lock(&a->update);
    if (atomic_load(&a->failed))
        rc = -EIO;
    else if (atomic_load(&a->failures) != atomic_load(&a->recorded))
        rc = members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    return rc;
}

int members_activate(struct array *a)
{
    int rc = 0;

    co_mutex_lock(&a->update);
    a->dirty = true;
    if (atomic_load(&a->failed)) /* another may have tried in vain to have them say so */
        rc = -EIO;
    else if (a->sb.resync_offset != 0)
        rc = members_write_superblocks(a);
    if (!rc)
        atomic_store(&a->busy, true);
    co_mutex_unlock(&a->update);
    array_wake(a);
    return rc;
}
