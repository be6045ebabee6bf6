/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In order: read each superblock; the freshest of the members with a role rules; sort the others by
 * it; hold those that take part against it and one another; find what the bitmaps know; see whether
 * there is a copy of everything.
 */
#include "check_md.h"

#include <inttypes.h>
#include <stdlib.h>

#include "check_super.h"

#define BITMAP_HEADER_BYTES 256u

const char *const check_md_state_names[] = {
    "in-sync", "recovering", "replacing", "spare", "faulty", "stale", "foreign", "damaged", "none"};

/* One check under way. */
struct look {
    struct check_md *c;
    struct check_super supers[CHECK_MD_DISKS_MAX];
    const struct check_super *fresh;
};

#define PROBLEM(l, ...) check_problem(&(l)->c->problems, __VA_ARGS__)

static const char *name_of(const struct look *l, unsigned disk)
{
    return l->c->disks[disk].disk.name;
}

/* Has a valid superblock of this array. */
static bool is_candidate(const struct look *l, unsigned disk)
{
    return l->c->disks[disk].state < CHECK_MD_FOREIGN;
}

static bool takes_part(const struct look *l, unsigned disk)
{
    return l->c->disks[disk].state <= CHECK_MD_REPLACING;
}

static uint16_t own_role(const struct check_super *s)
{
    return check_super_role(s, s->number);
}

static void read_disk(struct look *l, unsigned i, const struct check_disk *disk)
{
    struct check_md_member *m = &l->c->disks[i];
    struct check_super *s = &l->supers[i];
    bool valid;

    memset(m, 0, sizeof *m);
    m->disk = *disk;
    m->role = -1;
    valid = check_super_read(s, disk, m->damage);
    m->state = valid ? CHECK_MD_SPARE : m->damage[0] ? CHECK_MD_DAMAGED : CHECK_MD_NONE;
    if (!valid)
        return;
    m->number = s->number;
    m->feature_map = s->feature_map;
    m->events = s->events;
    m->dirty = s->resync_offset != UINT64_MAX;
    m->replacement = s->feature_map & CHECK_FEATURE_REPLACEMENT;
    m->data_offset_bytes = s->data_offset * CHECK_SECTOR_BYTES;
    m->data_bytes = s->data_size * CHECK_SECTOR_BYTES;
}

/* --- who is in it --- */

static void choose_array(struct look *l, const uint8_t *uuid)
{
    for (unsigned i = 0; i < l->c->disk_count; i++) {
        if (!is_candidate(l, i))
            continue;
        if (!uuid)
            uuid = l->supers[i].set_uuid;
        if (memcmp(l->supers[i].set_uuid, uuid, 16) != 0)
            l->c->disks[i].state = CHECK_MD_FOREIGN;
    }
    if (uuid)
        memcpy(l->c->uuid, uuid, 16);
}

/* A spare's events mean nothing. */
static void find_freshest(struct look *l)
{
    struct check_md *c = l->c;

    for (unsigned i = 0; i < c->disk_count; i++)
        if (is_candidate(l, i) && check_role_is_active(own_role(&l->supers[i])) &&
            (c->freshest < 0 || c->disks[i].events > c->disks[c->freshest].events))
            c->freshest = (int)i;
    if (c->freshest >= 0)
        l->fresh = &l->supers[c->freshest];
}

/* By its own superblock; one that is one update behind, by the freshest's roles. */
static enum check_md_state state_by_role(const struct look *l, const struct check_super *s)
{
    uint16_t own = own_role(s), fresh = check_super_role(l->fresh, s->number);

    if (!check_role_is_active(own))
        return own == CHECK_ROLE_FAULTY ? CHECK_MD_FAULTY : CHECK_MD_SPARE;
    if (s->events + 1 < l->fresh->events || fresh != own)
        return fresh == CHECK_ROLE_FAULTY ? CHECK_MD_FAULTY : CHECK_MD_STALE;
    if (s->feature_map & CHECK_FEATURE_REPLACEMENT)
        return CHECK_MD_REPLACING;
    return s->feature_map & CHECK_FEATURE_RECOVERY_OFFSET ? CHECK_MD_RECOVERING : CHECK_MD_IN_SYNC;
}

