/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the map durable, at a guest's flush.
 *
 * What was changed in memory is captured first: from then on guests may change it again. Then
 *   1. refcounts, and L2 tables that nothing on the disk refers to yet (new ones, moved ones), are
 * written;
 *   2. a flush of the file: they are durable, and so is the data that the captured map refers to;
 *   3. changed sectors of L2 tables and of L1 are written;
 *   4. a second flush; what the map no longer refers to goes to the reaper.
 * A crash before 3 leaves the old map with refcounts too high here and there; one in between leaves
 * some entries old and some new, each of which is whole and refers to durable data. Refcounts are
 * captured after the map, so that they are never too low for it. What fails is put back, and is
 * captured again by the next commit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "image/commit.h"

#define BATCH 16

static int add_part(struct commit *c, const struct part *p, const uint8_t *from)
{
    if (c->count == c->capacity) {
        size_t capacity = 2 * c->capacity + 64;
        struct part *parts = realloc(c->parts, capacity * sizeof *parts);

        if (!parts)
            return -ENOMEM;
        c->parts = parts;
        c->capacity = capacity;
    }
    c->parts[c->count] = *p;
    c->parts[c->count].bytes = aligned_alloc(4096, round_up(p->length, 4096));
    if (!c->parts[c->count].bytes)
        return -ENOMEM;
    memcpy(c->parts[c->count].bytes, from, p->length);
    c->count++;
    return 0;
}

/* What lies between two dirty runs and is no longer is written with them, as it stands on the disk:
 * that costs less than a request more. */
#define GAP_BYTES 4096

/* The dirty run from sector `from` on, as bytes; false: none. */
static bool next_run(
    const struct dirty *d, unsigned from, uint64_t unit, uint64_t *first, uint64_t *last)
{
    unsigned start, end, next, next_end;

    if (!dirty_next(d, from, &start, &end))
        return false;
    while (dirty_next(d, end, &next, &next_end) && next - end <= GAP_BYTES / SECTOR_BYTES)
        end = next_end;
    *first = round_down((uint64_t)start * SECTOR_BYTES, unit);
    *last = round_up((uint64_t)end * SECTOR_BYTES, unit);
    return true;
}

/* The dirty runs of `bytes`, made to fit the file's blocks. base: where they stand in the file. */
static int capture_runs(struct commit *c, const struct dirty *d, const uint8_t *bytes,
    uint64_t length, uint64_t base, struct part *like)
{
    uint64_t unit = MAX(c->q->file->logical_block_bytes, (uint32_t)SECTOR_BYTES);
    uint64_t from, to = 0;
    int rc = 0;

    while (!rc && next_run(d, (unsigned)(to / SECTOR_BYTES), unit, &from, &to)) {
        to = MIN(to, length);
        like->inside = from;
        like->offset = base + from;
        like->length = (uint32_t)(to - from);
        rc = add_part(c, like, bytes + from);
    }
    return rc;
}

/* Before tables: it names only those that are captured as well. */
static int capture_l1(struct commit *c)
{
    struct qcow2 *q = c->q;
    struct map *m = &q->map;
    uint64_t bytes = round_up(8 * (uint64_t)m->count, MAX(q->file->logical_block_bytes, 512u));
    struct part part = {0};
    uint8_t *l1 = NULL;
    int rc = 0;

    spin_lock(&m->dirty_lock);
    bool any = dirty_any(&m->l1_dirty);
    spin_unlock(&m->dirty_lock);
    if (!any)
        return 0;
    l1 = calloc(1, bytes);
    if (!l1)
        return -ENOMEM;
    struct dirty d = {.sectors = m->l1_dirty.sectors,
        .bits = malloc((div_round_up(m->l1_dirty.sectors, 64) + 1) * 8)};
    if (d.bits) {
        spin_lock(&m->dirty_lock);
        memcpy(d.bits, m->l1_dirty.bits, div_round_up(d.sectors, 64) * 8);
        dirty_clear(&m->l1_dirty);
        spin_unlock(&m->dirty_lock);
        for (unsigned i = 0; i < m->count; i++) {
            spin_lock(&map_shard(q, i)->lock);
            put_be64(l1 + 8 * (uint64_t)i, m->slots[i].word);
            spin_unlock(&map_shard(q, i)->lock);
        }
        rc = capture_runs(c, &d, l1, bytes, q->header.l1_offset, &part);
    }
    if (rc) {
        spin_lock(&m->dirty_lock);
        for (unsigned i = 0; i < div_round_up(d.sectors, 64); i++)
            m->l1_dirty.bits[i] |= d.bits[i];
        spin_unlock(&m->dirty_lock);
    }
    rc = d.bits ? rc : -ENOMEM;
    free(d.bits);
    free(l1);
    return rc;
}

