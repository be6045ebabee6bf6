/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A coroutine for each assembled array: waits for changes of its status and tells of them by
 * events; what the array does in the background, by itself or by hand, appears as a job.
 */
#ifndef ASHLAR_DAEMON_ARRAY_WATCH_H
#define ASHLAR_DAEMON_ARRAY_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct catalog_array;

/* The array is in place; ends after array_watch_end. -ENOMEM. */
int array_watch_start(struct catalog_array *a);

/*
 * Around array_stop: begin keeps the watcher (under the catalog's view) from looking at the array;
 * end says how it went. After success the watcher has ended when end returns.
 */
void array_watch_begin_stop(struct catalog_array *a);
void array_watch_end_stop(struct catalog_array *a, bool stopped);

/*
 * For a handler that starts an action: mark comes before, job after. *id is the action's job; 0
 * when none has begun within a moment, because another is under way. -ENOMEM.
 */
int array_watch_mark(struct catalog_array *a, uint64_t *mark);
int array_watch_job(struct catalog_array *a, uint64_t mark, uint64_t *id);

#endif
