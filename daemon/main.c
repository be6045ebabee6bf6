/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ashlard: the command line, the runtime's start, and signals. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "daemon.h"
#include "notify.h"
#include "rt/signal.h"
#include "rt/worker.h"

enum exit_status { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char help[] =
    "usage: ashlard [--config FILE] [--socket PATH] [--state-dir DIR] [--runtime-dir DIR]\n"
    "\n"
    "  --config FILE      configuration (default " CONFIG_DEFAULT_PATH ", if it is there)\n"
    "  --socket PATH      control socket (default RUNTIME_DIR/ashlard.sock)\n"
    "  --state-dir DIR    what is remembered over restarts (default /var/lib/ashlar)\n"
    "  --runtime-dir DIR  sockets (default /run/ashlar)\n"
    "  --help, --version\n";

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"socket", required_argument, NULL, 's'},
    {"state-dir", required_argument, NULL, 't'},
    {"runtime-dir", required_argument, NULL, 'r'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {0},
};

struct command_line {
    const char *config, *socket, *state_dir, *runtime_dir;
};

/* -1: go on; else the exit status. */
static int parse(struct command_line *words, int argc, char **argv)
{
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'c':
            words->config = optarg;
            break;
        case 's':
            words->socket = optarg;
            break;
        case 't':
            words->state_dir = optarg;
            break;
        case 'r':
            words->runtime_dir = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return EXIT_DONE;
        case 'V':
            puts("ashlard " ASHLAR_VERSION);
            return EXIT_DONE;
        default:
            fputs(help, stderr);
            return EXIT_USAGE;
        }
    if (optind == argc)
        return -1;
    fprintf(stderr, "ashlard: unexpected argument %s\n", argv[optind]);
    return EXIT_USAGE;
}

/* The file, then the command line over it. Paths given there may be relative. */
static int configure(struct config *c, const struct command_line *words, struct error *err)
{
    const char *const given[][2] = {{"socket", words->socket}, {"state_dir", words->state_dir},
        {"runtime_dir", words->runtime_dir}};
    int rc = config_read(c, words->config ? words->config : CONFIG_DEFAULT_PATH, err);

    if (rc && (words->config || rc != -ENOENT))
        return rc;
    for (unsigned i = 0; i < 3; i++) {
        char *path = given[i][1] ? config_absolute(given[i][1]) : NULL;

        if (given[i][1] && !path)
            return error_set(err, ENOMEM, "out of memory");
        rc = path ? config_set(c, "daemon", given[i][0], path, err) : 0;
        free(path);
        if (rc)
            return rc;
    }
    return config_finish(c, err);
}

struct run {
    struct daemon daemon;
    const struct config *config;
    const struct command_line *words;
    struct signals *signals;
    int result;
};

/* SIGHUP: what can change while the daemon runs is how much it logs. */
static void reload(const struct command_line *words)
{
    struct config fresh;
    struct error err = {0};

    if (config_init(&fresh) || configure(&fresh, words, &err)) {
        log_error("not reloaded: %s", err.code ? err.text : "out of memory");
    } else {
        log_set_level(fresh.log_level);
        log_notice("reloaded: the log level");
    }
    config_free(&fresh);
}

/* Until a signal says to stop. */
static void serve(struct run *run)
{
    int signal;

    while ((signal = signals_next(run->signals)) != SIGTERM && signal != SIGINT)
        if (signal == SIGUSR1)
            co_list(stderr);
        else if (signal == SIGHUP)
            reload(run->words);
        else if (signal < 0)
            log_error("signals: %s", strerror(-signal));
    log_notice("stopping: %s", strsignal(signal));
}

static void entry(void *arg)
{
    struct run *run = arg;
    struct error err = {0};

    run->result = daemon_start(&run->daemon, run->config, &err);
    if (run->result) {
        log_error("ashlard: %s", err.code ? err.text : strerror(-run->result));
    } else {
        notify_ready();
        serve(run);
    }
    notify_stopping();
    daemon_stop(&run->daemon);
    notify_end();
}

static int run(const struct config *config, const struct command_line *words)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, 0};
    struct run run = {.config = config, .words = words};
    struct error err = {0};
    int rc;

    signal(SIGPIPE, SIG_IGN);
    log_set_level(config->log_level);
    rc = rt_init(config->engine, &err);
    if (rc == 0)
        rc = signals_open(&run.signals, signals);
    if (rc == 0) {
        rc = rt_main(entry, &run);
        signals_close(run.signals);
    }
    if (rc)
        log_error("ashlard: %s", err.code ? err.text : strerror(-rc));
    return rc || run.result ? EXIT_FAILED : EXIT_DONE;
}

int main(int argc, char **argv)
{
    struct command_line words = {0};
    struct config config;
    struct error err = {0};
    int status = parse(&words, argc, argv);

    if (status >= 0)
        return status;
    if (config_init(&config) || configure(&config, &words, &err)) {
        fprintf(stderr, "ashlard: %s\n", err.code ? err.text : "out of memory");
        status = EXIT_FAILED;
    } else {
        status = run(&config, &words);
    }
    config_free(&config);
    return status;
}
