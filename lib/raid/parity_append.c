/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Appending to the logs; see parity_log.h. Updates that meet at a member's log share a record:
 * whoever finds nobody writing leads, takes all who wait as far as they fit, and writes one record
 * for them. Any worker; inside the gate of writes.
 *
 * Who needs two members' logs takes the one of the lower role first, so that the wait for a half to
 * become free never goes round.
 */
#include "raid/parity_log.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/parity_record.h"
#include "rt/io.h"

#define HALF_NONE 2u
/* How often what else is ready runs before a record is written: updates that came with the first
 * have to lock, read and compute before they join. Costs nothing where there are none. */
#define GATHER_ROUNDS 4u

/* On the stack of who waits for a record. */
struct append {
    struct list link;
    const struct stripe *stripes;
    unsigned count, entries;
    uint64_t bytes;
    unsigned half; /* where its record is; HALF_NONE: the member has failed */
    bool leads;
    int result;
    struct co *co;
};

/* --- what needs a record --- */

static uint16_t slot_of(uint64_t stripe)
{
    return (uint16_t)((stripe * UINT64_C(0x9e3779b97f4a7c15)) >> 52);
}

static unsigned count_blocks(const struct stripe *s)
{
    unsigned count = 0;

    for (unsigned i = 0; i < s->a->geometry.raid_disks; i++)
        count += stripe_new_block(s, i) != NULL;
    return count;
}

bool parity_log_has_record(const struct array *a, uint64_t stripe)
{
    return a->log && !MUTANT(LOG_FORGOTTEN) && atomic_load(&a->log->live[slot_of(stripe)]);
}

bool parity_log_needed(const struct stripe *s)
{
    struct array *a = s->a;

    if (!a->log || s->plan.method == STRIPE_PLAIN || MUTANT(NO_PARITY_LOG))
        return false;
    if (parity_log_has_record(a, s->place.number))
        return true;
    if (s->plan.method == STRIPE_FULL && !array_degraded(a))
        return false;
    return count_blocks(s) > 1; /* one is old or new by itself */
}

/* --- appending --- */

static uint64_t half_start(const struct member_log *log, unsigned half)
{
    return log->start_bytes + half * log->half_bytes;
}

/* The half's records are void once that is durable; before, each stripe that they are of needs
 * another one. Without the first nobody finds the others, whatever becomes of the write over it. */
static int clear_half(struct array *a, struct member *m, unsigned half)
{
    struct half *h = &m->log->halves[half];
    struct iovec iov = {io_buffer_get(PARITY_RECORD_HEADER_BYTES), PARITY_RECORD_HEADER_BYTES};
    int rc;

    if (!iov.iov_base)
        return -ENOMEM;
    memset(iov.iov_base, 0, iov.iov_len);
    rc = blockdev_writev(
        m->dev, &iov, 1, half_start(m->log, half), BLOCK_STABLE | BLOCK_PATIENT | BLOCK_FUA);
    io_buffer_put(iov.iov_base, iov.iov_len);
    for (unsigned i = 0; i < h->count && !rc; i++)
        atomic_fetch_sub(&a->log->live[h->slots[i]], 1);
    if (!rc)
        h->count = 0;
    return rc;
}

/* Waits until nothing that has a record in the other half is under way, makes all of it durable,
 * and goes on there. */
static int switch_half(struct array *a, struct member *m)
{
    struct member_log *log = m->log;
    struct half *old = &log->halves[log->half], *other = &log->halves[!log->half];
    int rc;

    spin_lock(&log->lock);
    while (other->active) {
        wait_queue_wait(&log->idle, &log->lock, "parity log");
        spin_lock(&log->lock);
    }
    spin_unlock(&log->lock);
    if (other->count) {
        rc = MUTANT(LOG_REUSED_EARLY) ? 0 : array_flush_members(a);
        if (!rc)
            rc = clear_half(a, m, !log->half);
        if (rc)
            return rc;
    }
    log->half = !log->half;
    log->head_bytes = 0;
    log->floor = old->count ? old->first_sequence : atomic_load(&a->log->sequence) + 1;
    return 0;
}

