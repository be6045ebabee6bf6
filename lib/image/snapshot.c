/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Internal snapshots: making and deleting them.
 *
 * Making one: guests pause while, in memory, every cluster is counted once more and every entry
 * becomes shared (they then write elsewhere), and while what of the map is not on the disk yet is
 * captured: with it, the old layout is the snapshot. Then, with guests going on, that is written
 * where it belongs, the active disk's tables go to new places, and the header switches.
 *
 * Deleting one: the clusters it refers to are counted down, entries that are no longer shared say
 * so in the new layout, and only when it has come into force may those clusters be used again, and
 * guests write where they are. Nobody pauses.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "image/commit.h"
#include "image/layout.h"
#include "image/refcount.h"
#include "image/snapshot.h"
#include "rt/worker.h"

#define SPARE_TABLES 64 /* that guests may add meanwhile */
#define ATTEMPTS     5
#define NAME_MOST    255

int snapshot_find(const struct qcow2 *q, const char *name, struct error *err)
{
    for (uint32_t i = 0; i < atomic_load(&q->snapshot_count); i++)
        if (!strcmp(q->snapshots[i].name, name))
            return (int)i;
    return error_set(err, ENOENT, "there is no snapshot %s", name);
}

uint64_t tables_count(struct qcow2 *q)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < q->map.count; i++) {
        spin_lock(&map_shard(q, i)->lock);
        n += !!q->map.slots[i].word;
        spin_unlock(&map_shard(q, i)->lock);
    }
    return n;
}

void table_share(const struct qcow2_geometry *g, uint8_t *table)
{
    for (unsigned i = 0; i < 1u << g->l2_bits; i++) {
        uint8_t *at = table + ((uint64_t)i << g->l2_entry_bits);

        put_be64(at, get_be64(at) & ~QCOW2_COPIED);
    }
}

/* Nobody is under way. */
static int share_table(struct qcow2 *q, struct l2_table *t)
{
    int rc = clusters_count_up(q, t->bytes);

    if (!rc && !MUTANT(COPIED_KEPT))
        table_share(&q->g, t->bytes);
    return rc;
}

/* Guests pause: the state that the snapshot will have is captured, with the L1 words of its tables;
 * theirs becomes shared. -EAGAIN: there are more tables than places were taken for. */
static int share_all(struct layout *l, struct commit *c, bool *had)
{
    struct qcow2 *q = l->q;
    int rc;

    gate_close(&q->gate);
    rc = tables_count(q) > l->tables ? -EAGAIN : 0;
    if (!rc)
        rc = commit_capture(c);
    for (unsigned i = 0; !rc && i < q->map.count; i++) {
        had[i] = q->map.slots[i].table;
        if (had[i] && (rc = share_table(q, q->map.slots[i].table)))
            atomic_store(&q->broken, true);
    }
    gate_open(&q->gate);
    return rc;
}

static bool always(struct qcow2 *q, uint8_t *table)
{
    return true;
}

/* The places where the tables were are the snapshot's now. */
static int move_all(struct layout *l, const bool *had)
{
    uint64_t from;
    int rc = 0;

    for (unsigned i = 0; !rc && i < l->q->map.count; i++)
        if (had[i])
            rc = layout_move_table(l, i, always, &from);
    if (rc)
        atomic_store(&l->q->broken, true);
    return rc;
}

/* With `control`, and clusters taken. */
static int create_taken(struct layout *l)
{
    struct qcow2 *q = l->q;
    bool *had = calloc(MAX(q->map.count, 1u), sizeof *had);
    struct commit c;
    int rc;

    if (!had)
        return -ENOMEM;
    commit_begin(&c, q);
    rc = share_all(l, &c, had);
    if (!rc && (rc = commit_write(&c)))
        atomic_store(&q->broken, true);
    commit_end(&c, rc);
    if (!rc)
        rc = move_all(l, had);
    if (!rc)
        rc = layout_switch(l);
    free(had);
    return rc;
}

/* The list with one more. */
static struct qcow2_snapshot *describe(const struct qcow2 *q, const char *name)
{
    uint32_t n = q->header.snapshot_count;
    struct qcow2_snapshot *list = calloc(n + 1, sizeof *list);
    unsigned long id = 0;
    char text[24];

    if (!list)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        unsigned long other = strtoul(q->snapshots[i].id, NULL, 10);

        list[i] = q->snapshots[i];
        id = MAX(id, other);
    }
    snprintf(text, sizeof text, "%lu", id + 1);
    list[n] = (struct qcow2_snapshot){.id = strdup(text),
        .name = strdup(name),
        .l1_offset = q->header.l1_offset,
        .l1_entries = q->header.l1_entries,
        .seconds = (uint32_t)rt_wall_seconds(),
        .size_bytes = q->header.size_bytes,
        .icount = UINT64_MAX};
    if (list[n].id && list[n].name)
        return list;
    free(list[n].id);
    free(list[n].name);
    free(list);
    return NULL;
}

