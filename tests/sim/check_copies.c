/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_copies.h"

#include <inttypes.h>

#include "check_parity.h"

#define COMPARE_BYTES (64u << 10) /* at once, so that what has to be copied fits into a buffer */

/* What bitmaps and resync_offset say of where a byte is. */
struct region {
    bool marked;
    bool differs; /* a resync would go over it: nobody says that its copies are the same */
};

/* `offset`: as the bitmap counts. */
static struct region region_of(const struct check_md *c, uint64_t offset, uint64_t *run_bytes)
{
    uint64_t end = c->layout.covered_bytes ? c->layout.covered_bytes : c->layout.size_bytes;
    struct region r = {.marked = check_md_marked(c, offset)};

    if (c->has_bitmap)
        end = offset - offset % c->bitmap_chunk_bytes + c->bitmap_chunk_bytes;
    else if (c->dirty && offset < c->resync_from_bytes && c->resync_from_bytes < end)
        end = c->resync_from_bytes;
    r.differs = c->dirty && r.marked && end > c->resync_from_bytes;
    if (*run_bytes > end - offset)
        *run_bytes = end - offset;
    return r;
}

static bool has_recovered(const struct check_md_member *m, uint64_t member_offset)
{
    return m->recovery_offset_bytes > member_offset;
}

bool check_copies_differ(const struct check_md *c, uint64_t offset)
{
    uint64_t run = UINT64_MAX;

    return region_of(c, check_layout_covered(&c->layout, offset), &run).differs;
}

static bool agrees(const struct check_md_member *m, uint64_t member_offset, struct region r)
{
    switch (m->state) {
    case CHECK_MD_IN_SYNC:
        return !r.differs;
    case CHECK_MD_RECOVERING:
    case CHECK_MD_REPLACING:
        return (m->recovers_by_bitmap && !r.marked) ||
               (has_recovered(m, member_offset) && !r.differs);
    default:
        return m->may_readd && !r.marked;
    }
}

unsigned check_copies(const struct check_md *c, uint64_t offset,
    struct check_copy copies[CHECK_COPIES_MAX], uint64_t *run_bytes)
{
    struct check_place places[CHECK_ROLES_MAX];
    unsigned place_count = check_layout_map(&c->layout, offset, places, run_bytes), count = 0;
    struct region r = region_of(c, check_layout_covered(&c->layout, offset), run_bytes);

    for (unsigned i = 0; i < place_count; i++) {
        for (unsigned k = 0; k < c->disk_count; k++) {
            const struct check_md_member *m = &c->disks[k];
            uint64_t at = places[i].offset_bytes;
            if (m->state > CHECK_MD_STALE || m->role != (int)places[i].role || at >= m->data_bytes)
                continue;
            if (has_recovered(m, at) && m->recovery_offset_bytes - at < *run_bytes)
                *run_bytes = m->recovery_offset_bytes - at;
            copies[count++] = (struct check_copy){.disk = k,
                .role = m->role,
                .offset_bytes = m->data_offset_bytes + at,
                .read = m->state == CHECK_MD_IN_SYNC,
                .agrees = agrees(m, at, r)};
        }
    }
    return count;
}

static const char *copy_at(
    const struct check_md *c, const struct check_copy *copy, void *buf, uint64_t length)
{
    return check_read(&c->disks[copy->disk].disk, buf, copy->offset_bytes, length);
}

static void say_difference(struct check_md *c, uint64_t offset, const struct check_copy *a,
    const char *at_a, const struct check_copy *b, const char *at_b)
{
    const struct check_md_member *ma = &c->disks[a->disk], *mb = &c->disks[b->disk];
    uint64_t at = 0;

    while (memcmp(at_a + at, at_b + at, CHECK_SECTOR_BYTES) == 0)
        at += CHECK_SECTOR_BYTES;
    check_problem(&c->problems,
        "array byte %" PRIu64 ": %s (%s, role %d, at %" PRIu64 ") and %s (%s, role %d, at %" PRIu64
        ") differ, %s, %s",
        offset + at, ma->disk.name, check_md_state_names[ma->state], ma->role, a->offset_bytes + at,
        mb->disk.name, check_md_state_names[mb->state], mb->role, b->offset_bytes + at,
        c->dirty ? "dirty" : "clean", check_md_marked(c, offset + at) ? "marked" : "not marked");
}

