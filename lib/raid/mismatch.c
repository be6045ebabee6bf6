/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In the order found, which is that of no offset: several windows are compared side by side. */
#include "raid/mismatch.h"

#include <stdlib.h>
#include <string.h>

static size_t bytes_of(unsigned raid_disks)
{
    struct array_mismatches *l;

    return sizeof *l + raid_disks * sizeof l->members[0];
}

struct array_mismatches *mismatches_new(unsigned raid_disks)
{
    struct array_mismatches *l = calloc(1, bytes_of(raid_disks));

    if (l)
        l->member_count = raid_disks;
    return l;
}

void mismatches_clear(struct array_mismatches *l, uint64_t sync_id, enum array_action action)
{
    l->sync_id = sync_id;
    l->action = action;
    l->bytes = 0;
    l->count = 0;
    l->more = false;
}

/* Whether y goes on where x ends, and nothing else is different. */
static bool follows(const struct array_mismatch *x, const struct array_mismatch *y)
{
    return x->offset_bytes + x->length_bytes == y->offset_bytes && x->count == y->count &&
           x->wrong == y->wrong && x->suspects == y->suspects &&
           memcmp(x->roles, y->roles, x->suspects * sizeof x->roles[0]) == 0;
}

/* The one that m follows, or that follows m; NULL: there is none. */
static struct array_mismatch *find(
    struct array_mismatches *l, const struct array_mismatch *m, bool before)
{
    for (unsigned i = 0; i < l->count; i++)
        if (before ? follows(&l->items[i], m) : follows(m, &l->items[i]))
            return &l->items[i];
    return NULL;
}

void mismatches_add(struct array_mismatches *l, const struct array_mismatch *m)
{
    struct array_mismatch *before = find(l, m, true), *behind = find(l, m, false);

    if (before && behind) {
        before->length_bytes += m->length_bytes + behind->length_bytes;
        *behind = l->items[--l->count];
    } else if (before) {
        before->length_bytes += m->length_bytes;
    } else if (behind) {
        behind->offset_bytes = m->offset_bytes;
        behind->length_bytes += m->length_bytes;
    } else if (l->count < ARRAY_MISMATCHES_MAX) {
        l->items[l->count++] = *m;
    } else {
        l->more = true;
    }
}

static int by_offset(const void *x, const void *y)
{
    const struct array_mismatch *a = x, *b = y;

    if (a->offset_bytes != b->offset_bytes)
        return a->offset_bytes < b->offset_bytes ? -1 : 1;
    return a->roles[0] - b->roles[0];
}

struct array_mismatches *mismatches_copy(const struct array_mismatches *l)
{
    struct array_mismatches *copy = malloc(bytes_of(l->member_count));

    if (!copy)
        return NULL;
    memcpy(copy, l, bytes_of(l->member_count));
    qsort(copy->items, copy->count, sizeof copy->items[0], by_offset);
    return copy;
}
