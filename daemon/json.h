/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from outside: read with its nesting bounded first, because the library's parser recurses and
 * a coroutine's stack is small. */
#ifndef ASHLAR_DAEMON_JSON_H
#define ASHLAR_DAEMON_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

#define JSON_DEPTH_MAX 16

/* One document and nothing after it but white space; duplicate keys are refused. -EINVAL (with line
 * and column), -ENOMEM. */
int json_parse(const char *text, size_t length, json_t **json, struct error *err);

#endif
