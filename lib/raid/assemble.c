/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assembly of an array from what is on its members: read all superblocks and bitmap headers, let
 * raid/assembly.h decide, make the members accordingly, load the bitmap, and write superblocks that
 * name those missing as faulty. Nothing is written before all has been decided.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/array_private.h"
#include "raid/defaults.h"
#include "raid/parity_log.h"
#include "rt/io.h"

/* All that is read; freed at the end. */
struct findings {
    struct md_superblock *sbs;
    struct md_bitmap_header *bitmaps;
    struct raid_candidate *candidates;
    struct raid_assembly *decision;
    struct blockdev **devices;
    unsigned count;
};

static int find_foreign(struct blockdev *d, void *buf, struct error *err)
{
    struct md_foreign_place places[MD_FOREIGN_PLACES];

    md_foreign_places(d->size_bytes, places);
    for (unsigned i = 0; i < MD_FOREIGN_PLACES; i++) {
        uint64_t bytes = MIN((uint64_t)MD_SUPERBLOCK_BYTES, d->size_bytes - places[i].offset_bytes);
        if (places[i].offset_bytes == 0 && i + 1 < MD_FOREIGN_PLACES)
            continue;
        memset(buf, 0, MD_SUPERBLOCK_BYTES);
        if (blockdev_read_bytes(d, buf, places[i].offset_bytes, bytes))
            continue;
        if (md_foreign_found(&places[i], buf))
            return error_set(err, EOPNOTSUPP,
                "%s has md metadata of version %s, which is not supported", d->name,
                places[i].version);
    }
    return error_set(err, ENODATA, "%s has no md superblock", d->name);
}

static int read_superblock(
    struct blockdev *d, struct md_superblock *sb, void *buf, struct error *err)
{
    int rc = blockdev_read_bytes(d, buf, MD_SUPERBLOCK_OFFSET_BYTES, MD_SUPERBLOCK_BYTES);

    if (rc)
        return error_set(err, -rc, "%s: %s", d->name, strerror(-rc));
    rc = md_superblock_decode(sb, buf, err);
    if (rc == -ENODATA)
        return find_foreign(d, buf, err);
    return rc ? error_prefix(err, rc, "%s", d->name) : 0;
}

int array_examine(struct blockdev *d, struct md_superblock *sb, struct error *err)
{
    void *buf;
    int rc;

    if (d->size_bytes < MD_SUPERBLOCK_OFFSET_BYTES + MD_SUPERBLOCK_BYTES)
        return error_set(err, ENODATA, "%s has no md superblock", d->name);
    buf = io_buffer_get(MD_SUPERBLOCK_BYTES);
    if (!buf)
        return error_set(err, ENOMEM, "out of memory");
    rc = read_superblock(d, sb, buf, err);
    io_buffer_put(buf, MD_SUPERBLOCK_BYTES);
    return rc;
}

/* False: there is none, or one that cannot be used. */
static bool read_bitmap_header(
    struct blockdev *d, const struct md_superblock *sb, struct md_bitmap_header *header)
{
    uint8_t buf[MD_BITMAP_HEADER_BYTES];
    int64_t sector = (int64_t)MD_SUPERBLOCK_OFFSET + sb->bitmap_offset;

    return sb->feature_map & MD_FEATURE_BITMAP_OFFSET && sector > 0 &&
           !blockdev_read_bytes(d, buf, (uint64_t)sector * MD_SECTOR_BYTES, sizeof buf) &&
           !md_bitmap_decode(header, buf, NULL);
}

static int read_candidate(struct findings *f, unsigned i, struct blockdev *d, struct error *err)
{
    int rc = array_examine(d, &f->sbs[i], err);

    if (rc)
        return rc;
    f->devices[i] = d;
    f->candidates[i] = (struct raid_candidate){
        .name = d->name,
        .sb = &f->sbs[i],
        .device_bytes = d->size_bytes,
        .bitmap = read_bitmap_header(d, &f->sbs[i], &f->bitmaps[i]) ? &f->bitmaps[i] : NULL,
    };
    return 0;
}

