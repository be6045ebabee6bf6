/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Coroutines and their stacks.
 *
 * A mapping is, from below: a page that faults, the stack, and at its top the struct co. Idle ones
 * are kept by the worker on which the last coroutine ended; the surplus is shared, so that a worker
 * that starts coroutines on another one finds stacks too. All mappings are on the list `every`, for
 * co_list and the debugger.
 *
 * A coroutine is entered from its worker's loop and goes back there when it waits or ends.
 */
#include "rt/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "rt/stack.h"

#define STACK_BYTES     ((size_t)CO_STACK_BYTES * (FIBER_ASAN || FIBER_TSAN ? 4 : 1))
#define IDLE_WORKER_MAX 128
#define IDLE_SHARED_MAX 1024

static struct {
    pthread_mutex_t mutex;
    struct list every;
    struct co *idle;
    unsigned idle_count;
} stacks = {.mutex = PTHREAD_MUTEX_INITIALIZER, .every = LIST_INIT(stacks.every)};

static char *co_stack(struct co *co)
{
    return (char *)(co + 1) - STACK_BYTES;
}

static struct co *stack_map(void)
{
    char *stack = stack_memory_get(STACK_BYTES);
    struct co *co;

    if (!stack)
        return NULL;
    co = (struct co *)(stack + STACK_BYTES) - 1;
    pthread_mutex_lock(&stacks.mutex);
    list_append(&stacks.every, &co->every);
    pthread_mutex_unlock(&stacks.mutex);
    return co;
}

static void stack_unmap(struct co *co)
{
    pthread_mutex_lock(&stacks.mutex);
    list_remove(&co->every);
    pthread_mutex_unlock(&stacks.mutex);
    stack_memory_put(co_stack(co), STACK_BYTES);
}

static struct co *idle_pop(struct co **idle, unsigned *count)
{
    struct co *co = *idle;

    if (co) {
        *idle = co->next;
        (*count)--;
    }
    return co;
}

static bool idle_push(struct co **idle, unsigned *count, unsigned max, struct co *co)
{
    if (*count == max)
        return false;
    co->next = *idle;
    *idle = co;
    (*count)++;
    return true;
}

static struct co *shared_pop(void)
{
    struct co *co;

    pthread_mutex_lock(&stacks.mutex);
    co = idle_pop(&stacks.idle, &stacks.idle_count);
    pthread_mutex_unlock(&stacks.mutex);
    return co;
}

static bool shared_push(struct co *co)
{
    bool kept;

    pthread_mutex_lock(&stacks.mutex);
    kept = idle_push(&stacks.idle, &stacks.idle_count, IDLE_SHARED_MAX, co);
    pthread_mutex_unlock(&stacks.mutex);
    return kept;
}

/* From the stacks of the calling worker (or NULL), whichever worker it is for. */
static struct co *stack_get(struct worker *w)
{
    struct co *co = w ? idle_pop(&w->idle, &w->idle_count) : NULL;

    if (!co)
        co = shared_pop();
    return co ? co : stack_map();
}

static void stack_put(struct worker *w, struct co *co)
{
    if (!idle_push(&w->idle, &w->idle_count, IDLE_WORKER_MAX, co) && !shared_push(co))
        stack_unmap(co);
}

void stacks_free_idle(struct worker *w)
{
    struct co *co;

    while ((co = idle_pop(&w->idle, &w->idle_count)))
        stack_unmap(co);
}

void stacks_free_shared(void)
{
    struct co *co;

    while ((co = shared_pop()))
        stack_unmap(co);
}

static void set_state(struct co *co, const char *why)
{
    atomic_store_explicit(&co->why, why, memory_order_relaxed);
    atomic_store_explicit(&co->since_ns, co->worker->now_ns, memory_order_relaxed);
}

static void co_main(void *arg)
{
    struct co *co = arg;

    co->worker->live++;
    co->entry(co->arg);
    co->worker->live--;
    co->ended = true;
    fiber_exit(&co->fiber, &co->worker->loop);
}

struct co *co_create(struct worker *w, const char *name, co_entry *entry, void *arg)
{
    struct worker *creator = worker_self();
    struct co *co = stack_get(creator);

    if (!co)
        return NULL;
    fiber_make(&co->fiber, co_stack(co), STACK_BYTES - sizeof *co, co_main, co);
    co->worker = w;
    co->entry = entry;
    co->arg = arg;
    co->ready = co->ended = false;
    atomic_store_explicit(&co->why, "start", memory_order_relaxed);
    atomic_store_explicit(
        &co->since_ns, creator ? creator->now_ns : rt_now_ns(), memory_order_relaxed);
    atomic_store_explicit(&co->name, name, memory_order_release);
    return co;
}

void co_resume(struct worker *w, struct co *co)
{
    w->current = co;
    set_state(co, NULL);
    fiber_switch(&w->loop, &co->fiber);
    w->current = NULL;
    if (co->ended) {
        fiber_release(&co->fiber);
        atomic_store_explicit(&co->name, NULL, memory_order_relaxed);
        stack_put(w, co);
    }
}

void co_suspend(const char *why)
{
    struct co *co = co_self();

    assert(co);
    set_state(co, why);
    fiber_switch(&co->fiber, &co->worker->loop);
}

void co_list(FILE *out)
{
    uint64_t now = rt_now_ns();

    pthread_mutex_lock(&stacks.mutex);
    list_for_each (link, &stacks.every) {
        struct co *co = container_of(link, struct co, every);
        const char *name = atomic_load_explicit(&co->name, memory_order_acquire);
        const char *why = atomic_load_explicit(&co->why, memory_order_relaxed);
        uint64_t since = atomic_load_explicit(&co->since_ns, memory_order_relaxed);

        if (name)
            fprintf(out, "%-16s %-24s %-24s %9.3f s\n", worker_name(co->worker), name,
                why ? why : "running", now > since ? (double)(now - since) / 1e9 : 0);
    }
    pthread_mutex_unlock(&stacks.mutex);
}
