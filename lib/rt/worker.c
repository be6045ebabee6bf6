/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Workers: threads that run coroutines.
 *
 * The loop of a worker takes its mail (coroutines started or woken by other threads), calls timers,
 * runs what is ready, a bounded number at a time, and gives the engine its turn. With nothing to do
 * it polls the engine for a few microseconds, if its last sleeps were as short as that (waking a
 * sleeping thread costs more), and then sleeps in it.
 *
 * No wake is lost: a sender puts mail first and then looks whether the worker is asleep; the worker
 * says that it is and then looks for mail. Whoever clears `asleep` owes the engine an interrupt. A
 * worker ends when it has been told to and no coroutine is left, and not before all interrupts owed
 * to it have come, as the engine goes then. The struct itself stays, since a sender may still look
 * at it when its mail has been read.
 */
#include "rt/internal.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "rt/sync.h"

/* Coroutines run between two turns of the engine. */
#define RUN_BATCH 256
/* The shortest time to poll before a sleep; the longest is rt_poll_max_ns. */
#define POLL_NS_MIN UINT64_C(2000)

static struct worker workers[WORKERS_MAX];
static struct spinlock workers_lock = SPINLOCK_INIT;
static __thread struct worker *self;

struct worker *worker_self(void)
{
    return self;
}

struct engine *engine_self(void)
{
    return self ? self->engine : NULL;
}

struct co *co_self(void)
{
    return self ? self->current : NULL;
}

unsigned worker_index(const struct worker *w)
{
    return (unsigned)(w - workers);
}

const char *worker_name(const struct worker *w)
{
    return w->name;
}

static void make_ready(struct worker *w, struct co *co)
{
    assert(!co->ready);
    co->ready = true;
    co->next = NULL;
    *w->ready.tail = co;
    w->ready.tail = &co->next;
}

static struct co *take_ready(struct worker *w)
{
    struct co *co = w->ready.head;

    if (!co)
        return NULL;
    co->ready = false;
    w->ready.head = co->next;
    if (!co->next)
        w->ready.tail = &w->ready.head;
    return co;
}

/* From any thread. */
static void rouse(struct worker *w)
{
    if (atomic_load(&w->asleep) && atomic_exchange(&w->asleep, false)) {
        w->engine->ops->interrupt(w->engine);
        atomic_fetch_add(&w->interrupts, 1);
    }
}

static void mail(struct worker *w, struct co *co)
{
    struct co *newest = atomic_load_explicit(&w->mailbox, memory_order_relaxed);

    do {
        co->next = newest;
    } while (!atomic_compare_exchange_weak(&w->mailbox, &newest, co));
    /* Otherwise who brought the first has seen to it. */
    if (!newest)
        rouse(w);
}

static void read_mail(struct worker *w)
{
    struct co *co, *in_order = NULL;

    if (!worker_has_mail(w))
        return;
    co = atomic_exchange(&w->mailbox, NULL);
    while (co) {
        struct co *earlier = co->next;

        co->next = in_order;
        in_order = co;
        co = earlier;
    }
    while ((co = in_order)) {
        in_order = co->next;
        make_ready(w, co);
    }
}

void co_wake(struct co *co)
{
    if (co->worker == self)
        make_ready(self, co);
    else
        mail(co->worker, co);
}

void co_yield (void)
{
    make_ready(self, self->current);
    co_suspend("yield");
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
    return worker_start(self, name, entry, arg);
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

    if (w == self) {
        entry(arg);
        return 0;
    }
    rc = worker_start(w, name, run_call, &c);
    if (!rc)
        co_suspend(name);
    return rc;
}

static void run_ready(struct worker *w)
{
    struct co *co;

    for (unsigned n = 0; n < RUN_BATCH && (co = take_ready(w)); n++)
        co_resume(w, co);
}

static bool has_work(struct worker *w)
{
    return w->ready.head || worker_has_mail(w);
}

static bool may_end(struct worker *w)
{
    return atomic_load(&w->stopping) && !w->live && !has_work(w);
}

static void turn(struct worker *w, uint64_t timeout_ns)
{
    w->engine->ops->turn(w->engine, timeout_ns);
    w->now_ns = rt_now_ns();
}

static uint64_t time_to_next_timer(struct worker *w)
{
    uint64_t due_ns = timers_next_due(w);

    if (due_ns == UINT64_MAX)
        return UINT64_MAX;
    return due_ns > w->now_ns ? due_ns - w->now_ns : 0;
}

