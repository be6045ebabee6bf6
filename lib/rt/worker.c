/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Workers: the table of them, their begin and end; the loop is in loop.c, threads are the host's or
 * the simulator's.
 *
 * A worker ends when it has been told to and no coroutine is left. Its struct stays in the table,
 * since the sender of its last mail may look at it afterwards.
 */
#include "rt/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "rt/sync.h"

static struct worker workers[WORKERS_MAX];
static struct spinlock workers_lock = SPINLOCK_INIT;

unsigned worker_index(const struct worker *w)
{
    return (unsigned)(w - workers);
}

const char *worker_name(const struct worker *w)
{
    return w->name;
}

int worker_start(struct worker *w, const char *name, co_entry *entry, void *arg)
{
    struct co *co = co_create(w, name, entry, arg);

    if (!co)
        return -ENOMEM;
    co_wake(co);
    return 0;
}

int co_start(const char *name, co_entry *entry, void *arg)
{
    return worker_start(this_worker, name, entry, arg);
}

struct call {
    co_entry *entry;
    void *arg;
    struct co *caller;
};

static void run_call(void *arg)
{
    struct call *c = arg;

    c->entry(c->arg);
    co_wake(c->caller);
}

int worker_call(struct worker *w, const char *name, co_entry *entry, void *arg)
{
    struct call c = {entry, arg, co_self()};
    int rc;

    if (w == this_worker) {
        entry(arg);
        return 0;
    }
    rc = worker_start(w, name, run_call, &c);
    if (!rc)
        co_suspend(name);
    return rc;
}

/* Takes the lowest slot from `first` on; NULL: none is free. */
static struct worker *worker_reserve(unsigned first, const char *name)
{
    struct worker *w = &workers[first];

    spin_lock(&workers_lock);
    while (w < workers + WORKERS_MAX && w->used)
        w++;
    if (w < workers + WORKERS_MAX) {
        w->used = true;
        snprintf(w->name, sizeof w->name, "%s", name);
    } else {
        w = NULL;
    }
    spin_unlock(&workers_lock);
    return w;
}

static void worker_release(struct worker *w)
{
    spin_lock(&workers_lock);
    w->used = false;
    spin_unlock(&workers_lock);
}

static bool none_but(const struct worker *w)
{
    bool none = true;

    spin_lock(&workers_lock);
    for (const struct worker *o = workers; o < workers + WORKERS_MAX; o++)
        none = none && (o == w || !o->used);
    spin_unlock(&workers_lock);
    return none;
}

int worker_begin(struct worker *w)
{
    int rc = rt_engine->create(&w->engine);

    if (rc < 0)
        return rc;
    fiber_adopt(&w->loop);
    w->ready_tail = &w->ready;
    atomic_store(&w->stopping, false);
    w->now_ns = rt_now_ns();
    w->poll_ns = 0;
    this_worker = w;
    return 0;
}

void worker_run(struct worker *w)
{
    worker_loop(w);
    assert(!w->timers);
    w->engine->ops->destroy(w->engine);
    stacks_free_idle(w);
    this_worker = NULL;
    if (w->destroyer)
        co_wake(w->destroyer);
}

struct main_entry {
    co_entry *entry;
    void *arg;
    int result;
};

static void run_entry(void *arg)
{
    struct main_entry *m = arg;
    struct worker *w = this_worker;

    m->entry(m->arg);
    atomic_store(&w->stopping, true);
}

static void run_main(void *arg)
{
    struct main_entry *m = arg;
    struct worker *w = workers;

    m->result = worker_begin(w);
    if (m->result < 0)
        return;
    m->result = co_start("main", run_entry, m);
    if (m->result < 0)
        atomic_store(&w->stopping, true);
    worker_run(w);
    assert(none_but(w));
    offload_end();
    stacks_free_shared();
}

int rt_main(co_entry *entry, void *arg)
{
    struct main_entry m = {.entry = entry, .arg = arg};
    struct worker *w = worker_reserve(0, "main");

    assert(rt_engine && w == workers);
    thread_enter(run_main, &m);
    worker_release(w);
    return m.result;
}

int worker_create(struct worker **w, const char *name, struct error *err)
{
    struct worker *made = worker_reserve(1, name);
    int rc;

    if (!made)
        return error_set(err, EAGAIN, "worker %s: there are %d already", name, WORKERS_MAX);
    made->destroyer = NULL;
    rc = worker_thread_start(made);
    if (rc < 0) {
        worker_release(made);
        return error_set(err, -rc, "worker %s: %s", name, strerror(-rc));
    }
    *w = made;
    return 0;
}

void worker_destroy(struct worker *w)
{
    assert(w != this_worker);
    w->destroyer = co_self();
    atomic_store(&w->stopping, true);
    worker_rouse(w);
    co_suspend("worker to end");
    worker_thread_join(w);
    worker_release(w);
}
