/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What streams and listeners share. Internal to rt/. */
#ifndef ASHLAR_RT_SOCKET_H
#define ASHLAR_RT_SOCKET_H

#include <stdint.h>
#include <sys/un.h>

#include "base/error.h"

struct stream;

/* -ENAMETOOLONG when the path does not fit an address. */
int socket_address(const char *path, struct sockaddr_un *addr, struct error *err);
/* Waits until the descriptor is ready for `events` (EPOLLIN, EPOLLOUT) or in error; -ETIMEDOUT
 * after timeout_ns, unless that is 0. */
int socket_wait(int fd, unsigned events, uint64_t timeout_ns);
/* Makes a stream of a connected, non-blocking descriptor, which it takes also on failure (-ENOMEM).
 */
int stream_adopt(int fd, struct stream **s);

#endif
