/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In order: refuse what cannot be part of any array of ours or of this one; find the freshest
 * superblock; sort each candidate by it; make the geometry; see whether enough are there (with
 * force, from stale ones); then what has to be synced, and who may come back by bitmap.
 */
#include "raid/assembly.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "base/size.h"

/* One decision under way. */
struct decision {
    struct raid_assembly *a;
    const struct raid_candidate *candidates;
    unsigned count;
    const struct md_superblock *fresh; /* the freshest superblock */
};

static uint16_t own_role(const struct raid_candidate *c)
{
    return md_superblock_role(c->sb, c->sb->dev_number);
}

static uint16_t fresh_role(const struct decision *d, const struct raid_candidate *c)
{
    return md_superblock_role(d->fresh, c->sb->dev_number);
}

/* At most one update behind: what a crash while superblocks are written leaves. */
static bool is_current(const struct decision *d, const struct raid_candidate *c)
{
    return c->sb->events >= d->fresh->events || d->fresh->events - c->sb->events == 1;
}

static bool has_feature(const struct raid_candidate *c, uint32_t bit)
{
    return c->sb->feature_map & bit;
}

static int check_candidate(
    const struct raid_candidate *c, const struct raid_candidate *first, struct error *err)
{
    uint64_t needed_bytes = (c->sb->data_offset + c->sb->data_size) * MD_SECTOR_BYTES;
    char has[16], needs[16];
    int rc = md_superblock_supported(c->sb, err);

    if (rc)
        return error_prefix(err, rc, "%s", c->name);
    if (memcmp(c->sb->set_uuid, first->sb->set_uuid, sizeof c->sb->set_uuid) != 0)
        return error_set(err, EEXIST, "%s is a member of another array (%s), not of %s", c->name,
            c->sb->name, first->sb->name);
    if (c->device_bytes < needed_bytes)
        return error_set(err, EBADMSG, "%s is smaller than its superblock says: %s of %s", c->name,
            size_format(c->device_bytes, has, sizeof has),
            size_format(needed_bytes, needs, sizeof needs));
    return 0;
}

/* A spare's events may lag behind and mean nothing; a member that is complete goes before one that
 * still recovers. */
static bool is_fresher(const struct raid_candidate *c, const struct raid_candidate *than)
{
    if (!md_role_is_active(own_role(c)))
        return false;
    if (!than || c->sb->events != than->sb->events)
        return !than || c->sb->events > than->sb->events;
    return has_feature(than, MD_FEATURE_RECOVERY_OFFSET) &&
           !has_feature(c, MD_FEATURE_RECOVERY_OFFSET);
}

static int find_freshest(struct decision *d, struct error *err)
{
    const struct raid_candidate *best = NULL;

    for (unsigned i = 0; i < d->count; i++)
        if (is_fresher(&d->candidates[i], best))
            best = &d->candidates[i];
    if (!best)
        return error_set(err, ENXIO, "only spares of %s were found", d->candidates[0].sb->name);
    d->a->freshest = (unsigned)(best - d->candidates);
    d->fresh = best->sb;
    return 0;
}

static bool same_shape(const struct md_superblock *a, const struct md_superblock *b)
{
    return a->level == b->level && a->layout == b->layout && a->chunk == b->chunk &&
           a->raid_disks == b->raid_disks && a->size == b->size;
}

/* It holds the freshest for failed: both have run without the other since. */
static bool disowns_freshest(const struct decision *d, const struct raid_candidate *c)
{
    return md_superblock_role(c->sb, d->fresh->dev_number) !=
           md_superblock_role(d->fresh, d->fresh->dev_number);
}

static int check_agreement(
    const struct decision *d, const struct raid_candidate *c, struct error *err)
{
    const char *fresh_name = d->candidates[d->a->freshest].name;

    if (!is_current(d, c) || !md_role_is_active(own_role(c)))
        return 0;
    if (!same_shape(c->sb, d->fresh))
        return error_set(err, EBADMSG, "superblocks of %s and %s describe different arrays",
            c->name, fresh_name);
    /* one that still recovers has run with others only; to one update before it was a spare */
    if (!md_role_is_active(fresh_role(d, c)) && disowns_freshest(d, c) &&
        !(d->fresh->feature_map & MD_FEATURE_RECOVERY_OFFSET))
        return error_set(err, EBADMSG,
            "%s and %s have each run without the other: assemble with one of them only", c->name,
            fresh_name);
    return 0;
}

/* Whether the freshest superblock and its own agree that it takes part. */
static bool takes_part(const struct decision *d, const struct raid_candidate *c)
{
    return MUTANT(ACCEPT_STALE) || (is_current(d, c) && fresh_role(d, c) == own_role(c));
}

