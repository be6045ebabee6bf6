/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stack and what runs on it, with AddressSanitizer and ThreadSanitizer told of each switch.
 */
#ifndef ASHLAR_RT_FIBER_H
#define ASHLAR_RT_FIBER_H

#include <stddef.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#else
#define FIBER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#else
#define FIBER_TSAN 0
#endif

struct fiber {
    void *context; /* while it does not run */
    const void *stack;
    size_t stack_bytes;
    struct fiber *resumer; /* who has switched to it last */
    void (*fn)(void *arg);
    void *arg;
    void *sanitizer; /* AddressSanitizer's fake stack, ThreadSanitizer's fiber */
};

/* The calling thread's own. */
void fiber_adopt(struct fiber *f);
/* Will run fn(arg) when first switched to; fn ends by fiber_exit. */
void fiber_make(struct fiber *f, void *stack, size_t bytes, void (*fn)(void *arg), void *arg);
void fiber_switch(struct fiber *from, struct fiber *to);
/* The last switch of a fiber. */
_Noreturn void fiber_exit(struct fiber *from, struct fiber *to);
/* By the resumer, after fiber_exit: the stack may be used for another. */
void fiber_release(struct fiber *f);

#endif