/* The list is the image's after a switch; else what is new in it goes. */
static void adopt(
    struct qcow2 *q, struct qcow2_snapshot *list, struct qcow2_snapshot *changed, bool switched)
{
    if (changed && list) {
        free(changed->id);
        free(changed->name);
        free(changed->unknown);
    }
    if (switched) {
        free(q->snapshots);
        q->snapshots = list;
    } else {
        free(list);
    }
}

/* What deleting one takes is kept free, or a full image could not be helped. */
void snapshots_keep(struct qcow2 *q)
{
    struct layout l;

    layout_begin(&l, q);
    l.snapshots = q->snapshots;
    l.keep_snapshots = false;
    clusters_keep(q, q->header.snapshot_count ? layout_clusters(&l, tables_count(q)) : 0);
}

static int create_locked(struct qcow2 *q, const char *name, uint64_t tables)
{
    struct qcow2_snapshot *list = describe(q, name);
    uint32_t count = q->header.snapshot_count;
    struct layout l;
    int rc = list ? commit_locked(q, false) : -ENOMEM;

    layout_begin(&l, q);
    l.snapshots = list;
    l.keep_snapshots = false;
    l.h.snapshot_count++;
    if (!rc)
        rc = layout_take(&l, tables);
    if (!rc)
        rc = create_taken(&l);
    layout_end(&l, !rc);
    adopt(q, list, rc && list ? &list[count] : NULL, !rc);
    snapshots_keep(q);
    return rc;
}

static int create_once(struct qcow2 *q, const char *name)
{
    uint64_t tables = tables_count(q) + SPARE_TABLES;
    int rc = space_reserve(q, 2 * layout_estimate(q, tables) + SPARE_TABLES);

    if (rc)
        return rc;
    co_mutex_lock(&q->control);
    rc = create_locked(q, name, tables);
    co_mutex_unlock(&q->control);
    return rc;
}

static int refuse_create(const struct qcow2 *q, const char *name, struct error *err)
{
    uint64_t most = refcount_max(q->g.refcount_order);

    if (!*name || strlen(name) > NAME_MOST)
        return error_set(err, EINVAL, "a snapshot's name has 1 to %d bytes", NAME_MOST);
    if (snapshot_find(q, name, NULL) >= 0)
        return error_set(err, EEXIST, "there is a snapshot %s already", name);
    if (atomic_load(&q->snapshot_count) + UINT64_C(2) > MIN(most, (uint64_t)QCOW2_SNAPSHOTS_MAX))
        return error_set(err, EMLINK, "the image has no room for one more snapshot");
    return 0;
}

int with_layout(struct qcow2 *q, const char *what, const char *name,
    int (*change)(struct qcow2 *q, const char *name), struct error *err)
{
    int rc = image_mark(q);

    if (!rc)
        rc = tables_gather(q);
    for (unsigned i = 0; !rc && i < ATTEMPTS; i++) {
        rc = image_may_change(q) ? change(q, name) : -EIO;
        if (rc != -EAGAIN && rc != -ENOSPC)
            break;
        rc = i == ATTEMPTS - 1 ? rc : 0;
    }
    tables_scatter(q);
    return rc ? error_set(err, -rc, "cannot %s snapshot %s: %s", what, name, strerror(-rc)) : 0;
}

int qcow2_snapshot_create(struct qcow2 *q, const char *name, struct error *err)
{
    int rc;

    if (q->options.read_only)
        return error_set(err, EROFS, "the image is read-only");
    co_mutex_lock(&q->admin);
    rc = refuse_create(q, name, err);
    if (!rc)
        rc = with_layout(q, "make", name, create_once, err);
    co_mutex_unlock(&q->admin);
    return rc;
}

/* Clusters whose refcount is 1 now are the active disk's alone. */
static bool unshare(struct qcow2 *q, uint8_t *table)
{
    bool changed = false;

    for (unsigned i = 0; i < 1u << q->g.l2_bits; i++) {
        struct qcow2_entry e = qcow2_entry_get(&q->g, table, i);
        uint64_t offset = qcow2_entry_offset(e);

        if (!offset || e.word & QCOW2_COPIED ||
            clusters_refcount(q, offset >> q->g.cluster_bits) != 1)
            continue;
        e.word |= QCOW2_COPIED;
        qcow2_entry_put(&q->g, table, i, e);
        changed = true;
    }
    return changed;
}