static enum raid_use use_when_out(const struct decision *d, const struct raid_candidate *c)
{
    return fresh_role(d, c) == MD_DISK_ROLE_FAULTY ? RAID_USE_FAULTY : RAID_USE_STALE;
}

static struct raid_assembly_member sorted(const struct decision *d, const struct raid_candidate *c)
{
    struct raid_assembly_member m = {.use = RAID_USE_SPARE, .role = -1};
    bool recovering = has_feature(c, MD_FEATURE_RECOVERY_OFFSET);

    if (!md_role_is_active(own_role(c)))
        return m;
    m.role = own_role(c);
    if (!takes_part(d, c)) {
        m.use = use_when_out(d, c);
        return m;
    }
    m.use = recovering ? RAID_USE_RECOVERING : RAID_USE_IN_SYNC;
    if (has_feature(c, MD_FEATURE_REPLACEMENT))
        m.use = RAID_USE_REPLACING;
    m.recovery_offset_bytes = recovering ? c->sb->recovery_offset * MD_SECTOR_BYTES : UINT64_MAX;
    m.recover_by_bitmap = recovering && has_feature(c, MD_FEATURE_RECOVERY_BITMAP);
    return m;
}

static int take_place(struct decision *d, unsigned i, struct error *err)
{
    const struct raid_assembly_member *m = &d->a->candidates[i];
    int *place =
        m->use == RAID_USE_REPLACING ? &d->a->replacements[m->role] : &d->a->members[m->role];

    if (*place >= 0)
        return error_set(err, EEXIST, "%s and %s both claim role %d of %s",
            d->candidates[*place].name, d->candidates[i].name, m->role, d->fresh->name);
    *place = (int)i;
    return 0;
}

/* A replacement whose original is gone is that role's member now: in sync, if it had come to the
 * end and only its own superblock does not say yet that it took over. */
static void promote_replacements(struct decision *d)
{
    uint64_t whole_bytes = d->fresh->size * MD_SECTOR_BYTES;

    for (unsigned role = 0; role < d->fresh->raid_disks; role++) {
        int i = d->a->replacements[role];
        if (d->a->members[role] >= 0 || i < 0)
            continue;
        d->a->members[role] = i;
        d->a->replacements[role] = -1;
        d->a->candidates[i].use = d->a->candidates[i].recovery_offset_bytes >= whole_bytes
                                      ? RAID_USE_IN_SYNC
                                      : RAID_USE_RECOVERING;
        /* what it has copied of a stripe that was never synced is not what parity says */
        if (d->candidates[i].sb->level != 1 && d->candidates[i].sb->level != 10 &&
            d->a->candidates[i].use == RAID_USE_RECOVERING)
            d->a->candidates[i].recovery_offset_bytes = 0;
    }
}

static int sort_candidates(struct decision *d, struct error *err)
{
    for (unsigned i = 0; i < d->count; i++) {
        int rc = check_agreement(d, &d->candidates[i], err);
        if (rc)
            return rc;
        d->a->candidates[i] = sorted(d, &d->candidates[i]);
        if (d->a->candidates[i].use <= RAID_USE_REPLACING)
            rc = take_place(d, i, err);
        if (rc)
            return rc;
    }
    promote_replacements(d);
    return 0;
}

static void count_missing(struct decision *d)
{
    d->a->missing = 0;
    for (unsigned role = 0; role < d->fresh->raid_disks; role++) {
        int i = d->a->members[role];
        d->a->missing += i < 0 || d->a->candidates[i].use != RAID_USE_IN_SYNC;
    }
}

static bool is_taken_back(const struct decision *d, int role)
{
    for (unsigned i = 0; i < d->count; i++)
        if (d->a->candidates[i].use == RAID_USE_STALE && d->a->candidates[i].may_readd &&
            d->a->candidates[i].role == role)
            return true;
    return false;
}

/* A spare was about to get its role, or a former member to come back by bitmap, when a crash kept
 * its own superblock from saying so; a fresher one may now come back instead. */
static bool is_here(const struct decision *d, uint32_t dev_number)
{
    for (unsigned i = 0; i < d->count; i++) {
        const struct raid_assembly_member *m = &d->a->candidates[i];
        if (d->candidates[i].sb->dev_number != dev_number)
            continue;
        if (m->use <= RAID_USE_REPLACING ||
            (m->use == RAID_USE_SPARE && is_current(d, &d->candidates[i])) ||
            (m->use == RAID_USE_STALE && is_taken_back(d, m->role)))
            return true;
    }
    return false;
}

