/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager: one coroutine an array, on the worker that started it. In turn: it ends actions that
 * are through, takes failed members out of their roles, and those that wear out, gives spares the
 * roles that lack a member, starts the action that is due (recovery before resync), marks an idle
 * array clean, and has the bitmap cleaned up. Whoever changes something wakes it.
 */
#include <errno.h>

#include "raid/array_private.h"

#define MILLISECOND_NS UINT64_C(1000000)
#define SECOND_NS      (1000 * MILLISECOND_NS)
#define TICK_NS        (50 * MILLISECOND_NS)  /* how often a busy array is looked at */
#define QUIET_NS       (200 * MILLISECOND_NS) /* without a write: idle, as in the kernel */

struct pace {
    uint64_t writes_seen, writes_seen_ns; /* when there were that many first */
    uint64_t next_clean_ns;               /* of the bitmap */
};

void array_wake(struct array *a)
{
    co_event_set(&a->wake);
}

static uint64_t count_writes(const struct array *a)
{
    uint64_t writes = 0;

    for (unsigned w = 0; w < WORKERS_MAX; w++)
        writes += atomic_load_explicit(&a->activity[w].writes, memory_order_relaxed);
    return writes;
}

/* Nothing has been written for a while. Who writes next finds busy false, and has the superblocks
 * say dirty again. */
static void go_idle(struct array *a, const struct pace *p)
{
    gate_close(&a->writes);
    if (count_writes(a) == p->writes_seen && !atomic_load(&a->failed)) {
        if (!atomic_load(&a->bitmap.unsynced))
            array_mark_clean(a);
        atomic_store(&a->busy, false); /* last: what is called clean is so on the members */
    }
    gate_open(&a->writes);
}

static void look_for_idleness(struct array *a, struct pace *p)
{
    uint64_t writes = count_writes(a), now = rt_now_ns();

    if (writes != p->writes_seen) {
        p->writes_seen = writes;
        p->writes_seen_ns = now;
    } else if (now - p->writes_seen_ns >= QUIET_NS) {
        go_idle(a, p);
    }
}

static void clean_bitmap(struct array *a, struct pace *p)
{
    uint64_t now = rt_now_ns();

    if (now < p->next_clean_ns)
        return;
    p->next_clean_ns = now + a->bitmap.header.daemon_sleep * SECOND_NS;
    gate_enter(&a->writes);
    bitmap_log_clean(a, false);
    members_record_if_needed(a);
    gate_leave(&a->writes);
}

static bool role_is_free(const struct array *a, struct member *spare)
{
    for (unsigned role = 0; spare && role < a->geometry.raid_disks; role++)
        if (!a->roles[role])
            return true;
    return false;
}

static void use_spares(struct array *a)
{
    for (unsigned role = 0; role < a->geometry.raid_disks; role++) {
        struct member *m = a->roles[role] ? NULL : members_find_spare(a);
        if (m)
            array_place_member(a, m, role, MEMBER_RECOVERING, false);
    }
}

/* Up to `most` in that state, RECOVERING or REPLACING. */
static unsigned find_targets(
    struct array *a, enum array_member_state state, struct member **targets, unsigned most)
{
    unsigned count = 0;

    for (unsigned role = 0; role < a->geometry.raid_disks && count < most; role++) {
        struct member *m = state == MEMBER_REPLACING ? a->replacements[role] : a->roles[role];
        if (m && member_state(m) == state)
            targets[count++] = m;
    }
    return count;
}

static bool is_due(const struct array *a, enum array_action action)
{
    return rt_now_ns() >= a->sync.not_before_ns[action];
}

static void start_what_is_due(struct array *a)
{
    struct member *recovering[SYNC_TARGETS_MAX], *replacing;
    unsigned count = find_targets(a, MEMBER_RECOVERING, recovering, SYNC_TARGETS_MAX);

    if (count && is_due(a, ARRAY_RECOVERY))
        sync_start(a, ARRAY_RECOVERY, recovering, count, false);
    else if (find_targets(a, MEMBER_REPLACING, &replacing, 1) && is_due(a, ARRAY_REPLACE))
        sync_start(a, ARRAY_REPLACE, &replacing, 1, false);
    else if (atomic_load(&a->bitmap.due) && is_due(a, ARRAY_RESYNC))
        sync_start(a, ARRAY_RESYNC, NULL, 0, false);
}

static bool awaits_recovery(struct array *a)
{
    struct member *recovering[SYNC_TARGETS_MAX];
    unsigned count = find_targets(a, MEMBER_RECOVERING, recovering, SYNC_TARGETS_MAX);

    for (unsigned i = 0; i < count; i++)
        if (!sync_has_target(a, recovering[i]))
            return true;
    return role_is_free(a, members_find_spare(a));
}

/* What makes the array redundant again goes before all else; who comes while others recover joins
 * them, each from its own point on. */
static bool gives_way(struct array *a)
{
    return a->sync.running && a->sync.target_count < SYNC_TARGETS_MAX &&
           is_due(a, ARRAY_RECOVERY) && awaits_recovery(a);
}

static void step(struct array *a)
{
    co_mutex_lock(&a->control);
    sync_reap(a);
    array_settle_failures(a);
    if (gives_way(a))
        sync_interrupt(a);
    if (!atomic_load(&a->failed))
        wear_settle(a);
    if (!a->sync.running && !atomic_load(&a->failed)) {
        use_spares(a);
        start_what_is_due(a);
    }
    co_mutex_unlock(&a->control);
}

/* Also once a resync has ended without anything being written. */
static bool may_become_clean(const struct array *a)
{
    return atomic_load(&a->busy) ||
           (atomic_load(&a->says_dirty) && !atomic_load(&a->bitmap.unsynced) &&
               !atomic_load(&a->failed));
}

/* The superblocks are only looked after where there are copies. */
static uint64_t tend(struct array *a, struct pace *p)
{
    if (!array_redundant(a))
        return UINT64_MAX;
    step(a);
    if (may_become_clean(a))
        look_for_idleness(a, p);
    clean_bitmap(a, p);
    return rt_now_ns() + (may_become_clean(a) ? TICK_NS : SECOND_NS);
}

static void manage(void *arg)
{
    struct array *a = arg;
    struct pace pace = {.next_clean_ns = rt_now_ns()};

    while (!a->stopping) {
        co_event_clear(&a->wake);
        co_event_wait_until(&a->wake, tend(a, &pace));
    }
    co_mutex_lock(&a->control);
    sync_stop(a);
    co_mutex_unlock(&a->control);
    co_event_set(&a->stopped);
}

void array_start(struct array *a)
{
    a->home = worker_self();
    a->started = co_start("array", manage, a) == 0;
}