static void take_place(struct look *l, unsigned i)
{
    struct check_md_member *m = &l->c->disks[i];
    int *place;

    if (m->role >= (int)CHECK_MD_DISKS_MAX)
        return;
    place = m->state == CHECK_MD_REPLACING ? &l->c->replacements[m->role] : &l->c->members[m->role];
    if (*place >= 0)
        PROBLEM(
            l, "%s and %s both have role %d", name_of(l, (unsigned)*place), name_of(l, i), m->role);
    *place = (int)i;
}

/* One whose original is gone is that role's member; in sync when it had come to the end. */
static void promote_replacements(struct look *l)
{
    for (unsigned role = 0; role < CHECK_MD_DISKS_MAX; role++) {
        int i = l->c->replacements[role];
        struct check_md_member *m = &l->c->disks[i < 0 ? 0 : i];
        if (i < 0 || l->c->members[role] >= 0)
            continue;
        l->c->replacements[role] = -1;
        l->c->members[role] = i;
        m->state = m->recovery_offset_bytes >= l->fresh->size * CHECK_SECTOR_BYTES
                       ? CHECK_MD_IN_SYNC
                       : CHECK_MD_RECOVERING;
    }
}

static void sort_members(struct look *l)
{
    for (unsigned role = 0; role < CHECK_MD_DISKS_MAX; role++)
        l->c->members[role] = l->c->replacements[role] = -1;
    for (unsigned i = 0; i < l->c->disk_count; i++) {
        struct check_md_member *m = &l->c->disks[i];
        const struct check_super *s = &l->supers[i];
        if (!is_candidate(l, i))
            continue;
        m->state = state_by_role(l, s);
        if (check_role_is_active(own_role(s)))
            m->role = own_role(s);
        m->recovery_offset_bytes = s->feature_map & CHECK_FEATURE_RECOVERY_OFFSET
                                       ? s->recovery_offset * CHECK_SECTOR_BYTES
                                       : UINT64_MAX;
        if (takes_part(l, i))
            take_place(l, i);
    }
    promote_replacements(l);
}

/* --- what they say of one another --- */

static bool same_shape(const struct check_super *a, const struct check_super *b)
{
    return a->level == b->level && a->layout == b->layout && a->chunk == b->chunk &&
           a->raid_disks == b->raid_disks && a->size == b->size;
}

enum agreement { ROLES_SAME, ROLES_LESS, ROLES_CONTRADICT };

/* In that very update: the write of its superblock was reported as failed, and got there. */
static bool has_failed(const struct check_super *s, const struct check_super *by)
{
    return check_super_role(by, s->number) == CHECK_ROLE_FAULTY &&
           check_role_is_active(check_super_role(s, by->number));
}

/* LESS: but for devices that are spares for one of them. Who has failed does not know of others
 * that have. */
static enum agreement compare_roles(const struct check_super *a, const struct check_super *b)
{
    uint32_t count = a->max_dev > b->max_dev ? a->max_dev : b->max_dev;
    bool a_failed = has_failed(a, b), b_failed = has_failed(b, a);
    enum agreement result = ROLES_SAME;

    for (uint32_t i = 0; i < count; i++) {
        uint16_t x = check_super_role(a, i), y = check_super_role(b, i);
        if (x == y || (a_failed && check_role_is_active(x) && y == CHECK_ROLE_FAULTY) ||
            (b_failed && check_role_is_active(y) && x == CHECK_ROLE_FAULTY))
            continue;
        if (x != CHECK_ROLE_SPARE && y != CHECK_ROLE_SPARE)
            return ROLES_CONTRADICT;
        result = ROLES_LESS;
    }
    return result;
}

static bool is_of_same_update(const struct look *l, unsigned i)
{
    return is_candidate(l, i) && check_role_is_active(own_role(&l->supers[i])) &&
           l->supers[i].events == l->fresh->events;
}

/* The freshest, or of the same update one who says that the freshest has failed. */
static unsigned find_witness(const struct look *l)
{
    for (unsigned i = 0; i < l->c->disk_count; i++)
        if (is_of_same_update(l, i) && has_failed(l->fresh, &l->supers[i]))
            return i;
    return (unsigned)l->c->freshest;
}