/* Also a replacement, though its original is here: it may have taken over since. */
static void count_absent(struct decision *d)
{
    for (uint32_t i = 0; i < d->fresh->max_dev; i++)
        d->a->absent += md_role_is_active(d->fresh->dev_roles[i]) && !is_here(d, i);
}

static int not_enough(const struct decision *d, struct error *err)
{
    char roles[128] = "";

    for (unsigned role = 0; role < d->fresh->raid_disks; role++) {
        size_t len = strlen(roles);
        int i = d->a->members[role];
        if (i < 0 || d->a->candidates[i].use != RAID_USE_IN_SYNC)
            snprintf(roles + len, sizeof roles - len, " %u", role);
    }
    return error_set(err, ENXIO, "not enough members to start %s: no data for role%s%s",
        d->fresh->name, d->a->missing == 1 ? "" : "s", roles);
}

static int make_geometry(const struct decision *d, struct raid_geometry *g, struct error *err)
{
    uint64_t data_bytes[RAID_DISKS_MAX];
    const struct md_superblock *sb = d->fresh;
    bool layout_counts = sb->level != 0 || (sb->feature_map & MD_FEATURE_RAID0_LAYOUT);
    struct raid_shape shape = {
        .level = sb->level,
        .layout = layout_counts ? sb->layout : 0,
        .raid_disks = sb->raid_disks,
        .chunk_bytes = (uint64_t)sb->chunk * MD_SECTOR_BYTES,
        .member_bytes = sb->size * MD_SECTOR_BYTES,
        .data_bytes = data_bytes,
    };

    for (unsigned role = 0; sb->level == 0 && role < sb->raid_disks; role++) {
        int i = d->a->members[role];
        if (i < 0)
            return not_enough(d, err);
        data_bytes[role] = d->candidates[i].sb->data_size * MD_SECTOR_BYTES;
    }
    return raid_geometry_init(g, &shape, err);
}

static bool is_complete(const struct decision *d, const struct raid_geometry *g)
{
    bool present[RAID_DISKS_MAX];

    for (unsigned role = 0; role < g->raid_disks; role++) {
        int i = d->a->members[role];
        present[role] = i >= 0 && d->a->candidates[i].use == RAID_USE_IN_SYNC;
    }
    return raid_geometry_complete(g, present);
}

/* It once was a whole member of this very array in a role that nobody has now. */
static bool may_return(const struct decision *d, unsigned i)
{
    const struct raid_assembly_member *m = &d->a->candidates[i];
    const struct raid_candidate *c = &d->candidates[i];

    return (m->use == RAID_USE_STALE || m->use == RAID_USE_FAULTY) && same_shape(c->sb, d->fresh) &&
           d->a->members[m->role] < 0 &&
           !has_feature(c, MD_FEATURE_RECOVERY_OFFSET | MD_FEATURE_REPLACEMENT);
}

static int freshest_returning(const struct decision *d)
{
    int best = -1;

    for (unsigned i = 0; i < d->count; i++)
        if (may_return(d, i) &&
            (best < 0 || d->candidates[i].sb->events > d->candidates[best].sb->events))
            best = (int)i;
    return best;
}

/* Takes the place of a member, or gives it back. */
static void set_forced(struct decision *d, unsigned i, bool in)
{
    struct raid_assembly_member *m = &d->a->candidates[i];

    m->use = in ? RAID_USE_IN_SYNC : use_when_out(d, &d->candidates[i]);
    m->recovery_offset_bytes = in ? UINT64_MAX : 0;
    d->a->members[m->role] = in ? (int)i : -1;
}

/*
 * Stale members stand in, the freshest first, until there is a copy of everything; then those that
 * turn out not to be needed go back, the most outdated (taken last) first: nothing that has a fresh
 * copy is read from a stale one.
 */
static void force_stale(struct decision *d, const struct raid_geometry *g)
{
    unsigned taken[RAID_DISKS_MAX], count = 0;
    int i;

    while (!is_complete(d, g) && (i = freshest_returning(d)) >= 0) {
        set_forced(d, (unsigned)i, true);
        taken[count++] = (unsigned)i;
    }
    d->a->forced = is_complete(d, g);
    while (count-- > 0) {
        set_forced(d, taken[count], false);
        if (d->a->forced && !is_complete(d, g))
            set_forced(d, taken[count], true);
    }
}

static bool bitmap_is_current(const struct decision *d, const struct raid_geometry *g, unsigned i)
{
    const struct raid_candidate *c = &d->candidates[i];

    return d->a->candidates[i].use == RAID_USE_IN_SYNC && c->bitmap &&
           has_feature(c, MD_FEATURE_BITMAP_OFFSET) &&
           md_bitmap_check(c->bitmap, c->sb, g->sync_bytes, NULL) == 0 &&
           md_bitmap_current(c->bitmap, d->fresh->events);
}

