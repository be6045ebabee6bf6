/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notify.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "rt/worker.h"

static struct timer watchdog;
static uint64_t watchdog_ns;

static void feed(struct timer *t)
{
    sd_notify(0, "WATCHDOG=1");
    timer_arm(t, rt_now_ns() + watchdog_ns);
}

void notify_ready(void)
{
    uint64_t limit_us = 0;

    sd_notify(0, "READY=1");
    if (sd_watchdog_enabled(0, &limit_us) <= 0)
        return;
    watchdog.fn = feed;
    watchdog_ns = limit_us * 1000 / 3;
    feed(&watchdog);
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

void notify_end(void)
{
    timer_cancel(&watchdog);
}

int notify_listen_fd(void)
{
    int count = sd_listen_fds(1), fd = SD_LISTEN_FDS_START;

    return count == 1 && sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0 ? fd : -1;
}