/*
 * Superblocks of the same update say the same, but for what is a member's own. Except where one has
 * got an update that a power cut kept from the others, and these were then started without it: as
 * long as they have not gone on to the next, nothing else has been written.
 */
static void check_same_update(struct look *l, unsigned i, unsigned witness)
{
    const struct check_super *s = &l->supers[i], *w = &l->supers[witness];
    enum agreement roles = compare_roles(s, w);

    if (roles == ROLES_CONTRADICT)
        PROBLEM(l, "%s and %s are of the same events (%" PRIu64 ") and say different roles",
            name_of(l, i), name_of(l, witness), s->events);
    if (roles == ROLES_SAME && s->resync_offset != w->resync_offset)
        PROBLEM(l,
            "%s and %s are of the same events (%" PRIu64 ") and say different resync offsets",
            name_of(l, i), name_of(l, witness), s->events);
}

static void check_updates(struct look *l)
{
    unsigned witness = find_witness(l);

    for (unsigned i = 0; i < l->c->disk_count; i++)
        if (is_of_same_update(l, i))
            check_same_update(l, i, witness);
}

static bool is_taken(const struct look *l, uint32_t number)
{
    for (unsigned i = 0; i < l->c->disk_count; i++)
        if (is_candidate(l, i) && takes_part(l, i) && l->c->disks[i].number == number)
            return true;
    return false;
}

/*
 * Linux takes the role of one that is behind from the freshest superblock, and from its own that it
 * is not complete: a spare's does not say so, so it would be taken for in sync.
 */
static void check_spare(struct look *l, unsigned i)
{
    const struct check_super *s = &l->supers[i];
    uint16_t role = check_super_role(l->fresh, s->number);

    if (l->c->disks[i].state == CHECK_MD_SPARE && s->events < l->fresh->events &&
        check_role_is_active(role) && !is_taken(l, s->number))
        PROBLEM(l, "%s is a spare, to which %s gives role %u: Linux would take it for in sync",
            name_of(l, i), name_of(l, (unsigned)l->c->freshest), role);
}

static void check_agreement(struct look *l, unsigned i)
{
    const struct check_super *s = &l->supers[i];

    if (!is_candidate(l, i) || s->events + 1 < l->fresh->events)
        return;
    if (!same_shape(s, l->fresh))
        PROBLEM(l, "%s and %s describe different arrays", name_of(l, i),
            name_of(l, (unsigned)l->c->freshest));
}

static void check_unique(struct look *l, unsigned i, unsigned k)
{
    bool current =
        l->supers[i].events + 1 >= l->fresh->events && l->supers[k].events + 1 >= l->fresh->events;

    if (memcmp(l->supers[i].device_uuid, l->supers[k].device_uuid, 16) == 0)
        PROBLEM(l, "%s and %s have the same device uuid", name_of(l, i), name_of(l, k));
    if (current && l->supers[i].number == l->supers[k].number &&
        l->c->disks[i].state < CHECK_MD_SPARE && l->c->disks[k].state < CHECK_MD_SPARE)
        PROBLEM(l, "%s and %s have the same device number %" PRIu32, name_of(l, i), name_of(l, k),
            l->supers[i].number);
}

static void check_all_unique(struct look *l)
{
    for (unsigned i = 0; i < l->c->disk_count; i++)
        for (unsigned k = 0; k < i; k++)
            if (is_candidate(l, i) && is_candidate(l, k))
                check_unique(l, k, i);
}

/* --- bitmaps --- */

/* The bitmap's events are written before the superblock's; and again, each time that somebody fails
 * in between. */
static void check_bitmap_events(struct look *l, unsigned i, const struct check_bitmap *b)
{
    if (l->c->disks[i].state != CHECK_MD_IN_SYNC)
        return;
    if (b->events < l->fresh->events)
        PROBLEM(l, "%s: bitmap of events %" PRIu64 ", the array is at %" PRIu64, name_of(l, i),
            b->events, l->fresh->events);
    if (b->events > l->fresh->events + 1 + l->c->disk_count)
        PROBLEM(l, "%s: bitmap of events %" PRIu64 " is ahead of the array's %" PRIu64,
            name_of(l, i), b->events, l->fresh->events);
}

