/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The world, and the life of machines in it. All that lasts is in memory shared between the program
 * and the processes it forks, one at a time, so there is nothing to lock.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/sim/fs.h"
#include "rt/sim/machine.h"
#include "rt/sim/site.h"

#define SHARES_MAX 16
/* Real time: a machine that computes and never gets to its next turn. */
#define MACHINE_SECONDS_MAX 60u

#define MACHINE_STACK_BYTES (256u << 10)

struct sim_world *sim;

/* Of a machine that is no process. */
static struct fiber inside, outside;
static void *machine_stack;

static struct share {
    void *memory;
    size_t bytes;
} shares[SHARES_MAX];
static unsigned share_count;

void *sim_keep(size_t bytes)
{
    void *memory = mmap(
        NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED) {
        perror("simulator: shared memory");
        exit(2);
    }
    return memory;
}

void *sim_share(size_t bytes)
{
    struct share *s = &shares[share_count++];

    if (share_count > SHARES_MAX)
        abort();
    *s = (struct share){sim_keep(bytes), bytes};
    return s->memory;
}

/* Addresses that differ from run to run would make histories differ wherever a hash of one decides.
 */
static void fix_addresses(char **argv)
{
    int persona = personality(0xffffffff);

    if (persona < 0 || persona & ADDR_NO_RANDOMIZE)
        return;
    if (personality((unsigned long)persona | ADDR_NO_RANDOMIZE) >= 0)
        execv("/proc/self/exe", argv);
}

void sim_init(char **argv)
{
    fix_addresses(argv);
    sim = sim_keep(sizeof *sim);
    sim->isolated = true;
    memory_init();
    machine_stack = sim_keep(MACHINE_STACK_BYTES);
    engine_init();
    site_init();
    crash_init();
    sim_fs_init();
}

void sim_share_process(void)
{
    sim->isolated = !memory_can_be_restored;
}

void sim_reset(uint64_t seed)
{
    struct sim_random seeds = {seed};
    sim->disk_count = 0;
    memset(&sim->cut, 0, sizeof sim->cut);
    sim->failure[0] = '\0';
    sim->seed = sim->hash = seed;
    sim->now_ns = 1000000000;
    for (unsigned i = 0; i < SIM_STREAMS; i++)
        sim->random[i].state = sim_next(&seeds);
    sim->preempt = sim_below(&seeds, 4) != 0;
    /* gives back what was touched: most of a large share never is */
    for (unsigned i = 0; i < share_count; i++)
        if (madvise(shares[i].memory, shares[i].bytes, MADV_REMOVE))
            memset(shares[i].memory, 0, shares[i].bytes);
}

struct sim_disk *sim_add_disk(const struct sim_disk_params *params)
{
    struct sim_disk *d = &sim->disks[sim->disk_count];

    if (sim->disk_count == SIM_DISKS_MAX)
        abort();
    sim_disk_init(d, params);
    sim->disk_count++;
    return d;
}

void sim_trace(const char *fmt, ...)
{
    const struct worker *w = worker_self();
    va_list ap;

    if (!sim->trace)
        return;
    printf("%14.6f %-8s ", (double)sim->now_ns / 1e9, w ? worker_name(w) : "-");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

static __attribute__((noreturn)) void end_machine(enum sim_end end)
{
    fflush(NULL);
    if (sim->isolated)
        _exit((int)end);
    sim->end = end;
    fiber_exit(&inside, &outside);
}

void sim_power_cut(bool kill)
{
    SIM_TRACE(kill ? "--- killed" : "--- power cut");
    io_cut_off(kill);
    for (unsigned i = 0; !kill && i < sim->disk_count; i++)
        sim_disk_cut(&sim->disks[i], sim_stream(SIM_MEDIUM));
    end_machine(kill ? SIM_KILLED : SIM_POWER_CUT);
}

void sim_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!sim->failure[0])
        vsnprintf(sim->failure, sizeof sim->failure, fmt, ap);
    va_end(ap);
    SIM_TRACE("*** %s", sim->failure);
    end_machine(SIM_FAILED);
}

static __attribute__((noreturn)) void be_machine(void (*fn)(void *arg), void *arg)
{
    alarm(MACHINE_SECONDS_MAX);
    if (rt_init(NULL, NULL) || rt_main(fn, arg))
        sim_fail("the machine did not start");
    end_machine(SIM_STOPPED);
}

static enum sim_end judge(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) <= SIM_FAILED)
        return (enum sim_end)WEXITSTATUS(status);
    if (!sim->failure[0])
        snprintf(sim->failure, sizeof sim->failure, "the machine died: %s",
            WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "a sanitizer");
    return SIM_FAILED;
}

static void count_end(enum sim_end end)
{
    sim->counts.machines++;
    sim->counts.stops += end == SIM_STOPPED;
    sim->counts.power_cuts += end == SIM_POWER_CUT;
    sim->counts.kills += end == SIM_KILLED;
}

/* In a process of its own. */
static enum sim_end live_isolated(void (*fn)(void *arg), void *arg)
{
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        be_machine(fn, arg);
    }
    if (pid < 0) {
        snprintf(sim->failure, sizeof sim->failure, "fork: %s", strerror(errno));
        return SIM_FAILED;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return judge(status);
}

struct life {
    void (*fn)(void *arg);
    void *arg;
};

static void live_inside(void *arg)
{
    const struct life *life = arg;

    be_machine(life->fn, life->arg);
}

/* On a stack of its own in this process, whose memory is put back afterwards. */
static enum sim_end live_here(void (*fn)(void *arg), void *arg)
{
    struct life life = {fn, arg};

    fflush(NULL);
    memory_save();
    fiber_make(&inside, machine_stack, MACHINE_STACK_BYTES, live_inside, &life);
    fiber_switch(&outside, &inside);
    memory_restore();
    this_worker = NULL; /* of the thread, not of the data */
    alarm(0);
    return sim->end;
}

enum sim_end sim_live(void (*fn)(void *arg), void *arg)
{
    enum sim_end end = sim->isolated ? live_isolated(fn, arg) : live_here(fn, arg);

    sim_hash((uint64_t)end);
    count_end(end);
    memset(&sim->cut, 0, sizeof sim->cut);
    return end;
}
