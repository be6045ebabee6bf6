/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Doing again what the parity log says, when an array is assembled that was not stopped cleanly.
 * All records of all members are found first; then those that are not void are written to where
 * they belong, the newest first and of older ones only what no newer one has: so nothing is ever
 * older than it was, also when this is cut off, and it can be done once more. All is flushed at the
 * end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "raid/parity_log.h"
#include "raid/parity_record.h"
#include "rt/io.h"

struct found {
    uint64_t sequence, payload_at; /* on the member */
    struct member *member;         /* NULL: its log has been given up */
    struct parity_record record;
};

struct span {
    uint64_t start, end;
};

/* Of a member's data: what has been done, in order, without neighbours that touch. */
struct covered {
    struct span *spans;
    unsigned count, room;
};

struct replay {
    struct array *a;
    uint32_t tag;
    struct found *found;
    unsigned count, room;
    struct covered *covered; /* by role */
    unsigned unreadable;     /* logs of members in sync */
};

static bool is_ours(const struct replay *r, const struct parity_record *record)
{
    return (record->tag == r->tag || MUTANT(LOG_NOT_VOID)) &&
           !memcmp(record->set_uuid, r->a->sb.set_uuid, sizeof record->set_uuid);
}

/* -errno, or whether the payload is what the header says. */
static int payload_is_whole(struct member *m, const struct parity_record *record, uint64_t at)
{
    struct iovec iov = {malloc(record->payload_bytes), record->payload_bytes};
    int rc = iov.iov_base ? blockdev_read_bytes(m->dev, iov.iov_base, at, iov.iov_len) : -ENOMEM;

    if (!rc)
        rc = parity_record_crc(&iov, 1) == record->payload_crc;
    free(iov.iov_base);
    return rc;
}

static int keep(struct replay *r, struct member *m, const struct parity_record *record, uint64_t at)
{
    if (r->count == r->room) {
        unsigned room = MAX(64u, 2 * r->room);
        struct found *more = realloc(r->found, room * sizeof *more);

        if (!more)
            return -ENOMEM;
        r->found = more;
        r->room = room;
    }
    r->found[r->count++] = (struct found){record->sequence, at, m, *record};
    return 0;
}

/* The records of a half, as far as there are any. */
static int read_half(struct replay *r, struct member *m, uint64_t at, uint64_t end)
{
    uint8_t header[PARITY_RECORD_HEADER_BYTES];
    struct parity_record record;
    int rc = 0;

    while (!rc && at + sizeof header <= end) {
        uint64_t bytes;

        rc = blockdev_read_bytes(m->dev, header, at, sizeof header);
        if (rc || !parity_record_decode(&record, header) || !is_ours(r, &record))
            break;
        bytes = round_up(sizeof header + record.payload_bytes, m->dev->logical_block_bytes);
        if (bytes > end - at)
            break;
        rc = payload_is_whole(m, &record, at + sizeof header);
        if (rc <= 0)
            break;
        rc = keep(r, m, &record, at + sizeof header);
        at += bytes;
    }
    return rc;
}

/* Of a log that cannot be read as a whole nobody knows what is void. */
static void give_up_log(struct replay *r, const struct member *m)
{
    for (unsigned i = 0; i < r->count; i++)
        if (r->found[i].member == m)
            r->found[i].member = NULL;
    r->unreadable += member_state(m) == MEMBER_IN_SYNC;
}

/* 0 or -ENOMEM. */
static int read_log(struct replay *r, struct member *m)
{
    uint64_t start, half_bytes;
    int rc = 0;

    if (!array_writable(m) || m->came_back || !parity_log_space(r->a, m, &start, &half_bytes))
        return 0;
    for (unsigned i = 0; i < 2 && !rc; i++)
        rc = read_half(r, m, start + i * half_bytes, start + (i + 1) * half_bytes);
    if (rc && rc != -ENOMEM) {
        give_up_log(r, m);
        rc = 0;
    }
    return rc;
}

static int read_all(struct replay *r)
{
    int rc = 0;

    list_for_each (it, &r->a->members)
        if (!rc)
            rc = read_log(r, container_of(it, struct member, link));
    return rc;
}

/* The newest first. */
static int compare_sequence(const void *x, const void *y)
{
    const struct found *a = x, *b = y;

    return (a->sequence > b->sequence) != MUTANT(LOG_OLDEST_FIRST) ? -1 : 1;
}

/* The newest record of a member says which of its are void. */
static uint64_t floor_of(const struct replay *r, const struct member *m)
{
    uint64_t floor = 0;

    for (unsigned i = 0; i < r->count; i++)
        if (r->found[i].member == m)
            floor = MAX(floor, r->found[i].record.floor);
    return floor;
}