struct batch {
    struct append *appends[PARITY_RECORD_ENTRIES_MAX];
    unsigned count;
    struct parity_record record;
    struct iovec iov[PARITY_RECORD_ENTRIES_MAX + 1];
    int iov_count;
};

/*
 * What a record has to say of a block: all that changes. Also where there is no member just now: an
 * older record may have something for it, and a member may come to stand there. False: nothing.
 */
static bool changes(const struct stripe *s, unsigned block, uint8_t **data)
{
    const struct stripe_cell *c = &s->cells[block];

    *data = block < s->a->geometry.raid5.data && c->fresh ? c->fresh : stripe_new_block(s, block);
    return *data || block >= s->a->geometry.raid5.data;
}

static void add_stripe(struct batch *b, const struct stripe *s)
{
    const struct raid_geometry *g = &s->a->geometry;
    uint8_t *data;

    for (unsigned i = 0; i < g->raid_disks; i++) {
        if (!changes(s, i, &data))
            continue;
        b->record.entries[b->record.count++] = (struct parity_entry){
            .offset_bytes = stripe_member_offset(s),
            .length = (uint32_t)stripe_bytes(s),
            .role = (uint16_t)raid_stripe_role(g, &s->place, i),
            .empty = !data,
        };
        if (!data)
            continue;
        b->iov[b->iov_count++] = (struct iovec){data, stripe_bytes(s)};
        b->record.payload_bytes += (uint32_t)stripe_bytes(s);
    }
}

/* The first who waits, and more as long as they fit into a record. */
static void take_appends(struct array *a, struct member_log *log, struct batch *b)
{
    struct list *link;

    b->iov_count = 1; /* the header */
    spin_lock(&log->lock);
    while ((link = list_first(&log->waiting))) {
        struct append *ap = container_of(link, struct append, link);

        if (b->count && (b->record.count + ap->entries > PARITY_RECORD_ENTRIES_MAX ||
                            b->record.payload_bytes + ap->bytes > a->log->most_bytes))
            break;
        list_remove(link);
        b->appends[b->count++] = ap;
        for (unsigned i = 0; i < ap->count; i++)
            if (ap->stripes[i].logged)
                add_stripe(b, &ap->stripes[i]);
    }
    spin_unlock(&log->lock);
}

static void note_batch(struct array *a, struct member_log *log, const struct batch *b)
{
    struct half *h = &log->halves[log->half];

    if (!h->count)
        h->first_sequence = b->record.sequence;
    spin_lock(&log->lock);
    h->active += b->count;
    spin_unlock(&log->lock);
    for (unsigned i = 0; i < b->count; i++) {
        uint16_t slot = slot_of(b->appends[i]->stripes->place.number);

        b->appends[i]->half = log->half;
        h->slots[h->count++] = slot;
        atomic_fetch_add(&a->log->live[slot], 1);
    }
}

static int write_record(struct array *a, struct member *m, struct batch *b)
{
    struct member_log *log = m->log;
    void *header = io_buffer_get(PARITY_RECORD_HEADER_BYTES);
    uint64_t at = half_start(log, log->half) + log->head_bytes;
    int rc;

    if (!header)
        return -ENOMEM;
    memcpy(b->record.set_uuid, a->sb.set_uuid, sizeof b->record.set_uuid);
    b->record.tag = a->log->tag;
    b->record.sequence = atomic_fetch_add(&a->log->sequence, 1) + 1;
    b->record.floor = log->floor;
    b->record.payload_crc = parity_record_crc(b->iov + 1, b->iov_count - 1);
    parity_record_encode(&b->record, header);
    b->iov[0] = (struct iovec){header, PARITY_RECORD_HEADER_BYTES};
    rc = blockdev_writev(m->dev, b->iov, b->iov_count, at,
        BLOCK_STABLE | BLOCK_PATIENT | (MUTANT(LOG_NOT_DURABLE) ? 0 : BLOCK_FUA));
    io_buffer_put(header, PARITY_RECORD_HEADER_BYTES);
    return rc;
}

