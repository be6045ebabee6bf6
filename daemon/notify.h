/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What systemd wants to know: ready, stopping, and that the control worker's loop still turns. All
 * of it does nothing when the daemon was not started by systemd. Control worker. */
#ifndef ASHLAR_DAEMON_NOTIFY_H
#define ASHLAR_DAEMON_NOTIFY_H

/* Also starts to feed the watchdog, if the unit has one. */
void notify_ready(void);
/* The watchdog is fed until notify_end. */
void notify_stopping(void);
void notify_end(void);
/* The listening socket of the unit's .socket file, or -1. */
int notify_listen_fd(void);

#endif
