/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A machine that dies of a signal says where: its failure names the signal and return addresses,
 * the innermost first, relative to where the executable was loaded. tests/sim/run makes lines of
 * them. Sanitizers have handlers of their own, which stay. */
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "rt/sim/machine.h"

#define FRAMES_MAX       12
#define SIGNAL_STACK     65536
#define FRAMES_OF_SIGNAL 2 /* die and the kernel's trampoline */

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static void die(int signal)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    size_t used;

    if (!sim->failure[0]) {
        snprintf(sim->failure, sizeof sim->failure, "the machine died: %s at", strsignal(signal));
        for (int i = FRAMES_OF_SIGNAL; i < count; i++) {
            used = strlen(sim->failure);
            snprintf(sim->failure + used, sizeof sim->failure - used, " 0x%zx",
                (size_t)((const char *)frames[i] - __ehdr_start));
        }
    }
    raise(signal);
}

void crash_init(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    static char stack[SIGNAL_STACK];
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction act = {.sa_handler = die, .sa_flags = (int)(SA_RESETHAND | SA_ONSTACK)}, old;
    void *first[1];

    /* Loads what it needs. */
    backtrace(first, 1);
    sigaltstack(&alternate, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
        if (!sigaction(signals[i], NULL, &old) && old.sa_handler == SIG_DFL)
            sigaction(signals[i], &act, NULL);
}
