/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room for more. The file is made longer ahead of need by a coroutine of its own, so that writes
 * find free clusters. When there are none, writes wait here, outside of their visits, for what the
 * file's owner may add or what others free; running out is a state of the image, told once, and
 * ends when there is room or nobody waits.
 */
#include <errno.h>

#include "base/arith.h"
#include "image/image.h"
#include "rt/worker.h"

#define RETRY_NS 1000000000 /* the owner has nothing: asked again after so long, or when told */

struct space_waiter {
    struct list link; /* in space.waiters, until it is told */
    bool listed;
    struct co_event more;
};

void space_init(struct qcow2 *q)
{
    struct space *s = &q->space;

    atomic_flag_clear(&s->lock.held);
    list_init(&s->waiters);
    co_event_init(&s->kick);
    co_event_init(&s->idle);
    co_event_set(&s->idle);
}

/* Under the lock. Who is told waits no more, even if it has not come to run yet. */
static void tell_all(struct space *s)
{
    list_for_each_safe (it, &s->waiters) {
        struct space_waiter *w = container_of(it, struct space_waiter, link);

        list_remove(&w->link);
        w->listed = false;
        co_event_set(&w->more);
    }
}

void space_wake(struct qcow2 *q)
{
    struct space *s = &q->space;

    spin_lock(&s->lock);
    atomic_fetch_add(&s->generation, 1);
    tell_all(s);
    spin_unlock(&s->lock);
}

static void set_starving(struct qcow2 *q, bool starving)
{
    bool told;

    spin_lock(&q->space.lock);
    starving = starving && q->space.waiting;
    told = q->space.starving == starving;
    q->space.starving = starving;
    spin_unlock(&q->space.lock);
    if (!told && q->options.file_ops->starving)
        q->options.file_ops->starving(q->options.file_arg, starving);
}

/* Bytes that all of the guest's disk needs, with the map and refcounts: more will not be asked for
 * without snapshots. */
static uint64_t most_bytes(const struct qcow2 *q, uint64_t table_bytes)
{
    uint64_t clusters = div_round_up(q->dev.size_bytes, cluster_bytes(q));
    uint64_t tables = qcow2_l1_entries(&q->g, q->dev.size_bytes);
    uint64_t all = clusters + tables + ((8 * tables + table_bytes) >> q->g.cluster_bits) + 10;

    all += 2 * (all >> q->g.refcount_block_bits) + 2;
    return all << q->g.cluster_bits;
}

static bool is_waited_for(struct qcow2 *q)
{
    bool yes;

    spin_lock(&q->space.lock);
    yes = q->space.waiting;
    spin_unlock(&q->space.lock);
    return yes;
}

/* Who has not been told that there may be more room. */
static bool has_waiters(struct qcow2 *q)
{
    bool yes;

    spin_lock(&q->space.lock);
    yes = !list_empty(&q->space.waiters);
    spin_unlock(&q->space.lock);
    return yes;
}

/* Half of what is wanted ahead is gone: so that the file grows in steps that are worth it. */
static bool is_short(const struct qcow2 *q, uint64_t free_bytes)
{
    return free_bytes < q->options.ahead_bytes / 2;
}

/* How long the file should be; 0: as it is. */
static uint64_t wanted_bytes(struct qcow2 *q)
{
    uint64_t free, used, want, reserve, table_bytes;

    spin_lock(&q->clusters.lock);
    free = clusters_available(q) << q->g.cluster_bits;
    used = (q->clusters.count << q->g.cluster_bits) - free;
    table_bytes = 8 * q->clusters.block_count;
    spin_unlock(&q->clusters.lock);
    reserve = atomic_load(&q->space.reserve) << q->g.cluster_bits;
    want = used + (is_short(q, free) ? q->options.ahead_bytes : free);
    if (!atomic_load(&q->snapshot_count))
        want = MIN(want, MAX(most_bytes(q, table_bytes), used + 16 * cluster_bytes(q)));
    want = MAX(want, used + reserve);
    if (want <= used + free && (reserve || !has_waiters(q)))
        return 0;
    return MAX(want, used + free + 16 * cluster_bytes(q));
}

/* To `bytes`, the file too where it is shorter. -ENOSPC: no cluster more. */
static int grow_once(struct qcow2 *q, uint64_t bytes)
{
    uint64_t before, fresh = UINT64_MAX;
    bool more;
    int rc = 0;

    if (q->file->size_bytes < bytes) {
        if (!q->options.file_ops->grow)
            return -ENOSPC;
        fresh = div_round_up(q->file->size_bytes, cluster_bytes(q));
        rc = q->options.file_ops->grow(q->options.file_arg, bytes);
    }
    co_mutex_lock(&q->control);
    before = q->clusters.count;
    if (!rc)
        rc = clusters_extend(q, MIN(q->file->size_bytes, bytes));
    if (!rc)
        clusters_fresh(q, fresh);
    more = q->clusters.count > before;
    co_mutex_unlock(&q->control);
    if (!rc && !more)
        rc = -ENOSPC;
    if (!rc)
        space_wake(q);
    return rc;
}

