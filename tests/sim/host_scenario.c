/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole daemon on a simulated host: arrays, groups, volumes, exports and jobs over its RPC
 * socket, guests over NBD, over several machines that are cut off anywhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon.h"
#include "host_admin.h"
#include "host_check.h"
#include "host_events.h"
#include "host_guest.h"
#include "host_trouble.h"
#include "host_world.h"
#include "rt/worker.h"
#include "scenario.h"

#define MACHINES_MIN 3u
#define MACHINES_MAX 8u
#define ACTIONS_MAX  16u
#define GUESTS_MAX   3u
#define REQUESTS_MAX 40u
#define PAUSE_NS_MAX 50000000u
#define TIME_NS_MAX  UINT64_C(3000000000)

static void set(struct config *c, const char *section, const char *key, const char *value)
{
    struct error err = {0};

    if (config_set(c, section, key, value, &err))
        sim_fail("configuration: %s", err.text);
}

static void configure(struct config *c)
{
    char workers[16];

    snprintf(workers, sizeof workers, "%u", host->workers);
    if (config_init(c))
        sim_fail("out of memory");
    set(c, "daemon", "state_dir", HOST_STATE_DIR);
    set(c, "daemon", "runtime_dir", HOST_RUNTIME_DIR);
    set(c, "daemon", "socket", HOST_SOCKET);
    set(c, "daemon", "workers", workers);
    set(c, "scan", "paths", "/disks");
    set(c, "archive", "keep", "3");
    c->host = strdup("sim");
    if (!c->host)
        sim_fail("out of memory");
}

static unsigned ops(unsigned wanted)
{
    unsigned max = host->options->ops_max;

    return max && max < wanted ? max : wanted;
}

/* Administrators and guests at once. */
static void use(struct admin *admin)
{
    struct sim_random *r = &sim->random[SIM_ADMIN];
    unsigned actions = ops(1 + (unsigned)sim_below(r, ACTIONS_MAX));
    unsigned guests = 1 + (unsigned)sim_below(r, GUESTS_MAX);
    struct wait_group ended, troubled;

    wait_group_init(&ended);
    wait_group_init(&troubled);
    guests_start(guests, ops(1 + (unsigned)sim_below(r, REQUESTS_MAX)), &ended);
    trouble_begin(&troubled);
    while (actions-- > 0 && !trouble_beyond()) {
        admin_act(admin);
        if (sim_one_in(r, 2))
            co_sleep_ns(sim_below(r, PAUSE_NS_MAX));
    }
    wait_group_wait(&ended);
    trouble_end();
    wait_group_wait(&troubled);
}

/* A machine's life. */
static void live(void *arg)
{
    static struct daemon daemon;
    struct config config;
    struct wait_group watcher;
    struct admin admin;
    struct error err = {0};

    log_set_level(sim->trace ? LOG_DETAIL : (enum log_level)0);
    configure(&config);
    if (daemon_start(&daemon, &config, &err))
        sim_fail("the daemon does not start: %s", err.text);
    wait_group_init(&watcher);
    if (sim_one_in(&sim->random[SIM_ADMIN], 4))
        events_watch(&watcher);
    admin_open(&admin);
    admin_settle(&admin, true);
    admin_serve_all(&admin);
    guests_verify();
    use(&admin);
    if (sim_one_in(&sim->random[SIM_ADMIN], 4))
        guests_verify();
    admin_close(&admin);
    events_leave();
    wait_group_wait(&watcher);
    daemon_stop(&daemon);
    config_free(&config);
}

/* Mostly soon, as the start and the first changes write the most interesting things. */
static void choose_cut(void)
{
    struct sim_random *r = &sim->random[SIM_ADMIN];
    bool kill = sim_one_in(r, 6), cut = !sim_one_in(r, 6);

    if (!fault_allowed(host->options, FAULT_KILL))
        kill = false;
    if (!fault_allowed(host->options, kill ? FAULT_KILL : FAULT_POWER_CUT))
        cut = false;
    sim->cut = (struct sim_cut){.kill = kill,
        .writes = cut ? 1 + sim_below(r, UINT64_C(2) << sim_below(r, 10)) : 0,
        .phase = (enum sim_phase)sim_below(r, SIM_PHASES)};
    if (cut && sim_one_in(r, 8))
        sim->cut =
            (struct sim_cut){.kill = kill, .at_ns = sim->now_ns + 1 + sim_below(r, TIME_NS_MAX)};
}

