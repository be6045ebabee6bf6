/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from outside: read with its nesting bounded first, because the library's parser recurses and
 * a coroutine's stack is small. And strings from outside, which may be anything. */
#ifndef ASHLAR_DAEMON_JSON_H
#define ASHLAR_DAEMON_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

#define JSON_DEPTH_MAX 16

/* One document and nothing after it but white space; duplicate keys are refused. -EINVAL (with line
 * and column), -ENOMEM. */
int json_parse(const char *text, size_t length, json_t **json, struct error *err);

/* A string of any bytes: those of one that is not UTF-8 (a path, a text that was cut) are made
 * question marks. NULL: out of memory, or `text` is NULL. */
json_t *json_text(const char *text);

#endif
