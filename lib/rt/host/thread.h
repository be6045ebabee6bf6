/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads of the host. Internal to rt/. */
#ifndef ASHLAR_RT_HOST_THREAD_H
#define ASHLAR_RT_HOST_THREAD_H

#include <pthread.h>

/* Starts a thread named `name` that leaves signals to others. 0 or -errno. */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg);

#endif
