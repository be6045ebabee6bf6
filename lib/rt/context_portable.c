/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For processors without a file of their own: ucontext makes a context (with system calls, for the
 * signal mask), _setjmp and _longjmp switch (without). What is saved is the jmp_buf, in the frame
 * of the function that waits; it holds no floating-point environment, which is kept beside it.
 */
#include "rt/context.h"

#include <fenv.h>
#include <setjmp.h>
#include <ucontext.h>

struct begin {
    ucontext_t maker, made;
    void (*fn)(void *arg);
    void *arg;
    void *saved;
};

/* makecontext passes integers only. */
static __thread struct begin *beginning;

static void context_begin(void)
{
    struct begin *b = beginning;
    void (*fn)(void *) = b->fn;
    void *arg = b->arg;
    jmp_buf here;

    b->saved = here;
    if (!_setjmp(here))
        setcontext(&b->maker);
    fesetenv(FE_DFL_ENV);
    fn(arg);
    __builtin_trap();
}

void *context_make(void *stack, size_t bytes, void (*fn)(void *arg), void *arg)
{
    struct begin b = {.fn = fn, .arg = arg};

    getcontext(&b.made);
    b.made.uc_stack.ss_sp = stack;
    b.made.uc_stack.ss_size = bytes;
    beginning = &b;
    makecontext(&b.made, context_begin, 0);
    swapcontext(&b.maker, &b.made);
    return b.saved;
}

void context_switch(void **save, void *load)
{
    jmp_buf here;
    fenv_t env;

    fegetenv(&env);
    *save = here;
    if (!_setjmp(here))
        _longjmp(load, 1);
    fesetenv(&env);
}
