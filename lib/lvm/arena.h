/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that is given back all at once: a parsed text and what is made of it live and die
 * together. Running out of memory is remembered (arena_failed), so that a builder may check once,
 * at its end; each call that returns NULL has set it.
 */
#ifndef ASHLAR_LVM_ARENA_H
#define ASHLAR_LVM_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena;

/* NULL: out of memory. */
struct arena *arena_create(void);
/* NULL is allowed. */
void arena_free(struct arena *a);
bool arena_failed(const struct arena *a);

/* Zeroed, aligned for any type; NULL when out of memory. */
void *arena_get(struct arena *a, size_t bytes);
/* A copy of an array of `count` elements with room for `more` (zeroed); the old one stays where it
 * is. */
void *arena_grow(struct arena *a, const void *old, size_t count, size_t more, size_t element_bytes);
char *arena_text(struct arena *a, const char *text);
char *arena_text_n(struct arena *a, const char *text, size_t length);
/* At most 1023 characters. */
char *arena_format(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
