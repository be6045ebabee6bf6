/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Actions (resync, recovery, replace, check, repair): what they share. An action goes over the
 * array in stretches; windows of a stretch are done side by side, in lanes, each under its own
 * range lock, so that guests wait for one window at most. After a stretch all of it is done: what
 * has been reached can be written down.
 *
 * While guests do I/O, an action is slowed (pace.c); else it runs as fast as it can.
 */
#include "raid/array_private.h"

#include <errno.h>
#include <stdlib.h>

#include "rt/io.h"

#define LANES          8
#define SECOND_NS      UINT64_C(1000000000)
#define PAUSE_SLICE_NS (SECOND_NS / 10)
#define RETRY_NS       (60 * SECOND_NS) /* after a failure, unless members change */
#define LATER_NS       (30 * SECOND_NS) /* after it was cancelled */

struct lane {
    struct array *a;
    sync_window *window;
};

int sync_init(struct array *a)
{
    co_event_init(&a->sync.idle);
    co_event_init(&a->sync.resumed);
    co_event_set(&a->sync.idle);
    if (array_redundant(a))
        a->sync.todo = calloc(2, md_bitmap_bytes(a->bitmap.bits));
    if (a->sync.todo)
        a->sync.marked = a->sync.todo + md_bitmap_bytes(a->bitmap.bits);
    return array_redundant(a) && !a->sync.todo ? -ENOMEM : 0;
}

void sync_destroy(struct array *a)
{
    free(a->sync.todo);
}

static void run(void *arg)
{
    struct array *a = arg;
    struct array_sync *s = &a->sync;

    s->result = s->target_count ? recovery_run(a) : resync_run(a);
    s->ended = true;
    co_event_set(&s->idle);
    array_wake(a);
}

void sync_start(struct array *a, enum array_action action, struct member *const *targets,
    unsigned target_count, bool by_hand)
{
    struct array_sync *s = &a->sync;

    s->action = action;
    for (unsigned i = 0; i < target_count; i++)
        s->targets[i] = targets[i];
    s->target_count = target_count;
    s->by_hand = by_hand;
    s->ended = s->abandoned = s->unreadable = false;
    atomic_store(&s->cancelled, false);
    atomic_store(&s->done_bytes, 0);
    atomic_store(&s->total_bytes, 0);
    atomic_store(&s->mismatch_bytes, 0);
    s->status.id++;
    s->status.last_action = action;
    s->status.result = 0;
    pace_start(a);
    co_event_clear(&s->idle);
    s->running = true;
    if (worker_start(a->home, "sync", run, a)) {
        s->result = -ENOMEM;
        s->ended = true;
        co_event_set(&s->idle);
    }
    array_changed(a);
}

void sync_interrupt(struct array *a)
{
    atomic_store(&a->sync.cancelled, true);
    co_event_set(&a->sync.resumed);
}

bool sync_has_target(const struct array *a, const struct member *m)
{
    for (unsigned i = 0; i < a->sync.target_count; i++)
        if (a->sync.targets[i] == m)
            return true;
    return false;
}

/* Targets that have failed are no reason to wait: there may be other spares. */
static bool should_wait(const struct array_sync *s)
{
    return s->result == -ENOMEM || (s->result == -EIO && (!s->target_count || s->unreadable));
}

/* Who does not want it wants the original to stay. */
static void abandon_replacement(struct array *a, struct member *target)
{
    struct member *original = a->roles[target->role];

    if (original)
        wear_forgive(a, original);
    array_unplace_member(a, target);
}

static void conclude(struct array *a)
{
    struct array_sync *s = &a->sync;

    if (!s->result && s->target_count)
        recovery_finish(a);
    else if (s->abandoned && member_state(s->targets[0]) == MEMBER_REPLACING)
        abandon_replacement(a, s->targets[0]);
    if (s->unreadable)
        s->result = -EIO;
    if (should_wait(s))
        s->not_before_ns[s->action] = rt_now_ns() + RETRY_NS;
}

