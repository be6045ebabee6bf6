/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fibers: rt/context.h with the sanitizers' bookkeeping around it. */
#include "rt/fiber.h"

#include <stdbool.h>

#include "rt/context.h"

#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Inline, because ThreadSanitizer notes the return from a function on the fiber that is current. */
static inline __attribute__((always_inline)) void leave(
    struct fiber *from, struct fiber *to, bool for_good)
{
    to->resumer = from;
#if FIBER_ASAN
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->sanitizer, to->stack, to->stack_bytes);
#endif
#if FIBER_TSAN
    __tsan_switch_to_fiber(to->sanitizer, 0);
#endif
}

/* A thread's own stack is known to AddressSanitizer only: it tells when that is left. */
static void arrive(struct fiber *f)
{
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(f->sanitizer, &f->resumer->stack, &f->resumer->stack_bytes);
#endif
}

void fiber_adopt(struct fiber *f)
{
    *f = (struct fiber){0};
#if FIBER_TSAN
    f->sanitizer = __tsan_get_current_fiber();
#endif
}

static void begin(void *arg)
{
    struct fiber *f = arg;

    arrive(f);
    f->fn(f->arg);
    __builtin_unreachable();
}

void fiber_make(struct fiber *f, void *stack, size_t bytes, void (*fn)(void *arg), void *arg)
{
    *f = (struct fiber){.stack = stack, .stack_bytes = bytes, .fn = fn, .arg = arg};
#if FIBER_ASAN
    /* A former fiber has left without returning from its functions. */
    ASAN_UNPOISON_MEMORY_REGION(stack, bytes);
#endif
#if FIBER_TSAN
    f->sanitizer = __tsan_create_fiber(0);
#endif
    f->context = context_make(stack, bytes, begin, f);
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
    leave(from, to, false);
    context_switch(&from->context, to->context);
    arrive(from);
}

void fiber_exit(struct fiber *from, struct fiber *to)
{
    leave(from, to, true);
    context_switch(&from->context, to->context);
    __builtin_unreachable();
}

void fiber_release(struct fiber *f)
{
#if FIBER_TSAN
    __tsan_destroy_fiber(f->sanitizer);
#endif
}