/* Under its shard's lock. */
static int capture_table(struct commit *c, struct l2_table *t)
{
    uint64_t bytes = cluster_bytes(c->q);
    struct part part = {.table = t, .offset = t->host_offset, .length = (uint32_t)bytes};
    size_t before = c->count;
    int rc;

    if (t->whole) {
        part.early = part.whole = true;
        rc = add_part(c, &part, t->bytes);
    } else {
        rc = capture_runs(c, &t->dirty, t->bytes, bytes, t->host_offset, &part);
    }
    t->writing += (unsigned)(c->count - before);
    if (rc)
        return rc;
    t->whole = false;
    dirty_clear(&t->dirty);
    return 0;
}

static struct l2_table *pop_table(struct commit *c)
{
    struct l2_table *t = NULL;

    spin_lock(&c->q->map.dirty_lock);
    if (!list_empty(&c->tables)) {
        t = container_of(list_first(&c->tables), struct l2_table, link);
        list_remove(&t->link);
    }
    spin_unlock(&c->q->map.dirty_lock);
    return t;
}

/* Under its shard's lock: so far it counted as listed, or it could have been evicted. */
static void unlist(struct commit *c, struct l2_table *t)
{
    spin_lock(&c->q->map.dirty_lock);
    t->listed = false;
    spin_unlock(&c->q->map.dirty_lock);
}

static int capture_tables(struct commit *c)
{
    struct qcow2 *q = c->q;
    struct l2_table *t;
    int rc = 0;

    spin_lock(&q->map.dirty_lock);
    list_splice(&c->tables, &q->map.dirty);
    spin_unlock(&q->map.dirty_lock);
    while ((t = pop_table(c))) {
        struct map_shard *shard = map_shard(q, t->index);

        spin_lock(&shard->lock);
        unlist(c, t);
        if (!rc)
            rc = capture_table(c, t);
        if (rc)
            table_list(q, t);
        spin_unlock(&shard->lock);
    }
    return rc;
}

static int capture_block(struct commit *c, struct refblock *b)
{
    struct part part = {.block = b, .early = !MUTANT(REFCOUNTS_LATE)};
    int rc;

    if (!b || !dirty_any(&b->dirty))
        return 0;
    rc = capture_runs(c, &b->dirty, b->bytes, cluster_bytes(c->q), b->host_offset, &part);
    if (!rc)
        dirty_clear(&b->dirty);
    return rc;
}

static int capture_refcounts(struct commit *c)
{
    struct clusters *k = &c->q->clusters;
    uint64_t from, to;
    int rc = 0;

    spin_lock(&k->lock);
    from = k->dirty_from;
    to = k->dirty_to;
    k->dirty_from = UINT64_MAX;
    k->dirty_to = 0;
    spin_unlock(&k->lock);
    for (uint64_t i = from; i < to; i++) {
        spin_lock(&k->lock);
        if (!rc)
            rc = capture_block(c, k->blocks[i]);
        if (rc) {
            k->dirty_from = MIN(k->dirty_from, i);
            k->dirty_to = MAX(k->dirty_to, to);
        }
        spin_unlock(&k->lock);
    }
    return rc;
}

/* References given up before the map is captured are not in it. Those who have reserved room for
 * more find it in the list that follows. */
static int capture_freed(struct commit *c)
{
    struct clusters *k = &c->q->clusters;
    struct freed next = {.runs = malloc(FREED_SPARE * sizeof *next.runs), .capacity = FREED_SPARE};

    if (!next.runs)
        return -ENOMEM;
    spin_lock(&k->lock);
    c->freed = k->freed;
    k->freed = next;
    spin_unlock(&k->lock);
    if (MUTANT(REUSE_BEFORE_COMMIT)) {
        reaper_add(c->q, &c->freed);
        c->freed = (struct freed){0};
    }
    return 0;
}

int commit_capture(struct commit *c)
{
    int rc = capture_freed(c);

    if (!rc)
        rc = capture_l1(c);
    if (!rc)
        rc = capture_tables(c);
    if (!rc)
        rc = capture_refcounts(c);
    return rc;
}

