/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sim: runs seeds of a scenario, one after the other, and says which failed. Without a failure the
 * exit status is 0, with one 1, with wrong arguments 2. tests/sim/run spreads seeds over processors
 * and looks for the shortest way to a failure.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mutant.h"
#include "dump.h"
#include "report.h"
#include "rt/sim/sim.h"
#include "scenario.h"

const char *const fault_names[FAULTS] = {
    [FAULT_POWER_CUT] = "power-cut",
    [FAULT_KILL] = "kill",
    [FAULT_READ_ERROR] = "read-error",
    [FAULT_WRITE_ERROR] = "write-error",
    [FAULT_FLUSH_ERROR] = "flush-error",
    [FAULT_LATENT] = "latent",
    [FAULT_CORRUPT] = "corrupt",
    [FAULT_MISDIRECT] = "misdirect",
    [FAULT_LOST_WRITE] = "lost-write",
    [FAULT_STALL] = "stall",
    [FAULT_GONE] = "gone",
    [FAULT_STALE] = "stale",
    [FAULT_NO_SPACE] = "no-space",
};

static const struct scenario *const scenarios[] = {
    &array_scenario, &image_scenario, &host_scenario};

static struct {
    const struct scenario *scenario;
    uint64_t first, last;
    bool seeds_given;
    double seconds_max; /* 0: no limit */
    struct scenario_options how;
    bool trace, json, keep_going, isolated;
    const char *dump;
    uint64_t dump_every;
    const char *sites;
} args = {.scenario = &array_scenario, .dump_every = 1};

static uint64_t *fault_counts;

void fault_count(enum fault fault)
{
    fault_counts[fault]++;
}

bool fault_allowed(const struct scenario_options *options, enum fault fault)
{
    return !(options->without >> fault & 1);
}

static const char usage[] =
    "usage: sim [OPTION...] --seed N | --seeds A..B\n"
    "Runs the storage stack on simulated disks, with the faults that each seed chooses.\n"
    "  --scenario NAME     array (the default): arrays directly; image: qcow2 images\n"
    "                      directly; host: the whole daemon\n"
    "  --seed N            one seed\n"
    "  --seeds A..B        these, B included\n"
    "  --time SECONDS      no further seed after that\n"
    "  --keep-going        do not stop at the first failure\n"
    "  --machines N        at most so many machines a seed\n"
    "  --ops N             at most so many operations a machine\n"
    "  --workers N         at most so many workers\n"
    "  --without FAULT,... leave out faults of these kinds\n"
    "  --trace             print what happens\n"
    "  --json              the summary as JSON\n"
    "  --dump DIR          write the disks to DIR/SEED/ after each seed...\n"
    "  --dump-every K      ...that K divides\n"
    "  --sites FILE        write how often each write site was reached and cut off\n"
    "  --mutant NAME       with this deliberate bug\n"
    "  --mutants           say which there are (none without the build option)\n"
    "  --isolated          each machine is a process (slower; always so with sanitizers)\n"
    "  --help              this text\n";

static _Noreturn void refuse(const char *what, const char *value)
{
    fprintf(stderr, "sim: %s: %s\n", what, value);
    exit(2);
}

static uint64_t number(const char *text, const char **end)
{
    char *stop;
    uint64_t n;

    errno = 0;
    n = strtoull(text, &stop, 10);
    if (stop == text || errno || n > INT64_MAX || (*stop && !end) || *text == '-')
        refuse("not a number", text);
    if (end)
        *end = stop;
    return n;
}

static unsigned small_number(const char *text)
{
    uint64_t n = number(text, NULL);

    if (n > UINT32_MAX)
        refuse("too large", text);
    return (unsigned)n;
}

static void set_seeds(const char *text)
{
    const char *rest;

    args.first = number(text, &rest);
    if (strncmp(rest, "..", 2) != 0)
        refuse("not A..B", text);
    args.last = number(rest + 2, NULL);
    if (args.last < args.first)
        refuse("no seed in", text);
    args.seeds_given = true;
}

static void set_seed(const char *text)
{
    args.first = args.last = number(text, NULL);
    args.seeds_given = true;
}

static void set_scenario(const char *name)
{
    for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        args.scenario = scenarios[i];
        if (!strcmp(args.scenario->name, name))
            return;
    }
    refuse("no such scenario", name);
}

static void leave_out(const char *name)
{
    for (unsigned i = 0; i < FAULTS; i++) {
        if (!strcmp(fault_names[i], name)) {
            args.how.without |= 1u << i;
            return;
        }
    }
    refuse("no such fault", name);
}

static void leave_out_all(char *names)
{
    char *rest = NULL;

    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        leave_out(name);
}

enum {
    OPT_SCENARIO = 256,
    OPT_SEED,
    OPT_SEEDS,
    OPT_TIME,
    OPT_KEEP_GOING,
    OPT_MACHINES,
    OPT_OPS,
    OPT_WORKERS,
    OPT_WITHOUT,
    OPT_TRACE,
    OPT_JSON,
    OPT_DUMP,
    OPT_DUMP_EVERY,
    OPT_SITES,
    OPT_MUTANT,
    OPT_MUTANTS,
    OPT_ISOLATED,
    OPT_HELP
};