void sync_reap(struct array *a)
{
    struct array_sync *s = &a->sync;

    if (!s->running || !s->ended)
        return;
    conclude(a);
    if (!s->result)
        atomic_store(&s->done_bytes, atomic_load(&s->total_bytes));
    s->status.result = s->result;
    s->running = false;
    s->target_count = 0;
    pace_end(a);
    array_changed(a);
}

void sync_stop(struct array *a)
{
    if (!a->sync.running)
        return;
    sync_interrupt(a);
    co_event_wait(&a->sync.idle);
    sync_reap(a);
}

bool sync_may_go_on(struct array *a, uint64_t bytes)
{
    struct array_sync *s = &a->sync;

    while (atomic_load(&s->paused) && !atomic_load(&s->cancelled)) {
        co_event_clear(&s->resumed);
        co_event_wait_until(&s->resumed, rt_now_ns() + PAUSE_SLICE_NS);
    }
    pace_wait(a, bytes);
    if (!atomic_load(&s->cancelled) && !atomic_load(&a->failed))
        return true;
    pace_done(a);
    return false;
}

static void run_lane(void *arg)
{
    struct lane *lane = arg;
    struct array *a = lane->a;
    void *buffers[SYNC_BUFFERS];
    bool memory = true;

    for (unsigned i = 0; i < SYNC_BUFFERS; i++)
        memory &= (buffers[i] = io_buffer_get(SYNC_WINDOW_BYTES)) != NULL;
    if (!memory)
        a->sync.stretch_result = -ENOMEM;
    while (memory && lane->window(a, buffers))
        pace_done(a);
    for (unsigned i = 0; i < SYNC_BUFFERS; i++)
        if (buffers[i])
            io_buffer_put(buffers[i], SYNC_WINDOW_BYTES);
    wait_group_done(&a->sync.lanes);
}

int sync_run_stretch(struct array *a, uint64_t start_bytes, uint64_t end_bytes, sync_window *window)
{
    struct array_sync *s = &a->sync;
    struct lane lane = {a, window};

    s->next_bytes = start_bytes;
    s->stretch_end_bytes = end_bytes;
    s->stretch_result = 0;
    wait_group_init(&s->lanes);
    wait_group_add(&s->lanes, LANES);
    for (unsigned i = 0; i < LANES; i++)
        if (co_start("sync lane", run_lane, &lane))
            run_lane(&lane);
    wait_group_wait(&s->lanes);
    if (!s->stretch_result && atomic_load(&s->cancelled))
        s->stretch_result = -ECANCELED;
    if (atomic_load(&a->failed))
        s->stretch_result = -EIO;
    return s->stretch_result;
}

/* --- by hand --- */

static int begin(struct array *a, enum array_action action, struct error *err)
{
    if (!array_redundant(a))
        return error_set(err, EINVAL, "%s is a raid0: there are no copies", a->name);
    if (!a->started || atomic_load(&a->failed))
        return error_set(err, EIO, "%s does not run", a->name);
    sync_reap(a);
    if (a->sync.running)
        return error_set(
            err, EBUSY, "%s of %s is under way", array_action_name(a->sync.action), a->name);
    sync_start(a, action, NULL, 0, true);
    return 0;
}

int array_sync(struct array *a, enum array_action action, struct error *err)
{
    int rc;

    if (action != ARRAY_RESYNC && action != ARRAY_CHECK && action != ARRAY_REPAIR)
        return error_set(err, EINVAL, "%s is not started by hand", array_action_name(action));
    co_mutex_lock(&a->control);
    rc = begin(a, action, err);
    co_mutex_unlock(&a->control);
    return rc;
}

void array_sync_pause(struct array *a, bool paused)
{
    atomic_store(&a->sync.paused, paused);
    if (!paused)
        co_event_set(&a->sync.resumed);
    array_changed(a);
}

void array_sync_cancel(struct array *a)
{
    struct array_sync *s = &a->sync;

    co_mutex_lock(&a->control);
    if (s->running) {
        s->abandoned = s->action == ARRAY_REPLACE;
        if (!s->by_hand && !s->abandoned)
            s->not_before_ns[s->action] = rt_now_ns() + LATER_NS;
        sync_stop(a);
    }
    co_mutex_unlock(&a->control);
}
