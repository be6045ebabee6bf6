/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What does not fit, by our own eyes, and what a check and a repair make of it: in an array at
 * rest, with all members in sync, of which one disk lies. It goes by rows: a page of each copy, or
 * of each block of a stripe.
 */
#include <stdlib.h>
#include <string.h>

#include "array_world.h"
#include "check_parity.h"

#define ROW_BYTES 4096u

struct row {
    uint64_t
        offsets[CHECK_ROLES_MAX];    /* of the array's pages in it, and who has them; of copies: */
    unsigned roles[CHECK_ROLES_MAX]; /* one page, and all who have it */
    unsigned pages, role_count;
};

struct sim_disk *array_disk_in_role(unsigned role)
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

bool array_tells_who(void)
{
    return world->level == 6 || machine.geometry.copies > 2;
}

/* --- by our own eyes --- */

static bool copies_differ(uint64_t at, struct row *r)
{
    static uint8_t pages[2][ROW_BYTES];
    struct raid_location copies[RAID_COPIES_MAX];
    uint64_t run_bytes;
    bool differ = false;

    r->role_count = raid_geometry_map(&machine.geometry, at, copies, &run_bytes);
    r->pages = 1;
    r->offsets[0] = at;
    for (unsigned i = 0; i < r->role_count; i++) {
        r->roles[i] = copies[i].role;
        sim_disk_peek(array_disk_in_role(copies[i].role), pages[i > 0],
            world->data_offset_bytes + copies[i].offset_bytes, ROW_BYTES);
        differ |= i && memcmp(pages[0], pages[1], ROW_BYTES) != 0;
    }
    return differ;
}

static bool stripe_is_unfit(uint64_t at, struct row *r)
{
    static uint8_t pages[CHECK_ROLES_MAX][ROW_BYTES];
    const uint8_t *blocks[CHECK_ROLES_MAX];
    struct check_layout l = array_layout();
    struct check_stripe s = check_layout_stripe(&l, at / l.chunk_bytes);
    unsigned data = l.disks - l.parity;

    r->pages = r->role_count = data;
    for (unsigned i = 0; i < data; i++) {
        r->offsets[i] = (at / l.chunk_bytes * data + i) * l.chunk_bytes + at % l.chunk_bytes;
        r->roles[i] = s.data[i];
    }
    for (unsigned role = 0; role < l.disks; role++) {
        sim_disk_peek(
            array_disk_in_role(role), pages[role], world->data_offset_bytes + at, ROW_BYTES);
        blocks[role] = pages[role];
    }
    return check_parity_fits(&l, &s, blocks, ROW_BYTES) < ROW_BYTES;
}

static bool row_differs(uint64_t at, struct row *r)
{
    return array_has_parity() ? stripe_is_unfit(at, r) : copies_differ(at, r);
}

static uint64_t rows_end(void)
{
    return array_has_parity() ? world->member_bytes : world->size_bytes;
}

static bool anything_differs(void)
{
    struct row r;

    for (uint64_t at = 0; at < rows_end(); at += ROW_BYTES)
        if (row_differs(at, &r))
            return true;
    return false;
}

/* --- what a check says --- */

struct array_mismatches *array_run_check(enum array_action action)
{
    struct error err = {0};
    struct array_mismatches *l;
    struct array_status *s;

    if (array_sync(machine.array, action, &err))
        sim_fail("%s cannot be started: %s", array_action_name(action), err.text);
    array_settle();
    s = array_status(machine.array);
    l = array_mismatches(machine.array);
    if (!s || !l)
        sim_fail("out of memory");
    if (s->sync.last_action != action || s->sync.result)
        sim_fail("%s has ended with %d", array_action_name(action), s->sync.result);
    if (l->action != action || l->bytes != s->sync.mismatch_bytes || l->more)
        sim_fail("the list of mismatches is not that of the %s", array_action_name(action));
    free(s);
    SIM_TRACE("%s: %llu bytes differ", array_action_name(action), (unsigned long long)l->bytes);
    return l;
}

