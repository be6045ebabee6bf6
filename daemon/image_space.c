/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How images grow and shrink. An image asks before it has run out; it gets a step more than it
 * needs, so that commits of the group are rare, but not more than its disk can ever take. When the
 * group has nothing left the image waits, and is asked to try again by group_space.c.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/log.h"
#include "daemon.h"
#include "group_space.h"
#include "images.h"
#include "rt/worker.h"

/* So much of what it has is added at a time, but in these bounds. */
#define STEP_PART      8
#define STEP_MIN_BYTES (UINT64_C(16) << 20)
#define STEP_MAX_BYTES (UINT64_C(1) << 30)

#define AHEAD_MAX_BYTES (UINT64_C(64) << 20)
#define AHEAD_MIN_BYTES (UINT64_C(1) << 20)
#define AHEAD_PART      16

struct growth {
    struct catalog_image *image;
    uint64_t size_bytes;
    int rc;
};

uint64_t image_ahead_bytes(uint64_t size_bytes)
{
    return MAX(MIN(size_bytes / AHEAD_PART, AHEAD_MAX_BYTES), AHEAD_MIN_BYTES);
}

/* What an image without leaks comes to when all of its disk, and of each snapshot's, is written. */
static uint64_t ceiling_bytes(struct qcow2 *q)
{
    const struct qcow2_geometry *g = qcow2_geometry(q);
    struct qcow2_status s;
    uint64_t clusters, per_cluster;

    qcow2_status(q, &s);
    clusters = (s.size_bytes >> g->cluster_bits) + 1;
    per_cluster = (UINT64_C(1) << g->cluster_bits) + (UINT64_C(1) << g->l2_entry_bits) + 8;
    return (1 + s.snapshots) * (clusters * per_cluster + (UINT64_C(16) << g->cluster_bits));
}

static uint64_t wanted_bytes(struct catalog_image *i, uint64_t have, uint64_t needed)
{
    uint64_t step = MIN(MAX(have / STEP_PART, STEP_MIN_BYTES), STEP_MAX_BYTES);
    uint64_t ceiling = i->q ? ceiling_bytes(i->q) : 0;

    return MAX(needed, MIN(have + step, ceiling));
}

/* -ENOSPC for whatever may pass: no free extents, a group that misses a PV. */
static int resize(struct catalog_image *i, uint64_t size_bytes)
{
    struct error err = {0};
    int rc = lv_resize(i->lv, size_bytes, 0, &err);

    if (rc && rc != -ENOSPC)
        log_error("volume %s cannot grow: %s", i->target, err.text);
    return rc == -EROFS ? -ENOSPC : rc;
}

static int grow_locked(struct catalog_image *i, uint64_t needed)
{
    uint64_t have = lv_size_bytes(i->lv), most, wanted;
    int rc;

    if (needed <= have)
        return 0;
    most = have + group_growth_bytes(i->vg);
    if (needed > most)
        return -ENOSPC;
    wanted = MIN(wanted_bytes(i, have, needed), most);
    rc = resize(i, wanted);
    if (rc == -ENOSPC && wanted > needed)
        rc = resize(i, needed);
    if (rc == 0)
        group_space_look(i->daemon, i->vg);
    return rc;
}

/* On the control worker. One at a time each image: a second would make it smaller again. */
static void grow_here(void *arg)
{
    struct growth *g = arg;

    co_mutex_lock(&g->image->growing);
    g->rc = grow_locked(g->image, g->size_bytes);
    co_mutex_unlock(&g->image->growing);
}

static int grow(void *arg, uint64_t size_bytes)
{
    struct growth g = {.image = arg, .size_bytes = size_bytes};
    int rc = worker_call(g.image->daemon->control, "grow", grow_here, &g);

    return rc ? rc : g.rc;
}

static int shrink_locked(struct catalog_image *i, uint64_t size_bytes)
{
    struct error err = {0};
    int rc;

    if (size_bytes >= lv_size_bytes(i->lv))
        return 0;
    rc = lv_resize(i->lv, size_bytes, 0, &err);
    if (rc)
        log_error("volume %s cannot be cut: %s", i->target, err.text);
    else
        group_space_look(i->daemon, i->vg);
    return rc;
}

/* On the control worker. */
static void shrink_here(void *arg)
{
    struct growth *g = arg;

    co_mutex_lock(&g->image->growing);
    g->rc = shrink_locked(g->image, g->size_bytes);
    co_mutex_unlock(&g->image->growing);
}

static int shrink(void *arg, uint64_t size_bytes)
{
    struct growth g = {.image = arg, .size_bytes = size_bytes};
    int rc = worker_call(g.image->daemon->control, "shrink", shrink_here, &g);

    return rc ? rc : g.rc;
}

static void starving(void *arg, bool starves)
{
    struct catalog_image *i = arg;

    atomic_store(&i->starving, starves);
    events_post(&i->daemon->events, EVENT_VOLUME_SPACE, i->target, "%s",
        starves ? "writes wait for space in the group" : "writes no longer wait for space");
}

const struct qcow2_file_ops image_file_ops = {.grow = grow, .shrink = shrink, .starving = starving};
