/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going back to a snapshot. Guests wait meanwhile: the disk under them becomes another. The new
 * active tables are copies of the snapshot's, all of whose clusters are shared with it; what the
 * active disk had is counted down, and free when the header has switched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/snapshot.h"

struct reverting {
    struct layout l;
    struct freed gone; /* what the active disk refers to */
};

static int count_tables(void *arg, unsigned index, uint64_t word, uint8_t *table)
{
    ++*(uint64_t *)arg;
    return 0;
}

/* A table of the snapshot becomes one of the active disk. */
static int take_over(void *arg, unsigned index, uint64_t word, uint8_t *table)
{
    struct layout *l = arg;
    struct qcow2 *q = l->q;
    uint64_t to = layout_place(l);
    int rc = clusters_count_up(q, table);

    table_share(&q->g, table);
    l->l1[index] = to | QCOW2_COPIED;
    return rc ? rc : blockdev_write(q->file, table, to, cluster_bytes(q), BLOCK_STABLE);
}

static int collect_active(struct qcow2 *q, struct freed *gone)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < q->map.count; i++) {
        const struct l1_slot *slot = &q->map.slots[i];

        if (!slot->table)
            continue;
        rc = table_clusters(q, slot->table->bytes, gone);
        if (!rc)
            rc = freed_add(gone, slot->table->host_offset >> q->g.cluster_bits, 1);
    }
    return rc;
}

/* The map in memory is that of the new L1; tables come when they are asked for. */
static int replace_map(struct reverting *r)
{
    struct qcow2 *q = r->l.q;
    struct map old = q->map;
    int rc = map_init(q);

    if (rc) {
        free(q->map.slots);
        q->map = old;
        return rc;
    }
    for (unsigned i = 0; i < q->map.count; i++)
        q->map.slots[i].word = r->l.l1[i];
    map_free_tables(&old);
    atomic_store(&q->map.tables, 0);
    return 0;
}

/* Guests wait, and all is durable. */
static int revert_taken(struct reverting *r, const struct qcow2_snapshot *s)
{
    struct qcow2 *q = r->l.q;
    int rc = collect_active(q, &r->gone);

    if (!rc) /* before others are counted up: there may be no room for both */
        rc = clusters_count_down_all(q, &r->gone);
    if (!rc)
        rc = snapshot_walk(q, s, take_over, &r->l);
    if (!rc)
        rc = layout_give_up(&r->l, q->header.l1_offset, 8 * (uint64_t)q->header.l1_entries);
    if (!rc)
        rc = layout_switch(&r->l);
    if (!rc)
        rc = replace_map(r);
    if (rc)
        atomic_store(&q->broken, true);
    return rc;
}

static int revert_paused(struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t tables)
{
    struct reverting r = {0};
    uint64_t entries = qcow2_l1_entries(&q->g, s->size_bytes);
    int rc = commit_locked(q, true);

    reaper_end(q);
    layout_begin(&r.l, q);
    r.l.h.size_bytes = s->size_bytes;
    r.l.h.l1_entries = (uint32_t)MAX(entries, (uint64_t)s->l1_entries);
    if (!rc)
        rc = layout_take(&r.l, tables);
    if (!rc)
        rc = revert_taken(&r, s);
    layout_end(&r.l, !rc);
    if (!rc) {
        clusters_reuse(q, &r.gone);
        q->dev.size_bytes = round_down(s->size_bytes, q->dev.logical_block_bytes);
    }
    free(r.gone.runs);
    return rc;
}

static int revert_once(struct qcow2 *q, const char *name)
{
    const struct qcow2_snapshot *s = &q->snapshots[snapshot_find(q, name, NULL)];
    uint64_t tables = 0;
    int rc = snapshot_walk(q, s, count_tables, &tables);

    if (!rc)
        rc = space_reserve(q, layout_estimate(q, tables) + s->l1_entries / 64 + 64);
    if (rc)
        return rc;
    co_mutex_lock(&q->control);
    gate_close(&q->gate);
    rc = revert_paused(q, s, tables);
    gate_open(&q->gate);
    co_mutex_unlock(&q->control);
    return rc;
}

int qcow2_snapshot_revert(struct qcow2 *q, const char *name, struct error *err)
{
    return snapshot_change(q, "go back to", name, revert_once, err);
}