static const struct option options[] = {
    {"scenario", required_argument, NULL, OPT_SCENARIO},
    {"seed", required_argument, NULL, OPT_SEED},
    {"seeds", required_argument, NULL, OPT_SEEDS},
    {"time", required_argument, NULL, OPT_TIME},
    {"keep-going", no_argument, NULL, OPT_KEEP_GOING},
    {"machines", required_argument, NULL, OPT_MACHINES},
    {"ops", required_argument, NULL, OPT_OPS},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"without", required_argument, NULL, OPT_WITHOUT},
    {"trace", no_argument, NULL, OPT_TRACE},
    {"json", no_argument, NULL, OPT_JSON},
    {"dump", required_argument, NULL, OPT_DUMP},
    {"dump-every", required_argument, NULL, OPT_DUMP_EVERY},
    {"sites", required_argument, NULL, OPT_SITES},
    {"mutant", required_argument, NULL, OPT_MUTANT},
    {"mutants", no_argument, NULL, OPT_MUTANTS},
    {"isolated", no_argument, NULL, OPT_ISOLATED},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static void take_option(int option, char *value)
{
    switch (option) {
    case OPT_SCENARIO:
        set_scenario(value);
        break;
    case OPT_SEED:
        set_seed(value);
        break;
    case OPT_SEEDS:
        set_seeds(value);
        break;
    case OPT_TIME:
        args.seconds_max = (double)number(value, NULL);
        break;
    case OPT_KEEP_GOING:
        args.keep_going = true;
        break;
    case OPT_MACHINES:
        args.how.machines_max = small_number(value);
        break;
    case OPT_OPS:
        args.how.ops_max = small_number(value);
        break;
    case OPT_WORKERS:
        args.how.workers_max = small_number(value);
        break;
    case OPT_WITHOUT:
        leave_out_all(value);
        break;
    case OPT_TRACE:
        args.trace = true;
        break;
    case OPT_JSON:
        args.json = true;
        break;
    case OPT_DUMP:
        args.dump = value;
        break;
    case OPT_DUMP_EVERY:
        args.dump_every = number(value, NULL);
        break;
    case OPT_SITES:
        args.sites = value;
        break;
    case OPT_MUTANT:
        if (mutant_choose(value))
            refuse("no such mutant", value);
        break;
    case OPT_MUTANTS:
        mutant_list(stdout);
        exit(0);
    case OPT_ISOLATED:
        args.isolated = true;
        break;
    case OPT_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

static void take_options(int argc, char **argv)
{
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
        take_option(option, optarg);
    if (optind < argc)
        refuse("unknown argument", argv[optind]);
    if (!args.seeds_given)
        refuse("which seed", "--seed N or --seeds A..B");
    if (!args.dump_every)
        refuse("--dump-every", "at least 1");
}

static double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void dump(void)
{
    int rc = dump_world(args.dump, args.scenario->name);

    if (rc)
        refuse("cannot write the dump", strerror(-rc));
}

/* A reason may quote what stood on a disk. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

/* What the process that runs the seeds has come to, in memory that survives it. */
static struct progress {
    uint64_t seed; /* under way */
    uint64_t done; /* seeds that have ended, well or not */
    double start;
    bool complete;
} * progress;

static bool time_is_up(void)
{
    return args.seconds_max > 0 && now_seconds() - progress->start >= args.seconds_max;
}

/* From one seed on until one fails. */
static _Noreturn void be_runner(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    do {
        sim_reset(progress->seed);
        args.scenario->run(&args.how);
        make_printable(sim->failure);
        if (args.dump && progress->seed % args.dump_every == 0)
            dump();
        progress->done++;
    } while (!sim->failure[0] && ++progress->seed <= args.last && !time_is_up());
    progress->complete = true;
    fflush(NULL);
    _exit(0);
}

/* In another process, for a machine that dies may take it along. */
static void run_until_failure(void)
{
    int status;
    pid_t pid;

    fflush(NULL);
    sim->failure[0] = '\0';
    progress->complete = false;
    pid = fork();
    if (pid == 0)
        be_runner();
    if (pid < 0)
        refuse("fork", strerror(errno));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        exit(2);
    if (progress->complete)
        return;
    progress->done++;
    if (!sim->failure[0])
        snprintf(sim->failure, sizeof sim->failure, "the program died: %s",
            WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "a sanitizer");
}

static void note_failure(struct report *report)
{
    if (!args.json)
        printf("FAIL scenario=%s seed=%" PRIu64 ": %s\n", args.scenario->name, progress->seed,
            sim->failure);
    if (report->failed < FAILURES_MAX) {
        report->failures[report->failed].seed = progress->seed;
        memcpy(report->failures[report->failed].reason, sim->failure, sizeof sim->failure);
    }
    report->failed++;
}

static void run_seeds(struct report *report)
{
    bool failed;

    progress->start = now_seconds();
    progress->seed = args.first;
    do {
        run_until_failure();
        failed = sim->failure[0];
        report->last_seed = failed ? progress->seed : progress->seed - 1;
        if (failed) {
            note_failure(report);
            progress->seed++;
        }
    } while (progress->seed <= args.last && !time_is_up() && (!failed || args.keep_going));
    report->seeds = progress->done;
    report->seconds = now_seconds() - progress->start;
    report->hash = world_hash();
}

int main(int argc, char **argv)
{
    /* A stream's own buffer would move what is allocated after it. */
    static char output[BUFSIZ];
    struct report report = {0};
    int rc;

    setvbuf(stdout, output, _IOFBF, sizeof output);
    take_options(argc, argv);
    sim_init(argv);
    if (!args.isolated)
        sim_share_process();
    fault_counts = sim_keep(FAULTS * sizeof *fault_counts);
    progress = sim_keep(sizeof *progress);
    args.scenario->init();
    sim->trace = args.trace;
    report.scenario = args.scenario->name;
    report.faults = fault_counts;
    report.failures = sim_keep(FAILURES_MAX * sizeof *report.failures);
    run_seeds(&report);
    (args.json ? report_json : report_text)(&report);
    rc = args.sites ? report_sites(args.sites) : 0;
    if (rc)
        refuse(args.sites, strerror(-rc));
    return report.failed != 0;
}
