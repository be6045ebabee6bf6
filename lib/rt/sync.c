/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks and gatherings of coroutines.
 *
 * A waiter lies on the stack of its coroutine and is queued until somebody takes it off, under the
 * spinlock, and then owes it the wake. The locks here wake after they have released their
 * spinlock: the woken may free what the lock lies in at once.
 */
#include "rt/sync.h"

#include "rt/worker.h"

struct waiter {
    struct list link;
    struct co *co;
    bool queued;
};

static void spinlock_init(struct spinlock *l)
{
    atomic_flag_clear_explicit(&l->held, memory_order_relaxed);
}

void wait_queue_init(struct wait_queue *q)
{
    list_init(&q->waiters);
}

static void enqueue(struct wait_queue *q, struct waiter *w)
{
    w->co = co_self();
    w->queued = true;
    list_append(&q->waiters, &w->link);
}

static struct co *take_waiter(struct waiter *w)
{
    list_remove(&w->link);
    w->queued = false;
    return w->co;
}

/* The first one, to be woken; NULL when nobody waits. */
static struct co *dequeue(struct wait_queue *q)
{
    struct list *link = list_first(&q->waiters);

    return link ? take_waiter(container_of(link, struct waiter, link)) : NULL;
}

/* Takes all, to be woken by wake_taken when the spinlock has been released. */
static void dequeue_all(struct wait_queue *q, struct list *taken)
{
    list_for_each (link, &q->waiters)
        container_of(link, struct waiter, link)->queued = false;
    list_init(taken);
    list_splice(taken, &q->waiters);
}

static void wake_taken(struct list *taken)
{
    struct list *link;

    while ((link = list_first(taken))) {
        list_remove(link);
        co_wake(container_of(link, struct waiter, link)->co);
    }
}

void wait_queue_wait(struct wait_queue *q, struct spinlock *l, const char *why)
{
    struct waiter w;

    enqueue(q, &w);
    spin_unlock(l);
    co_suspend(why);
}

bool wait_queue_wake_one(struct wait_queue *q)
{
    struct co *co = dequeue(q);

    if (co)
        co_wake(co);
    return co;
}

void wait_queue_wake_all(struct wait_queue *q)
{
    while (wait_queue_wake_one(q))
        ;
}

void co_mutex_init(struct co_mutex *m)
{
    spinlock_init(&m->lock);
    m->held = false;
    wait_queue_init(&m->queue);
}

void co_mutex_lock(struct co_mutex *m)
{
    spin_lock(&m->lock);
    if (m->held) {
        wait_queue_wait(&m->queue, &m->lock, "mutex");
        return;
    }
    m->held = true;
    spin_unlock(&m->lock);
}

bool co_mutex_trylock(struct co_mutex *m)
{
    bool taken;

    spin_lock(&m->lock);
    taken = !m->held;
    m->held = true;
    spin_unlock(&m->lock);
    return taken;
}

void co_mutex_unlock(struct co_mutex *m)
{
    struct co *next;

    spin_lock(&m->lock);
    next = dequeue(&m->queue);
    m->held = next;
    spin_unlock(&m->lock);
    if (next)
        co_wake(next);
}

void co_cond_init(struct co_cond *c)
{
    spinlock_init(&c->lock);
    wait_queue_init(&c->queue);
}

void co_cond_wait(struct co_cond *c, struct co_mutex *m)
{
    struct waiter w;

    spin_lock(&c->lock);
    enqueue(&c->queue, &w);
    spin_unlock(&c->lock);
    co_mutex_unlock(m);
    co_suspend("condition");
    co_mutex_lock(m);
}

void co_cond_signal(struct co_cond *c)
{
    struct co *first;

    spin_lock(&c->lock);
    first = dequeue(&c->queue);
    spin_unlock(&c->lock);
    if (first)
        co_wake(first);
}

void co_cond_broadcast(struct co_cond *c)
{
    struct list taken;

    spin_lock(&c->lock);
    dequeue_all(&c->queue, &taken);
    spin_unlock(&c->lock);
    wake_taken(&taken);
}

void wait_group_init(struct wait_group *g)
{
    spinlock_init(&g->lock);
    g->pending = 0;
    g->waiter = NULL;
}

void wait_group_add(struct wait_group *g, unsigned n)
{
    spin_lock(&g->lock);
    g->pending += n;
    spin_unlock(&g->lock);
}

void wait_group_done(struct wait_group *g)
{
    struct co *waiter = NULL;

    spin_lock(&g->lock);
    if (!--g->pending)
        waiter = g->waiter;
    spin_unlock(&g->lock);
    if (waiter)
        co_wake(waiter);
}

void wait_group_wait(struct wait_group *g)
{
    bool wait;

    spin_lock(&g->lock);
    wait = g->pending;
    g->waiter = wait ? co_self() : NULL;
    spin_unlock(&g->lock);
    if (wait)
        co_suspend("wait group");
}

void co_event_init(struct co_event *e)
{
    spinlock_init(&e->lock);
    e->set = false;
    wait_queue_init(&e->queue);
}

void co_event_set(struct co_event *e)
{
    struct list taken;

    spin_lock(&e->lock);
    e->set = true;
    dequeue_all(&e->queue, &taken);
    spin_unlock(&e->lock);
    wake_taken(&taken);
}

void co_event_clear(struct co_event *e)
{
    spin_lock(&e->lock);
    e->set = false;
    spin_unlock(&e->lock);
}

void co_event_wait(struct co_event *e)
{
    spin_lock(&e->lock);
    if (e->set)
        spin_unlock(&e->lock);
    else
        wait_queue_wait(&e->queue, &e->lock, "event");
}

struct timed_wait {
    struct waiter waiter;
    struct timer timer;
    struct co_event *event;
    bool timed_out;
};

/* Unless the event has been set by now, and the wake is on its way. */
static void give_up(struct timer *t)
{
    struct timed_wait *w = container_of(t, struct timed_wait, timer);

    spin_lock(&w->event->lock);
    w->timed_out = w->waiter.queued;
    if (w->timed_out)
        take_waiter(&w->waiter);
    spin_unlock(&w->event->lock);
    if (w->timed_out)
        co_wake(w->waiter.co);
}

bool co_event_wait_until(struct co_event *e, uint64_t due_ns)
{
    struct timed_wait w = {.timer.fn = give_up, .event = e};

    spin_lock(&e->lock);
    if (e->set) {
        spin_unlock(&e->lock);
        return true;
    }
    enqueue(&e->queue, &w.waiter);
    spin_unlock(&e->lock);
    timer_arm(&w.timer, due_ns);
    co_suspend("event");
    timer_cancel(&w.timer);
    return !w.timed_out;
}