/* Under the lock, or a new one might be taken for ended. */
static void end_growing(struct qcow2 *q)
{
    q->space.growing = false;
    co_event_set(&q->space.idle);
}

/* Who began to wait since it was last looked is not left alone. */
static bool may_end(struct qcow2 *q)
{
    bool yes;

    spin_lock(&q->space.lock);
    yes = !q->space.waiting || atomic_load(&q->closing);
    if (yes)
        end_growing(q);
    spin_unlock(&q->space.lock);
    return yes;
}

/* So much as lets somebody go on, where there is no room for a proper step: a cluster, and its
 * refcount block. */
static uint64_t least_bytes(struct qcow2 *q)
{
    uint64_t count;

    spin_lock(&q->clusters.lock);
    count = q->clusters.count;
    spin_unlock(&q->clusters.lock);
    return (count + 2) << q->g.cluster_bits;
}

static void grow_while_wanted(struct qcow2 *q)
{
    uint64_t bytes;
    int rc = 0;

    while (!atomic_load(&q->closing) && (bytes = wanted_bytes(q))) {
        co_event_clear(&q->space.kick);
        rc = grow_once(q, bytes);
        if (rc == -ENOSPC && is_waited_for(q))
            rc = grow_once(q, least_bytes(q));
        set_starving(q, rc);
        if (rc)
            co_event_wait_until(&q->space.kick, rt_now_ns() + RETRY_NS);
        if (rc && !is_waited_for(q))
            break;
    }
    set_starving(q, false);
}

static void grow(void *arg)
{
    struct qcow2 *q = arg;

    do {
        grow_while_wanted(q);
        if (may_end(q))
            return;
        space_wake(q);
    } while (wanted_bytes(q));
    spin_lock(&q->space.lock); /* those who wait have what they wait for */
    end_growing(q);
    spin_unlock(&q->space.lock);
}

static void begin_growing(struct qcow2 *q)
{
    bool begin;

    if (atomic_load(&q->closing))
        return;
    spin_lock(&q->space.lock);
    begin = !q->space.growing;
    if (begin) {
        q->space.growing = true;
        co_event_clear(&q->space.idle);
    }
    spin_unlock(&q->space.lock);
    if (begin && co_start("qcow2-grow", grow, q) < 0) {
        spin_lock(&q->space.lock);
        end_growing(q);
        spin_unlock(&q->space.lock);
    }
}

void space_ask(struct qcow2 *q, uint64_t free)
{
    if (is_short(q, free << q->g.cluster_bits))
        begin_growing(q);
}

void qcow2_space_changed(struct qcow2 *q)
{
    co_event_set(&q->space.kick);
    space_wake(q);
}

int space_wait(struct qcow2 *q, uint64_t generation, uint64_t due_ns)
{
    struct space *s = &q->space;
    struct space_waiter w;
    bool woken = true;
    int rc = 0;

    co_event_init(&w.more);
    spin_lock(&s->lock);
    if (list_empty(&s->waiters)) /* what was wanted ahead is needed now */
        co_event_set(&s->kick);
    list_append(&s->waiters, &w.link);
    w.listed = true;
    s->waiting++;
    if (atomic_load(&s->generation) != generation)
        tell_all(s);
    spin_unlock(&s->lock);
    begin_growing(q);
    if (atomic_load(&q->map.state) == MAP_CHANGED) /* what was freed comes back after a commit */
        rc = image_commit(q);
    if (!rc)
        woken = co_event_wait_until(&w.more, due_ns);
    spin_lock(&s->lock);
    if (w.listed)
        list_remove(&w.link);
    s->waiting--;
    spin_unlock(&s->lock);
    return rc ? rc : woken ? 0 : -ENOSPC;
}

int space_reserve(struct qcow2 *q, uint64_t clusters)
{
    uint64_t due_ns = rt_now_ns() + q->options.space_wait_ns, free;
    int rc = 0;

    for (;;) {
        uint64_t generation = atomic_load(&q->space.generation);

        spin_lock(&q->clusters.lock);
        free = q->clusters.free;
        spin_unlock(&q->clusters.lock);
        if (rc || free >= clusters)
            break;
        atomic_store(&q->space.reserve, clusters);
        rc = space_wait(q, generation, due_ns);
    }
    atomic_store(&q->space.reserve, 0);
    return rc;
}

void space_end(struct qcow2 *q)
{
    co_event_set(&q->space.kick);
    co_event_wait(&q->space.idle);
    spin_lock(&q->space.lock); /* who told it is done with the lock */
    spin_unlock(&q->space.lock);
}