static void find_bitmap(struct decision *d, const struct raid_geometry *g)
{
    d->a->bitmap_from = bitmap_is_current(d, g, d->a->freshest) ? (int)d->a->freshest : -1;
    for (unsigned i = 0; i < d->count && d->a->bitmap_from < 0; i++)
        if (bitmap_is_current(d, g, i))
            d->a->bitmap_from = (int)i;
    for (unsigned i = 0; i < d->count; i++)
        d->a->candidates[i].recover_by_bitmap &= d->a->bitmap_from >= 0;
}

static void find_dirt(struct decision *d, const struct raid_geometry *g)
{
    uint64_t from = d->fresh->resync_offset;

    d->a->dirty = raid_geometry_redundant(g) && from != MD_MAX_SECTOR;
    d->a->resync_from_bytes =
        d->a->dirty ? MIN(from, g->sync_bytes / MD_SECTOR_BYTES) * MD_SECTOR_BYTES : UINT64_MAX;
}

/* Of several that once had a role the freshest may return. */
static bool is_best_for_role(const struct decision *d, unsigned i)
{
    for (unsigned k = 0; k < d->count; k++) {
        uint64_t events = d->candidates[k].sb->events;
        if (k == i || !may_return(d, k) || d->a->candidates[k].role != d->a->candidates[i].role)
            continue;
        if (events > d->candidates[i].sb->events ||
            (events == d->candidates[i].sb->events && k < i))
            return false;
    }
    return true;
}

static void find_readds(struct decision *d)
{
    if (d->a->bitmap_from < 0)
        return;
    const struct md_bitmap_header *bitmap = d->candidates[d->a->bitmap_from].bitmap;
    for (unsigned i = 0; i < d->count; i++) {
        const struct raid_candidate *c = &d->candidates[i];
        d->a->candidates[i].may_readd = may_return(d, i) && !disowns_freshest(d, c) &&
                                        md_bitmap_covers(bitmap, c->sb->events) &&
                                        is_best_for_role(d, i);
    }
}

static void start(struct decision *d)
{
    memset(d->a, 0, sizeof *d->a);
    d->a->bitmap_from = -1;
    for (unsigned role = 0; role < RAID_DISKS_MAX; role++)
        d->a->members[role] = d->a->replacements[role] = -1;
}

static int check_candidates(const struct decision *d, struct error *err)
{
    if (d->count == 0 || d->count > RAID_CANDIDATES_MAX)
        return error_set(err, EINVAL, "%u members are none to assemble an array from", d->count);
    for (unsigned i = 0; i < d->count; i++) {
        int rc = check_candidate(&d->candidates[i], &d->candidates[0], err);
        if (rc)
            return rc;
        if (d->candidates[i].sb->raid_disks > RAID_DISKS_MAX)
            return error_set(err, EOPNOTSUPP, "an array of more than %u members is not supported",
                RAID_DISKS_MAX);
    }
    return 0;
}

int raid_assembly_decide(struct raid_assembly *a, struct raid_geometry *g,
    const struct raid_candidate *candidates, unsigned count, bool force, struct error *err)
{
    struct decision d = {.a = a, .candidates = candidates, .count = count};
    struct raid_geometry made;
    int rc;

    start(&d);
    rc = check_candidates(&d, err);
    if (!rc)
        rc = find_freshest(&d, err);
    if (!rc)
        rc = sort_candidates(&d, err);
    if (rc)
        return rc;
    count_missing(&d);
    rc = make_geometry(&d, &made, err);
    if (rc)
        return rc;
    if (force && !is_complete(&d, &made))
        force_stale(&d, &made);
    count_missing(&d);
    find_bitmap(&d, &made);
    find_dirt(&d, &made);
    find_readds(&d);
    count_absent(&d);
    if (!is_complete(&d, &made)) {
        raid_geometry_destroy(&made);
        return not_enough(&d, err);
    }
    a->unsure = made.parity && a->dirty && a->missing;
    *g = made;
    return 0;
}

const char *raid_use_name(enum raid_use use)
{
    static const char *const names[] = {
        [RAID_USE_IN_SYNC] = "in sync",
        [RAID_USE_RECOVERING] = "recovering",
        [RAID_USE_REPLACING] = "replacing",
        [RAID_USE_SPARE] = "spare",
        [RAID_USE_FAULTY] = "faulty",
        [RAID_USE_STALE] = "stale",
    };
    return names[use];
}
