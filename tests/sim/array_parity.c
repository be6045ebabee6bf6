/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What parity does not make good. A crash in the middle of a write leaves stripes that do not fit
 * (they are torn). The log mends those of which a part was written; of those that were written
 * whole, and were not yet flushed, data that are there are as good as ever, but what is worked out
 * may be anything: so with its member each sector that was being written is lost, until it is
 * written again. What was flushed before never is. Without a log all that a torn stripe had on that
 * member is lost.
 *
 * Where stripes may be torn the bitmap says, looked at after the crash, before the log has been.
 */
#include <stdlib.h>
#include <string.h>

#include "array_world.h"
#include "check_copies.h"

#define PAGE_BYTES 4096u /* of members; a bit each in world->torn */
#define LOG_NEEDS_END                                                                              \
    (192u << 10) /* data begins there or later: two halves of 64 KiB from 64 on                    \
                  */

struct check_layout array_layout(void)
{
    struct check_layout l;

    if (!check_layout_init(&l, world->level, world->layout, world->members, world->chunk_bytes,
            world->member_bytes, NULL))
        sim_fail("the array's shape makes no sense");
    return l;
}

bool array_has_parity(void)
{
    return world->level == 5 || world->level == 6;
}

bool array_has_log(void)
{
    return array_has_parity() && world->data_offset_bytes >= LOG_NEEDS_END;
}

/* --- torn pages --- */

static bool is_torn(uint64_t page)
{
    return world->torn[page / 64] >> page % 64 & 1;
}

static void set_torn(uint64_t page, bool torn)
{
    uint64_t bit = UINT64_C(1) << page % 64;

    world->torn[page / 64] = (world->torn[page / 64] & ~bit) | (torn ? bit : 0);
}

static void clear_torn(void)
{
    memset(world->torn, 0, sizeof world->torn);
}

static bool any_torn(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(world->torn); i++)
        if (world->torn[i])
            return true;
    return false;
}

/* --- what is lost --- */

/* Anything, from now on, until it is written. */
static void say_anything(uint64_t offset, uint64_t length)
{
    unsigned ticket = model_write_begin(model, MODEL_UNUSED, offset, length, NULL);

    model_write_end(model, ticket, true, true);
}

void array_parity_created(void)
{
    clear_torn();
    if (array_has_parity())
        say_anything(0, world->size_bytes);
}

static bool may_be_lost(uint64_t offset)
{
    return !array_has_log() || !model_is_settled(model, offset);
}

static void lose(uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length, from = offset;

    for (uint64_t at = offset; at < end; at += MODEL_SECTOR_BYTES)
        if (!may_be_lost(at)) {
            if (at > from)
                say_anything(from, at - from);
            from = at + MODEL_SECTOR_BYTES;
        }
    if (end > from)
        say_anything(from, end - from);
}

/* The data that this role has in the page, if it is not parity there. */
static void lose_page(const struct check_layout *l, unsigned role, uint64_t member_offset)
{
    uint64_t number = member_offset / l->chunk_bytes, within = member_offset % l->chunk_bytes;
    struct check_stripe s = check_layout_stripe(l, number);
    unsigned data = l->disks - l->parity;

    for (unsigned i = 0; i < data; i++)
        if (s.data[i] == role)
            lose((number * data + i) * l->chunk_bytes + within, PAGE_BYTES);
}

static void lose_role(unsigned role)
{
    struct check_layout l = array_layout();

    SIM_TRACE("role %u: torn pages are lost", role);
    for (uint64_t page = 0; page < world->member_bytes / PAGE_BYTES; page++)
        if (is_torn(page))
            lose_page(&l, role, page * PAGE_BYTES);
}

/* -1: none yet, but it may get any. */
static int role_now(unsigned disk)
{
    struct array_status *s;
    int role = -1;

    if (!machine.array)
        return world->role_of[disk];
    s = array_status(machine.array);
    if (!s)
        sim_fail("out of memory");
    for (unsigned i = 0; i < s->member_count; i++)
        if (s->members[i].name[0] && array_disk_of(s->members[i].name) == disk)
            role = s->members[i].role;
    if (s->unsynced_bytes == 0)
        clear_torn();
    free(s);
    return role;
}

void array_lose(unsigned disk)
{
    int role;

    model_unpin(model);
    if (!any_torn())
        return;
    role = role_now(disk);
    for (unsigned i = 0; any_torn() && i < world->members; i++)
        if (role < 0 || role == (int)i)
            lose_role(i);
}

void array_log_lost(void)
{
    say_anything(0, world->size_bytes);
}

/* --- after a machine --- */

static bool in_sync(const struct check_md *c, unsigned role)
{
    return c->members[role] >= 0 && c->disks[c->members[role]].state == CHECK_MD_IN_SYNC;
}

void array_note_torn(const struct check_md *c)
{
    uint64_t row_bytes = c->layout.chunk_bytes * (c->layout.disks - c->layout.parity);

    if (!array_has_parity())
        return;
    for (uint64_t page = 0; page < world->member_bytes / PAGE_BYTES; page++) {
        uint64_t at = page * PAGE_BYTES, chunk = c->layout.chunk_bytes;
        bool torn = check_copies_differ(c, at / chunk * row_bytes + at % chunk);
        set_torn(page, torn && (world->crashed || is_torn(page)));
    }
    for (unsigned role = 0; world->crashed && role < world->members; role++)
        if (!in_sync(c, role))
            lose_role(role);
}

void array_note_stop(bool failed)
{
    static struct check_md c;

    world->crashed = failed;
    if (failed && array_examine_disks(&c, UINT32_MAX))
        array_note_torn(&c);
}