/* Others of this processor go first: whom we wait for may be among them. */
static bool poll_for_work(struct worker *w)
{
    uint64_t until_ns = (w->now_ns = rt_now_ns()) + w->poll_ns;

    while (w->now_ns < until_ns) {
        turn(w, 0);
        if (has_work(w) || !time_to_next_timer(w))
            return true;
        sched_yield();
    }
    return false;
}

/* Polls longer after a sleep that polling might have saved, and less after a longer one. */
static void adapt_polling(struct worker *w, uint64_t slept_ns)
{
    if (slept_ns > rt_poll_max_ns)
        w->poll_ns = w->poll_ns > POLL_NS_MIN ? w->poll_ns / 2 : 0;
    else
        w->poll_ns = MIN(MAX(w->poll_ns * 2, POLL_NS_MIN), rt_poll_max_ns);
}

static void sleep_for_work(struct worker *w)
{
    uint64_t since_ns = w->now_ns;

    atomic_store(&w->asleep, true);
    turn(w, worker_has_mail(w) || may_end(w) ? 0 : time_to_next_timer(w));
    if (!atomic_exchange(&w->asleep, false))
        w->interrupts_due++;
    adapt_polling(w, w->now_ns - since_ns);
}

static void loop(struct worker *w)
{
    for (;;) {
        read_mail(w);
        timers_fire(w, w->now_ns);
        run_ready(w);
        if (may_end(w))
            break;
        if (has_work(w))
            turn(w, 0);
        else if (!poll_for_work(w))
            sleep_for_work(w);
    }
    while (atomic_load(&w->interrupts) != w->interrupts_due)
        sched_yield();
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

/* On its thread. */
static int worker_begin(struct worker *w)
{
    int rc = rt_engine->create(&w->engine);

    if (rc < 0)
        return rc;
    fiber_adopt(&w->loop);
    co_fifo_init(&w->ready);
    atomic_store(&w->stopping, false);
    w->now_ns = rt_now_ns();
    w->poll_ns = 0;
    self = w;
    return 0;
}

static void worker_end(struct worker *w)
{
    assert(!w->timers);
    w->engine->ops->destroy(w->engine);
    stacks_free_idle(w);
    self = NULL;
}

struct main_entry {
    co_entry *entry;
    void *arg;
};

static void run_main(void *arg)
{
    struct main_entry *m = arg;
    struct worker *w = self;

    m->entry(m->arg);
    atomic_store(&w->stopping, true);
}

int rt_main(co_entry *entry, void *arg)
{
    struct main_entry m = {entry, arg};
    struct worker *w = worker_reserve(0, "main");
    int rc;

    assert(rt_engine && w == workers);
    rc = worker_begin(w);
    if (rc == 0) {
        rc = co_start("main", run_main, &m);
        if (rc < 0)
            atomic_store(&w->stopping, true);
        loop(w);
        worker_end(w);
        offload_end();
        stacks_free_shared();
    }
    worker_release(w);
    return rc;
}

/* Faults stay with the thread that causes them. */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t blocked, before;
    int rc;

    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    rc = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_setname_np(*thread, name);
    return -rc;
}

struct beginning {
    struct worker *worker;
    sem_t begun;
    int result;
};

static void *worker_thread(void *arg)
{
    struct beginning *b = arg;
    struct worker *w = b->worker;
    int rc = worker_begin(w);

    b->result = rc;
    sem_post(&b->begun);
    if (rc == 0) {
        loop(w);
        worker_end(w);
    }
    return NULL;
}

static int worker_spawn(struct worker *w)
{
    struct beginning b = {.worker = w};
    int rc;

    sem_init(&b.begun, 0, 0);
    rc = thread_start(&w->thread, w->name, worker_thread, &b);
    if (rc == 0) {
        while (sem_wait(&b.begun) < 0)
            ;
        rc = b.result;
        if (rc < 0)
            pthread_join(w->thread, NULL);
    }
    sem_destroy(&b.begun);
    return rc;
}

int worker_create(struct worker **w, const char *name, struct error *err)
{
    struct worker *made = worker_reserve(1, name);
    int rc;

    if (!made)
        return error_set(err, EAGAIN, "worker %s: there are %d already", name, WORKERS_MAX);
    rc = worker_spawn(made);
    if (rc < 0) {
        worker_release(made);
        return error_set(err, -rc, "worker %s: %s", name, strerror(-rc));
    }
    *w = made;
    return 0;
}

static int join(void *arg)
{
    struct worker *w = arg;

    return -pthread_join(w->thread, NULL);
}

void worker_destroy(struct worker *w)
{
    assert(w != self);
    atomic_store(&w->stopping, true);
    rouse(w);
    rt_offload(join, w);
    worker_release(w);
}