static void take_bitmap(struct look *l, unsigned i, const struct check_bitmap *b)
{
    struct check_md *c = l->c;
    struct check_md_member *m = &c->disks[i];

    m->has_bitmap = true;
    m->bitmap_offset_bytes = (uint64_t)l->supers[i].bitmap_start * CHECK_SECTOR_BYTES;
    m->bitmap_events = b->events;
    m->bitmap_events_cleared = b->events_cleared;
    m->bitmap_bits = b->bits;
    if (m->state != CHECK_MD_IN_SYNC || b->events < c->events)
        return;
    if (c->has_bitmap && c->bitmap_chunk_bytes != b->chunk_bytes)
        PROBLEM(l, "%s: bitmap with another chunk size than others", name_of(l, i));
    c->has_bitmap = true;
    c->bitmap_chunk_bytes = b->chunk_bytes;
}

/* The bitmap of one that the array has left behind may be of another size and so on by now. */
static void check_member(struct look *l, unsigned i)
{
    const struct check_super *s = &l->supers[i];
    struct check_problems unheard = {0}, *p = &l->c->problems;
    struct check_bitmap b;
    bool has = s->feature_map & CHECK_FEATURE_BITMAP &&
               check_bitmap_read(&b, s, &l->c->disks[i].disk, l->c->layout.covered_bytes,
                   l->c->disks[i].state <= CHECK_MD_SPARE ? p : &unheard);

    if (has)
        check_bitmap_events(l, i, &b);
    if (has)
        take_bitmap(l, i, &b);
    check_super_strict(s, has ? &b : NULL, &l->c->disks[i].disk, p);
}

/* It differs only where bits are set if it was a whole member until the bitmap began to remember.
 */
static bool may_readd(const struct look *l, unsigned i)
{
    const struct check_md *c = l->c;
    const struct check_md_member *m = &c->disks[i];
    const struct check_super *s = &l->supers[i];
    bool vacant = m->role >= 0 && m->role < (int)CHECK_MD_DISKS_MAX && c->members[m->role] < 0;
    uint64_t since = UINT64_MAX;

    if ((m->state != CHECK_MD_STALE && m->state != CHECK_MD_FAULTY) || !vacant || !c->has_bitmap ||
        !same_shape(s, l->fresh) ||
        s->feature_map & (CHECK_FEATURE_RECOVERY_OFFSET | CHECK_FEATURE_REPLACEMENT) ||
        check_super_role(s, l->fresh->number) != own_role(l->fresh))
        return false;
    for (unsigned k = 0; k < c->disk_count; k++)
        if (c->disks[k].state == CHECK_MD_IN_SYNC && c->disks[k].has_bitmap &&
            c->disks[k].bitmap_events_cleared < since)
            since = c->disks[k].bitmap_events_cleared;
    return m->events >= since;
}

/* Of several that were in one place only the freshest comes back. */
static void find_readds(struct look *l)
{
    struct check_md *c = l->c;

    for (unsigned i = 0; i < c->disk_count; i++) {
        bool best = is_candidate(l, i) && may_readd(l, i);
        for (unsigned k = 0; k < c->disk_count && best; k++)
            if (k != i && is_candidate(l, k) && c->disks[k].role == c->disks[i].role &&
                may_readd(l, k))
                best = c->disks[k].events < c->disks[i].events ||
                       (c->disks[k].events == c->disks[i].events && i < k);
        c->disks[i].may_readd = best;
        c->disks[i].recovers_by_bitmap =
            c->has_bitmap && (c->disks[i].feature_map & CHECK_FEATURE_RECOVERY_BITMAP);
    }
}

bool check_md_bit(const struct check_md_member *m, uint64_t bit)
{
    uint64_t at = m->bitmap_offset_bytes + BITMAP_HEADER_BYTES + bit / 8;
    uint8_t buf[CHECK_SECTOR_BYTES];
    const uint8_t *sector = check_read(&m->disk, buf, at - at % sizeof buf, sizeof buf);

    return !sector || sector[at % sizeof buf] >> bit % 8 & 1;
}

