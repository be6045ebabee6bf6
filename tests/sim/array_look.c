/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between machines: what stands on the disks, seen by checkers that know nothing of lib/raid.
 *
 *   - the metadata makes an array, and every member in sync has a bitmap that misses nothing;
 *   - copies agree wherever they count as the same: where they are not marked, as far as a member
 *     has recovered, and where one may come back by bitmap;
 *   - each copy of a member in sync holds what the model allows.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "array_world.h"
#include "check_copies.h"
#include "check_md.h"
#include "raid/bitmap.h"
#include "raid/superblock.h"

#define PIECE_BYTES (32u << 10)
#define ALL_DISKS   UINT32_MAX

static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!sim->failure[0])
        vsnprintf(sim->failure, sizeof sim->failure, fmt, ap);
    va_end(ap);
    SIM_TRACE("*** %s", sim->failure);
}

static void check_copy(
    const struct check_disk *d, const void *data, uint64_t offset, uint64_t length)
{
    char why[MODEL_WHY_LEN];
    uint64_t bad = model_check_image(model, data, offset, length, why);

    if (bad != MODEL_GOOD)
        complain("%s holds what cannot be at %llu of the array: %s", d->name,
            (unsigned long long)bad, why);
}

/* Copies that are the same as the one looked at last need no look of their own. */
static void check_run(const struct check_md *c, uint64_t offset, uint64_t *length)
{
    static char buffers[2][PIECE_BYTES];
    struct check_copy copies[CHECK_COPIES_MAX];
    struct check_disk array = check_array(c, "the array");
    unsigned count = check_copies(c, offset, copies, length), turn = 0;
    const void *last = NULL, *data;

    *length = MIN(*length, (uint64_t)PIECE_BYTES);
    for (unsigned i = 0; i < count && !sim->failure[0]; i++) {
        const struct check_disk *d = &c->disks[copies[i].disk].disk;
        if (!copies[i].read)
            continue;
        data = check_read(d, buffers[turn], copies[i].offset_bytes, *length);
        if (!data || (last && !memcmp(last, data, *length)))
            continue;
        check_copy(d, data, offset, *length);
        last = data;
        turn ^= 1;
    }
    /* What the log will do again is looked at when it has been. */
    if (array_has_parity() && !last && !c->dirty && !sim->failure[0])
        check_copy(&array, check_read(&array, buffers[0], offset, *length), offset, *length);
}

static void note_roles(const struct check_md *c)
{
    for (unsigned i = 0; i < SIM_DISKS_MAX; i++)
        world->role_of[i] = -1;
    for (unsigned i = 0; i < c->disk_count; i++)
        if (c->disks[i].state == CHECK_MD_IN_SYNC)
            world->role_of[i] = c->disks[i].role;
}

/* One that is gone, or could not be read when the array was assembled, may have had an update that
 * the others are just about to do again. */
static bool any_gone(void)
{
    for (unsigned i = 0; i < sim->disk_count; i++)
        if (!sim->disks[i].present)
            return true;
    return world->left_out;
}

bool array_examine_disks(struct check_md *c, uint32_t disks)
{
    struct check_disk taken[SIM_DISKS_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < sim->disk_count; i++)
        if (disks >> i & 1)
            taken[count++] = check_sim_disk(&sim->disks[i]);
    return check_md(c, taken, count, world->uuid);
}

void array_look(void)
{
    static struct check_md c;
    uint64_t length;

    if (!array_examine_disks(&c, ALL_DISKS) && !(any_gone() && c.starts))
        complain("metadata: %s", c.problems.text);
    else if (c.layout.size_bytes != world->size_bytes)
        complain("the disks make an array of %llu bytes", (unsigned long long)c.layout.size_bytes);
    else if (world->level != 0 && !check_copies_agree(&c, 0, world->size_bytes))
        complain("copies: %s", c.problems.text);
    else
        array_note_torn(&c);
    for (uint64_t at = 0; at < world->size_bytes && !sim->failure[0]; at += length)
        check_run(&c, at, &length);
    note_roles(&c);
}

/* --- small arrays --- */

static void make_small(struct sim_disk *d)
{
    unsigned char buf[MD_SUPERBLOCK_BYTES], bitmap[4096];
    struct md_bitmap_header h;
    static struct md_superblock sb;
    uint64_t at;

    sim_disk_peek(d, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf);
    if (md_superblock_decode(&sb, buf, NULL) || sb.level == 0)
        return;
    at = (uint64_t)(MD_SUPERBLOCK_OFFSET + sb.bitmap_offset) * MD_SECTOR_BYTES;
    sb.data_offset = world->data_offset_bytes / MD_SECTOR_BYTES;
    if (world->no_bitmap) {
        sb.feature_map &= ~(uint32_t)MD_FEATURE_BITMAP_OFFSET;
        sb.bitmap_offset = 0;
    }
    md_superblock_encode(&sb, buf);
    sim_disk_poke(d, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf);
    sim_disk_peek(d, bitmap, at, sizeof bitmap);
    if (md_bitmap_decode(&h, bitmap, NULL))
        return;
    h.chunk_bytes = (uint32_t)world->bitmap_chunk_bytes;
    md_bitmap_encode(&h, bitmap);
    md_bitmap_fill(bitmap + MD_BITMAP_HEADER_BYTES,
        md_bitmap_bits(h.sync_size * MD_SECTOR_BYTES, h.chunk_bytes), true);
    sim_disk_poke(d, bitmap, at, sizeof bitmap);
}

/* Between metadata and data of parity arrays is the log: room for many records, some, few, none. */
static uint64_t choose_data_offset(void)
{
    static const unsigned kib[] = {1024, 384, 192, 192, 192, 192, 128};

    return array_has_parity() ? kib[sim_below(&sim->random[SIM_ADMIN], ARRAY_LEN(kib))] << 10
                              : ARRAY_DATA_OFFSET;
}

void array_make_small(void)
{
    world->data_offset_bytes = choose_data_offset();
    for (unsigned i = 0; i < sim->disk_count; i++)
        make_small(&sim->disks[i]);
}
