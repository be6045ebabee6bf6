/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/log.h"
#include "rt/worker.h"

static struct {
    struct worker *worker;
    void (*fn)(void);
    sem_t ended; /* fn has returned */
} runtime;

static void run(void *arg)
{
    runtime.fn();
    sem_post(&runtime.ended);
}

static void stay(void *arg)
{
    runtime.worker = worker_self();
    run(NULL);
    co_suspend("the fuzzer");
}

static void *main_worker(void *arg)
{
    assert(!rt_main(stay, NULL));
    return NULL;
}

/* libFuzzer's timer interrupts it. */
static void wait_ended(void)
{
    while (sem_wait(&runtime.ended))
        assert(errno == EINTR);
}

void fuzz_runtime_start(void (*prepare)(void))
{
    pthread_t thread;

    log_set_level(LOG_ERROR);
    sem_init(&runtime.ended, 0, 0);
    runtime.fn = prepare;
    assert(!rt_init(NULL, NULL));
    assert(!pthread_create(&thread, NULL, main_worker, NULL));
    wait_ended();
}

void fuzz_runtime_run(void (*fn)(void))
{
    runtime.fn = fn;
    assert(!worker_start(runtime.worker, "input", run, NULL));
    wait_ended();
}
