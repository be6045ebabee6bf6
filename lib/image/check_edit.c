/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of L1 and L2 tables in a repair: one table at a time is read, edited, and what changed of
 * it is written. The flush is at the end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/check_private.h"

struct edit {
    struct check *c;
    const struct check_table *table; /* of an L2 entry */
    bool active;                     /* of an L1 entry */
    const uint32_t *refcounts;       /* as they will be */
    bool all;                        /* also where the refcount stays */
    uint8_t *old, *new;              /* a table */
};

typedef struct qcow2_entry edit_l2(const struct edit *x, struct qcow2_entry e);
typedef uint64_t edit_l1(const struct edit *x, uint64_t word);

static int write_changed(const struct edit *x, uint64_t offset, uint64_t length)
{
    uint64_t from = 0, to = length;

    while (from < to && x->old[from] == x->new[from])
        from++;
    while (to > from && x->old[to - 1] == x->new[to - 1])
        to--;
    if (from == to)
        return 0;
    return blockdev_write_bytes(x->c->file, x->new + from, offset + from, to - from, 0);
}

static int edit_table(struct edit *x, edit_l2 *fn)
{
    const struct check_table *t = x->table;
    const struct qcow2_geometry *g = &x->c->g;
    int rc = check_read_cluster(x->c, t->offset);

    if (rc < 0)
        return rc;
    x->old = x->c->batch;
    memcpy(x->new, x->old, x->c->cluster_bytes);
    for (unsigned i = 0; i < 1u << g->l2_bits; i++)
        qcow2_entry_put(g, x->new, i, fn(x, qcow2_entry_get(g, x->old, i)));
    if (t->moved_to)
        return blockdev_write_bytes(x->c->file, x->new, t->moved_to, x->c->cluster_bytes, 0);
    return write_changed(x, t->offset, x->c->cluster_bytes);
}

static int edit_tables(struct edit *x, edit_l2 *fn, bool only_active)
{
    struct check *c = x->c;
    int rc = 0;

    x->new = malloc(c->cluster_bytes);
    if (!x->new)
        return -ENOMEM;
    for (size_t i = 0; !rc && i < c->table_count; i++) {
        x->table = &c->tables[i];
        if (!only_active || x->table->active)
            rc = edit_table(x, fn);
    }
    free(x->new);
    return rc ? rc : blockdev_flush(c->file);
}

static int edit_l1_at(struct edit *x, edit_l1 *fn, const struct check_l1 *l1)
{
    uint64_t length = UINT64_C(8) * l1->entries;
    int rc = check_read_table(x->c, l1->offset, length, &x->old);

    if (rc < 0)
        return rc;
    x->active = l1->active;
    x->new = malloc(length);
    rc = x->new ? 0 : -ENOMEM;
    for (uint64_t i = 0; !rc && i < length; i += 8)
        put_be64(x->new + i, fn(x, get_be64(x->old + i)));
    if (!rc)
        rc = write_changed(x, l1->offset, length);
    free(x->new);
    free(x->old);
    return rc;
}

static int edit_l1s(struct edit *x, edit_l1 *fn)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < x->c->l1_count; i++)
        rc = edit_l1_at(x, fn, &x->c->l1s[i]);
    return rc ? rc : blockdev_flush(x->c->file);
}

/* --- entries that cannot be, and tables that move --- */

/* It refers to what is not the guest's; or more do so than a refcount can tell, even when the table
 * itself is referred to no more often than that. */
static bool must_go(const struct edit *x, uint64_t offset, uint64_t length)
{
    const struct check *c = x->c;
    uint64_t first = offset >> c->g.cluster_bits, last = (offset + length - 1) >> c->g.cluster_bits;
    uint64_t times = x->table->references, excess = times - MIN(times, c->refcount_max);

    for (uint64_t i = first; i <= last; i++)
        if (c->uses[i] & CHECK_USE_FIXED || c->references[i] > c->refcount_max + excess)
            return true;
    return false;
}

static void drop_references(const struct edit *x, uint64_t offset, uint64_t length)
{
    const struct check *c = x->c;
    uint64_t first = offset >> c->g.cluster_bits, last = (offset + length - 1) >> c->g.cluster_bits;

    for (uint64_t i = first; i <= last; i++)
        c->references[i] -= MIN(c->references[i], x->table->references);
}

static struct qcow2_entry mend_l2(const struct edit *x, struct qcow2_entry e)
{
    const struct check *c = x->c;
    uint64_t offset, length;

    if (qcow2_l2_entry_fault(&c->g, c->header.version, e, c->file_bytes))
        e = check_mend_l2(c, e);
    if (!check_extent(c, e, &offset, &length) || !must_go(x, offset, length))
        return e;
    drop_references(x, offset, length);
    return check_lost_l2(c);
}

static int compare_tables(const void *a, const void *b)
{
    const struct check_table *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static uint64_t mend_l1(const struct edit *x, uint64_t word)
{
    const struct check *c = x->c;
    struct check_table key, *t;

    if (qcow2_l1_entry_fault(&c->g, word, c->file_bytes))
        word = check_mend_l1(c, word);
    key.offset = word & QCOW2_OFFSET_MASK;
    t = bsearch(&key, c->tables, c->table_count, sizeof *t, compare_tables);
    if (!t)
        return word;
    if (t->references > c->refcount_max) {
        t->references--;
        return 0;
    }
    return t->moved_to ? (word & ~QCOW2_OFFSET_MASK) | t->moved_to : word;
}

int check_mend_l2s(struct check *c)
{
    return edit_tables(&(struct edit){.c = c}, mend_l2, false);
}

int check_mend_l1s(struct check *c)
{
    return edit_l1s(&(struct edit){.c = c}, mend_l1);
}

/* --- COPIED --- */

static uint64_t set_copied(const struct edit *x, uint64_t word)
{
    const struct check *c = x->c;
    uint64_t cluster = (word & QCOW2_OFFSET_MASK) >> c->g.cluster_bits;

    if (!cluster || (!x->all && x->refcounts[cluster] == c->refcounts[cluster]))
        return word;
    return x->refcounts[cluster] == 1 ? word | QCOW2_COPIED : word & ~QCOW2_COPIED;
}

static struct qcow2_entry copied_l2(const struct edit *x, struct qcow2_entry e)
{
    const struct check *c = x->c;

    if (!(e.word & QCOW2_COMPRESSED) &&
        !qcow2_l2_entry_fault(&c->g, c->header.version, e, c->file_bytes))
        e.word = set_copied(x, e.word);
    return e;
}

static uint64_t copied_l1(const struct edit *x, uint64_t word)
{
    if (!x->active || qcow2_l1_entry_fault(&x->c->g, word, x->c->file_bytes))
        return word;
    return set_copied(x, word);
}

int check_set_copied(struct check *c, const uint32_t *refcounts, bool all)
{
    struct edit x = {.c = c, .refcounts = refcounts, .all = all};
    int rc = edit_tables(&x, copied_l2, true);

    return rc ? rc : edit_l1s(&x, copied_l1);
}