static bool is_void(const struct replay *r, const struct found *f)
{
    return !f->member || (f->sequence < floor_of(r, f->member) && !MUTANT(LOG_FLOOR_IGNORED));
}

/* Blocks may have been smaller than what the members have now. */
static bool makes_sense(const struct array *a, const struct parity_entry *e)
{
    uint64_t end;

    return e->role < a->geometry.raid_disks &&
           !__builtin_add_overflow(e->offset_bytes, e->length, &end) &&
           end <= a->geometry.member_bytes && !((e->offset_bytes | e->length) % MD_SECTOR_BYTES);
}

static void write_part(struct member *m, struct array *a, const struct span *part, const void *data)
{
    if (array_writable(m) &&
        blockdev_write_bytes(m->dev, data, m->data_offset_bytes + part->start,
            part->end - part->start, BLOCK_STABLE | BLOCK_BACKGROUND | BLOCK_PATIENT))
        members_fail(a, &m, 1);
}

/* `data`: of the whole entry; NULL: it has none. */
static void write_gap(struct array *a, const struct parity_entry *e, const uint8_t *data,
    uint64_t start, uint64_t end)
{
    struct span part = {start, end};

    if (start >= end || !data)
        return;
    write_part(a->roles[e->role], a, &part, data + (start - e->offset_bytes));
    write_part(a->replacements[e->role], a, &part, data + (start - e->offset_bytes));
}

/* Room for one more. */
static int grow(struct covered *c)
{
    unsigned room = MAX(16u, 2 * c->room);
    struct span *more;

    if (c->count < c->room)
        return 0;
    more = realloc(c->spans, room * sizeof *more);
    if (!more)
        return -ENOMEM;
    c->spans = more;
    c->room = room;
    return 0;
}

/* Writes what no newer record has covered, and covers it. */
static int write_entry(struct replay *r, const struct parity_entry *e, const uint8_t *data)
{
    struct covered *c = &r->covered[e->role];
    struct span all = {e->offset_bytes, e->offset_bytes + e->length};
    uint64_t at = all.start, end = all.end;
    unsigned first = 0, last;

    if (grow(c))
        return -ENOMEM;
    while (first < c->count && c->spans[first].end < all.start)
        first++;
    for (last = first; last < c->count && c->spans[last].start <= end; last++) {
        write_gap(r->a, e, data, at, MIN(c->spans[last].start, end));
        at = MAX(at, c->spans[last].end);
        all.start = MIN(all.start, c->spans[last].start);
        all.end = MAX(all.end, c->spans[last].end);
    }
    write_gap(r->a, e, data, at, end);
    memmove(&c->spans[first + 1], &c->spans[last], (c->count - last) * sizeof *c->spans);
    c->count = c->count - (last - first) + 1;
    c->spans[first] = all;
    return 0;
}

static int redo(struct replay *r, const struct found *f)
{
    uint8_t *payload = malloc(f->record.payload_bytes), *at = payload;
    int rc = payload ? 0 : -ENOMEM;
    bool known = payload && !blockdev_read_bytes(
                                f->member->dev, payload, f->payload_at, f->record.payload_bytes);

    if (payload && !known)
        give_up_log(r, f->member);
    for (unsigned i = 0; i < f->record.count && known && !rc; i++) {
        const struct parity_entry *e = &f->record.entries[i];

        if (makes_sense(r->a, e))
            rc = write_entry(r, e, e->empty ? NULL : at);
        at += e->empty ? 0 : e->length;
    }
    free(payload);
    return rc;
}

static void flush_all(struct array *a)
{
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);

        if (array_writable(m) && member_flush(m))
            members_fail(a, &m, 1);
    }
}

static int redo_all(struct replay *r)
{
    int rc = 0;

    r->covered = calloc(r->a->geometry.raid_disks, sizeof *r->covered);
    if (!r->covered)
        return -ENOMEM;
    qsort(r->found, r->count, sizeof *r->found, compare_sequence);
    for (unsigned i = 0; i < r->count && !rc; i++)
        if (!is_void(r, &r->found[i]))
            rc = redo(r, &r->found[i]);
    for (unsigned i = 0; i < r->a->geometry.raid_disks; i++)
        free(r->covered[i].spans);
    free(r->covered);
    return rc;
}

int parity_log_replay(struct array *a, uint32_t tag, unsigned *unreadable)
{
    struct replay r = {.a = a, .tag = tag};
    int rc = read_all(&r);

    if (!rc && r.count)
        rc = redo_all(&r);
    if (!rc && r.count)
        flush_all(a);
    free(r.found);
    *unreadable = r.unreadable;
    return rc ? rc : atomic_load(&a->failed) ? -EIO : 0;
}