static void forget(struct findings *f)
{
    free(f->sbs);
    free(f->bitmaps);
    free(f->candidates);
    free(f->decision);
    free(f->devices);
}

static int gather(struct findings *f, struct blockdev **members, unsigned count, struct error *err)
{
    int rc = 0;

    if (count == 0 || count > RAID_CANDIDATES_MAX)
        return error_set(err, EINVAL, "%u members are none to assemble an array from", count);
    f->count = count;
    f->sbs = calloc(count, sizeof *f->sbs);
    f->bitmaps = calloc(count, sizeof *f->bitmaps);
    f->candidates = calloc(count, sizeof *f->candidates);
    f->devices = calloc(count, sizeof(struct blockdev *));
    f->decision = malloc(sizeof *f->decision);
    if (!f->sbs || !f->bitmaps || !f->candidates || !f->devices || !f->decision)
        return error_set(err, ENOMEM, "out of memory");
    for (unsigned i = 0; i < count && !rc; i++)
        rc = read_candidate(f, i, members[i], err);
    return rc;
}

/* By itself: one that was only away. One that failed, or was failed, waits for an administrator. */
static bool comes_back(const struct raid_assembly_member *found)
{
    return found->may_readd && found->use == RAID_USE_STALE;
}

static enum array_member_state state_of(const struct raid_assembly_member *found)
{
    static const enum array_member_state states[] = {
        [RAID_USE_IN_SYNC] = MEMBER_IN_SYNC,
        [RAID_USE_RECOVERING] = MEMBER_RECOVERING,
        [RAID_USE_REPLACING] = MEMBER_REPLACING,
        [RAID_USE_SPARE] = MEMBER_SPARE,
        [RAID_USE_FAULTY] = MEMBER_FAULTY,
        [RAID_USE_STALE] = MEMBER_STALE,
    };
    return comes_back(found) ? MEMBER_RECOVERING : states[found->use];
}

static void place(struct member *m, const struct raid_assembly_member *found)
{
    m->role = found->role;
    atomic_store(&m->state, state_of(found));
    m->came_back = comes_back(found);
    m->by_bitmap = comes_back(found) || found->recover_by_bitmap;
    if (!comes_back(found) && member_state(m) != MEMBER_IN_SYNC &&
        found->recovery_offset_bytes != UINT64_MAX)
        atomic_store(&m->recovered_bytes, found->recovery_offset_bytes);
}

/* One that was away may carry a number which another has got since. */
static void renumber(struct array *a, const struct findings *f)
{
    const struct raid_assembly_member *found = f->decision->candidates;

    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        bool was_away = found->use == RAID_USE_SPARE || comes_back(found);
        if (was_away && members_number_taken(a, m->sb.dev_number, m))
            m->sb.dev_number = members_free_number(a);
        found++;
    }
}

static int add_members(struct array *a, const struct findings *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        struct member *m = member_new(f->devices[i], &f->sbs[i]);
        if (!m || members_add(a, m)) {
            if (m)
                member_free(m);
            return -ENOMEM;
        }
        place(m, &f->decision->candidates[i]);
    }
    renumber(a, f);
    members_settle(a);
    return 0;
}

/* Room for a bitmap at the array's bitmap_offset, on the member that has the least. */
static uint64_t bitmap_room_bytes(const struct array *a)
{
    int64_t room = INT64_MAX / MD_SECTOR_BYTES;

    list_for_each (it, &a->members) {
        const struct md_superblock *sb = &container_of(it, struct member, link)->sb;
        int64_t end = (int64_t)sb->data_offset - MD_SUPERBLOCK_OFFSET;
        if (sb->bblog_size && sb->bblog_offset > a->sb.bitmap_offset)
            end = MIN(end, (int64_t)sb->bblog_offset);
        room = MIN(room, end - a->sb.bitmap_offset);
    }
    return a->sb.bitmap_offset <= 0 || room <= 0 ? 0 : (uint64_t)room * MD_SECTOR_BYTES;
}