bool check_md_marked(const struct check_md *c, uint64_t offset)
{
    if (!c->has_bitmap)
        return true;
    for (unsigned i = 0; i < c->disk_count; i++) {
        const struct check_md_member *m = &c->disks[i];
        if (m->state == CHECK_MD_IN_SYNC && m->has_bitmap && m->bitmap_events >= c->events &&
            !check_md_bit(m, offset / c->bitmap_chunk_bytes))
            return false;
    }
    return true;
}

/* --- the array --- */

static void find_shape(struct look *l)
{
    const struct check_super *s = l->fresh;
    uint64_t data_bytes[CHECK_MD_DISKS_MAX] = {0};
    bool layout_counts = s->level != 0 || s->feature_map & CHECK_FEATURE_RAID0_LAYOUT;

    l->c->level = s->level;
    l->c->layout_code = layout_counts ? s->layout : 0;
    l->c->raid_disks = s->raid_disks;
    l->c->events = s->events;
    for (unsigned role = 0; role < s->raid_disks && role < CHECK_MD_DISKS_MAX; role++)
        if (l->c->members[role] >= 0)
            data_bytes[role] = l->c->disks[l->c->members[role]].data_bytes;
    if (!check_layout_init(&l->c->layout, s->level, l->c->layout_code, s->raid_disks,
            (uint64_t)s->chunk * CHECK_SECTOR_BYTES, s->size * CHECK_SECTOR_BYTES, data_bytes) &&
        (s->level == 0 || s->level == 1 || s->level == 5 || s->level == 6 || s->level == 10))
        PROBLEM(l,
            "raid%d of %" PRIu32 " members, layout 0x%" PRIx32 ", chunk %" PRIu32 ": not possible",
            s->level, s->raid_disks, s->layout, s->chunk);
}

static void find_state(struct look *l)
{
    struct check_md *c = l->c;
    bool present[CHECK_ROLES_MAX] = {false};

    c->dirty = l->fresh->resync_offset != UINT64_MAX;
    c->resync_from_bytes = c->dirty ? l->fresh->resync_offset * CHECK_SECTOR_BYTES : CHECK_MD_CLEAN;
    if (c->layout.size_bytes == 0)
        return;
    for (unsigned role = 0; role < c->raid_disks; role++) {
        int i = c->members[role];
        present[role] = i >= 0 && c->disks[i].state == CHECK_MD_IN_SYNC;
    }
    c->starts = check_layout_complete(&c->layout, present);
    if (!c->starts)
        PROBLEM(l, "not enough members to start it");
}

static void check_members(struct look *l)
{
    struct check_md *c = l->c;

    sort_members(l);
    find_shape(l);
    for (unsigned i = 0; i < c->disk_count; i++) {
        check_agreement(l, i);
        if (is_candidate(l, i))
            check_spare(l, i);
    }
    check_updates(l);
    check_all_unique(l);
    for (unsigned i = 0; i < c->disk_count; i++)
        if (is_candidate(l, i))
            check_member(l, i);
    find_readds(l);
    find_state(l);
}

bool check_md(
    struct check_md *c, const struct check_disk *disks, unsigned count, const uint8_t *uuid)
{
    struct look *l = malloc(sizeof *l);

    memset(c, 0, sizeof *c);
    c->freshest = -1;
    if (!l) {
        check_problem(&c->problems, "out of memory");
        return false;
    }
    l->c = c;
    c->disk_count = count < CHECK_MD_DISKS_MAX ? count : CHECK_MD_DISKS_MAX;
    for (unsigned i = 0; i < c->disk_count; i++)
        read_disk(l, i, &disks[i]);
    choose_array(l, uuid);
    find_freshest(l);
    if (c->freshest >= 0)
        check_members(l);
    else
        PROBLEM(l, "no disk has a superblock of a member of the array");
    free(l);
    return c->problems.count == 0;
}

unsigned check_md_find(const struct check_disk *disks, unsigned count, uint8_t (*uuids)[16])
{
    struct check_super s;
    char damage[128];
    unsigned found = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned k = 0;
        if (!check_super_read(&s, &disks[i], damage))
            continue;
        while (k < found && memcmp(uuids[k], s.set_uuid, 16) != 0)
            k++;
        if (k == found)
            memcpy(uuids[found++], s.set_uuid, 16);
    }
    return found;
}