static int move_unshared(struct layout *l)
{
    struct qcow2 *q = l->q;
    uint64_t from;
    int rc = 0;

    for (unsigned i = 0; !rc && i < q->map.count; i++) {
        rc = layout_move_table(l, i, unshare, &from);
        if (!rc && from)
            rc = layout_give_up(l, from, cluster_bytes(q));
    }
    return rc ? rc : layout_give_up(l, q->header.l1_offset, 8 * (uint64_t)q->header.l1_entries);
}

/* The disk says so: guests may write where they are. */
static void unshare_all(struct qcow2 *q)
{
    for (unsigned i = 0; i < q->map.count; i++) {
        spin_lock(&map_shard(q, i)->lock);
        if (q->map.slots[i].table)
            unshare(q, q->map.slots[i].table->bytes);
        spin_unlock(&map_shard(q, i)->lock);
    }
}

struct collection {
    struct qcow2 *q;
    struct freed freed;
};

static int collect(void *arg, unsigned index, uint64_t word, uint8_t *table)
{
    struct collection *c = arg;
    int rc = freed_add(&c->freed, (word & QCOW2_OFFSET_MASK) >> c->q->g.cluster_bits, 1);

    return rc ? rc : table_clusters(c->q, table, &c->freed);
}

/* With clusters taken: from here on memory is ahead of the disk. */
static int delete_taken(struct layout *l, const struct freed *gone)
{
    struct qcow2 *q = l->q;
    int rc = clusters_count_down_all(q, gone);

    if (!rc)
        rc = move_unshared(l);
    if (!rc)
        rc = layout_switch(l);
    if (rc) {
        atomic_store(&q->broken, true);
        return rc;
    }
    unshare_all(q);
    clusters_reuse(q, gone);
    return 0;
}

static struct qcow2_snapshot *without(const struct qcow2 *q, int index)
{
    uint32_t n = q->header.snapshot_count, k = 0;
    struct qcow2_snapshot *list = calloc(n, sizeof *list);

    for (uint32_t i = 0; list && i < n; i++)
        if ((int)i != index)
            list[k++] = q->snapshots[i];
    return list;
}

static int delete_locked(struct qcow2 *q, int index, const struct freed *gone)
{
    struct qcow2_snapshot *list = without(q, index), old = q->snapshots[index];
    struct layout l;
    int rc = list ? commit_locked(q, false) : -ENOMEM;

    reaper_end(q); /* what it looks at does not change meanwhile */
    layout_begin(&l, q);
    l.snapshots = list;
    l.keep_snapshots = false;
    l.h.snapshot_count--;
    if (!rc)
        rc = layout_take(&l, tables_count(q)); /* those that guests add now need not move */
    if (!rc)
        rc = delete_taken(&l, gone);
    layout_end(&l, !rc);
    adopt(q, list, rc ? NULL : &old, !rc);
    snapshots_keep(q);
    return rc;
}

static int delete_once(struct qcow2 *q, const char *name)
{
    int index = snapshot_find(q, name, NULL);
    const struct qcow2_snapshot *s = &q->snapshots[index];
    struct collection c = {.q = q};
    int rc = snapshot_walk(q, s, collect, &c);

    if (!rc && s->l1_entries)
        rc = freed_add(&c.freed, s->l1_offset >> q->g.cluster_bits,
            div_round_up(8 * (uint64_t)s->l1_entries, cluster_bytes(q)));
    if (!rc)
        rc = space_reserve(q, layout_estimate(q, tables_count(q)) + 1);
    if (!rc) {
        co_mutex_lock(&q->control);
        rc = delete_locked(q, index, &c.freed);
        co_mutex_unlock(&q->control);
    }
    free(c.freed.runs);
    return rc;
}

int snapshot_change(struct qcow2 *q, const char *what, const char *name,
    int (*change)(struct qcow2 *q, const char *name), struct error *err)
{
    int rc;

    if (q->options.read_only)
        return error_set(err, EROFS, "the image is read-only");
    co_mutex_lock(&q->admin);
    rc = MIN(snapshot_find(q, name, err), 0);
    if (!rc)
        rc = with_layout(q, what, name, change, err);
    co_mutex_unlock(&q->admin);
    return rc;
}

int qcow2_snapshot_delete(struct qcow2 *q, const char *name, struct error *err)
{
    return snapshot_change(q, "delete", name, delete_once, err);
}

unsigned qcow2_snapshots(const struct qcow2 *q, struct qcow2_snapshot_status *list, unsigned max)
{
    unsigned count = atomic_load(&q->snapshot_count);

    for (unsigned i = 0; i < MIN(max, count); i++) {
        const struct qcow2_snapshot *s = &q->snapshots[i];

        list[i] = (struct qcow2_snapshot_status){
            .id = s->id, .name = s->name, .seconds = s->seconds, .size_bytes = s->size_bytes};
    }
    return count;
}