/* length at most COMPARE_BYTES, within one run. */
static bool compare(struct check_md *c, uint64_t offset, const struct check_copy *copies,
    unsigned count, uint64_t length)
{
    static _Thread_local char buffers[2][COMPARE_BYTES];
    const struct check_copy *first = NULL;
    const char *reference = NULL, *data;

    for (unsigned i = 0; i < count; i++) {
        if (!copies[i].agrees)
            continue;
        data = copy_at(c, &copies[i], buffers[reference != NULL], length);
        if (data && !reference) {
            reference = data;
            first = &copies[i];
        } else if (data && memcmp(data, reference, length) != 0) {
            say_difference(c, offset, first, reference, &copies[i], data);
            return false;
        }
    }
    return true;
}

/* --- parity --- */

/* A piece of a stripe: the blocks that have to fit, by role. */
struct piece {
    struct check_stripe stripe;
    uint64_t member_offset, length;
    const uint8_t *blocks[CHECK_ROLES_MAX];
    unsigned missing;
};

/* Buffers of a piece: one to read each block into, others to work out what is missing. */
struct rooms {
    uint8_t read[CHECK_ROLES_MAX][CHECK_PARITY_BYTES], other[CHECK_PARITY_BYTES];
    uint8_t solved[2][CHECK_PARITY_BYTES];
};
static _Thread_local struct rooms rooms;

static void start_piece(
    const struct check_md *c, struct piece *p, uint64_t member_offset, uint64_t length)
{
    uint64_t chunk = c->layout.chunk_bytes, left = chunk - member_offset % chunk;

    memset(p, 0, sizeof *p);
    p->stripe = check_layout_stripe(&c->layout, member_offset / chunk);
    p->member_offset = member_offset;
    p->length = length < left ? length : left;
    if (p->length > CHECK_PARITY_BYTES)
        p->length = CHECK_PARITY_BYTES;
    p->missing = c->layout.disks;
}

/* To where the answer changes. */
static struct region limit_piece(const struct check_md *c, struct piece *p)
{
    struct region r = region_of(c, p->member_offset, &p->length);

    for (unsigned k = 0; k < c->disk_count; k++) {
        uint64_t recovered = c->disks[k].recovery_offset_bytes;
        if (recovered > p->member_offset && recovered - p->member_offset < p->length)
            p->length = recovered - p->member_offset;
    }
    return r;
}

static const uint8_t *block_of(
    const struct check_md_member *m, const struct piece *p, uint8_t *room)
{
    return check_read(&m->disk, room, m->data_offset_bytes + p->member_offset, p->length);
}

/* A replacement and the member that it replaces both count: they are the same. */
static bool take_block(struct check_md *c, struct piece *p, const struct check_md_member *m)
{
    const uint8_t *known = p->blocks[m->role];
    const uint8_t *block = block_of(m, p, known ? rooms.other : rooms.read[m->role]);

    if (known && block && memcmp(known, block, p->length) != 0) {
        check_problem(&c->problems,
            "%s (%s, role %d) differs at %" PRIu64 " from the other in its role", m->disk.name,
            check_md_state_names[m->state], m->role, p->member_offset);
        return false;
    }
    if (block && !known) {
        p->blocks[m->role] = block;
        p->missing--;
    }
    return true;
}