/* Header of the bitmap to be made when there is none that can be used. */
static struct md_bitmap_header new_header(const struct array *a, uint64_t room_bytes)
{
    uint64_t space_bytes = md_default_bitmap_space(a->sb.size) * MD_SECTOR_BYTES;
    struct md_bitmap_header h = {
        .sync_size = a->geometry.sync_bytes / MD_SECTOR_BYTES,
        .daemon_sleep = MD_BITMAP_DAEMON_SLEEP,
        .events = a->sb.events,
        .events_cleared = a->sb.events,
        .chunk_bytes = (uint32_t)md_bitmap_default_chunk_bytes(a->geometry.sync_bytes,
            MAX(MIN(space_bytes, room_bytes), (uint64_t)MD_BITMAP_ALIGN_BYTES)),
    };

    memcpy(h.uuid, a->sb.set_uuid, sizeof h.uuid);
    return h;
}

/* One that must be kept must fit everywhere; one that need not is made to, or done without. */
static int choose_bitmap(struct array *a, const struct findings *f, struct error *err)
{
    int from = f->decision->bitmap_from;
    uint64_t room_bytes = bitmap_room_bytes(a);
    struct md_bitmap_header header = from >= 0 ? f->bitmaps[from] : new_header(a, room_bytes);
    uint64_t bits = md_bitmap_bits(a->geometry.sync_bytes, header.chunk_bytes);

    if (from >= 0 && MD_BITMAP_HEADER_BYTES + div_round_up(bits, 8) > room_bytes)
        return error_set(
            err, EBADMSG, "the bitmap of %s would reach into a member's data", a->name);
    if (from < 0 && room_bytes < MD_BITMAP_ALIGN_BYTES)
        a->sb.feature_map &= ~(uint32_t)MD_FEATURE_BITMAP_OFFSET;
    return bitmap_log_init(a, &header, a->sb.feature_map & MD_FEATURE_BITMAP_OFFSET);
}

/* Some member still says that it lacks what has a bit. It must not meet a bitmap without any, until
 * it says something else: a crash may come between the two. */
static bool goes_by_bitmap(const struct findings *f)
{
    for (unsigned i = 0; i < f->count; i++)
        if (f->sbs[i].feature_map & MD_FEATURE_RECOVERY_BITMAP)
            return true;
    return false;
}

/*
 * Its bits: from a member that has a current one; else all that a resync has to go over. Each is
 * taken for a chunk that differs when the array was not clean. A stale member that stands in may
 * differ anywhere from those of which a byte has fresh copies, too (RAID10 with an odd member).
 */
static int load_bitmap(struct array *a, const struct findings *f, struct error *err)
{
    const struct raid_assembly *decision = f->decision;
    int rc = choose_bitmap(a, f, err);

    if (rc)
        return rc;
    if (decision->forced)
        bitmap_log_fill(a, 0);
    else if (decision->bitmap_from >= 0)
        rc = bitmap_log_load(a, f->devices[decision->bitmap_from]);
    else
        bitmap_log_fill(a, goes_by_bitmap(f) ? 0 : decision->resync_from_bytes);
    if (!rc && (decision->dirty || decision->forced) && !MUTANT(NO_RESYNC))
        bitmap_log_distrust(a);
    bitmap_log_use_all(a);
    return rc;
}

static bool takes_part(const struct findings *f, uint32_t dev_number)
{
    for (unsigned i = 0; i < f->count; i++)
        if (f->sbs[i].dev_number == dev_number &&
            f->decision->candidates[i].use <= RAID_USE_REPLACING)
            return true;
    return false;
}

