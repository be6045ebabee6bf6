/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory for the stacks of coroutines. Internal to rt/. */
#ifndef ASHLAR_RT_STACK_H
#define ASHLAR_RT_STACK_H

#include <stddef.h>

/* So many bytes, whole pages, all the same number in a program; below them a page that faults.
 * NULL: out of memory. */
void *stack_memory_get(size_t bytes);
void stack_memory_put(void *stack, size_t bytes);

#endif
