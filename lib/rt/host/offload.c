/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Helper threads for calls that block. They are made when a call finds none idle, up to a few, and
 * end with rt_main. The call is queued in the frame of the coroutine that waits for it.
 */
#include <assert.h>

#include "rt/host/thread.h"
#include "rt/internal.h"

#define HELPERS_MAX 8

struct job {
    int (*fn)(void *arg);
    void *arg;
    int result;
    struct co *waiter;
    struct list link;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t queued;
    struct list jobs;
    unsigned waiting; /* jobs in the queue */
    unsigned idle, count;
    bool ending;
    pthread_t threads[HELPERS_MAX];
} helpers = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .queued = PTHREAD_COND_INITIALIZER,
    .jobs = LIST_INIT(helpers.jobs),
};

/* NULL when the helpers end. */
static struct job *next_job(void)
{
    struct list *link;

    helpers.idle++;
    while (list_empty(&helpers.jobs) && !helpers.ending)
        pthread_cond_wait(&helpers.queued, &helpers.mutex);
    helpers.idle--;
    link = list_first(&helpers.jobs);
    if (!link)
        return NULL;
    list_remove(link);
    helpers.waiting--;
    return container_of(link, struct job, link);
}

static void *helper(void *arg)
{
    struct job *job;

    pthread_mutex_lock(&helpers.mutex);
    while ((job = next_job())) {
        pthread_mutex_unlock(&helpers.mutex);
        job->result = job->fn(job->arg);
        co_wake(job->waiter);
        pthread_mutex_lock(&helpers.mutex);
    }
    pthread_mutex_unlock(&helpers.mutex);
    return NULL;
}

/* False when there is no thread to serve it. */
static bool queue_job(struct job *job)
{
    bool served;

    pthread_mutex_lock(&helpers.mutex);
    if (helpers.waiting >= helpers.idle && helpers.count < HELPERS_MAX &&
        thread_start(&helpers.threads[helpers.count], "helper", helper, NULL) == 0)
        helpers.count++;
    served = helpers.count > 0;
    if (served) {
        list_append(&helpers.jobs, &job->link);
        helpers.waiting++;
        pthread_cond_signal(&helpers.queued);
    }
    pthread_mutex_unlock(&helpers.mutex);
    return served;
}

/* Outside workers the caller may block, and does. */
int rt_offload(int (*fn)(void *arg), void *arg)
{
    struct job job = {.fn = fn, .arg = arg, .waiter = co_self()};

    assert(job.waiter || !worker_self());
    if (!job.waiter || !queue_job(&job))
        return fn(arg);
    co_suspend("helper thread");
    return job.result;
}

void offload_end(void)
{
    pthread_mutex_lock(&helpers.mutex);
    helpers.ending = true;
    pthread_cond_broadcast(&helpers.queued);
    pthread_mutex_unlock(&helpers.mutex);
    while (helpers.count)
        pthread_join(helpers.threads[--helpers.count], NULL);
    helpers.ending = false;
}