static int write_parts(struct commit *c, bool early)
{
    struct block_op ops[BATCH];
    struct iovec iov[BATCH];
    size_t next = 0;
    int rc = 0;

    while (!rc && next < c->count) {
        unsigned n = 0;

        for (; next < c->count && n < BATCH; next++) {
            struct part *p = &c->parts[next];

            if (p->early != early)
                continue;
            iov[n] = (struct iovec){p->bytes, p->length};
            ops[n] = (struct block_op){.kind = BLOCK_WRITE,
                .flags = BLOCK_STABLE,
                .dev = c->q->file,
                .iov = &iov[n],
                .iov_count = 1,
                .offset = p->offset,
                .length = p->length};
            n++;
        }
        if (n)
            rc = blockdev_run(ops, n);
    }
    return rc;
}

/* A table that L1 may refer to on the disk by now is not new any more: what changes in it has to
 * wait for refcounts. */
static void put_back(struct commit *c, struct part *p)
{
    struct qcow2 *q = c->q;

    if (p->table) {
        dirty_mark(&p->table->dirty, p->inside, p->length);
        p->table->whole |= p->whole && !c->settled;
        table_list(q, p->table);
    } else if (p->block) {
        spin_lock(&q->clusters.lock);
        clusters_dirty(q, p->block->number, p->inside, p->length);
        spin_unlock(&q->clusters.lock);
    } else {
        spin_lock(&q->map.dirty_lock);
        dirty_mark(
            &q->map.l1_dirty, p->inside, MIN(p->length, 8 * (uint64_t)q->map.count - p->inside));
        spin_unlock(&q->map.dirty_lock);
    }
}

static void end_part(struct commit *c, struct part *p, bool failed)
{
    struct map_shard *shard = p->table ? map_shard(c->q, p->table->index) : NULL;

    if (shard)
        spin_lock(&shard->lock);
    if (p->table)
        p->table->writing--;
    if (failed)
        put_back(c, p);
    if (shard)
        spin_unlock(&shard->lock);
    free(p->bytes);
}

void commit_end(struct commit *c, int rc)
{
    struct clusters *k = &c->q->clusters;
    enum map_state captured = MAP_COMMITTING;

    for (size_t i = 0; i < c->count; i++)
        end_part(c, &c->parts[i], rc);
    free(c->parts);
    if (rc)
        atomic_store(&c->q->map.state, MAP_CHANGED);
    else
        atomic_compare_exchange_strong(&c->q->map.state, &captured, MAP_DURABLE);
    if (!rc) {
        reaper_add(c->q, &c->freed);
        return;
    }
    spin_lock(&k->lock);
    for (size_t i = 0; i < c->freed.count; i++)
        freed_add(&k->freed, c->freed.runs[i].cluster, c->freed.runs[i].count);
    spin_unlock(&k->lock);
    free(c->freed.runs);
}

void commit_begin(struct commit *c, struct qcow2 *q)
{
    *c = (struct commit){.q = q};
    list_init(&c->tables);
    atomic_store(&q->map.state, MAP_COMMITTING);
}

int commit_write(struct commit *c)
{
    int rc = write_parts(c, true);

    if (!rc && !MUTANT(MAP_BEFORE_DATA))
        rc = blockdev_flush(c->q->file);
    c->settled = !rc;
    if (!rc)
        rc = write_parts(c, false);
    return rc ? rc : blockdev_flush(c->q->file);
}

static int flush_all(struct qcow2 *q)
{
    int rc = atomic_load(&q->sinking) ? blockdev_flush(q->backing) : 0;

    return rc ? rc : blockdev_flush(q->file);
}

int commit_locked(struct qcow2 *q, bool all)
{
    struct commit c;
    int rc = 0;

    if (atomic_load(&q->broken))
        return -EIO;
    if (atomic_load(&q->map.state) == MAP_DURABLE && !all)
        return flush_all(q);
    commit_begin(&c, q);
    rc = commit_capture(&c);
    if (!rc && atomic_load(&q->sinking)) /* before the map that lets it show */
        rc = blockdev_flush(q->backing);
    if (!rc)
        rc = commit_write(&c);
    commit_end(&c, rc);
    return rc;
}

void image_relieve(struct qcow2 *q)
{
    if (atomic_load_explicit(&q->map.tables, memory_order_relaxed) / 2 >
            atomic_load_explicit(&q->map.tables_max, memory_order_relaxed) &&
        atomic_load(&q->map.state) == MAP_CHANGED)
        image_commit(q);
}

int image_commit(struct qcow2 *q)
{
    int rc;

    co_mutex_lock(&q->control);
    rc = commit_locked(q, false);
    co_mutex_unlock(&q->control);
    return rc;
}
