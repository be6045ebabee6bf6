/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workers on threads of the host. */
#include "rt/host/thread.h"

#include <semaphore.h>
#include <signal.h>

#include "base/arith.h"
#include "rt/internal.h"

/* Faults stay with the thread that causes them. */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t blocked, before;
    int rc;

    sigfillset(&blocked);
    for (unsigned i = 0; i < ARRAY_LEN(faults); i++)
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
    if (rc == 0)
        worker_run(w);
    return NULL;
}

int worker_thread_start(struct worker *w)
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

void worker_thread_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

void thread_enter(void (*fn)(void *arg), void *arg)
{
    fn(arg);
}
