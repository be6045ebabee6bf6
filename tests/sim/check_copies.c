/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_copies.h"

#include <inttypes.h>

#define COMPARE_BYTES (64u << 10) /* at once, so that what has to be copied fits into a buffer */

/* What bitmaps and resync_offset say of where a byte is. */
struct region {
    bool marked;
    bool differs; /* a resync would go over it: nobody says that its copies are the same */
};

static struct region region_of(const struct check_md *c, uint64_t offset, uint64_t *run_bytes)
{
    uint64_t end = c->layout.size_bytes;
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
    struct region r = region_of(c, offset, run_bytes);

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

bool check_copies_agree(struct check_md *c, uint64_t offset, uint64_t length)
{
    struct check_copy copies[CHECK_COPIES_MAX];
    uint64_t end = offset + length, run;

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
    unsigned count = check_copies(c, offset, copies, run);

    if (*run > length)
        *run = length;
    for (unsigned i = 0; i < count; i++) {
        const void *at = copies[i].read ? copy_at(c, &copies[i], buf, *run) : NULL;
        if (at)
            return at;
    }
    return NULL;
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