static void add_disks(void)
{
    struct sim_random *r = &sim->random[SIM_ADMIN];
    bool large_blocks = sim_one_in(r, 4);
    enum sim_discard discard = (enum sim_discard)sim_below(r, 2);

    host->block_bytes = large_blocks ? 4096 : 512;
    for (unsigned i = 0; i < HOST_DISKS; i++) {
        char path[HOST_NAME];
        struct sim_disk_params params = {.path = path,
            .size_bytes = (8 + sim_below(r, 9)) << 19,
            .logical_block_bytes = (uint32_t)host->block_bytes,
            .atomic_bytes = large_blocks || sim_one_in(r, 2) ? 4096 : 512,
            .discard = discard,
            .can_zero = sim_one_in(r, 2),
            .seed = sim_next(r)};

        host_disk_path(i, path);
        sim_add_disk(&params);
    }
}

static bool may_have_errors(void)
{
    return host->trouble == HOST_TROUBLE_SINGLE || host->trouble == HOST_TROUBLE_BEYOND;
}

/* The map of a sparse volume is in the daemon's memory. At the end it is written, if it can. */
static void end_volume(unsigned volume, enum sim_end end)
{
    bool sparse = host_has_image(volume) || (host->changing && host->then.volumes[volume].sparse);
    struct model *m = &host_models[volume];

    if (end == SIM_POWER_CUT)
        model_cut(m);
    else if (sparse && (end == SIM_KILLED || may_have_errors()))
        model_forgotten(m);
    else if (end == SIM_KILLED)
        model_killed(m);
}

static void end_machine(enum sim_end end)
{
    if (end == SIM_POWER_CUT)
        fault_count(FAULT_POWER_CUT);
    else if (end == SIM_KILLED)
        fault_count(FAULT_KILL);
    if (host->changing)
        host_keep_snapshot();
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (host->now.volumes[i].there || (host->changing && host->then.volumes[i].there))
            end_volume(i, end);
    if (end != SIM_STOPPED || host->trouble == HOST_TROUBLE_BEYOND) /* arrays may have failed */
        host_tear();
    if (!*sim->failure)
        host_check(end == SIM_STOPPED && !may_have_errors());
}

static void run_host(const struct scenario_options *options)
{
    static const enum host_trouble troubles[] = {HOST_TROUBLE_NONE, HOST_TROUBLE_NONE,
        HOST_TROUBLE_MEMBERS, HOST_TROUBLE_MEMBERS, HOST_TROUBLE_MEMBERS, HOST_TROUBLE_SINGLE,
        HOST_TROUBLE_FILES, HOST_TROUBLE_BEYOND};
    struct sim_random *r = &sim->random[SIM_ADMIN];
    unsigned machines = MACHINES_MIN + (unsigned)sim_below(r, MACHINES_MAX - MACHINES_MIN + 1);

    host->options = options;
    host->workers = 1 + (unsigned)sim_below(r, 3);
    if (options->workers_max && options->workers_max < host->workers)
        host->workers = options->workers_max;
    if (options->machines_max && options->machines_max < machines)
        machines = options->machines_max;
    host->trouble =
        troubles[sim_below(&sim->random[SIM_FAULTS], sizeof troubles / sizeof *troubles)];
    add_disks();
    while (machines-- > 0 && !*sim->failure) {
        choose_cut();
        if (machines == 0)
            sim->cut = (struct sim_cut){0};
        trouble_between(machines == 0);
        end_machine(sim_live(live, NULL));
    }
}

static void init(void)
{
    host = sim_share(sizeof *host);
    host_models = sim_keep(HOST_VOLUMES * (1 + HOST_SNAPSHOTS) * sizeof *host_models);
}

const struct scenario host_scenario = {"host", init, run_host};
