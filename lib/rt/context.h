/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bare exchange of stacks, one file a processor (context_ARCH.c; context_portable.c for all
 * others). A context that does not run is the address of what it has saved on its own stack. No
 * system call is made, the signal mask belongs to the thread. Sanitizers learn of it in rt/fiber.c.
 */
#ifndef ASHLAR_RT_CONTEXT_H
#define ASHLAR_RT_CONTEXT_H

#include <stddef.h>

/* A context that calls fn(arg) on the stack of `bytes` bytes at `stack` when first switched to. fn
 * never returns. */
void *context_make(void *stack, size_t bytes, void (*fn)(void *arg), void *arg);
/* Leaves the calling context in *save and continues `load`. */
void context_switch(void **save, void *load);

#endif