/* Whether a device that had a role last time does not take part. */
static bool lacks_device(const struct findings *f)
{
    const struct md_superblock *sb = &f->sbs[f->decision->freshest];

    for (uint32_t i = 0; i < sb->max_dev; i++)
        if (md_role_is_active(sb->dev_roles[i]) && !takes_part(f, i))
            return true;
    return false;
}

/*
 * All with a role get the same bitmap, and spares, which may have come with a damaged one; then
 * superblocks that say who is here. One that is not may have had the update that a crash kept from
 * these: a second one leaves it behind for sure, before anything else is written.
 */
static int write_assembled(struct array *a, const struct findings *f)
{
    int rc;

    co_mutex_lock(&a->update);
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        if (member_state(m) <= MEMBER_SPARE && bitmap_log_write_all(a, m))
            members_fail(a, &m, 1);
    }
    if (!MUTANT(NO_CATCH_UP))
        members_catch_up(a);
    members_settle(a);
    rc = members_write_superblocks(a);
    if (!rc && lacks_device(f))
        rc = members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    return rc;
}

/*
 * What was being written when the array stopped is done again from the parity log. Without one,
 * parity may not fit there, so nothing can be told of what is missing: as in the kernel, only by
 * force. Where parity is only on members that are missing, nothing depends on it; so as many logs
 * may be missing, or unreadable, as members.
 */
static int replay(struct array *a, const struct findings *f, bool force, struct error *err)
{
    uint32_t tag = parity_tag_of(f->candidates[f->decision->freshest].sb->utime);
    unsigned missing = a->geometry.raid_disks - atomic_load(&a->in_sync), unreadable = 0;
    int rc;

    if (!a->geometry.parity || !f->decision->dirty)
        return 0;
    rc = tag ? parity_log_replay(a, tag, &unreadable) : 0;
    if (rc || !f->decision->unsure || force)
        return rc;
    if (tag && missing + unreadable <= a->geometry.parity)
        return 0;
    return error_set(err, EUCLEAN,
        "it was not stopped cleanly and lacks a member, and %s: parity may not fit (force to start "
        "it)",
        tag ? "its log cannot be read" : "has no log");
}

static int build(struct array **made, const struct findings *f, struct raid_geometry *g, bool force,
    struct error *err)
{
    struct array *a;
    int rc = array_new(&a, f->candidates[f->decision->freshest].sb, g, err);

    if (rc)
        return rc;
    rc = add_members(a, f);
    array_publish(a);
    if (!rc && array_redundant(a))
        rc = load_bitmap(a, f, err);
    if (!rc)
        rc = sync_init(a);
    if (!rc)
        rc = replay(a, f, force, err);
    if (!rc)
        rc = parity_log_init(a);
    a->dirty = f->decision->dirty;
    if (!rc)
        rc = write_assembled(a, f);
    if (rc) {
        rc = error_prefix(err, rc, "%s cannot be assembled", a->name);
        array_free(a);
        return rc;
    }
    *made = a;
    return 0;
}

static int decide(struct array **made, struct findings *f, unsigned flags, struct error *err)
{
    struct raid_geometry g;
    int rc =
        raid_assembly_decide(f->decision, &g, f->candidates, f->count, flags & ARRAY_FORCE, err);

    if (rc)
        return rc;
    if (f->decision->absent && !(flags & (ARRAY_DEGRADED_OK | ARRAY_FORCE))) {
        raid_geometry_destroy(&g);
        return error_set(err, ENXIO,
            "%u member%s of %s that were there last time are missing (force to start without)",
            f->decision->absent, f->decision->absent == 1 ? "" : "s", f->candidates[0].sb->name);
    }
    return build(made, f, &g, flags & ARRAY_FORCE, err);
}

int array_assemble(struct array **made, struct blockdev **members, unsigned count, unsigned flags,
    struct error *err)
{
    struct findings f = {0};
    int rc = gather(&f, members, count, err);

    if (!rc)
        rc = decide(made, &f, flags, err);
    forget(&f);
    return rc;
}
