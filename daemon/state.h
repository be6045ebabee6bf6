/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * STATE_DIR/state.json: what the catalog knows, for the next start. Written whole and atomically,
 * only when it has changed. A file that cannot be understood is kept aside under another name and
 * the daemon starts without it; one that cannot be read at all stops the start.
 */
#ifndef ASHLAR_DAEMON_STATE_H
#define ASHLAR_DAEMON_STATE_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

struct daemon;

#define UUID_TEXT_BYTES 36

/* The pure part: text from the catalog (freed by the caller; NULL: out of memory) and back. The
 * catalog is as it was on failure: -EINVAL, -ENOMEM. */
char *state_encode(const struct daemon *d);
int state_decode(struct daemon *d, const char *text, size_t length, struct error *err);

/* From a coroutine; changes exclude each other. */
int state_save(struct daemon *d, struct error *err);
int state_load(struct daemon *d, struct error *err);

/* md's way: 8:8:8:8 hexadecimal digits. -EINVAL. */
char *uuid_format(const uint8_t uuid[16], char text[UUID_TEXT_BYTES]);
int uuid_parse_text(const char *text, uint8_t uuid[16]);

#endif