static int write_batch(struct array *a, struct member *m, struct batch *b)
{
    struct member_log *log = m->log;
    uint64_t bytes =
        round_up(PARITY_RECORD_HEADER_BYTES + b->record.payload_bytes, m->dev->logical_block_bytes);
    int rc = 0;

    if (log->head_bytes + bytes > log->half_bytes)
        rc = switch_half(a, m);
    if (!rc)
        rc = write_record(a, m, b);
    if (rc)
        return rc == -ENOMEM ? rc : members_fail(a, &m, 1) ? -EIO : 0;
    log->head_bytes += bytes;
    note_batch(a, log, b);
    return 0;
}

/* The next of those who wait leads. */
static void hand_over(struct member_log *log)
{
    struct append *next = NULL;
    struct list *link;

    spin_lock(&log->lock);
    link = list_first(&log->waiting);
    if (link)
        next = container_of(link, struct append, link);
    else
        log->writing = false;
    spin_unlock(&log->lock);
    if (!next)
        return;
    next->leads = true;
    co_wake(next->co);
}

static void lead(struct array *a, struct member *m, struct append *own)
{
    struct batch *b = io_buffer_get(sizeof *b);
    int rc = -ENOMEM;

    if (!b) {
        spin_lock(&m->log->lock);
        list_remove(&own->link);
        spin_unlock(&m->log->lock);
        own->result = -ENOMEM;
        hand_over(m->log);
        return;
    }
    for (unsigned i = 0; i < GATHER_ROUNDS; i++)
        co_yield ();
    b->count = 0;
    b->record.count = b->record.payload_bytes = 0;
    take_appends(a, m->log, b);
    rc = write_batch(a, m, b);
    for (unsigned i = 0; i < b->count; i++)
        b->appends[i]->result = rc;
    hand_over(m->log);
    for (unsigned i = 0; i < b->count; i++)
        if (b->appends[i] != own)
            co_wake(b->appends[i]->co);
    io_buffer_put(b, sizeof *b);
}

static int append(struct array *a, struct member *m, struct append *ap)
{
    struct member_log *log = m->log;

    ap->half = HALF_NONE;
    ap->leads = false;
    spin_lock(&log->lock);
    list_append(&log->waiting, &ap->link);
    if (!log->writing)
        log->writing = ap->leads = true;
    spin_unlock(&log->lock);
    if (!ap->leads)
        co_suspend("parity log");
    if (ap->leads)
        lead(a, m, ap);
    return ap->result;
}

/* The members with the stripe's parity that can take a record, by role. */
static unsigned find_members(const struct stripe *s, struct member *members[2])
{
    struct array *a = s->a;
    unsigned count = 0;

    for (unsigned i = a->geometry.raid5.data; i < a->geometry.raid_disks; i++) {
        struct member *m = array_writable(a->roles[raid_stripe_role(&a->geometry, &s->place, i)]);

        if (m && m->log)
            members[count++] = m;
    }
    if (count == 2 && members[0]->role > members[1]->role) {
        struct member *lower = members[1];

        members[1] = members[0];
        members[0] = lower;
    }
    return count;
}

int parity_log_append(
    struct array *a, const struct stripe *stripes, unsigned count, struct log_hold *hold)
{
    struct append ap = {.stripes = stripes, .count = count, .co = co_self()};
    struct member *members[2];
    unsigned found = find_members(stripes, members);
    int rc = 0;

    for (unsigned i = 0; i < count; i++) {
        if (!stripes[i].logged)
            continue;
        ap.entries += a->geometry.raid_disks; /* at most */
        ap.bytes += a->geometry.raid_disks * stripe_bytes(&stripes[i]);
    }
    for (unsigned i = 0; ap.entries && i < found && !rc; i++) {
        rc = append(a, members[i], &ap);
        if (rc || ap.half == HALF_NONE)
            continue;
        hold->members[hold->count] = members[i];
        hold->halves[hold->count++] = ap.half;
    }
    return rc;
}

void parity_log_release(struct log_hold *hold)
{
    for (unsigned i = 0; i < hold->count; i++) {
        struct member_log *log = hold->members[i]->log;

        spin_lock(&log->lock);
        if (!--log->halves[hold->halves[i]].active)
            wait_queue_wake_all(&log->idle);
        spin_unlock(&log->lock);
    }
    hold->count = 0;
}