static bool check_piece(struct check_md *c, struct piece *p)
{
    struct region r = limit_piece(c, p);
    uint64_t at;

    for (unsigned k = 0; k < c->disk_count; k++) {
        const struct check_md_member *m = &c->disks[k];
        if (m->state <= CHECK_MD_STALE && m->role >= 0 && m->role < (int)c->layout.disks &&
            agrees(m, p->member_offset, r) && !take_block(c, p, m))
            return false;
    }
    if (p->missing >= c->layout.parity)
        return true;
    if (p->missing)
        check_parity_solve(&c->layout, &p->stripe, p->blocks, rooms.solved, p->length);
    at = check_parity_fits(&c->layout, &p->stripe, p->blocks, p->length);
    if (at < p->length)
        check_problem(&c->problems,
            "parity (P on role %u) does not fit at %" PRIu64 " of the members, %u missing, %s, %s",
            p->stripe.p, p->member_offset + at, p->missing, c->dirty ? "dirty" : "clean",
            r.marked ? "marked" : "not marked");
    return at == p->length;
}

static bool parity_fits(struct check_md *c, uint64_t offset, uint64_t length)
{
    const struct check_layout *l = &c->layout;
    uint64_t row_bytes = (l->disks - l->parity) * l->chunk_bytes;
    uint64_t end = (offset + length + row_bytes - 1) / row_bytes * l->chunk_bytes;
    struct piece p;

    for (uint64_t at = offset / row_bytes * l->chunk_bytes; at < end; at += p.length) {
        start_piece(c, &p, at, end - at);
        if (!check_piece(c, &p))
            return false;
    }
    return true;
}

/* The block in that role from members in sync. */
static const void *work_out(
    const struct check_md *c, unsigned role, uint64_t member_offset, uint64_t *length)
{
    struct piece p;

    start_piece(c, &p, member_offset, *length);
    for (unsigned k = 0; k < c->disk_count; k++) {
        const struct check_md_member *m = &c->disks[k];
        if (m->state != CHECK_MD_IN_SYNC || p.blocks[m->role])
            continue;
        p.blocks[m->role] = block_of(m, &p, rooms.read[m->role]);
        p.missing -= p.blocks[m->role] != NULL;
    }
    *length = p.length;
    if (p.missing > c->layout.parity)
        return NULL;
    check_parity_solve(&c->layout, &p.stripe, p.blocks, rooms.solved, p.length);
    return p.blocks[role];
}

/* --- everything --- */

bool check_copies_agree(struct check_md *c, uint64_t offset, uint64_t length)
{
    struct check_copy copies[CHECK_COPIES_MAX];
    uint64_t end = offset + length, run;

    if (c->layout.parity)
        return parity_fits(c, offset, length);
    for (; offset < end; offset += run) {
        unsigned count = check_copies(c, offset, copies, &run);
        if (run > end - offset)
            run = end - offset;
        if (run > COMPARE_BYTES)
            run = COMPARE_BYTES;
        if (!compare(c, offset, copies, count, run))
            return false;
    }
    return true;
}

static const void *read_run(
    const struct check_md *c, void *buf, uint64_t offset, uint64_t length, uint64_t *run)
{
    struct check_copy copies[CHECK_COPIES_MAX];
    struct check_place places[CHECK_ROLES_MAX];
    unsigned count = check_copies(c, offset, copies, run);

    if (*run > length)
        *run = length;
    for (unsigned i = 0; i < count; i++) {
        const void *at = copies[i].read ? copy_at(c, &copies[i], buf, *run) : NULL;
        if (at)
            return at;
    }
    if (!c->layout.parity)
        return NULL;
    check_layout_map(&c->layout, offset, places, run);
    if (*run > length)
        *run = length;
    return work_out(c, places->role, places->offset_bytes, run);
}

static const void *array_at(void *arg, void *buf, uint64_t offset, uint64_t length)
{
    uint64_t run;
    const void *at = read_run(arg, buf, offset, length, &run);

    if (!at || run == length)
        return at;
    for (uint64_t done = 0; done < length; done += run) {
        char *to = (char *)buf + done;
        at = read_run(arg, to, offset + done, length - done, &run);
        if (!at)
            return NULL;
        if (at != to)
            memcpy(to, at, run);
    }
    return buf;
}

struct check_disk check_array(const struct check_md *c, const char *name)
{
    return (struct check_disk){name, c->layout.size_bytes, array_at, (void *)c};
}
