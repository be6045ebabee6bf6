/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include <execinfo.h>
#include <fenv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rt/fiber.h"

extern CU_TestInfo coroutine_tests[];

static char trace[64];

static void put(char c)
{
    size_t n = strlen(trace);

    trace[n] = c;
    trace[n + 1] = 0;
}

/* Puts its letter, three times. */
static void three_turns(void *arg)
{
    for (int i = 0; i < 3; i++) {
        put(*(const char *)arg);
        co_yield ();
    }
}

static void fifo_order(void)
{
    trace[0] = 0;
    CU_ASSERT_EQUAL(co_start("a", three_turns, "a"), 0);
    CU_ASSERT_EQUAL(co_start("b", three_turns, "b"), 0);
    CU_ASSERT_EQUAL(co_start("c", three_turns, "c"), 0);
    CU_ASSERT_STRING_EQUAL(trace, "");
    for (int i = 0; i < 4; i++) {
        co_yield ();
        put('.');
    }
    CU_ASSERT_STRING_EQUAL(trace, "abc.abc.abc..");
}

static void test_fifo(void)
{
    run_in_rt(fifo_order);
}

static struct co *sleeping;

static void sleep_once(void *arg)
{
    sleeping = co_self();
    co_suspend("test");
    put('w');
}

static void wake_before_suspend(void)
{
    trace[0] = 0;
    co_wake(co_self());
    co_suspend("test");
    CU_ASSERT_EQUAL(co_start("sleeper", sleep_once, NULL), 0);
    co_yield ();
    CU_ASSERT_STRING_EQUAL(trace, "");
    co_wake(sleeping);
    CU_ASSERT_STRING_EQUAL(trace, "");
    co_yield ();
    CU_ASSERT_STRING_EQUAL(trace, "w");
}

static void test_wake(void)
{
    run_in_rt(wake_before_suspend);
}

static unsigned ended;

/* Fills half its stack and looks whether others have written there. */
static void use_stack(void *arg)
{
    volatile unsigned char mine[CO_STACK_BYTES / 2];
    unsigned char value = (unsigned char)(uintptr_t)arg;
    bool good = true;

    for (size_t i = 0; i < sizeof mine; i++)
        mine[i] = value;
    co_yield ();
    for (size_t i = 0; i < sizeof mine; i++)
        good &= mine[i] == value;
    CU_ASSERT(good);
    ended++;
}

/* More than the pools keep, and twice, so that stacks are used again. */
static void many_stacks(void)
{
    enum { COUNT = 1500 };

    for (int round = 0; round < 2; round++) {
        ended = 0;
        for (unsigned i = 0; i < COUNT; i++)
            CU_ASSERT_EQUAL(co_start("stack", use_stack, (void *)(uintptr_t)i), 0);
        while (ended < COUNT)
            co_yield ();
    }
}

static void test_stacks(void)
{
    run_in_rt(many_stacks);
}

#define STACK_BYTES (CO_STACK_BYTES * (FIBER_ASAN || FIBER_TSAN ? 4 : 1))

static volatile char *frame;

/* The page that faults begins where the stack ends. */
static void note_fault(int number, siginfo_t *info, void *context)
{
    _exit(frame - (volatile char *)info->si_addr < STACK_BYTES ? 42 : 43);
}

/* Down the stack and past its end. */
static void overflow(void *arg)
{
    frame = __builtin_frame_address(0);
    for (ptrdiff_t n = 0; n < 2 * STACK_BYTES; n += 16)
        frame[-n] = 0;
}

static void run_overflow(void)
{
    static char stack[64 * 1024];
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = note_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigaltstack(&own, NULL);
    sigaction(SIGSEGV, &action, NULL);
    rt_main(overflow, NULL);
    _exit(0);
}

/* Whoever lies below must not be overwritten. */
static void test_guard_page(void)
{
    int status;
    pid_t child = fork();

    if (!child)
        run_overflow();
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

#if defined(__x86_64__) || defined(__aarch64__)
/* The outermost frame of every coroutine, in rt/context_ARCH.c. */
void context_begin(void);

static void backtrace_ends(void)
{
    void *frames[64];
    int n = backtrace(frames, 64);
    ptrdiff_t offset = (char *)frames[n - 1] - (char *)context_begin;

    CU_ASSERT(offset > 0 && offset < 32);
}
#else
static void backtrace_ends(void)
{
}
#endif

static void test_backtrace(void)
{
    run_in_rt(backtrace_ends);
}

static double third(void)
{
    volatile double one = 1, three = 3;

    return one / three;
}

static void round_upwards(void *arg)
{
    fesetround(FE_UPWARD);
    co_yield ();
    *(double *)arg = third();
}

/* The rounding mode belongs to the coroutine, and a new one starts with the default. */
static void rounding_modes(void)
{
    double before = third(), above = 0;

    CU_ASSERT_EQUAL(co_start("up", round_upwards, &above), 0);
    co_yield ();
    CU_ASSERT_EQUAL(third(), before);
    co_yield ();
    CU_ASSERT(above > before);
}

static void test_rounding(void)
{
    run_in_rt(rounding_modes);
}

static void wait_named(void *arg)
{
    *(struct co **)arg = co_self();
    co_suspend("the test to look");
}

static void list_shows_waiting(void)
{
    struct co *co = NULL;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    CU_ASSERT_EQUAL(co_start("a waiting coroutine", wait_named, &co), 0);
    co_yield ();
    co_list(out);
    fclose(out);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "a waiting coroutine"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "the test to look"));
    free(text);

    co_wake(co);
    co_yield ();
    out = open_memstream(&text, &size);
    co_list(out);
    fclose(out);
    CU_ASSERT_PTR_NULL(strstr(text, "a waiting coroutine"));
    free(text);
}

static void test_list(void)
{
    run_in_rt(list_shows_waiting);
}

CU_TestInfo coroutine_tests[] = {
    {"the run queue is first come, first served", test_fifo},
    {"a wake before the suspend is kept", test_wake},
    {"stacks are apart, and used again", test_stacks},
    {"an overflow hits the guard page", test_guard_page},
    {"a backtrace ends", test_backtrace},
    {"the rounding mode is the coroutine's own", test_rounding},
    {"the list shows who waits for what", test_list},
    CU_TEST_INFO_NULL,
};
