/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Timers of a worker: a pairing heap whose links lie in the timers, so that arming cannot fail.
 *
 * A timer's `prev` is its parent when it is the first child, else the sibling before it; both it
 * and `next` are NULL in the root.
 */
#include "rt/internal.h"

static bool fires_before(const struct timer *a, const struct timer *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

/* Joins two roots, the first of which may be NULL. */
static struct timer *meld(struct timer *a, struct timer *b)
{
    if (!a)
        return b;
    if (fires_before(b, a)) {
        struct timer *swap = a;

        a = b;
        b = swap;
    }
    b->next = a->child;
    b->prev = a;
    if (a->child)
        a->child->prev = b;
    a->child = b;
    return a;
}

static struct timer *take_first(struct timer **siblings)
{
    struct timer *t = *siblings;

    if (t) {
        *siblings = t->next;
        t->next = t->prev = NULL;
    }
    return t;
}

/* Makes one heap of siblings: in pairs from the left, then all pairs. */
static struct timer *meld_siblings(struct timer *siblings)
{
    struct timer *pairs = NULL, *root = NULL, *t;

    while ((t = take_first(&siblings))) {
        struct timer *other = take_first(&siblings);

        if (other)
            t = meld(t, other);
        t->next = pairs;
        pairs = t;
    }
    while ((t = take_first(&pairs)))
        root = meld(root, t);
    return root;
}

static void unlink_timer(struct worker *w, struct timer *t)
{
    struct timer *below = meld_siblings(t->child);

    if (t == w->timers) {
        w->timers = below;
    } else {
        if (t->prev->child == t)
            t->prev->child = t->next;
        else
            t->prev->next = t->next;
        if (t->next)
            t->next->prev = t->prev;
        if (below)
            w->timers = meld(w->timers, below);
    }
    t->child = t->next = t->prev = NULL;
    t->due_ns = 0;
}

void timer_arm(struct timer *t, uint64_t due_ns)
{
    struct worker *w = worker_self();

    timer_cancel(t);
    t->due_ns = due_ns ? due_ns : 1;
    t->order = w->timers_armed++;
    t->child = t->next = t->prev = NULL;
    w->timers = meld(w->timers, t);
}

void timer_cancel(struct timer *t)
{
    if (t->due_ns)
        unlink_timer(worker_self(), t);
}

uint64_t timers_next_due(const struct worker *w)
{
    return w->timers ? w->timers->due_ns : UINT64_MAX;
}

void timers_fire(struct worker *w, uint64_t now_ns)
{
    while (timers_next_due(w) <= now_ns) {
        struct timer *t = w->timers;

        unlink_timer(w, t);
        t->fn(t);
    }
}

struct sleeper {
    struct timer timer;
    struct co *co;
};

static void sleep_ends(struct timer *t)
{
    co_wake(container_of(t, struct sleeper, timer)->co);
}

void co_sleep_ns(uint64_t ns)
{
    struct sleeper s = {.timer.fn = sleep_ends, .co = co_self()};

    timer_arm(&s.timer, rt_now_ns() + ns);
    co_suspend("sleep");
}