static bool covers(const struct array_mismatch *m, uint64_t offset)
{
    for (unsigned i = 0; i < m->count; i++) {
        uint64_t start = m->offset_bytes + i * m->stride_bytes;
        if (offset >= start && offset < start + m->length_bytes)
            return true;
    }
    return false;
}

static unsigned count_covered(const struct array_mismatch *m, const struct row *r)
{
    unsigned covered = 0;

    for (unsigned i = 0; i < r->pages; i++)
        covered += covers(m, r->offsets[i]);
    return covered;
}

/* The page of data that the role has in the row; -1: it has parity. */
static int page_of(const struct row *r, int role)
{
    for (unsigned i = 0; i < r->role_count; i++)
        if ((int)r->roles[i] == role)
            return r->pages > 1 ? (int)i : 0;
    return -1;
}

/* The liar by name, and whether it is its data or its parity. */
static bool names(const struct array_mismatches *l, const struct array_mismatch *m,
    const struct row *r, const struct sim_disk *liar)
{
    int page = page_of(r, m->roles[0]);

    if (m->suspects != 1 || array_disk_in_role((unsigned)m->roles[0]) != liar ||
        &sim->disks[array_disk_of(l->members[m->roles[0]])] != liar)
        return false;
    if (page < 0)
        return m->wrong == ARRAY_WRONG_PARITY && count_covered(m, r) == r->pages;
    return m->wrong == ARRAY_WRONG_DATA && count_covered(m, r) == 1 && covers(m, r->offsets[page]);
}

/* Nobody, or one of two copies. */
static bool leaves_open(const struct array_mismatch *m, const struct row *r)
{
    if (m->wrong != ARRAY_WRONG_UNKNOWN || count_covered(m, r) != r->pages)
        return false;
    return array_has_parity() ? m->suspects == 0 : m->suspects == 2;
}

static void expect_row(const struct array_mismatches *l, const struct row *r, uint64_t at,
    bool differs, const struct sim_disk *liar)
{
    unsigned found = 0;

    for (unsigned i = 0; i < l->count; i++) {
        const struct array_mismatch *m = &l->items[i];
        if (!count_covered(m, r))
            continue;
        found++;
        if (!differs)
            sim_fail("what fits at %llu is called a mismatch", (unsigned long long)at);
        if (array_tells_who() ? !names(l, m, r, liar) : !leaves_open(m, r))
            sim_fail("a check does not tell what it can of what %s has at %llu: %u suspects, "
                     "the first with role %d",
                liar->path, (unsigned long long)at, m->suspects, m->roles[0]);
    }
    if (found != differs)
        sim_fail(
            "a check tells %u times that it does not fit at %llu", found, (unsigned long long)at);
}

static void expect_list(const struct array_mismatches *l, const struct sim_disk *liar)
{
    uint64_t bytes = 0;
    struct row r;

    for (uint64_t at = 0; at < rows_end(); at += ROW_BYTES) {
        bool differs = row_differs(at, &r);
        expect_row(l, &r, at, differs, liar);
        bytes += differs ? ROW_BYTES : 0;
    }
    if (l->bytes != bytes)
        sim_fail("%llu bytes differ, a check says %llu", (unsigned long long)bytes,
            (unsigned long long)l->bytes);
}

void array_check_and_repair(const struct sim_disk *liar)
{
    struct array_mismatches *l = array_run_check(ARRAY_CHECK);
    bool differ = l->count;

    expect_list(l, liar); /* which a check has left as it was */
    free(l);
    l = array_run_check(ARRAY_REPAIR);
    if ((l->count != 0) != differ)
        sim_fail("a repair does not find what a check has found");
    free(l);
    l = array_run_check(ARRAY_CHECK);
    if (l->count || anything_differs())
        sim_fail("something does not fit after a repair");
    free(l);
    array_read_again("after a repair", world->size_bytes);
}
